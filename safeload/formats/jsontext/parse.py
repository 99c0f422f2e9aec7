"""JSON text to plain values: exactly RFC 8259, in one reading on which every reader agrees.

Rules: UTF-8 without a byte order mark; an object has no name twice, however its escapes spell it; no NaN and no infinity, also not by a
number that is too large for a double; nothing behind the value. Numbers are limited in length before they are converted,
nesting before anybody recurses into it. A mistake is reported by line and column, without the text that stands there.

``orjson`` reads faster and knows none of these rules. Its result is taken only where writing it again gives the very same bytes: then no
name was lost, no number changed, and the text is one that both readers understand equally.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError, LimitExceededError
from safeload.formats.jsontext.form import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from safeload.limits import Limits

__all__ = ["check_depth", "fast_backend", "parse"]

_BOM = b"\xef\xbb\xbf"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|-?[0-9][-+0-9.eE]*+|-?Infinity|NaN|[{}\[\]:,]', re.DOTALL)
# The longest number that orjson reads and writes unchanged.
_FAST_DIGITS = 32


class _Stop(Exception):  # noqa: N818 - control flow: found while the text is parsed, placed afterwards
    def __init__(self, error: type[FormatError | LimitExceededError], message: str, code: str, where: Any) -> None:
        super().__init__(message)
        self.error, self.code, self.where = error, code, where


def fast_backend() -> Any:
    """The module ``orjson``, or ``None``."""
    try:
        import orjson
    except ImportError:
        return None
    return orjson


def parse(data: bytes, limits: Limits) -> tuple[Any, bool]:
    """The value of a JSON text, and whether there may be markers in it.

    Raises:
        FormatError: it is no JSON text, or not everybody would read the same value.
        LimitExceededError: it is beyond a limit.
    """
    if len(data) > limits.max_json_bytes:
        raise LimitExceededError(
            f"the JSON text has {len(data):,} bytes, over the limit max_json_bytes={limits.max_json_bytes:,}; raise "
            "Limits(max_json_bytes=...) if you trust its author",
            code="limit.json-bytes",
        )
    tree, marked = _parse_fast(data, limits) or _parse_exact(data, limits)
    check_depth(tree, limits)
    return tree, marked


def _parse_fast(data: bytes, limits: Limits) -> tuple[Any, bool] | None:
    """The value, if ``orjson`` is there and can be proven to have read it as :func:`_parse_exact` would."""
    # What it writes begins like this and has no white space; a text of another writer is not worth the try.
    if limits.max_integer_digits < _FAST_DIGITS or b'": ' in data[:4096] or b"\n" in data[:4096]:
        return None
    orjson = fast_backend()
    if orjson is None:
        return None
    try:
        tree = orjson.loads(data)
        if orjson.dumps(tree) != data:
            return None
    except (ValueError, TypeError, RecursionError):
        return None
    return tree, MARKER.encode() in data


class _Hooks:
    """What the parser asks for each object and number."""

    def __init__(self, limits: Limits) -> None:
        self.marked = False
        self._longest = limits.max_integer_digits

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _Stop(FormatError, "an object has the same name twice", "json.duplicate", _duplicates)
        if MARKER in found:
            self.marked = True
        return found

    def integer(self, digits: str) -> int:
        if len(digits) > self._longest:
            _too_long(self._longest)
        try:
            return int(digits)
        except ValueError:  # the interpreter's own limit is lower
            _too_long(sys.get_int_max_str_digits())

    def real(self, digits: str) -> float:
        if len(digits) > self._longest:
            _too_long(self._longest)
        value = float(digits)
        if math.isinf(value):
            raise _Stop(FormatError, "a number is too large for a double", "json.number", _overflows)
        return value


def _parse_exact(data: bytes, limits: Limits) -> tuple[Any, bool]:
    text = _decoded(data)
    hooks = _Hooks(limits)
    try:
        value = json.loads(
            text,
            object_pairs_hook=hooks.members,
            parse_int=hooks.integer,
            parse_float=hooks.real,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        what = error.msg.partition(":")[0].removesuffix(" at")
        raise FormatError(f"{what}, at {_place(text, error.pos)}; this is no JSON", code="json.syntax") from None
    except _Stop as stop:
        at = next(stop.where(text), None)
        place = "" if at is None else f", at {_place(text, at)}"
        raise stop.error(f"{stop}{place}", code=stop.code) from None
    except RecursionError:
        _too_deep(limits)
    return value, hooks.marked


def _decoded(data: bytes) -> str:
    if data.startswith(_BOM):
        raise FormatError(
            "the JSON text begins with a byte order mark, at line 1, column 1; save it as UTF-8 without one",
            code="json.bom",
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise FormatError(
            f"the JSON text is not UTF-8, at line {line}, byte {column}; save it as UTF-8", code="json.encoding"
        ) from None


def _place(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def _constant(_name: str) -> NoReturn:
    message = "NaN and infinities are no JSON; write the data with dump(codec='json'), or as null"
    raise _Stop(FormatError, message, "json.syntax", _tokens(lambda token: token[-1] in "yN"))


def _too_long(limit: int) -> NoReturn:
    message = f"a number is longer than max_integer_digits={limit:,}; raise Limits(max_integer_digits=...)"
    raise _Stop(
        LimitExceededError,
        message,
        "limit.json-number",
        _tokens(lambda token: token[0] in "-0123456789" and len(token) > limit),
    )


def _too_deep(limits: Limits) -> NoReturn:
    raise LimitExceededError(
        f"the JSON text nests deeper than max_json_depth={limits.max_json_depth}; flatten it, or raise Limits(max_json_depth=...)",
        code="limit.json-depth",
    )


def _tokens(matches: Callable[[str], bool]) -> Callable[[str], Iterator[int]]:
    return lambda text: (found.start() for found in _TOKEN.finditer(text) if matches(found.group()))


def _overflows(text: str) -> Iterator[int]:
    return _tokens(lambda token: token[0] in "-0123456789" and token[-1].isdigit() and math.isinf(float(token)))(text)


def _duplicates(text: str) -> Iterator[int]:
    """Where a name stands that its object already has; the text is well-formed up to there."""
    names: list[set[str]] = []
    last = ("", 0)
    for found in _TOKEN.finditer(text):
        match found.group():
            case "{" | "[":
                names.append(set())
            case "}" | "]":
                names.pop()
            case ":":
                name = json.loads(last[0])
                if name in names[-1]:
                    yield last[1]
                names[-1].add(name)
        last = (found.group(), found.start())


def check_depth(tree: Any, limits: Limits) -> None:
    """Check the nesting of arrays and objects, without recursion.

    Raises:
        LimitExceededError: it is deeper than ``max_json_depth``.
    """
    level = [tree] if type(tree) in (dict, list) else []
    depth = 0
    while level:
        depth += 1
        if depth > limits.max_json_depth:
            _too_deep(limits)
        inner: list[Any] = []
        for node in level:
            items = node.values() if type(node) is dict else node
            inner += [item for item in items if type(item) is dict or type(item) is list]
        level = inner
