"""``Pickler`` and ``Unpickler`` with pickle's signatures.

``Pickler`` is pickle's own, and signs where the default loader has keys. ``Unpickler`` judges each stream before it loads it; several ``load`` calls share a memo,
as with pickle. A subclass's ``find_class`` and ``persistent_load`` are called as documented for pickle, but only for
streams that the policy allowed. Where the default loader has keys, every artifact must be an envelope of one of them.

Rules: the memo of earlier streams is part of what a later stream is judged by, so once a second stream is loaded every
stream is traced. A stream that was refused or failed leaves nothing in the memo that a later one could build on.
"""

from __future__ import annotations

import io
import pickle
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.api import defaults
from safeload.engine.feed import CodeFeed
from safeload.engine.load.probing import ProbingUnpickler
from safeload.errors import FormatError
from safeload.formats.detect import HEAD
from safeload.pipeline.dump import seal_stream
from safeload.pipeline.rebuild import run, settle_class, users
from safeload.pipeline.request import JudgeOptions, ReadRequest
from safeload.pipeline.shared_memo import MemoTracer
from safeload.pipeline.signer import envelope_bytes, open_envelope, opened_stream, signer_options
from safeload.pipeline.stages import is_envelope, refuse_container
from safeload.source.sources import BytesSource, source_for_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.api.loader import Loader
    from safeload.audit import Operation
    from safeload.limits import Limits
    from safeload.pipeline.verdict import Judgement
    from safeload.source.sources import FileSource, FlowSource

__all__ = ["Pickler", "Unpickler"]


class Pickler(pickle.Pickler):
    """pickle's own Pickler: the bytes are the same, and so is subclassing. With keys of the loader, each ``dump`` writes an envelope.

    Args:
        file, protocol, fix_imports, buffer_callback: as for ``pickle.Pickler``.
    """

    def __init__(
        self, file: Any, protocol: int | None = None, *, fix_imports: bool = True, buffer_callback: Any = None
    ) -> None:
        loader = self._like()
        self._seals = loader if loader.keys is not None else None
        self._stream = io.BytesIO() if self._seals else None
        if self._seals is not None and not callable(getattr(file, "write", None)):
            raise TypeError("file must have a 'write' attribute")
        self._target = file
        self._maps = fix_imports
        super().__init__(
            file if self._stream is None else self._stream,
            protocol,
            fix_imports=fix_imports,
            buffer_callback=buffer_callback,
        )

    def _like(self, **choices: Any) -> Loader:
        """The loader whose choices count, with those that are given instead."""
        return defaults.loader_with(**choices)

    def dump(self, obj: Any, /) -> None:
        """Write the pickle of ``obj``, in an envelope if the loader has keys.

        An envelope is read for itself, so what follows in another one does not refer to what was written before.

        Raises:
            MissingKeyError: the loader has keys, and none of them can sign.
        """
        stream = getattr(self, "_stream", None)
        if stream is None or self._seals is None:
            super().dump(obj)
            return
        stream.seek(0)
        stream.truncate()
        self.clear_memo()
        super().dump(obj)
        request = self._seals.to_be_written(None, {"sign": True, "fix_imports": self._maps})
        with self._seals.audit.operation("dump") as operation:
            self._target.write(seal_stream(stream.getvalue(), request, operation))


class Unpickler:
    """Loads streams from a binary file under a policy; signature, methods and subclassing as in ``pickle.Unpickler``.

    Args:
        file: binary file with ``read`` and ``readline``.
        fix_imports, encoding, errors, buffers: as for ``pickle.Unpickler``.
        policy, limits, audit: instead of those of the default loader.

    Raises:
        TypeError: ``file`` lacks a method.
    """

    def __init__(
        self,
        file: Any,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = None,
        policy: Any = None,
        limits: Limits | None = None,
        audit: Any = None,
    ) -> None:
        source_for_file(file)
        self._loader = self._like(policy=policy, limits=limits, audit=audit)
        self._options = JudgeOptions(
            self._loader.policy, self._loader.limits, fix_imports=fix_imports, encoding=encoding, errors=errors
        )
        given = None if buffers is None else iter(buffers)
        self._request = ReadRequest(self._options, self._loader.keys, buffers=given)
        self._current: tuple[str, str] | None = None
        self._loading = False
        self._shared = self._memo = _Memo(self._options)
        self._file = file

    def _like(self, **choices: Any) -> Loader:
        """The loader whose choices count, with those that are given instead."""
        return defaults.loader_with(**choices)

    def load(self) -> Any:
        """Judge the next stream of the file and return its object.

        Whether it is loaded or refused, the file is left right behind it.

        Raises:
            SafeloadError: as :meth:`safeload.Loader.load` does.
        """
        try:
            source = source_for_file(self._file)
        except AttributeError:
            name = type(self).__name__
            raise pickle.UnpicklingError(f"Unpickler.__init__() was not called by {name}.__init__()") from None
        if self._loading:
            raise RuntimeError("this Unpickler is loading already")
        self._loading = True
        try:
            with self._loader.audit.operation("load") as operation:
                # (1) One byte tells an envelope; a flow may not have a second one yet.
                source.more(1)
                # (2) Where there are keys, what is no envelope is refused here.
                if is_envelope(source.data, self._request):
                    return self._load_envelope(source, operation)
                # (3) Nobody has signed it: the policy of this object decides.
                # (4) It is a pickle, or refused: several streams share a memo only in a file of pickles.
                operation.set(container="pickle")
                return self._load_stream(source, operation, self._request.buffers)
        finally:
            self._loading = False

    def _load_stream(
        self, source: FileSource | FlowSource | BytesSource, operation: Operation, buffers: Any, *, whole: bool = False
    ) -> Any:
        memo = self._memo
        head = bytes(source.data[:HEAD])
        persistent_load = users(self._own("persistent_load"))
        # (5) Judged whole, together with what earlier streams have memoized.
        try:
            judgement = memo.tracer.judge(source, operation, buffers, persistent_load=persistent_load, whole=whole)
        except BaseException as error:
            if not memo.tracer.rewind():
                memo.clear()
            if isinstance(error, FormatError):
                refuse_container(head, error)
            raise
        # (6) Loaded by the unpickler that has loaded the streams before.
        find_class = users(self._find_by_subclass) if self._own("find_class") else None
        with operation.child("load"):
            return memo.load(judgement, find_class, persistent_load)

    def _load_envelope(self, source: FileSource | FlowSource, operation: Operation) -> Any:
        """A verified envelope has its own signer, whose policy decides, and its own memo."""
        # (2) Nothing of the payload is looked at before it is authentic.
        data = envelope_bytes(source, self._options.limits, whole=False)
        opened = open_envelope(data, self._request, operation)
        # (3) What the signer may do is what its key's entry says, and its manifest.
        options = signer_options(opened, self._request)
        # (4) The envelope says what its payload is; this class takes pickles.
        stream, buffers = opened_stream(opened, self._request, options)
        self._memo = _Memo(options)
        try:
            return self._load_stream(BytesSource(stream), operation, buffers, whole=True)
        finally:
            self._memo = self._shared

    def _own(self, name: str) -> Callable[..., Any] | None:
        """A method that a subclass or the instance has in place of this class's."""
        if name in self.__dict__ or getattr(type(self), name) is not getattr(Unpickler, name):
            method: Callable[..., Any] | None = getattr(self, name)
            return method
        return None

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The global that a stream calls ``global_name`` in ``module_name``, if the policy allows it.

        Subclasses may override it and call this one with another name; then the policy must allow for that name what
        the stream does with the original one.

        Raises:
            PolicyError: the policy does not allow it.
        """
        sys.audit("pickle.find_class", module_name, global_name)
        return self._memo.tracer.find(module_name, global_name, self._current)

    def persistent_load(self, pid: Any) -> NoReturn:  # noqa: ARG002
        """The object for a persistent id; subclasses override it.

        Raises:
            pickle.UnpicklingError: always.
        """
        raise pickle.UnpicklingError("unsupported persistent id encountered")

    @property
    def memo(self) -> Any:
        """What the streams so far have memoized; can be given to another :class:`Unpickler`."""
        return UnpicklerMemo(self._shared)

    @memo.setter
    def memo(self, value: Any) -> None:
        if not isinstance(value, UnpicklerMemo):
            raise TypeError("memo can only be set to the memo of another safeload.Unpickler: others were not judged")
        self._shared.take_over(value._memo)  # noqa: SLF001 - its counterpart

    def _find_by_subclass(self, module: str, name: str) -> Any:
        self._current = module, name
        try:
            return self.find_class(module, name)
        finally:
            self._current = None


class _Memo:
    """What streams that follow each other share: the C unpickler with its memo, and the tracer with the same memo."""

    def __init__(self, options: JudgeOptions) -> None:
        self.tracer = MemoTracer(options)
        self._options = options
        self._feed = CodeFeed()
        self._resolved: dict[tuple[str, str], Any] = {}
        self._buffers = _Refill()
        self._unpickler = self._fresh()

    def _fresh(self) -> ProbingUnpickler:
        options = self._options
        return ProbingUnpickler(
            self._feed, self._resolved, buffers=self._buffers, encoding=options.encoding, errors=options.errors
        )

    def load(
        self,
        judgement: Judgement,
        find_class: Callable[[str, str], Any] | None,
        persistent_load: Callable[[Any], Any] | None,
    ) -> Any:
        """Load a judged stream."""
        unpickler = self._unpickler
        try:
            if find_class is None:
                self.tracer.resolve_into(self._resolved)
            self._feed.feed(unpickler.code_of(judgement.census, probes=judgement.probes, limits=self._options.limits))
            self._buffers.load(judgement.census.buffers)
            unpickler.use(find_class, persistent_load)
            loaded = run(unpickler)
            if self._options.policy.grants_code:
                settle_class(loaded, judgement)
            return loaded
        except BaseException:
            self.clear()  # it holds a part of this stream, which the tracer cannot know
            raise
        finally:
            unpickler.use(None, None)

    def clear(self) -> None:
        """Forget everything.

        A C unpickler that failed goes on with the rest of that stream, and one whose memo was cleared counts on from
        where it was: both would read the next stream otherwise than the tracer does, so there is a new one.
        """
        self._unpickler = self._fresh()
        self.tracer.clear_memo()

    def take_over(self, other: _Memo) -> None:
        """Have what another one has.

        Assigning ``memo`` to a C unpickler does not set the number of memoized objects, by which MEMOIZE counts, so the
        objects are memoized by a stream.
        """
        self.tracer.share_memo(other.tracer)
        objects = other.objects()
        self._unpickler = self._fresh()
        self._buffers.load(objects.values())
        self._feed.feed(b"".join([b"\x97r" + index.to_bytes(4, "little") + b"0" for index in objects]) + b"N.")
        self._unpickler.load()

    def objects(self) -> dict[int, Any]:
        """The memoized objects by index."""
        return dict(self._unpickler.memo.copy())


class UnpicklerMemo:
    """The memo of an :class:`Unpickler`."""

    __slots__ = ("_memo",)

    def __init__(self, memo: _Memo) -> None:
        self._memo = memo

    def copy(self) -> dict[int, Any]:
        """The memoized objects by index."""
        return self._memo.objects()

    def clear(self) -> None:
        """Forget all of it."""
        self._memo.clear()


class _Refill:
    """An iterator of buffers that is filled again for each stream."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: Any = iter(())

    def load(self, buffers: Iterable[Any]) -> None:
        self._items = iter(buffers)

    def __iter__(self) -> _Refill:
        return self

    def __next__(self) -> Any:
        return next(self._items)
