"""The loader: a frozen set of choices (policy, keys, audit, limits) with load, loads, dump, dumps and scan.

The functions of the package's top level are those of the process's default loader. Rule: a loader never changes; to
choose otherwise is to make another one, so no call can weaken what a later call relies on.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.api.many import Many
from safeload.audit import SILENT
from safeload.formats.base import EncodeOptions, Part
from safeload.limits import DEFAULT_LIMITS, Limits
from safeload.pipeline.load import load_bytes, load_file, load_path
from safeload.pipeline.request import JudgeOptions, ReadRequest
from safeload.policy import Policy, resolve_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import timedelta

    from safeload.audit import Auditor
    from safeload.envelope.keys import Key, KeyRing
    from safeload.findings import Report
    from safeload.program import Program

__all__ = ["Loader", "Policy"]


_NOTHING_GIVEN = (None, None, None, None, None, None, None, "ASCII", "strict")


class Loader(Many):
    """Loads, writes and scans artifacts under fixed choices; many of them with the methods of :class:`~safeload.api.many.Many`.

    Args:
        policy: what artifacts may contain: ``None`` (packs ``data`` and ``numpy``), a pack's name, a policy file, a list of
            those, or a :class:`~safeload.Policy`.
        keys: a :class:`~safeload.KeyRing`, a key or several: then every artifact must be an envelope of one of them.
        audit: a sink, a trail's path, a logger, a callable, a list of those, or an :class:`~safeload.audit.Auditor`.
        limits: :class:`~safeload.Limits`.
        signers: by key id in hex, the policy and grants of a signer whose key ring entry has none
            (:func:`~safeload.configure_from_file` takes them from the file).
    """

    __slots__ = ("_defaults", "audit", "keys", "limits", "policy", "signers")

    policy: Policy
    keys: KeyRing | None
    audit: Auditor
    limits: Limits
    signers: Mapping[str, Any] | None
    _defaults: tuple[ReadRequest, Auditor]

    def __init__(
        self,
        *,
        policy: Any = None,
        keys: Any = None,
        audit: Any = None,
        limits: Limits | None = None,
        signers: Mapping[str, Any] | None = None,
    ) -> None:
        assign = object.__setattr__
        assign(self, "policy", resolve_policy(policy))
        assign(self, "keys", _ring(keys))
        assign(self, "audit", _auditor(audit))
        assign(self, "limits", _limits(limits))
        assign(self, "signers", signers)
        request = ReadRequest(JudgeOptions(self.policy, self.limits), self.keys, signers=signers)
        assign(self, "_defaults", (request, self.audit))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Loader is frozen; make another one with {name}=...")

    def __repr__(self) -> str:
        return f"<Loader policy={self.policy!r} keys={self.keys!r}>"

    def __reduce__(self) -> tuple[object, ...]:
        if self.keys is not None:
            raise TypeError(
                "a loader with keys is never pickled: a pickle of a key leaks it; make the loader where it is used"
            )
        return _remade, (self.policy, self.audit, self.limits, None if self.signers is None else dict(self.signers))

    def load(
        self,
        source: Any,
        *,
        policy: Any = None,
        keys: Any = None,
        context: Any = None,
        schema: Any = None,
        limits: Limits | None = None,
        audit: Any = None,
        mmap: bool = False,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = None,
        arrays: str | None = None,
        member: str | None = None,
        index: Any = None,
        kind: str | None = None,
        version: int | None = None,
    ) -> Any:
        """Load one artifact from a path or an open binary file.

        From a path the artifact must be all of the file. From an open file one artifact is read, and the position is
        left right behind it, as ``pickle.load`` does; pipes and sockets work too.

        Args:
            source: path, URL (as a ``str``, through ``fsspec``), or binary file with ``read`` and ``readline``.
            policy, keys, limits, audit: instead of this loader's.
            context: the context an envelope was sealed with: a binding, or (purpose, binding).
            schema: a JSON Schema (dict, path or registered name) that the object must match.
            mmap: map the arrays of a container instead of reading them, where its format allows it. Whoever can write the
                file can then change them.
            fix_imports, encoding, errors, buffers: as for ``pickle.load``.
            arrays: ``"numpy"``: tensors as NumPy arrays, without the library that wrote them.
            member: read this part of a container: an HDF5 path, the name of an array, a file in an archive.
            index: of an array that ``member`` names, only ``array[index]``.
            kind: what kind of payload an envelope must hold, as ``dump(kind=...)`` named it; an envelope that names none is taken as
                that kind. Old versions are upgraded by the registered migrations (:func:`safeload.migration`).
            version: upgrade the payload to this version; by default to the one that the migrations lead to.

        Returns:
            The object.

        Raises:
            SafeloadError: the artifact was refused; ``code`` says why. Errors that a reader of a pickle can meet are
                ``pickle.UnpicklingError`` too.
            OSError: the file cannot be opened or read.
            TypeError, ValueError: an argument is wrong.
        """
        request, auditor = self._choices(
            policy, keys, audit, limits, context, schema, fix_imports, encoding, errors, buffers
        )
        if mmap or arrays is not None or member is not None or index is not None:
            request = replace(request, part=Part(_arrays(arrays), member, index, bool(mmap)))
        if kind is not None or version is not None:
            _check_wanted(kind, version)
            request = replace(request, kind=kind, version=version)
        with auditor.operation("load") as operation:
            if isinstance(source, (str, bytes, os.PathLike)):
                return load_path(os.fsdecode(source), request, operation)
            return load_file(source, request, operation)

    def loads(
        self,
        data: Any,
        /,
        *,
        policy: Any = None,
        keys: Any = None,
        context: Any = None,
        schema: Any = None,
        limits: Limits | None = None,
        audit: Any = None,
        mmap: bool = False,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = None,
        arrays: str | None = None,
        member: str | None = None,
        index: Any = None,
        kind: str | None = None,
        version: int | None = None,
    ) -> Any:
        """Load one artifact from a bytes-like object, all of it; see :meth:`load`."""
        if type(data) is not bytes:
            data = _as_bytes(data)
        request, auditor = self._choices(
            policy, keys, audit, limits, context, schema, fix_imports, encoding, errors, buffers
        )
        if mmap or arrays is not None or member is not None or index is not None:
            request = replace(request, part=Part(_arrays(arrays), member, index, bool(mmap)))
        if kind is not None or version is not None:
            _check_wanted(kind, version)
            request = replace(request, kind=kind, version=version)
        with auditor.operation("load") as operation:
            return load_bytes(data, request, operation)

    def open_fernet(
        self,
        token: bytes | str,
        key: Any,
        *,
        codec: str = "pickle",
        ttl: int | None = None,
        policy: Any = None,
        schema: Any = None,
        limits: Limits | None = None,
        audit: Any = None,
    ) -> Any:
        """Load the payload of a plain Fernet token, as ``cryptography.fernet`` makes them.

        A pickle inside is judged like any other: the token's key stands for who wrote it, not for what it may contain.

        Args:
            token: what ``Fernet.encrypt`` returned.
            key: a Fernet key, or a ``Fernet`` or ``MultiFernet``.
            codec: ``"pickle"``, or ``"raw"`` for the bytes as they are.
            ttl: refuse tokens older than this many seconds; Fernet itself has no expiry.
            policy, limits, audit: instead of this loader's.
            schema: a JSON Schema that the object must match.

        Raises:
            DecryptionError: the token is not canonical, not of this key, altered, or too old.
            SafeloadError: the payload was refused.
            ValueError, TypeError: an argument is wrong.
        """
        if codec not in ("pickle", "raw"):
            raise ValueError(f"unknown codec {codec!r}; this version of safeload opens 'pickle' and 'raw'")
        from safeload.envelope import open_fernet

        request, auditor = self._choices(policy, None, audit, limits, None, schema)
        with auditor.operation("load") as operation:
            with operation.child("decrypt"):
                payload = open_fernet(token, key, ttl=ttl)
            if codec == "raw":
                return payload
            return load_bytes(payload, replace(request, keys=None), operation)

    def dump(
        self,
        obj: Any,
        target: Any,
        protocol: int | None = None,
        *,
        codec: str = "pickle",
        key: Key | None = None,
        context: Any = None,
        schema: Any = None,
        version: int = 0,
        kind: str | None = None,
        expires_in: float | timedelta | None = None,
        fix_imports: bool = True,
        buffer_callback: Callable[[Any], Any] | None = None,
        compress: Any = None,
    ) -> None:
        """Write ``obj`` to a path or an open binary file.

        Without a key: byte for byte what ``pickle.dump`` writes. With a key: an envelope, encrypted if the key's suite
        encrypts, with arrays outside the pickle stream and the writer's manifest. A path is replaced as a whole, or not at all.

        Args:
            obj: the object.
            target: path, URL (as a ``str``, through ``fsspec``), or binary file with ``write``.
            protocol: as for ``pickle.dump``; envelopes default to 5.
            codec: how ``obj`` is written: ``"pickle"``, ``"joblib"``, ``"json"``, ``"npy"``, ``"npz"`` ... (README has the table; an unknown name
                lists them).
            key: a key that can sign.
            context: bind the envelope to a place: a binding, or (purpose, binding). Readers must give the same.
            schema: a JSON Schema that ``obj`` must match.
            version: the payload's schema version, the user's own; by default the one that the migrations of ``kind`` lead to.
            kind: what kind of payload it is, for readers and their migrations; any name, signed with the payload.
            expires_in: seconds or timedelta until the envelope expires.
            fix_imports, buffer_callback: as for ``pickle.dump``.
            compress: for codecs that compress: a level, a method, or both, as the codec documents.

        Raises:
            SchemaError: ``obj`` does not match ``schema``.
            pickle.PicklingError, TypeError, AttributeError: ``obj`` cannot be pickled.
            TypeError, ValueError: an argument is wrong.
        """
        is_path = isinstance(target, (str, bytes, os.PathLike))
        if not is_path and not callable(getattr(target, "write", None)):
            raise TypeError("file must have a 'write' attribute")
        sealing = {"context": context, "version": version or _known(kind), "expires_in": expires_in, "kind": kind}
        _check_dump(codec, key, sealing, compress)
        if isinstance(target, str) and "://" in target:
            from safeload.source.locations import RemoteFile, is_remote, local_path

            if is_remote(target):
                with RemoteFile(target) as file:
                    self.dump(
                        obj, file, protocol, codec=codec, key=key, schema=schema, fix_imports=fix_imports,
                        buffer_callback=buffer_callback, compress=compress, **sealing,
                    )  # fmt: skip
                    file.commit()
                return
            target = local_path(target)
        with self.audit.operation("dump") as operation:
            _validated(obj, schema, operation)
            if codec != "pickle":
                from safeload.pipeline.dump import write_encoded

                write_encoded(
                    obj, codec, key=key, operation=operation, target=os.fsdecode(target) if is_path else target,
                    request=EncodeOptions(self.limits, protocol, compress, fix_imports), **sealing,
                )  # fmt: skip
                return
            if key is not None and is_path:
                from safeload.pipeline.dump import sealed

                sealed(
                    obj, protocol, key=key, limits=self.limits, operation=operation, path=os.fsdecode(target),
                    fix_imports=fix_imports, buffer_callback=buffer_callback, **sealing,
                )  # fmt: skip
                return
            if key is not None or is_path:
                data = self._dumped(obj, protocol, key, fix_imports, buffer_callback, sealing, operation)
                if is_path:
                    from safeload.source.atomic import AtomicFile

                    with AtomicFile(os.fsdecode(target)) as file:
                        file.write(data)
                        file.commit()
                else:
                    target.write(data)
                return
            pickle.dump(obj, target, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback)

    def dumps(
        self,
        obj: Any,
        protocol: int | None = None,
        *,
        codec: str = "pickle",
        key: Key | None = None,
        context: Any = None,
        schema: Any = None,
        version: int = 0,
        kind: str | None = None,
        expires_in: float | timedelta | None = None,
        fix_imports: bool = True,
        buffer_callback: Callable[[Any], Any] | None = None,
        compress: Any = None,
    ) -> bytes:
        """``obj`` as bytes; see :meth:`dump`."""
        sealing = {"context": context, "version": version or _known(kind), "expires_in": expires_in, "kind": kind}
        _check_dump(codec, key, sealing, compress)
        with self.audit.operation("dump") as operation:
            _validated(obj, schema, operation)
            if codec != "pickle":
                from safeload.pipeline.dump import encoded_bytes

                request = EncodeOptions(self.limits, protocol, compress, fix_imports)
                return encoded_bytes(obj, codec, key=key, operation=operation, request=request, **sealing)
            return self._dumped(obj, protocol, key, fix_imports, buffer_callback, sealing, operation)

    def scan(
        self, source: Any, *, policy: Any = None, keys: Any = None, limits: Limits | None = None, context: Any = None
    ) -> Report:
        """Everything that can be known about an artifact without loading it. Executes nothing.

        Args:
            source: path or URL, open binary file (read to its end), or bytes-like object.
            policy, keys, limits: instead of this loader's. Without keys an envelope's payload is not looked at.
            context: the context an envelope was sealed with.

        Returns:
            A :class:`~safeload.Report`; bad artifacts are reported, not raised.

        Raises:
            OSError: the file cannot be opened or read.
            TypeError, ValueError: an argument is wrong.
        """
        from safeload.pipeline.scan import scan

        request, auditor = self._choices(policy, keys, None, limits, context)
        with auditor.operation("scan") as operation:
            return scan(source, request, operation)

    def _dumped(
        self,
        obj: Any,
        protocol: int | None,
        key: Any,
        fix_imports: bool,
        buffer_callback: Any,
        sealing: dict[str, Any],
        operation: Any,
    ) -> bytes:
        if key is None:
            return pickle.dumps(obj, protocol, fix_imports=fix_imports, buffer_callback=buffer_callback)
        from safeload.pipeline.dump import sealed

        return sealed(
            obj, protocol, key=key, limits=self.limits, operation=operation, fix_imports=fix_imports,
            buffer_callback=buffer_callback, **sealing,
        )  # fmt: skip

    def _choices(
        self,
        policy: Any,
        keys: Any,
        audit: Any,
        limits: Limits | None,
        context: Any = None,
        schema: Any = None,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = None,
    ) -> tuple[ReadRequest, Auditor]:
        """What one call works with: its own arguments where given, this loader's otherwise."""
        if (policy, keys, audit, limits, context, schema, buffers, encoding, errors) == _NOTHING_GIVEN and fix_imports:
            return self._defaults
        judging = JudgeOptions(
            self.policy if policy is None else resolve_policy(policy),
            self.limits if limits is None else _limits(limits),
            fix_imports=fix_imports,
            encoding=encoding,
            errors=errors,
        )
        ring = self.keys if keys is None else _ring(keys)
        request = ReadRequest(judging, ring, context, self.signers, schema=schema, buffers=buffers)
        return request, self.audit if audit is None else _auditor(audit)


def _remade(policy: Policy, audit: Auditor, limits: Limits, signers: dict[str, Any] | None) -> Loader:
    return Loader(policy=policy, audit=audit, limits=limits, signers=signers)


def _programs(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Program]:
    """The programs of artifacts, for ``Policy.learn``: the policy package does not know the analysis."""
    from safeload.pipeline.scan import programs

    for path in paths:
        yield from programs(path)


Policy.set_tracer(_programs)


def _ring(keys: Any) -> KeyRing | None:
    if keys is None:
        return None
    from safeload.envelope.keys import as_ring

    return as_ring(keys)


def _auditor(audit: Any) -> Auditor:
    if audit is None:
        return SILENT
    from safeload.audit import build

    return build(audit)


def _limits(limits: Limits | None) -> Limits:
    if limits is None:
        return DEFAULT_LIMITS
    if not isinstance(limits, Limits):
        raise TypeError(f"limits must be a safeload.Limits, not {type(limits).__name__}")
    return limits


def _as_bytes(data: Any) -> bytes:
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


def _known(kind: str | None) -> int:
    """The version that the migrations of ``kind`` lead to."""
    if kind is None:
        return 0
    from safeload.validate.versions import check_kind, known_version

    check_kind(kind)
    return known_version(kind) or 0


def _check_dump(codec: str, key: Any, sealing: dict[str, Any], compress: Any) -> None:
    if codec != "pickle":
        from safeload.formats.containers import codecs

        if codec not in codecs():
            raise ValueError(f"unknown codec {codec!r}; there are {', '.join(sorted(['pickle', *codecs()]))}")
    elif compress is not None:
        raise ValueError("compress= is for codecs that compress, and pickle does not; use codec='joblib'")
    if key is not None:
        from safeload.envelope.keys import Key

        if not isinstance(key, Key):
            raise TypeError(f"key must be a safeload.Key, not {type(key).__name__}; parse text with Key.parse(text)")
        return
    given = [name for name, value in sealing.items() if value]
    if given:
        raise ValueError(f"{', '.join(given)} needs an envelope, so pass key=... too")


def _validated(obj: Any, schema: Any, operation: Any) -> None:
    if schema is not None:
        from safeload.pipeline.load import validated

        validated(obj, schema, operation)
