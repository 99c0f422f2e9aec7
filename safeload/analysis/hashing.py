"""The exact way: what would hashing the keys of a stream cost?

CPython hashes a tuple by recursion in C, without a depth check and (before 3.14) without a cache, and resolves
collisions one key at a time. So a few kilobytes can crash (``hash`` of a tuple nested a million deep), or stall for
hours (tuples that share their parts hash in exponential time; colliding numbers make a dict quadratic). This module
walks the opcodes with abstract values: it knows for every value how deep and how heavy it is to hash, and for every
dict and set which numbers and tuples become keys. It is slow, some ten times the time of loading, and runs only where
:mod:`~safeload.analysis.shapes` has no proof.

Rule: nothing is executed and no user value is hashed before its depth and weight are known to be small. What this
walk does not understand is malformed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError, LimitExceededError

if TYPE_CHECKING:
    from safeload.limits import Limits

__all__ = ["KeyWalk"]

# A dict below this size costs too little for its collisions to matter.
_SMALL_DICT = 1_024

# Abstract values: None for constants; bytes for strings (their hash is randomised); int and float for numbers;
# _Composite for tuples and frozensets; _Keyed for everything that can hold keys; list for lists.


class _Composite:
    """A tuple or frozenset: ``weight`` counts what one hash visits, ``depth`` its nesting."""

    __slots__ = ("depth", "items", "weight")

    weight: int
    depth: int

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        weight: int = 1
        depth: int = 0
        for item in items:
            if type(item) is _Composite:
                weight += item.weight
                depth = max(depth, item.depth)
            elif type(item) is int:
                weight += 1 + item.bit_length() // 64
            else:
                weight += 1
        # Exponential sharing makes weights of thousands of digits; beyond every limit they need not be exact.
        self.weight = min(weight, 1 << 62)
        self.depth = depth + 1


class _Keyed:
    """A dict, a set, or something that a call made; ``keys`` are the numbers and tuples it was given as keys."""

    __slots__ = ("keys", "made")

    def __init__(self, *, made: bool = False) -> None:
        self.keys: list[Any] | None = None
        self.made = made


class KeyWalk:
    """Walks canonical streams and raises when hashing their keys could hurt.

    One walk serves all streams that share a memo (several ``load`` calls of one unpickler).
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.memo: dict[int, Any] = {}
        self.work = 0
        self.constructed = 0
        self.large: dict[int, _Keyed] = {}

    def walk(self, code: bytes) -> None:
        """Check one canonical stream.

        Raises:
            LimitExceededError: hashing would nest too deep, take too long, or collide too often.
            FormatError: the stream does not fit together.
        """
        try:
            self._walk(code)
        except (IndexError, KeyError, ValueError, AttributeError, TypeError) as error:
            raise FormatError(
                "not a well-formed pickle: its stack or memo is used in a way that no pickler writes",
                code="format.stack",
            ) from error
        for keyed in self.large.values():
            self._collisions(keyed.keys or [])
        self.large.clear()

    def _walk(self, code: bytes) -> None:  # noqa: C901, PLR0912, PLR0915 - one loop over all opcodes: calls would double its time
        memo = self.memo
        stack: list[Any] = []
        marks: list[list[Any]] = []
        push = stack.append
        pos = 0
        while True:
            opcode = code[pos]
            pos += 1
            if opcode == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
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
                self._keys(stack[-1], items[::2])
            elif opcode == 0x73:  # SETITEM
                stack.pop()
                key = stack.pop()
                self._keys(stack[-1], (key,))
            elif opcode == 0x86:  # TUPLE2
                stack[-2:] = [_Composite(_last(stack, 2))]
            elif opcode == 0x85:  # TUPLE1
                stack[-1] = _Composite([stack[-1]])
            elif opcode == 0x87:  # TUPLE3
                stack[-3:] = [_Composite(_last(stack, 3))]
            elif opcode == 0x74:  # TUPLE
                items, stack = stack, marks.pop()
                push = stack.append
                push(_Composite(items))
            elif opcode in (0x65, 0x61):  # APPENDS, APPEND
                if opcode == 0x65:
                    items, stack = stack, marks.pop()
                    push = stack.append
                else:
                    items = [stack.pop()]
                target = stack[-1]
                if type(target) is list:
                    target.extend(items)
                elif type(target) is _Keyed:
                    self._keys(target, items)
            elif opcode == 0x71:  # BINPUT
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
                stack[-1] = self._made(arguments)
            elif opcode == 0x62:  # BUILD
                state = stack.pop()
                self._arguments((state,), stack[-1])
            elif opcode == 0x93:  # STACK_GLOBAL
                stack.pop()
                stack[-1] = _Keyed(made=True)
            elif opcode == 0x5D:  # EMPTY_LIST
                push([])
            elif opcode in (0x7D, 0x8F):  # EMPTY_DICT, EMPTY_SET
                push(_Keyed())
            elif opcode == 0x29:  # EMPTY_TUPLE
                push(_Composite([]))
            elif opcode == 0x6A:  # LONG_BINGET
                push(memo[int.from_bytes(code[pos : pos + 4], "little")])
                pos += 4
            elif opcode == 0x72:  # LONG_BINPUT
                memo[int.from_bytes(code[pos : pos + 4], "little")] = stack[-1]
                pos += 4
            elif opcode == 0x4A:  # BININT
                push(int.from_bytes(code[pos : pos + 4], "little", signed=True))
                pos += 4
            elif opcode == 0x4D:  # BININT2
                push(int.from_bytes(code[pos : pos + 2], "little"))
                pos += 2
            elif opcode == 0x47:  # BINFLOAT
                push(_double(code, pos))
                pos += 8
            elif opcode == 0x30:  # POP
                if stack:
                    stack.pop()
                else:
                    stack = marks.pop()
                    push = stack.append
            elif opcode == 0x2E:  # STOP
                return
            elif opcode in (0x90, 0x91, 0x64, 0x6C, 0x31, 0x6F, 0x69):  # ADDITEMS FROZENSET DICT LIST POP_MARK OBJ INST
                if opcode == 0x69:
                    pos = _behind_lines(code, pos)
                items, stack = stack, marks.pop()
                push = stack.append
                self._closed(opcode, items, stack)
            else:
                pos = self._rare(opcode, code, pos, stack)

    def _rare(self, opcode: int, code: bytes, pos: int, stack: list[Any]) -> int:
        """Opcodes that common streams hardly use; returns the position behind the argument."""
        if opcode in (0x67, 0x70, 0x49, 0x4C, 0x46, 0x53, 0x56, 0x50):  # the text opcodes of protocol 0
            return self._text(opcode, code, pos, stack)
        if opcode in (0x8A, 0x8B):  # LONG1, LONG4
            width = 1 if opcode == 0x8A else 4
            start = pos + width
            end = start + int.from_bytes(code[pos:start], "little")
            stack.append(int.from_bytes(code[start:end], "little", signed=True))
            return end
        if opcode in (0x8D, 0x8E, 0x96):  # BINUNICODE8, BINBYTES8, BYTEARRAY8
            start = pos + 8
            end = start + int.from_bytes(code[pos:start], "little")
            stack.append(code[start:end] if opcode != 0x96 else _Keyed())
            return end
        if opcode == 0x63:  # GLOBAL
            stack.append(_Keyed(made=True))
            return _behind_lines(code, pos)
        if opcode == 0x92:  # NEWOBJ_EX
            keywords, arguments = stack.pop(), stack.pop()
            self._arguments((keywords,), None)
            stack[-1] = self._made(arguments)
        elif opcode == 0x51:  # BINPERSID
            stack[-1] = _Keyed(made=True)
        elif opcode == 0x32:  # DUP
            stack.append(stack[-1])
        elif opcode == 0x97:  # NEXT_BUFFER
            stack.append(_Keyed(made=True))
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
        elif opcode == 0x49:  # INT
            stack.append(None if argument in (b"00", b"01") else int(argument))
        elif opcode == 0x4C:  # LONG
            stack.append(int(argument.removesuffix(b"L")))
        elif opcode == 0x46:  # FLOAT
            stack.append(float(argument))
        elif opcode == 0x50:  # PERSID
            stack.append(_Keyed(made=True))
        else:  # STRING, UNICODE
            stack.append(argument)
        return end + 1

    def _closed(self, opcode: int, items: list[Any], stack: list[Any]) -> None:
        """An opcode that took everything above a mark."""
        if opcode == 0x90:  # ADDITEMS
            self._keys(stack[-1], items)
        elif opcode == 0x91:  # FROZENSET
            self._keys(_Keyed(), items)
            stack.append(_Composite(items))
        elif opcode == 0x64:  # DICT
            keyed = _Keyed()
            self._keys(keyed, items[::2])
            stack.append(keyed)
        elif opcode == 0x6C:  # LIST
            stack.append(items)
        elif opcode in (0x6F, 0x69):  # OBJ, INST
            stack.append(self._made(_Composite(items)))

    def _made(self, arguments: Any) -> _Keyed:
        """The result of a call; the callable may hash what is in the lists it is given."""
        made = _Keyed(made=True)
        if type(arguments) is _Composite:
            self._arguments(arguments.items, made)
        return made

    def _arguments(self, items: Any, made: Any) -> None:
        for item in items:
            if type(item) is list and item:
                target = made if type(made) is _Keyed else _Keyed()
                self._keys(target, item)
                firsts = [e[0] for e in item if type(e) is list and e]
                firsts += [e.items[0] for e in item if type(e) is _Composite and e.items]
                self._keys(_Keyed(), firsts)
            elif type(item) is _Composite:
                self._keys(_Keyed(), (item,))
                self._keys(_Keyed(), item.items)

    def _keys(self, target: Any, keys: Any) -> None:  # noqa: C901, PLR0912 - one branch per kind of key
        """``keys`` are hashed and put into ``target``."""
        kept: list[Any] | None = None
        for key in keys:
            kind = type(key)
            if kind is bytes or key is None:
                continue
            if kind is _Composite:
                if key.depth > self.limits.max_tuple_depth:
                    self._too_deep(key.depth)
                self._spend(key.weight)
            elif kind is int:
                self._spend(1 + key.bit_length() // 64)
            elif kind is _Keyed:
                if key.made:
                    self.constructed += 1
                    if self.constructed > self.limits.max_constructed_keys:
                        self._too_much("max_constructed_keys", "dict keys or set members that are made by calls")
                continue
            elif kind is not float:
                continue  # a list: unhashable, the unpickler will say so
            if kept is None:
                if type(target) is not _Keyed:
                    return
                if target.keys is None:
                    target.keys = []
                kept = target.keys
            kept.append(key)
        if kept is not None and len(kept) > _SMALL_DICT:
            self.large[id(target)] = target

    def _spend(self, weight: int) -> None:
        self.work += weight
        if self.work > self.limits.max_hash_work:
            self._too_much("max_hash_work", "steps to hash its keys (parts that are shared count every time)")

    def _collisions(self, keys: list[Any]) -> None:
        from safeload.analysis.collisions import longest_probe

        self._spend(len(keys))
        # Keys are told apart by their text: strings hash randomly, so an author cannot make this step collide.
        distinct = {repr(value): value for value in map(_value, keys)}
        longest = longest_probe([hash(value) for value in distinct.values()], self.limits.max_probes)
        if longest > self.limits.max_probes:
            self._too_much("max_probes", "collisions for one key of a dict or set")

    def _too_deep(self, depth: int) -> NoReturn:
        raise LimitExceededError(
            f"a dict key or set member nests tuples {depth:,} deep; hashing it recurses in C and can crash the process. "
            f"The limit is max_tuple_depth={self.limits.max_tuple_depth}",
            code="limit.tuple-depth",
        )

    def _too_much(self, name: str, what: str) -> NoReturn:
        limit = getattr(self.limits, name)
        raise LimitExceededError(
            f"the pickle needs more than {name}={limit:,} {what}; raise Limits({name}=...) if you trust its author",
            code="limit." + name.removeprefix("max_").replace("_", "-"),
        )


def _last(stack: list[Any], count: int) -> list[Any]:
    items = stack[-count:]
    if len(items) < count:
        raise IndexError(count)
    return items


def _behind_lines(code: bytes, pos: int) -> int:
    """The position behind the two lines (module and name) at ``pos``."""
    return code.index(b"\n", code.index(b"\n", pos) + 1) + 1


def _double(code: bytes, pos: int) -> float:
    import struct

    return float(struct.unpack_from(">d", code, pos)[0])


def _value(key: Any) -> Any:
    """The key as an object that hashes like the real one; its depth and weight are known to be small."""
    if type(key) is _Composite:
        return tuple(_value(item) for item in key.items)
    return key if type(key) in (int, float, bytes) else None
