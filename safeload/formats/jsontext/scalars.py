"""Values without parts: how each kind is written, and read back only from its one spelling."""

from __future__ import annotations

import math
import pathlib
import re
import sys
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from safeload.errors import LimitExceededError, LoadError
from safeload.formats.jsontext.form import SURROGATE, Kind, MisfitError, base64_of, bytes_of, expect, mark
from safeload.formats.jsontext.registry import UNMADE

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.formats.jsontext.reader import Reader
    from safeload.formats.jsontext.writer import Writer

__all__ = ["KINDS", "RANDOMISED", "WRITE"]

# Types whose hashes are keyed at random in every process.
RANDOMISED: Final = frozenset(
    {str, bytes, date, pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath}
)
# Longer integers are written in hexadecimal, which takes linear time to read and which no reader limits. 4,215 digits.
_LONG_BITS: Final = 14_000
_HEX = re.compile(r"-?0x[1-9a-f][0-9a-f]*+", re.ASCII)
_DECIMAL = re.compile(r"-?(?:[0-9]++(?:\.[0-9]++)?(?:E[+-][0-9]{1,18})?|Infinity|s?NaN[0-9]*+)", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+\-]{1,64}(?:/[A-Za-z0-9_+\-]{1,64}){0,3}", re.ASCII)
_FLOATS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_POSIX = sys.platform != "win32"
_MICROSECOND: Final = timedelta(microseconds=1)
_Value = TypeVar("_Value")


def _write_str(value: str, _writer: Writer) -> Any:
    if value.isascii() or not SURROGATE.search(value):
        return value
    return mark("str", base64_of(value.encode("utf-8", "surrogatepass")))


def _read_str(node: dict[str, Any], _reader: Reader) -> str:
    try:
        text = bytes_of(node["v"]).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        raise MisfitError("this is no encoded string") from None
    if not SURROGATE.search(text):
        raise MisfitError("a string without lone surrogates is written as itself")
    return text


def _write_int(value: int, _writer: Writer) -> Any:
    return value if value.bit_length() <= _LONG_BITS else mark("int", hex(value))


def _read_int(node: dict[str, Any], _reader: Reader) -> int:
    value = int(_matching(node["v"], _HEX, "an integer in hexadecimal"), 16)
    if value.bit_length() <= _LONG_BITS:
        raise MisfitError("a short integer is written as itself")
    return value


def _write_float(value: float, _writer: Writer) -> Any:
    return value if math.isfinite(value) else mark("float", repr(value))


def _read_float(node: dict[str, Any], _reader: Reader) -> float:
    text = expect(node["v"], str, "nan, inf or -inf")
    if text not in _FLOATS:
        raise MisfitError("nan, inf or -inf is expected here")
    return _FLOATS[text]


def _write_complex(value: complex, writer: Writer) -> Any:
    return mark("complex", [writer.value(value.real), writer.value(value.imag)])


def _read_complex(node: dict[str, Any], reader: Reader) -> complex:
    parts = reader.items(node["v"])
    if len(parts) != 2 or {type(part) for part in parts} != {float}:
        raise MisfitError("two floats are expected here")
    return complex(*parts)


def _read_decimal(node: dict[str, Any], reader: Reader) -> Decimal:
    text = _matching(node["v"], _DECIMAL, "a decimal number as Python writes it")
    _check_digits(text, reader)
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise MisfitError("this decimal number is out of range") from None
    return _same(value, text, str)


def _write_fraction(value: Fraction, writer: Writer) -> Any:
    return mark("Fraction", [writer.value(value.numerator), writer.value(value.denominator)])


def _read_fraction(node: dict[str, Any], reader: Reader) -> Fraction:
    top, bottom = _integers(node["v"], 2, reader)
    # The greatest common divisor takes quadratic time.
    if max(top.bit_length(), bottom.bit_length()) > 4 * reader.limits.max_integer_digits:
        _too_long(reader)
    if bottom < 1 or math.gcd(top, bottom) != 1:
        raise MisfitError("a fraction in lowest terms is expected here")
    return Fraction(top, bottom)


def _write_range(value: range, writer: Writer) -> Any:
    return mark("range", [writer.value(number) for number in (value.start, value.stop, value.step)])


def _read_range(node: dict[str, Any], reader: Reader) -> range:
    start, stop, step = _integers(node["v"], 3, reader)
    if not step:
        raise MisfitError("the step of a range is not 0")
    return range(start, stop, step)


def _read_uuid(node: dict[str, Any], _reader: Reader) -> UUID:
    text = expect(node["v"], str, "a UUID")
    try:
        return _same(UUID(text), text, str)
    except ValueError:
        raise MisfitError("a UUID is expected here") from None


def _write_moment(value: time | datetime, writer: Writer) -> Any:
    members: dict[str, Any] = {}
    if value.tzinfo is not None:
        members["tz"] = writer.value(value.tzinfo)
    if value.fold:
        members["fold"] = 1
    return mark(type(value).__name__, value.replace(tzinfo=None, fold=0).isoformat(), **members)


def _read_moment(kind: type[time | datetime]) -> Callable[[dict[str, Any], Reader], Any]:
    def read(node: dict[str, Any], reader: Reader) -> Any:
        value = _from_iso(kind, node["v"])
        if value.tzinfo is not None:
            raise MisfitError("the time zone stands in tz")
        if "tz" in node:
            zone = reader.value(node["tz"])
            if isinstance(zone, tzinfo):
                value = value.replace(tzinfo=zone)
            elif zone is not UNMADE:
                raise MisfitError("tz is a time zone")
        if "fold" in node:
            if type(node["fold"]) is not int or node["fold"] != 1:
                raise MisfitError("fold is 1, or not there")
            value = value.replace(fold=1)
        return value

    return read


def _from_iso(kind: Any, text: Any) -> Any:
    try:
        return _same(kind.fromisoformat(expect(text, str, "a date or time")), text, kind.isoformat)
    except ValueError:
        raise MisfitError(f"a {kind.__name__} in ISO format is expected here") from None


def _read_timedelta(node: dict[str, Any], reader: Reader) -> timedelta:
    days, seconds, microseconds = _integers(node["v"], 3, reader)
    if abs(days) > timedelta.max.days or not 0 <= seconds < 86_400 or not 0 <= microseconds < 1_000_000:
        raise MisfitError("days, seconds and microseconds in their ranges are expected here")
    return timedelta(days, seconds, microseconds)


def _write_timezone(value: timezone, writer: Writer) -> Any:
    offset = value.utcoffset(None)
    name = value.tzname(None)
    if name == timezone(offset).tzname(None):
        return mark("timezone", offset // _MICROSECOND)
    return mark("timezone", offset // _MICROSECOND, name=writer.value(name))


def _read_timezone(node: dict[str, Any], reader: Reader) -> timezone:
    offset = expect(node["v"], int, "an offset in microseconds")
    if abs(offset) >= 86_400_000_000:
        raise MisfitError("an offset of less than a day is expected here")
    arguments = [expect(reader.value(node["name"]), str, "a name")] if "name" in node else []
    return timezone(timedelta(microseconds=offset), *arguments)


def _write_zone(value: ZoneInfo, _writer: Writer) -> Any:
    if value.key is None or not _ZONE.fullmatch(value.key):
        raise MisfitError("a ZoneInfo without a key, or with an unusual one, cannot be written")
    return mark("ZoneInfo", value.key)


def _read_zone(node: dict[str, Any], _reader: Reader) -> ZoneInfo:
    key = _matching(node["v"], _ZONE, "the name of a time zone")
    try:
        return ZoneInfo(key)
    except (OSError, ValueError, LookupError, ImportError):  # the key of a directory, of another file, of nothing
        raise LoadError(
            "the text names a time zone that this machine does not know; install its data: pip install tzdata",
            code="load.time-zone",
        ) from None


def _write_path(value: pathlib.PurePath, writer: Writer) -> Any:
    return mark(type(value).__name__, writer.value(str(value)))


def _read_path(kind: type[pathlib.PurePath]) -> Callable[[dict[str, Any], Reader], Any]:
    def read(node: dict[str, Any], reader: Reader) -> Any:
        text = expect(reader.value(node["v"]), str, "a path")
        return _same(kind(text), text, str)

    return read


def _same(value: _Value, text: str, spelling: Callable[[Any], str]) -> _Value:
    """``value``, if ``text`` is how it is written."""
    if spelling(value) != text:
        raise MisfitError("this is not the spelling that Python writes")
    return value


def _matching(text: Any, pattern: re.Pattern[str], what: str) -> str:
    found: str = expect(text, str, what)
    if not pattern.fullmatch(found):
        raise MisfitError(f"{what} is expected here")
    return found


def _integers(node: Any, count: int, reader: Reader) -> list[int]:
    numbers = reader.items(node)
    if len(numbers) != count or {type(number) for number in numbers} != {int}:
        raise MisfitError(f"{count} integers are expected here")
    return numbers


def _check_digits(text: str, reader: Reader) -> None:
    if len(text) > reader.limits.max_integer_digits:
        _too_long(reader)


def _too_long(reader: Reader) -> None:
    raise LimitExceededError(
        f"a number is longer than max_integer_digits={reader.limits.max_integer_digits:,}; raise Limits(max_integer_digits=...)",
        code="limit.json-number",
    )


WRITE: Final[dict[type, Callable[[Any, Writer], Any]]] = {
    str: _write_str,
    int: _write_int,
    float: _write_float,
    complex: _write_complex,
    bytes: lambda value, _: mark("bytes", base64_of(value)),
    bytearray: lambda value, _: mark("bytearray", base64_of(value)),
    Decimal: lambda value, _: mark("Decimal", str(value)),
    Fraction: _write_fraction,
    range: _write_range,
    UUID: lambda value, _: mark("UUID", str(value)),
    date: lambda value, _: mark("date", value.isoformat()),
    time: _write_moment,
    datetime: _write_moment,
    timedelta: lambda value, _: mark("timedelta", [value.days, value.seconds, value.microseconds]),
    timezone: _write_timezone,
    ZoneInfo: _write_zone,
    pathlib.PosixPath: _write_path,
    pathlib.WindowsPath: _write_path,
    pathlib.PurePosixPath: _write_path,
    pathlib.PureWindowsPath: _write_path,
}

_MOMENT = frozenset({"tz", "fold"})
KINDS: Final[dict[str, Kind]] = {
    "str": Kind(_read_str),
    "int": Kind(_read_int),
    "float": Kind(_read_float),
    "complex": Kind(_read_complex),
    "bytes": Kind(lambda node, _: bytes_of(node["v"])),
    "bytearray": Kind(lambda node, _: bytearray(bytes_of(node["v"]))),
    "Decimal": Kind(_read_decimal),
    "Fraction": Kind(_read_fraction),
    "range": Kind(_read_range),
    "UUID": Kind(_read_uuid),
    "date": Kind(lambda node, _: _from_iso(date, node["v"])),
    "time": Kind(_read_moment(time), optional=_MOMENT),
    "datetime": Kind(_read_moment(datetime), optional=_MOMENT),
    "timedelta": Kind(_read_timedelta),
    "timezone": Kind(_read_timezone, optional=frozenset({"name"})),
    "ZoneInfo": Kind(_read_zone),
    "PosixPath": Kind(_read_path(pathlib.PosixPath if _POSIX else pathlib.PurePosixPath)),
    "WindowsPath": Kind(_read_path(pathlib.PureWindowsPath if _POSIX else pathlib.WindowsPath)),
    "PurePosixPath": Kind(_read_path(pathlib.PurePosixPath)),
    "PureWindowsPath": Kind(_read_path(pathlib.PureWindowsPath)),
}
