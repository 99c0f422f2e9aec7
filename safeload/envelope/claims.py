"""Claims: a small JSON object in canonical form, parsed only after it has been authenticated.

Rules: one object has one encoding (sorted keys, ASCII, no white space but the padding at the end, no floats, no
duplicate keys, integers within ±(2**53 - 1) so that every language agrees on them), and text that is not its own
re-encoding is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from safeload.envelope.failures import refused
from safeload.envelope.wire import MAX_CLAIMS, PRELUDE_SIZE
from safeload.facts.strict_json import no_number, strict_json

__all__ = ["decode", "encode"]

_MAX_INTEGER: Final = (1 << 53) - 1
_MAX_DEPTH: Final = 32
_ALIGNMENT: Final = 64


def encode(claims: Mapping[str, Any] | None, *, required: bool = False) -> bytes:
    """The canonical bytes of ``claims``, padded so that what follows them starts at a multiple of 64.

    Args:
        claims: str keys; values are None, bool, int, str, lists and mappings of these.
        required: the layout cannot do without (no claims become ``{}``); otherwise none give no bytes.

    Raises:
        TypeError: a value has another type.
        ValueError: a value is out of range, or the claims are too large.
    """
    if not claims and not required:
        return b""
    text = _canonical(claims or {}).encode("ascii")
    padded = text.ljust(len(text) + (-(PRELUDE_SIZE + len(text))) % _ALIGNMENT)
    if len(padded) > MAX_CLAIMS:
        raise ValueError(
            f"the claims take {len(padded)} bytes, at most {MAX_CLAIMS} fit; put large things into the payload"
        )
    return padded


def decode(data: bytes) -> dict[str, Any]:
    """The claims in ``data``, which must be authenticated.

    Raises:
        EnvelopeError: they are not canonical (code ``envelope.claims``).
    """
    if not data:
        return {}
    try:
        claims = strict_json(data, parse_float=no_number, parse_constant=no_number, parse_int=_small)
        if not isinstance(claims, dict):
            raise ValueError("not an object")  # noqa: TRY004 - one kind of failure
        if encode(claims, required=True) != data:
            raise ValueError("not canonical")
    except (ValueError, TypeError, RecursionError):
        # The signer wrote this: our own writer cannot, so the message blames the writer.
        refused("claims", "the envelope's claims are not canonical JSON; its writer is faulty, seal the payload again")
    return claims


def _canonical(claims: Mapping[str, Any]) -> str:
    return json.dumps(_checked(claims, 0), sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _checked(value: Any, depth: int) -> Any:
    """``value`` with mappings and sequences as dict and list, after every rule has been checked."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("a string in the claims holds a lone surrogate") from None
        return str(value)
    if isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise ValueError("an integer in the claims is beyond 2**53 - 1; write it as a string")
        return int(value)
    if depth >= _MAX_DEPTH:
        raise ValueError(f"the claims are nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys of claims are str")
        return {_checked(key, depth): _checked(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(item, depth + 1) for item in value]
    hint = "; write it as a string or a scaled integer" if isinstance(value, float) else ""
    raise TypeError(f"claims cannot hold a {type(value).__name__}{hint}")


def _small(text: str) -> int:
    # Checked before conversion: int() of a long text is quadratic.
    if len(text) > 17:
        raise ValueError("integer too long")
    return int(text)
