"""The loader: a frozen set of choices (policy, keys, audit, limits) with load, loads, dump, dumps and scan.

The functions of the package's top level are those of the process's default loader. Rule: a loader never changes; to
choose otherwise is to make another one, so no call can weaken what a later call relies on.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

from safeload.api.many import Many
from safeload.api.options import BoundOptions, FernetOptions, ReadOptions, ScanOptions, WriteOptions, names_of, takes
from safeload.api.requests import (
    auditor_of,
    bytes_of,
    check_bound,
    in_purpose,
    limits_of,
    own_request,
    read_request,
    ring_of,
    to_be_written,
    told,
    write_request,
)
from safeload.pipeline.dump import dump, dumps
from safeload.pipeline.load import load_bytes, load_file, load_path
from safeload.pipeline.request import JudgeOptions, ReadRequest, WriteRequest
from safeload.policy import Policy, resolve_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from safeload.audit import Auditor
    from safeload.envelope.keys import KeyRing
    from safeload.findings import Report
    from safeload.limits import Limits
    from safeload.program import Program

__all__ = ["Loader", "Policy"]

_CHOICES = ("policy", "keys", "audit", "limits", "signers", "urls", "sandbox")
_READ, _SCAN, _FERNET = names_of(ReadOptions), names_of(ScanOptions), names_of(FernetOptions)


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
        urls: ``False``: a name is a path and never a URL. For every program that takes names from its own clients, because the
            URL of an address that only this machine reaches is a name as well.
        sandbox: ``"never"``, ``"unknown"`` or ``"always"``: which artifacts ``load`` and ``loads`` rebuild in the sandbox, from which only plain
            data, arrays and frames come back (:func:`safeload.sandbox.load`). An artifact is all of a file then.

    Attributes:
        bindings: what :meth:`bound` was given.
    """

    __slots__ = ("_defaults", "_plain", "audit", "bindings", "keys", "limits", "policy", "sandbox", "signers", "urls")

    policy: Policy
    keys: KeyRing | None
    audit: Auditor
    limits: Limits
    signers: Mapping[str, Any] | None
    urls: bool
    sandbox: str
    bindings: Mapping[str, Any]
    _defaults: tuple[ReadRequest, Auditor]
    _plain: WriteRequest

    def __init__(
        self,
        *,
        policy: Any = None,
        keys: Any = None,
        audit: Any = None,
        limits: Limits | None = None,
        signers: Mapping[str, Any] | None = None,
        urls: bool = True,
        sandbox: str = "never",
    ) -> None:
        assign = object.__setattr__
        assign(self, "sandbox", _sandbox_mode(sandbox))
        assign(self, "policy", resolve_policy(policy))
        assign(self, "keys", ring_of(keys))
        assign(self, "audit", auditor_of(audit))
        assign(self, "limits", limits_of(limits))
        assign(self, "signers", signers)
        assign(self, "urls", urls)
        assign(self, "_plain", write_request(self.limits, None, {}))
        self._bind({})
        watch = getattr(self.keys, "watch", None)
        if watch is not None:  # keys that are read again: the trail says when they changed
            from safeload.api.rotations import Rotations

            watch(Rotations(self.audit))

    def _bind(self, bindings: Mapping[str, Any]) -> None:
        object.__setattr__(self, "bindings", bindings)
        request = own_request(JudgeOptions(self.policy, self.limits), self.keys, self.signers, bindings)
        object.__setattr__(self, "_defaults", (request, self.audit))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Loader is frozen; make another one with {name}=...")

    def __repr__(self) -> str:
        bound = "".join(f" {name}={value!r}" for name, value in self.bindings.items())
        return f"<Loader policy={self.policy!r} keys={self.keys!r}{bound}>"

    def __reduce__(self) -> tuple[object, ...]:
        if self.keys is not None:
            raise TypeError(
                "a loader with keys is never pickled: a pickle of a key leaks it; make the loader where it is used"
            )
        signers = None if self.signers is None else dict(self.signers)
        choices = {name: getattr(self, name) for name in _CHOICES}
        return _remade, ({**choices, "signers": signers}, dict(self.bindings))

    @takes(ReadOptions)
    def load(self, source: Any, **options: Unpack[ReadOptions]) -> Any:
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
        request, auditor = self._asked(options, _READ)
        with auditor.operation("load", **told(auditor, source, request.context)) as operation:
            self._check_place(source)
            if self.sandbox != "never":
                from safeload.sandbox.fallback import load_by_mode

                if type(source) is bytes:
                    source = os.fsdecode(source)
                return load_by_mode(self.sandbox, source, request, operation)
            if isinstance(source, (str, bytes, os.PathLike)):
                return load_path(os.fsdecode(source), request, operation)
            return load_file(source, request, operation)

    @takes(ReadOptions)
    def loads(self, data: Any, /, **options: Unpack[ReadOptions]) -> Any:
        """Load one artifact from a bytes-like object, all of it; see :meth:`load`."""
        if type(data) is not bytes:
            data = bytes_of(data)
        request, auditor = self._asked(options, _READ)
        with auditor.operation("load", **told(auditor, None, request.context)) as operation:
            if self.sandbox != "never":
                from safeload.sandbox.fallback import load_by_mode

                return load_by_mode(self.sandbox, data, request, operation)
            return load_bytes(data, request, operation)

    @takes(FernetOptions)
    def open_fernet(
        self,
        token: bytes | str,
        key: Any,
        *,
        codec: str = "pickle",
        ttl: int | None = None,
        **options: Unpack[FernetOptions],
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

        request, auditor = self._asked(options, _FERNET)
        with auditor.operation("load") as operation:
            with operation.child("decrypt"):
                payload = open_fernet(token, key, ttl=ttl)
            if codec == "raw":
                return payload
            request = replace(request, keys=None)  # who wrote it is known
            if self.sandbox != "never":
                from safeload.sandbox.fallback import load_by_mode

                return load_by_mode(self.sandbox, payload, request, operation)
            return load_bytes(payload, request, operation)

    @takes(WriteOptions, version=0)
    def dump(self, obj: Any, target: Any, protocol: int | None = None, **options: Unpack[WriteOptions]) -> None:
        """Write ``obj`` to a path or an open binary file.

        Without a key: byte for byte what ``pickle.dump`` writes. With a key, and from a loader with keys: an envelope, encrypted if the key's suite
        encrypts, with arrays outside the pickle stream and the writer's manifest. A path is replaced as a whole, or not at all.

        Args:
            obj: the object.
            target: path, URL (as a ``str``, through ``fsspec``), or binary file with ``write``.
            protocol: as for ``pickle.dump``; envelopes default to 5.
            codec: how ``obj`` is written: ``"pickle"``, ``"joblib"``, ``"json"``, ``"npy"``, ``"npz"`` ... (README has the table; an unknown name
                lists them).
            key: a key that can sign; by default the primary key of this loader's ring, if it has one.
            sign: ``False``: write a plain artifact, also from a loader with keys. ``True``: raise if there is no key.
            context: bind the envelope to a place: a binding, or (purpose, binding). Readers must give the same.
            schema: a JSON Schema that ``obj`` must match.
            version: the payload's schema version, the user's own; by default the one that the migrations of ``kind`` lead to.
            kind: what kind of payload it is, for readers and their migrations; any name, signed with the payload.
            expires_in: seconds or timedelta until the envelope expires.
            fix_imports, buffer_callback: as for ``pickle.dump``.
            compress: for codecs that compress: a level, a method, or both, as the codec documents.

        Raises:
            MissingKeyError: this loader has keys, and none of them can sign.
            SchemaError: ``obj`` does not match ``schema``.
            pickle.PicklingError, TypeError, AttributeError: ``obj`` cannot be pickled.
            TypeError, ValueError: an argument is wrong.
        """
        is_path = isinstance(target, (str, bytes, os.PathLike))
        if not is_path and not callable(getattr(target, "write", None)):
            raise TypeError("file must have a 'write' attribute")
        request = self.to_be_written(protocol, options)
        with self.audit.operation("dump", **told(self.audit, target, request.context)) as operation:
            self._check_place(target)
            dump(obj, os.fsdecode(target) if is_path else target, request, operation)

    @takes(WriteOptions, version=0)
    def dumps(self, obj: Any, protocol: int | None = None, **options: Unpack[WriteOptions]) -> bytes:
        """``obj`` as bytes; see :meth:`dump`."""
        request = self.to_be_written(protocol, options)
        with self.audit.operation("dump", **told(self.audit, None, request.context)) as operation:
            return dumps(obj, request, operation)

    @takes(ScanOptions)
    def scan(self, source: Any, **options: Unpack[ScanOptions]) -> Report:
        """Everything that can be known about an artifact without loading it. Executes nothing.

        Args:
            source: path or URL (unless ``urls=False``), open binary file (read to its end), or bytes-like object.
            policy, keys, limits: instead of this loader's. Without keys an envelope's payload is not looked at.
            context: the context an envelope was sealed with.

        Returns:
            A :class:`~safeload.Report`; bad artifacts are reported, not raised.

        Raises:
            OSError: the file cannot be opened or read.
            FormatError: ``source`` is a URL, and this loader takes none.
            TypeError, ValueError: an argument is wrong.
        """
        from safeload.pipeline.scan import scan

        request, auditor = self._asked(options, _SCAN)
        with auditor.operation("scan", **told(auditor, source, request.context)) as operation:
            self._check_place(source if isinstance(source, str | os.PathLike) else None)
            return scan(source, request, operation)

    @takes(BoundOptions, codec=None)
    def bound(self, **said: Unpack[BoundOptions]) -> Loader:
        """This loader for one cache, queue or file: what is given here counts for every load and dump that does not say otherwise.

        Args:
            purpose: what kind of place it is. A context that is given to a call is one within this purpose, so that
                ``loader.bound(purpose="cache").loads(data, context=key)`` opens what was written for that key of that cache only.
            context, expires_in, codec, kind, version, schema: as for :meth:`dump`; for :meth:`load` too what that has.

        Raises:
            ValueError: something is said in an envelope only, and this loader has no keys; or an argument is wrong.
            TypeError: an argument is wrong.
        """
        given = {name: value for name, value in said.items() if value is not None}
        check_bound(given, self.keys)
        return self._remade_with({}, {**self.bindings, **given})

    def pickle_module(self, name: str = "safeload.pickle") -> Any:
        """This loader in the shape of the module ``pickle``; see :mod:`safeload.api.pickle_module`."""
        # By its name: that module stands above this one, since without a loader it takes the default one.
        return importlib.import_module("safeload.api.pickle_module").PickleModule(self, name)

    def changed(self, **choices: Any) -> Loader:
        """A loader like this one, with other choices where they are given and not ``None``."""
        given = {name: value for name, value in choices.items() if value is not None}
        return self._remade_with(given, self.bindings) if given else self

    def keyless(self, audit: Auditor) -> Loader:
        """This loader without its keys, and with another trail: what may go into other processes."""
        return self._remade_with({"keys": None, "audit": audit}, self.bindings)

    def _remade_with(self, choices: Mapping[str, Any], bindings: Mapping[str, Any]) -> Loader:
        return _remade({**{name: getattr(self, name) for name in _CHOICES}, **choices}, bindings)

    def to_be_written(self, protocol: int | None, options: Any) -> WriteRequest:
        """The request of a dump with these arguments."""
        if not options and protocol is None and self.keys is None and not self.bindings:
            return self._plain
        return write_request(self.limits, protocol, to_be_written(options, self.keys, self.bindings))

    def _check_place(self, place: Any) -> None:
        """Refuse a URL where names are paths."""
        if not self.urls:
            from safeload.source.locations import refuse_url

            refuse_url(place)

    def _asked(self, options: Any, names: frozenset[str]) -> tuple[ReadRequest, Auditor]:
        """The request of a call, and who records it."""
        if not options:
            return self._defaults
        audit = options.pop("audit", None) if "audit" in names else None
        if "purpose" in self.bindings and options.get("context") is not None:
            options["context"] = in_purpose(self.bindings["purpose"], options["context"])
        return read_request(self._defaults[0], options, names), self.audit if audit is None else auditor_of(audit)


def _remade(choices: Mapping[str, Any], bindings: Mapping[str, Any]) -> Loader:
    loader = Loader(**choices)
    loader._bind(bindings)  # noqa: SLF001 - made here
    return loader


def _sandbox_mode(mode: str) -> str:
    if mode == "never":  # the usual one asks for no sandbox, and imports none
        return mode
    from safeload.sandbox.fallback import check_mode

    return check_mode(mode)


def _programs(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Program]:
    """The programs of artifacts, for ``Policy.learn``: the policy package does not know the analysis."""
    from safeload.pipeline.scan import programs

    for path in paths:
        yield from programs(path)


Policy.set_tracer(_programs)
