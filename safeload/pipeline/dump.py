"""Writing artifacts: exactly what pickle writes, or that in an envelope with the writer's manifest.

Rule: what is sealed was judged first. The manifest lists every operation of the stream, so a reader loads nothing that
its writer did not know of.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

from safeload.engine.census import take_census
from safeload.engine.trace import Tracer
from safeload.formats.oob import join_buffers
from safeload.program import Program
from safeload.source.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.audit import Operation
    from safeload.formats.base import EncodeOptions
    from safeload.limits import Limits

__all__ = ["encoded_bytes", "manifest_claims", "pickled_parts", "sealed", "write_encoded"]

_PICKLE, _PICKLE_WITH_BUFFERS = 1, 2
_PRIVATE = 0x8000  # codecs from here on are named in the claims
# Smaller buffers are cheaper inside the stream than behind it.
_OUT_OF_BAND = 1 << 12
_HIGHEST = 5


def pickled_parts(
    obj: Any, protocol: int | None, *, fix_imports: bool, buffer_callback: Callable[[Any], Any] | None
) -> tuple[int, list[Any], bytes, list[Any]]:
    """Pickle ``obj`` for an envelope.

    Returns:
        The codec, the payload's parts, the stream, and its buffers. Arrays leave the stream if the protocol allows it.
    """
    views: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous: stays in the stream
            return True
        if view.nbytes < _OUT_OF_BAND:
            return True
        views.append(view)
        return False

    if protocol is None:
        protocol = _HIGHEST
    elif protocol < 0:
        protocol = pickle.HIGHEST_PROTOCOL
    if buffer_callback is not None or protocol < _HIGHEST:
        stream = pickle.dumps(obj, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback)
        return _PICKLE, [stream], stream, []
    stream = pickle.dumps(obj, protocol, fix_imports=fix_imports, buffer_callback=keep)
    if not views:
        return _PICKLE, [stream], stream, []
    return _PICKLE_WITH_BUFFERS, join_buffers(stream, views), stream, views


def manifest_claims(
    stream: bytes, limits: Limits, buffers: Iterable[Any] = (), *, fix_imports: bool = True
) -> dict[str, Any]:
    """The claims that the writer of a pickle stream makes: its operations, and the versions of the libraries it names.

    Empty for pure data. Nothing of the stream is loaded.

    Raises:
        SafeloadError: the stream is no well-formed pickle.
    """
    census = take_census(BytesSource(stream), limits, buffers)
    if not census.has_code:
        return {}
    tracer = Tracer(limits, fix_imports=fix_imports, encoding="latin1", makes_classes=True)
    tracer.trace(census.code, census.protocol, census.buffers)
    program = Program.of(tracer.uses)
    return {"manifest": list(program.lines()), "libraries": _versions(program)}


def _versions(program: Program) -> dict[str, str]:
    """Versions of the loaded top-level packages that the program names, and of Python."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in program.globals:
        package = name.partition(".")[0].partition(":")[0]
        version = getattr(sys.modules.get(package), "__version__", None)
        if isinstance(version, str):
            versions[package] = version[:64]
    return versions


def sealed(
    obj: Any,
    protocol: int | None,
    *,
    key: Any,
    limits: Limits,
    operation: Operation,
    path: str | None = None,
    fix_imports: bool = True,
    buffer_callback: Callable[[Any], Any] | None = None,
    kind: str | None = None,
    **sealing: Any,
) -> bytes:
    """``obj`` as a pickle in an envelope.

    Returns:
        The envelope; ``b""`` if it went to the file at ``path``, which is replaced as a whole.
    """
    from safeload.envelope import seal, seal_path

    codec, parts, claims = _prepared(obj, protocol, limits, fix_imports=fix_imports, buffer_callback=buffer_callback)
    claims = _with_kind(claims, kind)
    with operation.child("seal") as stage, operation.child("key", action="sign", key_id=key.key_id):
        if stage.recording:
            stage.set(key_id=key.key_id, suite=key.suite)
        if path is not None:
            seal_path(path, parts, key, codec=codec, claims=claims, **sealing)
            return b""
        payload = parts[0] if len(parts) == 1 else parts
        return seal(payload, key, codec=codec, claims=claims, **sealing)


def _prepared(
    obj: Any,
    protocol: int | None,
    limits: Limits,
    *,
    fix_imports: bool,
    buffer_callback: Callable[[Any], Any] | None,
) -> tuple[int, list[Any], dict[str, Any] | None]:
    codec, parts, stream, views = pickled_parts(obj, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback)
    buffers = views or ([b""] * stream.count(b"\x97") if buffer_callback is not None else ())
    return codec, parts, manifest_claims(stream, limits, buffers, fix_imports=fix_imports) or None


def encoded_bytes(
    obj: Any,
    codec: str,
    *,
    key: Any,
    operation: Operation,
    request: EncodeOptions,
    kind: str | None = None,
    **sealing: Any,
) -> bytes:
    """``obj`` as another codec than pickle writes it, in an envelope if there is a key."""
    number, parts, claims = _encoded(obj, codec, key, request)
    if key is None:
        return b"".join(parts)
    from safeload.envelope import seal

    claims = _with_kind(claims, kind)
    with operation.child("seal") as stage, operation.child("key", action="sign", key_id=key.key_id):
        if stage.recording:
            stage.set(key_id=key.key_id, suite=key.suite)
        return seal(parts, key, codec=number, claims=claims, **sealing)


def write_encoded(
    obj: Any,
    codec: str,
    *,
    key: Any,
    operation: Operation,
    target: Any,
    request: EncodeOptions,
    kind: str | None = None,
    **sealing: Any,
) -> None:
    """:func:`encoded_bytes` to a path, which is replaced as a whole, or to an open file."""
    number, parts, claims = _encoded(obj, codec, key, request)
    if key is None:
        _write_parts(parts, target)
        return
    from safeload.envelope import seal, seal_path

    claims = _with_kind(claims, kind)
    with operation.child("seal") as stage, operation.child("key", action="sign", key_id=key.key_id):
        if stage.recording:
            stage.set(key_id=key.key_id, suite=key.suite)
        if isinstance(target, str):
            seal_path(target, parts, key, codec=number, claims=claims, **sealing)
        else:
            target.write(seal(parts, key, codec=number, claims=claims, **sealing))


def _with_kind(claims: dict[str, Any] | None, kind: str | None) -> dict[str, Any] | None:
    """The claims, with the kind of the payload if it has one (see :mod:`safeload.validate.versions`)."""
    return claims if kind is None else {**(claims or {}), "payload": kind}


def _write_parts(parts: Iterable[Any], target: Any) -> None:
    if not isinstance(target, str):
        for part in parts:
            target.write(part)
        return
    from safeload.source.atomic import AtomicFile

    with AtomicFile(target) as file:
        for part in parts:
            file.write(part)
        file.commit()


def _encoded(obj: Any, name: str, key: Any, request: EncodeOptions) -> tuple[int, list[Any], dict[str, Any] | None]:
    """The codec's number, the payload's parts, and the claims: a manifest where the payload is a pickle stream."""
    from safeload.formats.containers import codecs

    codec = codecs()[name]
    if codec.code and key is None:
        raise ValueError(
            f"codec={name!r} writes pickles that carry code, and nobody may load those unsigned: pass key=..., and give that "
            'key the grant in the reader\'s ring: KeyEntry(key, grants={"code"})'
        )
    parts = list(codec.encode(obj, request))
    if codec.reads is not None:
        return codec.number, parts, {"codec": name} if codec.number >= _PRIVATE else None
    return (
        codec.number,
        parts,
        manifest_claims(b"".join(parts), request.limits, fix_imports=request.fix_imports) or None,
    )
