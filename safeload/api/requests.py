"""From the keyword arguments of a call to the request that the pipeline gets. Nothing else builds one.

Rule: an argument that is not understood is an error here, before an artifact is touched. What reached the pipeline unchecked would be
noticed in the middle of an artifact, as that artifact's fault.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from safeload.api.options import BoundOptions, WriteOptions, names_of
from safeload.audit import SILENT
from safeload.errors import MissingKeyError
from safeload.formats.base import EncodeOptions, Part
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.pipeline.request import JudgeOptions, ReadRequest, WriteRequest
from safeload.policy import resolve_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from safeload.audit import Auditor, Fields
    from safeload.envelope.keys import KeyRing

__all__ = [
    "auditor_of",
    "bytes_of",
    "check_bound",
    "in_purpose",
    "limits_of",
    "own_request",
    "read_request",
    "ring_of",
    "to_be_written",
    "told",
    "write_request",
]

_WRITE = names_of(WriteOptions)
# What only an envelope can say. Without one these are mistakes, not wishes.
_OF_ENVELOPES = ("context", "purpose", "expires_in", "kind", "version")


def own_request(judging: JudgeOptions, keys: KeyRing | None, signers: Any, bound: Mapping[str, Any]) -> ReadRequest:
    """The request of a load or scan without arguments, by a loader that was bound so."""
    get = bound.get
    context = get("context") if get("purpose") is None else in_purpose(bound["purpose"], get("context"))
    return ReadRequest(judging, keys, context, signers, get("kind"), get("version"), get("schema"))


def read_request(own: ReadRequest, options: Mapping[str, Any], names: frozenset[str]) -> ReadRequest:
    """The request of a load or scan: what its arguments say, and where they say nothing, what the loader's ``own`` request says.

    Args:
        own: the request of a call without arguments.
        options: the arguments that were given.
        names: those that there are.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """
    _only(options, names)
    get = options.get
    policy, limits, keys = get("policy"), get("limits"), get("keys")
    kind = own.kind if get("kind") is None else get("kind")
    version = own.version if get("version") is None else get("version")
    _check_wanted(kind, version)
    judging = JudgeOptions(
        own.judging.policy if policy is None else resolve_policy(policy),
        own.limits if limits is None else limits_of(limits),
        fix_imports=get("fix_imports", True),
        encoding=get("encoding", "ASCII"),
        errors=get("errors", "strict"),
    )
    return ReadRequest(
        judging,
        own.keys if keys is None else ring_of(keys),
        own.context if get("context") is None else get("context"),
        own.signers,
        kind,
        version,
        own.schema if get("schema") is None else get("schema"),
        get("buffers"),
        Part(_arrays(get("arrays")), get("member"), get("index"), bool(get("mmap"))),
    )


def to_be_written(options: dict[str, Any], keys: KeyRing | None, bound: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a dump with what the loader says: its key, and what it was bound to.

    Rule: a loader with keys signs, unless ``sign=False`` says that it is not to. What forgets to sign writes what its own readers refuse, and
    what readers without keys believe.

    Args:
        options: the arguments that were given.
        keys: the loader's ring.
        bound: what :meth:`safeload.Loader.bound` was given.

    Raises:
        MissingKeyError: it is to be signed, and there is no key that can.
        ValueError: the arguments contradict each other.
    """
    sign = options.pop("sign", None)
    if sign is False and options.get("key") is not None:
        raise ValueError("sign=False and key=... contradict each other")
    if sign is not False and options.get("key") is None and (sign or keys is not None):
        if keys is None:
            raise MissingKeyError(
                "sign=True needs a key: pass key=..., or make the loader with keys",
                code="keys.no-signing-key",
                stage="keys",
            )
        options["key"] = keys.primary
    sealed = options.get("key") is not None
    said = {name: value for name, value in bound.items() if sealed or name not in _OF_ENVELOPES}
    purpose = said.pop("purpose", None)
    merged = {**said, **{name: value for name, value in options.items() if value is not None or name not in said}}
    if purpose is not None:
        merged["context"] = in_purpose(purpose, merged.get("context"))
    return merged


def in_purpose(purpose: str, context: Any) -> Any:
    """The context for a purpose; one that names its own purpose is left as it is."""
    return context if isinstance(context, tuple) else (purpose, b"" if context is None else context)


def check_bound(bound: Mapping[str, Any], keys: KeyRing | None) -> None:
    """Raise unless a loader with these keys can be bound so.

    Raises:
        TypeError, ValueError: it cannot.
    """
    _only(bound, names_of(BoundOptions))
    for name in bound:
        if name in _OF_ENVELOPES and keys is None:
            raise ValueError(f"bound({name}=...) is said in an envelope, so it needs a loader with keys")
    if "purpose" in bound and not isinstance(bound["purpose"], str):
        raise TypeError(f"purpose is text, not {type(bound['purpose']).__name__}")
    _check_wanted(bound.get("kind"), bound.get("version"))
    if "codec" in bound:
        _check_codec(WriteRequest(EncodeOptions(DEFAULT_LIMITS, None, None, True), bound["codec"]))


def write_request(limits: Limits, protocol: int | None, options: Mapping[str, Any]) -> WriteRequest:
    """The request of a dump.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """
    _only(options, _WRITE)
    get = options.get
    kind = get("kind")
    known = _known_version(kind)  # a version of its own does not make a wrong kind right
    request = WriteRequest(
        EncodeOptions(limits, protocol, get("compress"), get("fix_imports", True)),
        get("codec", "pickle"),
        get("key"),
        get("context"),
        get("version") or known,
        kind,
        get("expires_in"),
        get("schema"),
        get("buffer_callback"),
    )
    _check_codec(request)
    _check_key(request)
    return request


def _only(options: Mapping[str, Any], names: frozenset[str]) -> None:
    for name in options:
        if name not in names:
            raise TypeError(f"got an unexpected keyword argument {name!r}; there are {', '.join(sorted(names))}")


def ring_of(keys: Any) -> KeyRing | None:
    """``keys`` as a ring."""
    if keys is None:
        return None
    from safeload.envelope.keys import as_ring

    return as_ring(keys)


def told(auditor: Auditor, source: Any, context: Any) -> Fields:
    """What an event says of where an artifact is and what it is bound to: nothing if nobody listens.

    Rule: a URL is told without what may be a password or a token, its user and its query.
    """
    if not auditor.active:
        return {}
    fields: Fields = {}
    name = source if isinstance(source, (str, bytes, os.PathLike)) else getattr(source, "name", None)
    if type(name) is str or isinstance(name, os.PathLike) or (type(name) is bytes and name is not source):
        text = os.fsdecode(name)
        scheme, found, rest = text.partition("://")
        if found:
            place, slash, path = rest.partition("/")
            text = f"{scheme}://{place.rpartition('@')[2]}{slash}{path.partition('?')[0].partition('#')[0]}"
        fields["source"] = text
    if context is not None:
        parts = context if isinstance(context, tuple) else (context,)
        fields["context"] = "/".join(part.decode("latin-1") if type(part) is bytes else str(part) for part in parts)
    return fields


def auditor_of(audit: Any) -> Auditor:
    """What ``audit`` stands for."""
    if audit is None:
        return SILENT
    from safeload.audit import build

    return build(audit)


def limits_of(limits: Limits | None) -> Limits:
    """``limits``, or the default ones."""
    if limits is None:
        return DEFAULT_LIMITS
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a safeload.Limits, not {type(limits).__name__}")
    return limits


def bytes_of(data: Any) -> bytes:
    """A bytes-like object as bytes that nobody else can change."""
    if isinstance(data, str):
        raise TypeError("a bytes-like object is required, not 'str'; to load a file by its name use load(path)")
    return bytes(memoryview(data))


def _arrays(arrays: str | None) -> str | None:
    if arrays not in (None, "numpy"):
        raise ValueError(f"arrays is 'numpy' or None, not {arrays!r}")
    return arrays


def _check_wanted(kind: str | None, version: int | None) -> None:
    if kind is not None:
        from safeload.validate.versions import check_kind

        check_kind(kind)
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        raise TypeError(f"version is an int, not {type(version).__name__}")


def _known_version(kind: str | None) -> int:
    """The version that the migrations of ``kind`` lead to.

    Raises:
        TypeError, ValueError: it is no kind.
    """
    if kind is None:
        return 0
    from safeload.validate.versions import check_kind, known_version

    check_kind(kind)
    return known_version(kind) or 0


def _check_codec(request: WriteRequest) -> None:
    if request.codec == "pickle":
        if request.encode.compress is not None:
            raise ValueError("compress= is for codecs that compress, and pickle does not; use codec='joblib'")
        return
    from safeload.formats.containers import codecs

    if request.codec not in codecs():
        raise ValueError(f"unknown codec {request.codec!r}; there are {', '.join(sorted(['pickle', *codecs()]))}")


def _check_key(request: WriteRequest) -> None:
    if request.key is not None:
        from safeload.envelope.keys import Key

        if not isinstance(request.key, Key):
            raise TypeError(
                f"key must be a safeload.Key, not {type(request.key).__name__}; parse text with Key.parse(text)"
            )
        return
    given = [name for name in ("context", "version", "expires_in", "kind") if getattr(request, name)]
    if given:
        raise ValueError(f"{', '.join(given)} needs an envelope, so pass key=... too")
