"""Schemas: where they come from, that they are sound, and their compiled validators.

Rules. A schema is checked before it judges: against its draft's metaschema, its references (inside the document, or a
``ValueError``; there is no code here that could fetch one), its patterns (:mod:`safeload.validate.patterns`). A
compiled schema is a copy, so that changing the dict later changes nothing; it is cached by its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

from safeload.errors import LimitExceededError
from safeload.facts import forks
from safeload.validate.patterns import MAX_PATTERN_TEXT, check_pattern

__all__ = ["Schema", "compiled", "register_schema"]

_MAX_SCHEMA_BYTES: Final = 16 << 20
_MAX_CACHED: Final = 128
_DATA_KEYWORDS: Final = frozenset({"enum", "const", "default", "examples"})  # hold data, not schemas
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """A compiled schema: its ``digest`` (hex SHA-256 of its canonical JSON) and the validator."""

    digest: str
    validator: Any


_lock = forks.lock()
_by_digest: dict[str, Schema] = {}
_by_name: dict[str, Schema] = {}
_by_file: dict[tuple[object, ...], Schema] = {}


def register_schema(
    name: str, schema: Mapping[str, Any] | str | os.PathLike[str], *, unsafe_patterns: bool = False
) -> Schema:
    """Give ``schema`` a name that :func:`~safeload.validate.check` takes; the same name again replaces it.

    Args:
        name: any text; a registered name is taken before a path of the same spelling.
        schema: a dict, or the path of a JSON file.
        unsafe_patterns: accept patterns that can take exponential time on a hostile string.

    Raises:
        ValueError: the schema is not valid.
        TypeError: wrong types.
    """
    if not isinstance(name, str):
        raise TypeError(f"a schema's name must be a str, not {type(name).__name__}")
    if isinstance(schema, Mapping):
        made = _compile(schema, unsafe_patterns=unsafe_patterns)
    else:
        made = _compile(_read(Path(schema)), unsafe_patterns=unsafe_patterns)
    with _lock:
        _by_name[name] = made
    return made


def compiled(schema: Mapping[str, Any] | str | os.PathLike[str] | Schema) -> Schema:
    """The compiled form of whatever ``schema=`` takes.

    Raises:
        ValueError: not a valid schema, or neither a registered name nor a readable file.
        TypeError: not a schema, name or path.
    """
    if isinstance(schema, Schema):
        return schema
    if isinstance(schema, Mapping):
        return _compile(schema)
    if isinstance(schema, str) and schema in _by_name:
        return _by_name[schema]
    if isinstance(schema, str | os.PathLike):
        return _from_file(Path(schema))
    raise TypeError(f"a schema is a dict, a path or a registered name, not {type(schema).__name__}")


def _from_file(path: Path) -> Schema:
    try:
        status = path.stat()
    except (OSError, ValueError):
        known = ", ".join(sorted(_by_name)) or "none"
        message = f"no schema is registered as {str(path)!r} (registered: {known}), and there is no such file"
        raise ValueError(message) from None
    key = (path.absolute(), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    with _lock:
        made = _by_file.get(key)
    if made is None:
        made = _compile(_read(path))
        with _lock:
            _keep(_by_file, key, made)
    return made


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_SCHEMA_BYTES:
            raise ValueError(f"the schema {path} is no file of a sensible size")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read the schema {path}: {error.strerror or type(error).__name__}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"the schema {path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"the schema {path} must be a JSON object")  # noqa: TRY004  the file is wrong, not the type
    return value


def _compile(schema: Mapping[str, Any], *, unsafe_patterns: bool = False) -> Schema:
    try:
        text = json.dumps(schema if isinstance(schema, dict) else dict(schema), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the schema is not JSON: {error}") from error
    digest = hashlib.sha256(text.encode()).hexdigest()
    with _lock:
        known = _by_digest.get(digest)
    if known is not None:
        return known
    made = Schema(digest, _validator(json.loads(text), unsafe_patterns=unsafe_patterns))
    if not unsafe_patterns:  # what one caller accepted for a name must not become acceptable for everybody
        with _lock:
            _keep(_by_digest, digest, made)
    return made


def _keep(cache: dict[Any, Schema], key: object, made: Schema) -> None:
    while len(cache) >= _MAX_CACHED:
        del cache[next(iter(cache))]
    cache[key] = made


def _validator(schema: dict[str, Any], *, unsafe_patterns: bool) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError as InvalidSchema
    from jsonschema.validators import extend, validator_for
    from referencing import Registry

    dialect = schema.get("$schema")
    if dialect is not None and not isinstance(dialect, str):
        raise ValueError("the schema's $schema must be a string")
    draft = Draft202012Validator if dialect is None else validator_for(schema, default=None)
    if draft is None:
        raise ValueError(f"unknown $schema {dialect!r}; use 'https://json-schema.org/draft/2020-12/schema'")
    try:
        draft.check_schema(schema)
    except InvalidSchema as error:
        raise ValueError(
            f"the schema is not valid at {'/'.join(map(str, error.path)) or 'its root'}: {error.message}"
        ) from None
    _check_references(schema)
    for pattern in _patterns(schema):
        check_pattern(pattern, unsafe=unsafe_patterns)
    for item in _subschemas(schema):
        # Where a (sub)schema names its draft, jsonschema would go on with its own class, without our two keywords.
        named = item.get("$schema")
        if isinstance(named, str) and item.pop("$schema") != dialect:
            raise ValueError(f"the schema mixes drafts ({named!r} inside); use one $schema for all of it")
    # An explicit empty registry: the default one would retrieve remote references over the network.
    return extend(draft, {"uniqueItems": _unique_items, "pattern": _pattern})(schema, registry=Registry())


def _subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    stack = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack += (value for name, value in item.items() if name not in _DATA_KEYWORDS)
        elif isinstance(item, list):
            stack += item


def _patterns(schema: dict[str, Any]) -> Iterator[str]:
    for item in _subschemas(schema):
        if isinstance(item.get("pattern"), str):
            yield item["pattern"]
        if isinstance(item.get("patternProperties"), dict):
            yield from item["patternProperties"]


def _check_references(schema: dict[str, Any]) -> None:
    base = schema.get("$id", schema.get("id", ""))
    base = base if isinstance(base, str) else ""
    names = {
        urljoin(base, item[key])
        for item in _subschemas(schema)
        for key in ("$id", "id")
        if isinstance(item.get(key), str)
    }
    inside = {name.partition("#")[0] for name in names}
    for item in _subschemas(schema):
        for keyword in _REFERENCES:
            target = item.get(keyword)
            if not isinstance(target, str) or target.startswith("#"):
                continue
            if urljoin(base, target).partition("#")[0] not in inside:
                message = f"the schema refers to another document ({keyword}: {target!r}), and none is ever fetched; "
                raise ValueError(message + "put it under $defs and refer to '#/$defs/...'")


def _unique_items(_: Any, unique: object, instance: object, __: object) -> Iterator[Any]:
    """``uniqueItems`` in linear time; jsonschema compares all pairs, a quadratic gift to whoever made the data."""
    from jsonschema.exceptions import ValidationError

    if unique and isinstance(instance, list):
        seen: set[str] = set()  # of strings, whose hashes nobody can make collide from outside
        for item in instance:
            key = _canonical(item)
            if key in seen:
                yield ValidationError("items are equal")
                return
            seen.add(key)


def _canonical(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else float.__repr__(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(str.__str__(value))
    if isinstance(value, list):
        return f"[{','.join(map(_canonical, value))}]"
    return "{" + ",".join(sorted(f"{json.dumps(name)}:{_canonical(item)}" for name, item in value.items())) + "}"


def _pattern(_: Any, pattern: str, instance: object, __: object) -> Iterator[Any]:
    """``pattern`` on strings of bounded length: backtracking is quadratic for many a harmless-looking pattern."""
    from jsonschema.exceptions import ValidationError

    if not isinstance(instance, str):
        return
    if len(instance) > MAX_PATTERN_TEXT:
        message = (
            f"a string of {len(instance)} characters is too long to be matched against a pattern (at most "
            f"{MAX_PATTERN_TEXT}); check its length with maxLength, and its content in your own code"
        )
        raise LimitExceededError(message, code="schema.pattern-text", stage="validate")
    if not re.search(pattern, instance):
        yield ValidationError("no match")
