"""One pass over a pickle stream: where does it end, is it well-formed, does it carry code?

The census never builds an object and never decides anything about globals. It accepts a subset of what
CPython's C unpickler accepts, and what it accepts means the same to ``pickletools`` and to the C
unpickler on every Python version. It hands over the stream in *canonical* form: frames removed (the C unpickler
reads frames differently from a file and from bytes), long byte literals cut out into ``buffers`` and
replaced by NEXT_BUFFER, so that array bytes are neither copied nor parsed again.

Rule: whatever is not understood is refused here, before the C unpickler sees a byte.
"""

from __future__ import annotations

import contextlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

from safeload.engine import opcodes
from safeload.engine.leniency import others_go_on
from safeload.errors import (
    FormatError,
    LimitExceededError,
    NumberError,
    ProtocolError,
    SafeloadError,
    TruncatedError,
)

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from safeload.limits import Limits

__all__ = ["CUT", "POP_NEXT_BUFFER", "Census", "PieceCensus", "SkippingSource", "StreamSource", "take_census"]

# Byte literals from this length on leave the stream. Below it, copying is cheaper than a buffer's bookkeeping.
CUT = 1 << 13
_HIGHEST_PROTOCOL = 5
_FRAME_HEADER = 9
_NEXT_BUFFER = b"\x97"
POP_NEXT_BUFFER = b"0\x97"
_BUILD = 0x62
_LINE = 1 << 13  # of the place where a census stops, so much is looked at
# Opcodes with an argument of fixed length: how long they are together.
_FIXED = {0x4B: 2, 0x4D: 3, 0x4A: 5, 0x47: 9, 0x68: 2, 0x71: 2, 0x6A: 5, 0x72: 5}
_TEXT = b"FSVILgpP"
_BINBYTES = 0x42
_CUT_AS_BYTES = (_BINBYTES, 0x8E)
_BYTEARRAY8 = 0x96
_SIGNED = (0x54, 0x8B)


class StreamSource(Protocol):
    """Where a stream's bytes come from: ``data`` grows from the stream's first byte on."""

    @property
    def data(self) -> bytes | bytearray:
        """The bytes that are known."""
        ...

    def more(self, size: int) -> bool:
        """Try to make ``data`` at least ``size`` bytes long; ``False`` if the source ends before."""
        ...

    def more_than(self, size: int) -> bool:
        """Whether anything follows the first ``size`` bytes of the stream."""
        ...

    def take(self, start: int, size: int) -> tuple[bytes, int] | None:
        """The ``size`` bytes from ``data[start]`` on and the index in (the new) ``data`` of what follows them.

        ``None`` if there are fewer.
        """
        ...


class SkippingSource(StreamSource, Protocol):
    """A source in which bytes can be left out."""

    def skip(self, start: int, size: int) -> int | None:
        """Leave out the ``size`` bytes at ``data[start]``; the index in (the new) ``data`` of what follows them, or ``None``."""
        ...


class Census(NamedTuple):
    """What the census found.

    Attributes:
        code: the stream in canonical form, ends with STOP.
        buffers: the objects that the NEXT_BUFFER opcodes of ``code`` push, in order.
        size: length of the stream in the artifact, in bytes.
        protocol: the declared protocol, 0 without PROTO.
        has_code: whether an opcode imports, calls, sets state or asks for a persistent id.
        mutable: whether ``buffers`` holds anything that the stream could change in place.
        unread: what reads a literal that zeros stand for, by the ``id`` of its buffer. An argument rule may have to see it.
    """

    code: bytes
    buffers: list[Any]
    size: int
    protocol: int
    has_code: bool
    mutable: bool
    unread: Mapping[int, Callable[[], bytes]] = MappingProxyType({})


def take_census(source: StreamSource, limits: Limits, buffers: Iterable[Any] | None = None) -> Census:
    """Walk the first stream of ``source``.

    Args:
        source: the bytes, positioned at the stream's first opcode.
        limits: bounds on sizes, names and digits.
        buffers: out-of-band buffers for the stream's own NEXT_BUFFER opcodes, as for ``pickle.load``.

    Raises:
        TruncatedError: the source ends before STOP.
        FormatError: not a pickle, or one that readers would understand differently.
        LimitExceededError: a size, a name or a number is beyond ``limits``.
    """
    walk = _Walk(source, limits, buffers)
    with walk.placed():
        census = walk.run()
    assert census is not None  # noqa: S101 - it stops at nothing else
    return census


class PieceCensus:
    """A census that stops behind every BUILD where something else than opcodes may follow, as in a joblib file.

    joblib writes the bytes of an array right behind the BUILD of its description, and ends a frame there. So the places are
    the end of a frame whose last byte is that of BUILD (or looks like it), and every BUILD outside of frames. Whether
    something does follow is not known here: who asks has to find out, and says how many bytes to :meth:`skip`.
    """

    def __init__(self, source: SkippingSource, limits: Limits) -> None:
        self._source = source
        self._walk = walk = _Walk(source, limits, None)
        walk.has_code = True
        walk.stops_at_build = True
        walk.pattern = opcodes.any_run(len(source.data), limits.max_global_name)
        self._taken = 0  # parts that were handed out
        self.census: Census | None = None

    def piece(self) -> bytes:
        """The canonical code up to the next such place, or up to STOP, after which :attr:`census` is there.

        Raises:
            SafeloadError: as :func:`take_census`.
        """
        walk = self._walk
        with walk.placed():
            self.census = walk.run()
        if self.census is not None:
            return self.census.code[sum(map(len, walk.parts[: self._taken])) :]
        walk.parts.append(walk.source.data[walk.start : walk.pos])
        walk.start = walk.pos
        code = b"".join(walk.parts[self._taken :])
        self._taken = len(walk.parts)
        return code

    def so_far(self) -> bytes:
        """The canonical code of all pieces, where one has ended."""
        return b"".join(self._walk.parts)

    @property
    def protocol(self) -> int:
        """The protocol that the stream declares."""
        return self._walk.protocol

    @property
    def buffers(self) -> list[Any]:
        """What the NEXT_BUFFER opcodes so far push; what :meth:`skip` puts in stands there too."""
        return self._walk.buffers

    @property
    def unread(self) -> Mapping[int, Callable[[], bytes]]:
        """See :class:`Census`."""
        return self._walk.unread

    @property
    def where(self) -> int:
        """The place in the stream where the next opcode would be, in bytes."""
        return self._walk.where()

    def skip(self, size: int, stand_for: Any) -> bytes:
        """Leave out ``size`` bytes, for which ``stand_for`` is pushed in place of what is on top of the stack.

        Returns:
            The code that does so, as part of the stream.

        Raises:
            TruncatedError: there are fewer bytes.
        """
        walk = self._walk
        behind = self._source.skip(walk.pos, size)
        if behind is None:
            with walk.placed():
                walk.truncated()
        moved = walk.pos + size - behind
        walk.pos = walk.start = behind
        walk.base += moved
        walk.parts.append(POP_NEXT_BUFFER)
        self._taken = len(walk.parts)
        walk.buffers.append(stand_for)
        return POP_NEXT_BUFFER


class _Walk:
    """State of one census. ``pos`` indexes ``source.data``; ``base + pos`` is the place in the artifact."""

    __slots__ = ("base", "buffers", "frame_end", "given", "has_code", "into", "later", "limits", "mutable", "parts", "pattern",
                 "pos", "protocol", "size", "source", "start", "stops_at_build", "unread")  # fmt: skip

    def __init__(self, source: StreamSource, limits: Limits, given: Iterable[Any] | None) -> None:
        self.source = source
        self.later = getattr(source, "later", None)
        self.into = getattr(source, "take_mutable", None)
        self.limits = limits
        self.given: Iterator[Any] | None = None if given is None else iter(given)
        self.base = self.pos = self.start = 0
        self.frame_end = -1  # index into data, -1 outside frames
        self.size = len(source.data)  # what the pattern was chosen for
        self.parts: list[bytes | bytearray] = []
        self.buffers: list[Any] = []
        self.unread: dict[int, Callable[[], bytes]] = {}
        self.protocol = 0
        self.has_code = self.mutable = self.stops_at_build = False
        self.pattern: re.Pattern[bytes] = opcodes.data_run(len(source.data))

    @contextlib.contextmanager
    def placed(self) -> Iterator[None]:
        """Errors tell what made sense up to where they are raised."""
        try:
            yield
        except SafeloadError as error:
            error.broken_stream = self.code_so_far, self.protocol, self.buffers
            error.stopped_at = self.where()
            rest = self.source.data[self.pos : self.pos + _LINE]
            error.others_go_on = others_go_on(error, bytes(rest), framed=self.frame_end >= 0)
            raise

    def run(self) -> Census | None:
        """Walk to STOP; or, of a census in pieces, to the next place to stop at (``None``)."""
        source = self.source
        if not source.data and not source.more(1):
            raise TruncatedError("Ran out of input: there is no pickle here (0 bytes)", code="format.empty")
        while True:
            data = source.data
            framed = self.frame_end >= 0
            end = self.frame_end if framed else len(data)
            pattern = self.pattern if framed or not self.stops_at_build else self.before_build()
            pos = self.pos = pattern.match(data, self.pos, end).end()  # type: ignore[union-attr]
            if pos == end:
                if framed:
                    self.frame_end = -1
                    if self.stops_at_build and pos > self.start and data[pos - 1] == _BUILD:
                        return None
                elif not source.more(pos + 1):
                    self.truncated()
                else:
                    self.grown()
                continue
            opcode = data[pos]
            if opcode == _BINBYTES:
                header = pos + 5
                behind = header + int.from_bytes(data[pos + 1 : header], "little")
                if behind - header < CUT and behind <= end:  # the small arrays of a model
                    self.pos = behind
                    continue
            if opcode == 0x2E:
                return self.stop()
            if opcode == _BUILD and self.stops_at_build:
                self.pos += 1
                return None
            self.special(opcode)

    def before_build(self) -> re.Pattern[bytes]:
        """The pattern outside of frames for a census in pieces."""
        return opcodes.build_run(self.known_size(), self.limits.max_global_name)

    def stop(self) -> Census:
        self.pos += 1
        if self.frame_end not in (-1, self.pos):
            self.malformed("a frame reaches beyond the end of the pickle")
        data = self.source.data
        self.check_size(sum(map(len, self.parts)) + self.pos - self.start)
        if self.parts:
            self.parts.append(data[self.start : self.pos])
            code = b"".join(self.parts)
        else:
            code = bytes(data) if self.pos == len(data) else bytes(data[: self.pos])
        return Census(code, self.buffers, self.base + self.pos, self.protocol, self.has_code, self.mutable, self.unread)

    def code_so_far(self) -> bytes:
        """The canonical stream up to the place where the walk is."""
        return b"".join((*self.parts, self.source.data[self.start : self.pos]))

    def special(self, opcode: int) -> None:
        """Handle the opcode at ``pos``, at which the pattern stopped."""
        if opcode == 0x80:
            self.proto()
        elif opcode == 0x95:
            self.frame()
        elif opcode in opcodes.LITERAL_LENGTH:
            self.literal(opcode)
        elif opcode in opcodes.CODE and not self.has_code:
            self.has_code = True
            self.pattern = opcodes.any_run(self.known_size(), self.limits.max_global_name)
        elif opcode == 0x97:
            self.next_buffer()
        elif opcode == 0x98:
            self.pos += 1
        elif opcode in opcodes.EXTENSION:
            raise FormatError(
                f"the pickle uses the extension registry (opcode EXT at byte {self.where()}), whose cache bypasses "
                "find_class; write it again without copyreg.add_extension",
                code="format.extension",
                stage="analyse",
            )
        elif opcode in _FIXED:
            self.fixed(opcode)
        elif opcode in _TEXT or opcode in b"ci":
            self.text(opcode)
        else:
            self.malformed(f"byte 0x{opcode:02x} is no pickle opcode")

    def proto(self) -> None:
        self.need(2)
        version = self.source.data[self.pos + 1]
        if version > _HIGHEST_PROTOCOL:
            raise ProtocolError(
                f"unsupported pickle protocol: {version}; this version of safeload reads 0 to {_HIGHEST_PROTOCOL}"
            )
        if self.where():
            # Name mapping depends on it: a second PROTO changes what the names before it meant to another reader.
            self.malformed("PROTO is allowed at the start only")
        self.protocol = version
        self.pos += 2

    def frame(self) -> None:
        if self.frame_end >= 0:
            self.malformed("a frame begins inside another frame")
        self.need(_FRAME_HEADER)
        pos = self.pos
        data = self.source.data
        length = int.from_bytes(data[pos + 1 : pos + _FRAME_HEADER], "little")
        self.check_size(length)
        if not self.source.more(pos + _FRAME_HEADER + length):
            self.truncated()
        self.parts.append(data[self.start : pos])
        self.pos = self.start = pos + _FRAME_HEADER
        self.grown()
        self.frame_end = self.pos + length

    def literal(self, opcode: int) -> None:
        """A counted literal that is long, unusual or cut short."""
        width = opcodes.LITERAL_LENGTH[opcode]
        self.need(1 + width)
        header = self.pos + 1 + width
        length = int.from_bytes(self.source.data[self.pos + 1 : header], "little", signed=opcode in _SIGNED)
        if length < 0:
            self.malformed("a literal has a negative length")
        if self.frame_end >= 0 and header + length > self.frame_end:
            self.malformed("a literal reaches beyond its frame")
        if length >= CUT and (opcode in _CUT_AS_BYTES or opcode == _BYTEARRAY8):
            self.cut(header, length, mutable=opcode == _BYTEARRAY8)
            return
        end = header + length
        if end > len(self.source.data):
            ends_before = getattr(self.source, "ends_before", None)
            if ends_before is not None and ends_before(end):
                self.truncated()
            self.check_size(length)
            if not self.source.more(end):
                self.truncated()
            self.grown()
        self.pos = end

    def cut(self, header: int, length: int, *, mutable: bool) -> None:
        """Move the literal at ``header`` into ``buffers``."""
        if length > self.limits.max_artifact_bytes:
            self.too_large("max_artifact_bytes", self.limits.max_artifact_bytes, length)
        self.parts.append(self.source.data[self.start : self.pos])
        self.parts.append(_NEXT_BUFFER)
        taken: tuple[Any, int] | None
        # A writable array's bytes: read where they can stay. See rebuilding.settled for what is no array.
        into = self.into if mutable and self.has_code else None
        taken = self.source.take(header, length) if into is None else into(header, length)
        if taken is None:
            self.truncated()
        literal, self.pos = taken
        self.buffers.append(bytearray(literal) if mutable and type(literal) is bytes else literal)
        reader = self.later() if self.later is not None else None
        if reader is not None:
            self.unread[id(self.buffers[-1])] = reader
        self.mutable = self.mutable or mutable
        self.start = self.pos
        moved = header + length - self.pos
        self.base += moved
        if self.frame_end >= 0:
            self.frame_end -= moved

    def next_buffer(self) -> None:
        if self.given is None:
            raise FormatError(
                "pickle stream refers to out-of-band data but no *buffers* argument was given", code="format.buffers"
            )
        try:
            buffer = next(self.given)
        except StopIteration:
            raise FormatError("not enough out-of-band buffers", code="format.buffers") from None
        self.buffers.append(buffer)
        self.mutable = self.mutable or type(buffer) is not bytes
        self.pos += 1

    def fixed(self, opcode: int) -> None:
        """An opcode with an argument of fixed length that is cut short, or a memo index that is too high."""
        self.need(_FIXED[opcode])
        data, pos = self.source.data, self.pos
        if opcode == 0x72:
            self.memo_index(int.from_bytes(data[pos + 1 : pos + 5], "little"))
            self.pos += 5
        else:
            self.grown()

    def text(self, opcode: int) -> None:
        """A text opcode that is cut short, spelled in an unusual way, or too long for the pattern."""
        lines = 2 if opcode in b"ci" else 1
        data, end = self.source.data, self.pos + 1
        for _ in range(lines):
            end = self.line_end(end)
        data = self.source.data
        if self.frame_end >= 0 and end > self.frame_end:
            self.malformed("an opcode reaches beyond its frame")
        if self.pattern.match(data, self.pos, end).end() == end:  # type: ignore[union-attr]
            self.grown()  # only what was at hand before had cut it short
            return
        argument = bytes(data[self.pos + 1 : end - 1])
        if opcode == 0x70 and argument.isdigit() and argument.isascii():
            self.memo_index(int(argument[-20:]) if argument[:-20].strip(b"0") == b"" else 1 << 64)
        elif opcode in b"IL" and argument.removesuffix(b"L").removeprefix(b"-").isdigit():
            self.digits(argument)
        elif self.pattern.match(data, self.pos, end).end() == self.pos:  # type: ignore[union-attr]
            if opcode in b"ci" and len(argument) > self.limits.max_global_name:
                self.too_large("max_global_name", self.limits.max_global_name, len(argument))
            raise NumberError(
                f"not a well-formed pickle: the argument of text opcode {chr(opcode)!r} is not what pickle writes "
                f"(byte {self.where()})"
            )
        else:
            self.grown()
            return
        self.pos = end

    def line_end(self, start: int) -> int:
        """The index behind the newline that ends the line at ``start``."""
        searched = start
        while True:
            data = self.source.data
            found = data.find(b"\n", searched)
            if found >= 0:
                return found + 1
            searched = len(data)
            self.check_size(searched - start)
            if not self.source.more(searched + 1):
                self.truncated()

    def digits(self, argument: bytes) -> None:
        number = argument.removesuffix(b"L").removeprefix(b"-")
        if len(number) > self.limits.max_integer_digits:
            self.too_large("max_integer_digits", self.limits.max_integer_digits, len(number))
        if (number[:1] == b"0" and len(number) > 1) or (argument[-1:] == b"L" and self.source.data[self.pos] == 0x49):
            self.malformed("an integer is not written in the way of pickle")

    def memo_index(self, index: int) -> None:
        """CPython allocates the memo up to the highest index, so it may not exceed what the stream can fill."""
        if index > self.where():
            raise LimitExceededError(
                f"memo index {index} at byte {self.where()}: a pickle cannot have memoized that many objects yet, "
                "and the unpickler would allocate memory for all of them",
                code="limit.memo-index",
            )

    # Bounds and failures.

    def where(self) -> int:
        """The current place in the stream, in bytes."""
        return self.base + self.pos

    def known_size(self) -> int:
        return self.base + len(self.source.data)

    def need(self, size: int) -> None:
        """Make the opcode at ``pos``, ``size`` bytes with its argument, available as a whole."""
        if self.pos + size <= (len(self.source.data) if self.frame_end < 0 else self.frame_end):
            return
        if self.frame_end >= 0 and self.pos + size > self.frame_end:
            self.malformed("an opcode reaches beyond its frame")
        if not self.source.more(self.pos + size):
            self.truncated()

    def grown(self) -> None:
        """Choose the pattern for the size that is known now."""
        size = self.known_size()
        if size == self.size:
            return
        self.size = size
        self.check_size(size - self.base)
        if self.has_code:
            self.pattern = opcodes.any_run(size, self.limits.max_global_name)
        else:
            self.pattern = opcodes.data_run(size)

    def check_size(self, size: int) -> None:
        if size > self.limits.max_stream_bytes:
            self.too_large("max_stream_bytes", self.limits.max_stream_bytes, size)

    def too_large(self, name: str, limit: int, value: int) -> NoReturn:
        raise LimitExceededError(
            f"the pickle needs {value:,} at byte {self.where()}, over the limit {name}={limit:,}; "
            f"raise Limits({name}=...) if you expect this file to be so large",
            code="limit." + name.removeprefix("max_").replace("_", "-"),
        )

    def truncated(self) -> NoReturn:
        raise TruncatedError(
            f"pickle data was truncated: it ends at byte {self.base + len(self.source.data)} inside an opcode or before "
            "STOP; the file is incomplete or no pickle"
        )

    def malformed(self, why: str) -> NoReturn:
        raise FormatError(f"not a well-formed pickle: {why} (byte {self.where()})")
