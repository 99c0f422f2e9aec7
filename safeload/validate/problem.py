"""One mismatch in words: where, what the schema expected, what kind of value is there. Never the value itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from safeload.validate.plain import pointer, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from jsonschema.exceptions import ValidationError

__all__ = ["describe"]

_MAX_NAMES: Final = 3


def describe(error: ValidationError) -> str:
    """``"/users/0/age: expected type integer, found a string of 3 characters"``."""
    keyword = error.validator if isinstance(error.validator, str) else None
    if keyword is None:  # the schema `false`
        expected = "nothing here"
    else:
        expected = _WORDS.get(keyword, _plain_keyword(keyword))(error.validator_value, error)
    return f"{pointer(list(error.absolute_path))}: expected {expected}, found {_kind(error.instance)}"


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return f"a string of {len(value)} characters"
        case list():
            return f"an array of {len(value)} items"
        case dict():
            return f"an object of {len(value)} members"
    return "something else"


def _short(value: object) -> str:
    # A schema's own value: the author's, so it may be shown, but it may be long.
    return printable(json.dumps(value), 120)


def _plain_keyword(keyword: str) -> Callable[[Any, ValidationError], str]:
    return lambda value, _: f"{printable(keyword)} {_short(value)}"


def _type(value: Any, _: ValidationError) -> str:
    return "type " + (" or ".join(map(str, value)) if isinstance(value, list) else str(value))


def _required(value: Any, error: ValidationError) -> str:
    missing = [name for name in value if name not in error.instance] if isinstance(value, list) else []
    return f"the member(s) {_names(missing)}" if missing else "a required member"


def _additional(_: Any, error: ValidationError) -> str:
    known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
    extra = [name for name in error.instance if name not in known] if isinstance(error.instance, dict) else []
    return f"no further member or item (such as {_names(extra)})" if extra else "no further member or item"


def _names(names: list[str]) -> str:
    shown = ", ".join(f"'{printable(name, 40)}'" for name in names[:_MAX_NAMES])
    return shown + (f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else "")


_WORDS: Final[dict[str, Callable[[Any, ValidationError], str]]] = {
    "type": _type,
    "required": _required,
    "additionalProperties": _additional,
    "unevaluatedProperties": _additional,
    "items": lambda _, __: "no further item",  # only the schema `false` is reported under this keyword
    "enum": lambda value, _: f"one of {_short(value)}",
    "const": lambda value, _: f"exactly {_short(value)}",
    "pattern": lambda value, _: f"a string that matches {_short(value)}",
    "uniqueItems": lambda _, __: "items that differ",
    "anyOf": lambda value, _: f"one of the {len(value)} alternatives of anyOf",
    "oneOf": lambda value, _: f"exactly one of the {len(value)} alternatives of oneOf",
    "not": lambda _, __: "what the schema under 'not' does not match",
}
