"""Checking a loaded object against a JSON Schema: the last stage before it is handed out.

The schema is the caller's and trusted to be meant; the object is not. Rules: nothing is ever fetched; the object is
first copied into plain JSON values (:mod:`safeload.validate.plain`), so that no method of a payload class runs while
it is judged; an error names places and expectations, never values. ``format`` is not asserted, as the specification
has it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from safeload.errors import LimitExceededError, SchemaError
from safeload.validate.plain import plain
from safeload.validate.schema import Schema, compiled, register_schema

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["Schema", "check", "compiled", "register_schema"]

_MAX_ERRORS: Final = 5


def check(obj: object, schema: Mapping[str, Any] | str | os.PathLike[str] | Schema) -> None:
    """Check ``obj`` against ``schema``; tuples count as arrays, and so on (:mod:`safeload.validate.simpler`).

    Args:
        obj: what was loaded. It is not changed.
        schema: a schema as a dict, the path of a JSON file, the name of a registered schema, or a compiled one. The
            draft is that of its ``$schema``, by default 2020-12.

    Raises:
        SchemaError: the object does not match, or holds a value that JSON does not have.
        LimitExceededError: it is too large or too deeply nested to be checked.
        ValueError: the schema is not valid, refers to another document, or is not registered.
        TypeError: ``schema`` is none of the above.
    """
    validator = compiled(schema).validator
    value = plain(obj)

    from referencing.exceptions import Unresolvable

    from safeload.validate.problem import describe

    try:
        errors = list(islice(validator.iter_errors(value), _MAX_ERRORS + 1))
    except RecursionError:
        message = "checking the object against the schema recurses too deeply; flatten the data, or the schema's $refs"
        raise LimitExceededError(message, code="schema.depth", stage="validate") from None
    except OverflowError:
        message = "the object holds a number too large to be checked; store it as a string"
        raise LimitExceededError(message, code="schema.number", stage="validate") from None
    except Unresolvable as error:
        raise ValueError("the schema has a $ref that leads nowhere inside it; correct it") from error
    if not errors:
        return
    places = list(dict.fromkeys(describe(error) for error in errors[:_MAX_ERRORS]))
    more = "; and more" if len(errors) > _MAX_ERRORS else ""
    raise SchemaError(f"the object does not match the schema: {'; '.join(places)}{more}")
