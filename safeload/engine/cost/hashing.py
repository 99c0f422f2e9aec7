"""The exact way: what would hashing the keys of a stream cost, and how deep does it nest?

CPython hashes a tuple by recursion in C, without a depth check and (before 3.14) without a cache, resolves collisions
one key at a time, and frees some types by recursion too. So a few kilobytes can crash (a key or a ``slice`` nested a million
deep), or stall for hours (values that share their parts hash in exponential time; colliding numbers make a dict
quadratic). This module walks the opcodes with abstract values: it knows for every value how heavy and how deep it is,
whatever it is made of, and for every dict and set which numbers and tuples become keys. It is slow, some ten times the
time of loading plain data, and runs only where :mod:`~safeload.engine.cost.proof` has no proof.

An object that a call made may be a tuple, may hash what it was given, and may be freed by recursion; so it weighs what
its arguments and its state weigh, and counts as a level of nesting. Values that get parts after they were put into
others (only cyclic structures and hostile streams do that) are summed up again at the end, over the whole graph.

Rule: nothing is executed and no value is hashed before its depth and weight are known to be small. What this walk does
not understand is malformed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from safeload.engine.cost.nodes import ROUNDED, Node, ShortcutError, double, size_of
from safeload.engine.cost.repeats import Repeats
from safeload.engine.cost.scales import BUFFER, Scales
from safeload.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.limits import Limits

__all__ = ["KeyWalk"]


class KeyWalk(Scales):
    """Walks canonical streams and raises when hashing their keys, or freeing their objects, could hurt.

    One walk serves all streams that share a memo (several ``load`` calls of one unpickler). A stream may come in pieces:
    :meth:`feed` each, then :meth:`finish`.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._used = False  # there were other streams before, or pieces
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Know nothing of any stream."""
        Scales.__init__(self, self.limits)
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._stopped = False
        self._built = 0  # the position behind the last BUILD in the code that was walked last
        self._repeats: Repeats | None = None
        self._shortened: tuple[bytes, list[int]] | None = None  # a stream that was walked with shortcuts
        self.learned: Repeats | None = None  # the repetitions in a stream that was walked whole

    def walk(self, code: bytes, buffers: Sequence[Any] = ()) -> None:
        """Check one canonical stream and its buffers.

        Raises:
            LimitExceededError: hashing would nest too deep, take too long, or collide too often.
            FormatError: the stream does not fit together.
        """
        sizes = [size_of(buffer) for buffer in buffers]
        self._know_all()
        if self._used or not self._shortly(code, sizes):
            self._begin(code, sizes)
            self.finish()

    def _shortly(self, code: bytes, sizes: list[int]) -> bool:
        """Walk with shortcuts, which is only done in the first stream; whether that was enough."""
        self._used = True
        self._repeats = Repeats(sizes)
        try:
            self._begin(code, sizes)
            self.finish()
        except ShortcutError:
            self._begin_anew()
            return False
        self.learned, self._repeats = self._repeats, None
        if self.matches:
            self._shortened = code, sizes
        return True

    def _know_all(self) -> None:
        """Another stream shares the memo: what was left out of the first one has to be known now."""
        if self._shortened is not None:
            code, sizes = self._shortened
            self._begin_anew()
            self._begin(code, sizes)
            self.finish()

    def feed(self, piece: bytes, buffers: Sequence[Any] = ()) -> bool:
        """Check a piece of a canonical stream, which ends where an opcode does, and the buffers that it takes.

        The last piece has the STOP of the stream at its end, or nothing has it. The limits that a piece exceeds by itself
        are seen at once, the others by :meth:`finish`.

        Returns:
            Whether its last opcode is BUILD.

        Raises:
            LimitExceededError: as :meth:`walk`.
            FormatError: the piece does not fit to those before, ends inside an opcode, or follows STOP.
        """
        self._know_all()
        self._used = True
        if not self._stopped:
            end = self._begin(piece + b".", [size_of(buffer) for buffer in buffers])
            self._stopped = end == len(piece)
            if self._stopped or end == len(piece) + 1:
                return self._built == len(piece)
        raise FormatError("not a well-formed pickle: STOP is followed by more", code="format.trailing")

    def _begin(self, code: bytes, sizes: list[int]) -> int:
        # An honest stream hands every byte to a call a few times at most.
        self._built = 0
        self.budget += 4 * len(code) + sum(sizes)
        self.sizes, self.taken = sizes, 0
        try:
            return self._walk(code)
        except (IndexError, KeyError, ValueError, AttributeError, TypeError, struct.error) as error:
            if self.matches:
                raise ShortcutError from error
            raise FormatError(
                "not a well-formed pickle: its stack or memo is used in a way that no pickler writes",
                code="format.stack",
            ) from error

    def finish(self) -> None:
        """Check what only the whole stream shows; the next one begins with an empty stack and the same memo.

        Raises:
            LimitExceededError: as :meth:`walk`.
        """
        self._stack, self._marks, self._stopped = [], [], False
        if (self.late or self.changed) and self.matches:
            raise ShortcutError
        for keys in {id(node.keys): node.keys for node in self.large.values()}.values():
            self.check_collisions(keys or ())
        self.large.clear()
        if self.late:
            self.sum_up()
        if self.calls and self.longest_integer > self.limits.max_integer_digits * 5 // 12:
            # Arithmetic on such numbers is quadratic, and nobody knows what a callable computes with its arguments.
            self.too_much("max_integer_digits", "digits in an integer, next to calls")

    def _walk(self, code: bytes) -> int:  # noqa: C901, PLR0912, PLR0915 - one loop over all opcodes: calls would double its time
        """Walk to the first STOP; returns the position behind it."""
        memo = self.memo
        stack = self._stack
        marks = self._marks
        repeats = self._repeats
        skipped = self.skipped
        push = stack.append
        pos = 0
        while True:
            opcode = code[pos]
            pos += 1
            if opcode == 0x94:  # MEMOIZE
                memo[len(memo) + skipped] = stack[-1]
            elif opcode == 0x68:  # BINGET
                push(memo[code[pos]])
                pos += 1
            elif opcode in (0x8C, 0x43, 0x55):  # SHORT_BINUNICODE, SHORT_BINBYTES, SHORT_BINSTRING
                end = pos + 1 + code[pos]
                push(code[pos + 1 : end])
                pos = end
            elif opcode == 0x4B:  # BININT1
                push(code[pos])
                pos += 1
            elif opcode == 0x28:  # MARK
                marks.append(stack)
                stack = []
                push = stack.append
            elif opcode == 0x75:  # SETITEMS
                items, stack = stack, marks.pop()
                push = stack.append
                self.put(stack[-1], items)
                self.put_keys(stack[-1], items[::2])
            elif opcode == 0x73:  # SETITEM
                value = stack.pop()
                key = stack.pop()
                self.put(stack[-1], (key, value))
                self.put_keys(stack[-1], (key,))
            elif opcode == 0x86:  # TUPLE2
                last = stack.pop()
                stack[-1] = self.node([stack[-1], last])
            elif opcode == 0x85:  # TUPLE1
                stack[-1] = self.node([stack[-1]])
            elif opcode == 0x87:  # TUPLE3
                last = stack.pop()
                middle = stack.pop()
                stack[-1] = self.node([stack[-1], middle, last])
            elif opcode == 0x74:  # TUPLE
                items, stack = stack, marks.pop()
                push = stack.append
                push(self.node(items))
            elif opcode in (0x65, 0x61):  # APPENDS, APPEND
                if opcode == 0x65:
                    items, stack = stack, marks.pop()
                    push = stack.append
                else:
                    items = [stack.pop()]
                self.put(stack[-1], items)
            elif opcode == 0x71:  # BINPUT
                if repeats is not None and code[pos] != len(memo) + skipped:
                    repeats = None
                    self._put()
                memo[code[pos]] = stack[-1]
                pos += 1
            elif opcode in (0x58, 0x42, 0x54):  # BINUNICODE, BINBYTES, BINSTRING
                end = pos + 4 + int.from_bytes(code[pos : pos + 4], "little")
                push(code[pos + 4 : end])
                pos = end
            elif opcode in (0x4E, 0x88, 0x89):  # NONE, NEWTRUE, NEWFALSE
                push(None)
            elif opcode in (0x52, 0x81):  # REDUCE, NEWOBJ
                arguments = stack.pop()
                stack[-1] = self.make(arguments, stack[-1])
                if repeats is not None and opcode == 0x52:
                    pos = repeats.ended(self, code, pos, opcode, len(marks), stack)
                    skipped = self.skipped
            elif opcode == 0x62:  # BUILD
                state = stack.pop()
                if type(stack[-1]) is Node and stack[-1].name == BUFFER:
                    raise ValueError(opcode)  # no pickler sets a state on a buffer
                self.put(stack[-1], (state,))
                self.arguments((state,), stack[-1])
                self._built = pos
                if repeats is not None:
                    pos = repeats.ended(self, code, pos, opcode, len(marks), stack)
                    skipped = self.skipped
            elif opcode == 0x93:  # STACK_GLOBAL
                name = stack.pop()
                stack[-1] = self.make_global(stack[-1], name)
            elif opcode in (0x5D, 0x7D, 0x8F):  # EMPTY_LIST, EMPTY_DICT, EMPTY_SET
                push(self.container([]))
            elif opcode == 0x29:  # EMPTY_TUPLE
                push(self.empty)
            elif opcode == 0x6A:  # LONG_BINGET
                push(memo[int.from_bytes(code[pos : pos + 4], "little")])
                pos += 4
            elif opcode == 0x72:  # LONG_BINPUT
                slot = int.from_bytes(code[pos : pos + 4], "little")
                if repeats is not None and slot != len(memo) + skipped:
                    repeats = None
                    self._put()
                memo[slot] = stack[-1]
                pos += 4
            elif opcode == 0x4A:  # BININT
                push(int.from_bytes(code[pos : pos + 4], "little", signed=True))
                pos += 4
            elif opcode == 0x4D:  # BININT2
                push(int.from_bytes(code[pos : pos + 2], "little"))
                pos += 2
            elif opcode == 0x47:  # BINFLOAT
                push(double(code, pos))
                pos += 8
            elif opcode == 0x30:  # POP
                if stack:
                    stack.pop()
                else:
                    stack = marks.pop()
                    push = stack.append
            elif opcode == 0x2E:  # STOP
                self._stack = stack
                return pos
            elif opcode in (0x90, 0x91, 0x64, 0x6C, 0x31, 0x6F, 0x69):  # ADDITEMS FROZENSET DICT LIST POP_MARK OBJ INST
                if opcode == 0x69:
                    pos = _behind_lines(code, pos)
                items, stack = stack, marks.pop()
                push = stack.append
                self._closed(opcode, items, stack)
            else:
                pos = self._rare(opcode, code, pos, stack)
                repeats = self._repeats

    def _put(self) -> None:
        """A PUT fills another slot than the next one, so the number of filled ones is not all there is to know: no shortcuts."""
        if self.matches:
            raise ShortcutError
        self._repeats = None

    def _rare(self, opcode: int, code: bytes, pos: int, stack: list[Any]) -> int:
        """Opcodes that common streams hardly use; returns the position behind the argument."""
        if opcode in (0x67, 0x70, 0x49, 0x4C, 0x46, 0x53, 0x56, 0x50):  # the text opcodes of protocol 0
            return self._text(opcode, code, pos, stack)
        if opcode in (0x8A, 0x8B):  # LONG1, LONG4
            width = 1 if opcode == 0x8A else 4
            start = pos + width
            end = start + int.from_bytes(code[pos:start], "little")
            self.longest_integer = max(self.longest_integer, end - start)
            stack.append(int.from_bytes(code[start:end], "little", signed=True))
            return end
        if opcode in (0x8D, 0x8E, 0x96):  # BINUNICODE8, BINBYTES8, BYTEARRAY8
            start = pos + 8
            end = start + int.from_bytes(code[pos:start], "little")
            stack.append(code[start:end] if opcode != 0x96 else self.node([]))
            return end
        if opcode == 0x63:  # GLOBAL
            end = _behind_lines(code, pos)
            stack.append(self.make_global(*code[pos : end - 1].split(b"\n", 1)))
            return end
        if opcode == 0x92:  # NEWOBJ_EX
            keywords, arguments = stack.pop(), stack.pop()
            made = stack[-1] = self.make(arguments, stack[-1])
            self.put(made, (keywords,))
            self.arguments((keywords,), made)
        elif opcode == 0x51:  # BINPERSID
            stack[-1] = self.make(self.node([stack[-1]]), None)
        elif opcode == 0x32:  # DUP
            stack.append(stack[-1])
        elif opcode == 0x97:  # NEXT_BUFFER
            node = self.maker()
            size = self.sizes[self.taken] if self.taken < len(self.sizes) else 0
            node.name, node.size = BUFFER, ROUNDED[size.bit_length()]
            self.taken += 1
            stack.append(node)
        elif opcode == 0x80:  # PROTO
            return pos + 1
        elif opcode != 0x98:  # READONLY_BUFFER changes nothing here
            raise ValueError(opcode)
        return pos

    def _text(self, opcode: int, code: bytes, pos: int, stack: list[Any]) -> int:
        end = code.index(b"\n", pos)
        argument = code[pos:end]
        if opcode == 0x67:  # GET
            stack.append(self.memo[int(argument)])
        elif opcode == 0x70:  # PUT
            self.memo[int(argument)] = stack[-1]
            if self._repeats is not None:
                self._put()
        elif opcode == 0x49:  # INT
            stack.append(None if argument in (b"00", b"01") else int(argument))
        elif opcode == 0x4C:  # LONG
            stack.append(int(argument.removesuffix(b"L")))
        elif opcode == 0x46:  # FLOAT
            stack.append(float(argument))
        elif opcode == 0x50:  # PERSID
            stack.append(self.maker())
        else:  # STRING, UNICODE
            stack.append(argument)
        return end + 1

    def _closed(self, opcode: int, items: list[Any], stack: list[Any]) -> None:
        """An opcode that took everything above a mark."""
        if opcode == 0x90:  # ADDITEMS
            self.put(stack[-1], items)
            self.put_keys(stack[-1], items)
        elif opcode in (0x91, 0x64, 0x6C):  # FROZENSET, DICT, LIST
            node = self.node(items) if opcode == 0x91 else self.container(items)
            node.frozen = opcode == 0x91
            if opcode != 0x6C:
                self.put_keys(node, items if opcode == 0x91 else items[::2])
            stack.append(node)
        elif opcode in (0x6F, 0x69):  # OBJ, INST
            callee = items[0] if opcode == 0x6F else None
            stack.append(self.make(self.node(items[1:] if opcode == 0x6F else items), callee))


def _behind_lines(code: bytes, pos: int) -> int:
    """The position behind the two lines (module and name) at ``pos``."""
    return code.index(b"\n", code.index(b"\n", pos) + 1) + 1
