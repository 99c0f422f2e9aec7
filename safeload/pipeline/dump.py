"""Writing artifacts: exactly what pickle writes, or that in an envelope with the writer's manifest.

    (1) validate     the object against the schema
    (2) encode       it by its codec; of a pickle, list the operations (the manifest)
    (3) seal         payload and claims in an envelope, if there is a key
    (4) write        a file as a whole, or not at all

Rule: what is sealed was traced first. The manifest lists every operation of the stream; without it a reader would load whatever
a reduce method of the object has put there, on the word of a writer who never saw it.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.engine.census import take_census
from safeload.pipeline.load import validated
from safeload.source.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.audit import Operation
    from safeload.limits import Limits
    from safeload.pipeline.request import WriteRequest
    from safeload.program import Program

__all__ = ["dump", "dumps", "manifest_claims", "seal_stream"]

_PICKLE, _PICKLE_WITH_BUFFERS = 1, 2
_PRIVATE = 0x8000  # codecs from here on are named in the claims
# Smaller buffers are cheaper inside the stream than behind it.
_OUT_OF_BAND = 1 << 12
_HIGHEST = 5


class _Payload(NamedTuple):
    """What a codec has written: the codec's number, the payload in pieces, and what is claimed of it."""

    codec: int
    parts: list[Any]
    claims: dict[str, Any] | None = None


def dump(obj: Any, target: Any, request: WriteRequest, operation: Operation) -> None:
    """Write ``obj`` to a path or URL (``str``), or to an open binary file."""
    if isinstance(target, str) and "://" in target:
        from safeload.source.locations import RemoteFile, is_remote, local_path

        if is_remote(target):
            with RemoteFile(target) as file:
                dump(obj, file, request, operation)
                file.commit()
            return
        target = local_path(target)
    # (1) Nothing is written of an object that its own readers would refuse.
    validated(obj, request.schema, operation)
    if request.codec == "pickle" and request.key is None and not isinstance(target, str):
        # (2) (4) As pickle does it: in frames as they are made, so that a large object is not in memory twice.
        encode = request.encode
        pickle.dump(
            obj, target, encode.protocol, fix_imports=encode.fix_imports, buffer_callback=request.buffer_callback
        )
        return
    # (2) Of a pickle that will be sealed, what it does is listed too.
    payload = _encoded(obj, request)
    # (3) (4) An envelope is written as it is sealed; a file is whole, or as it was.
    if request.key is None:
        _write(payload.parts, target)
        return
    if isinstance(target, str):
        _seal(payload, request, operation, path=target)
    else:
        target.write(_seal(payload, request, operation))


def dumps(obj: Any, request: WriteRequest, operation: Operation) -> bytes:
    """``obj`` as bytes."""
    # (1) Nothing is written of an object that its own readers would refuse.
    validated(obj, request.schema, operation)
    # (2) Of a pickle that will be sealed, what it does is listed too.
    payload = _encoded(obj, request)
    # (3) Payload and claims together: neither can be exchanged.
    if request.key is None:
        return b"".join(payload.parts)  # of a single bytes object that is the object itself
    return _seal(payload, request, operation)


def seal_stream(stream: bytes, request: WriteRequest, operation: Operation) -> bytes:
    """An envelope around a pickle that a ``Pickler`` has written, with its manifest."""
    outside = [b""] * stream.count(b"\x97")
    claims = manifest_claims(stream, request.encode.limits, outside, fix_imports=request.encode.fix_imports)
    return _seal(_Payload(_PICKLE, [stream], claims or None), request, operation)


def _seal(payload: _Payload, request: WriteRequest, operation: Operation, *, path: str = "") -> bytes:
    """The envelope; ``b""`` if it went to the file at ``path``, which is replaced as a whole."""
    from safeload.envelope import seal, seal_path

    key = request.key
    assert key is not None  # noqa: S101 - asked by the callers
    parts, said = payload.parts, _said(payload, request)
    with operation.child("seal") as stage, operation.child("key", action="sign", key_id=key.key_id):
        if stage.recording:
            stage.set(key_id=key.key_id, suite=key.suite)
        if path:
            seal_path(path, parts, key, **said)
            return b""
        return seal(parts[0] if len(parts) == 1 else parts, key, **said)


def _said(payload: _Payload, request: WriteRequest) -> dict[str, Any]:
    """What the envelope says of its payload; the kind is a claim (see :mod:`safeload.validate.versions`)."""
    claims = payload.claims
    return {
        "codec": payload.codec,
        "claims": claims if request.kind is None else {**(claims or {}), "payload": request.kind},
        "context": request.context,
        "version": request.version,
        "expires_in": request.expires_in,
    }


def _write(parts: Iterable[Any], target: Any) -> None:
    if not isinstance(target, str):
        for part in parts:
            target.write(part)
        return
    from safeload.source.atomic import AtomicFile

    with AtomicFile(target) as file:
        for part in parts:
            file.write(part)
        file.commit()


def _encoded(obj: Any, request: WriteRequest) -> _Payload:
    encode = request.encode
    if request.codec == "pickle":
        if request.key is not None:
            return _pickled(obj, request)
        data = pickle.dumps(
            obj, encode.protocol, fix_imports=encode.fix_imports, buffer_callback=request.buffer_callback
        )
        return _Payload(_PICKLE, [data])
    from safeload.formats.containers import codecs

    codec = codecs()[request.codec]
    if codec.code and request.key is None:
        raise ValueError(
            f"codec={codec.name!r} writes pickles that carry code, and nobody may load those unsigned: pass key=..., and give that "
            'key the grant in the reader\'s ring: KeyEntry(key, grants={"code"})'
        )
    parts = list(codec.encode(obj, encode))
    if codec.reads is not None:
        return _Payload(codec.number, parts, {"codec": codec.name} if codec.number >= _PRIVATE else None)
    claims = manifest_claims(b"".join(parts), encode.limits, fix_imports=encode.fix_imports)
    return _Payload(codec.number, parts, claims or None)


def _pickled(obj: Any, request: WriteRequest) -> _Payload:
    """A pickle for an envelope, with its manifest. Arrays leave the stream if the protocol allows it."""
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

    encode, callback = request.encode, request.buffer_callback
    protocol = _HIGHEST if encode.protocol is None else encode.protocol
    if protocol < 0:
        protocol = pickle.HIGHEST_PROTOCOL
    own = callback is None and protocol >= _HIGHEST
    stream = pickle.dumps(obj, protocol, fix_imports=encode.fix_imports, buffer_callback=keep if own else callback)
    buffers: list[Any] = [*views] or ([b""] * stream.count(b"\x97") if callback is not None else [])
    claims = manifest_claims(stream, encode.limits, buffers, fix_imports=encode.fix_imports) or None
    if not views:
        return _Payload(_PICKLE, [stream], claims)
    from safeload.formats.oob import join_buffers

    return _Payload(_PICKLE_WITH_BUFFERS, join_buffers(stream, views), claims)


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
    from safeload.engine.trace import Tracer
    from safeload.program import Program

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
