"""``safeload.toml`` and ``[tool.safeload]``: policy, trust per signer, limits and audit of a project.

A configuration that is misread is a policy that does not hold, so nothing is ignored: an unknown key, an unknown pack
or a malformed name is an error that tells the file, the line and what was probably meant. Rule: a signer's table
replaces the default policy for that signer, it does not add to it; and only a signer can be granted ``code``.
"""

from __future__ import annotations

import difflib
import json
import logging
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safeload.limits import Limits
from safeload.policy.model import DEFAULT_PACKS, Permission, Policy, Rule, check_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Config", "ConfigError", "load_config"]

_MAX_BYTES = 4 << 20


class ConfigError(ValueError):
    """A mistake in a configuration file; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Signer:
    """What a verified signer's payloads may contain.

    Attributes:
        key_id: lower-case hex.
        policy: instead of the default policy.
        grants: ``{"code"}`` if payloads may carry code.
        label: a name for people.
    """

    key_id: str
    policy: Policy
    grants: frozenset[str] = frozenset()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file that was read and checked.

    Attributes:
        policy: for artifacts without a signer, and for signers that have no table of their own.
        signers: by key id.
        limits: the defaults with the file's changes, ``None`` if it has none.
        audit: what ``audit=`` of a loader takes: the trail's path and loggers.
        path: the file.
    """

    policy: Policy
    signers: Mapping[str, Signer]
    limits: Limits | None
    audit: tuple[Any, ...]
    path: Path


def load_config(path: str | Path) -> Config:
    """Read and check a ``safeload.toml``, or the ``[tool.safeload]`` table of a ``pyproject.toml``.

    Raises:
        ConfigError: (a ``ValueError``) a mistake, with file and line.
        OSError: the file cannot be read.
    """
    path = Path(path)
    raw = path.read_bytes()
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES:,} bytes; that is not a configuration")
    try:
        text = raw.decode("utf-8")
        data: Any = tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    prefix: tuple[str, ...] = ()
    if path.name == "pyproject.toml":
        prefix, tool = ("tool", "safeload"), data.get("tool", {})
        data = tool.get("safeload") if isinstance(tool, dict) else None
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: has no table [tool.safeload]")
    source = _Source(path, text, prefix)
    _validate(data, source)
    return _build(data, source)


@dataclass(frozen=True, slots=True)
class _Source:
    """The text, to find the line of a key in it."""

    path: Path
    text: str
    prefix: tuple[str, ...]

    def error(self, where: Iterable[Any], message: str) -> ConfigError:
        """A :class:`ConfigError` at the place ``where``, a path of keys and indexes."""
        return ConfigError(f"{self.path}, line {_line_of(self.text, (*self.prefix, *where))}: {message}")


def _validate(data: dict[str, Any], source: _Source) -> None:
    import jsonschema

    schema = _schema()
    errors = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(data), key=lambda error: [str(part) for part in error.path]
    )
    if not errors:
        return
    error = errors[0]
    where = list(error.absolute_path)
    if error.validator == "additionalProperties":
        known = [*error.schema.get("properties", ()), *error.schema.get("patternProperties", ())]
        unknown = next(key for key in error.instance if not any(_matches(key, name) for name in known))
        raise source.error([*where, unknown], _unknown_key(where, unknown, known))
    if error.validator == "required":
        raise source.error(where, "this [[allow]] has no name")
    name = _dotted(where)
    expected = error.schema.get("description") or error.schema.get("enum") or error.schema.get("type")
    raise source.error(
        where, f"{name} should be {_expected(expected)}, not {json.dumps(error.instance, default=str)[:80]}"
    )


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))
    schema["properties"]["limits"]["properties"] = {
        field.name: {"type": "integer", "minimum": 1, "description": "an integer of at least 1"}
        for field in fields(Limits)
    }
    return schema


def _matches(key: str, name: str) -> bool:
    return re.fullmatch(name, key) is not None if name.startswith("^") else key == name


def _unknown_key(where: list[Any], unknown: str, known: list[str]) -> str:
    if where == ["signers"]:
        return f"{unknown!r} is not a key id; write the 32 hexadecimal digits that `safeload keygen` prints"
    near = difflib.get_close_matches(unknown, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
    return f"unknown key {_dotted([*where, unknown])!r}; {hint}"


def _dotted(where: Iterable[Any]) -> str:
    name = ""
    for part in where:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    return name or "the file"


def _expected(value: Any) -> str:
    if isinstance(value, list):
        return "one of " + ", ".join(json.dumps(item) for item in value)
    plain = {"array": "a list", "object": "a table", "string": "a string", "boolean": "true or false"}
    return plain.get(value, str(value))


def _build(data: dict[str, Any], source: _Source) -> Config:
    policy = _policy(data, source, ())
    signers = {}
    for key_id, table in data.get("signers", {}).items():
        own = _policy(table, source, ("signers", key_id))
        grants = frozenset(table.get("grants", ()))
        signers[key_id] = Signer(key_id, own.with_code() if "code" in grants else own, grants, table.get("label", ""))
    limits = Limits(**data["limits"]) if data.get("limits") else None
    table = data.get("audit", {})
    audit: list[Any] = []
    if "trail" in table:
        audit.append(str(source.path.parent / table["trail"]))
    if "logger" in table:
        audit.append(logging.getLogger(table["logger"]))
    return Config(policy, MappingProxyType(signers), limits, tuple(audit), source.path)


def _policy(table: dict[str, Any], source: _Source, where: tuple[str, ...]) -> Policy:
    """The policy of the top level or of a signer; without ``packs`` it starts from the default ones."""
    try:
        policy = Policy.packs(*table.get("packs", DEFAULT_PACKS))
    except ValueError as error:
        raise source.error([*where, "packs"], str(error)) from None
    rules = []
    for index, entry in enumerate(table.get("allow", ())):
        rule = _rule(entry)
        try:
            check_rule(rule)
        except ValueError as error:
            key = next(
                (
                    key
                    for key in ("args", "call", "construct", "state", "items", "shadows")
                    if repr(entry.get(key)) in str(error)
                ),
                "name",
            )
            raise source.error([*where, "allow", index, key], str(error)) from None
        rules.append(rule)
    return policy | Policy(rules) if rules else policy


def _rule(entry: dict[str, Any]) -> Rule:
    """An ``[[allow]]``: what it does not say is as in :meth:`Policy.allow`."""
    args = entry.get("args")
    construct: Permission = entry.get("construct", True)
    call: Permission = entry.get("call", False)
    state: Permission = entry.get("state", True)
    if args is not None:
        construct = args if construct is True else construct
        call = args if call is True else call
    return Rule(
        entry["name"],
        reference=entry.get("reference", True),
        construct=construct,
        call=call,
        state=state,
        items=entry.get("items", bool(state)),
        resolve=entry.get("resolve", ""),
        reason=entry.get("reason", "allowed by the application"),
        shadows=tuple(entry.get("shadows", ())),
    )


_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def _line_of(text: str, path: tuple[Any, ...]) -> int:
    """The line, from 1, that comes closest to a path of keys and indexes (tomllib does not tell)."""
    best, best_line = -1, 1
    table: tuple[Any, ...] = ()
    counts: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        key = None if header else _KEY.match(line)
        if header:
            names = _parts(header[2])
            table = names
            if header[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
            table = _indexed(names, counts)
            found = table
        elif key:
            found = (*table, *_parts(key[1]))
        else:
            continue
        common = _common(found, path)
        if common == len(found) and common > best:
            best, best_line = common, number
    return best_line


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


def _indexed(names: tuple[str, ...], counts: dict[tuple[Any, ...], int]) -> tuple[Any, ...]:
    """A table's path with the index of every array of tables that it is in."""
    path: list[Any] = []
    for end, name in enumerate(names, 1):
        path.append(name)
        if names[:end] in counts:
            path.append(counts[names[:end]])
    return tuple(path)


def _common(found: tuple[Any, ...], path: tuple[Any, ...]) -> int:
    count = 0
    for one, other in zip(found, path, strict=False):
        if one != other:
            break
        count += 1
    return count
