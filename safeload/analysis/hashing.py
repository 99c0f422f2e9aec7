"""The exact way: what would hashing the keys of a stream cost, and how deep does it nest?

CPython hashes a tuple by recursion in C, without a depth check and (before 3.14) without a cache, resolves collisions
one key at a time, and frees some types by recursion too. So a few kilobytes can crash (a key or a ``slice`` nested a million
deep), or stall for hours (values that share their parts hash in exponential time; colliding numbers make a dict
quadratic). This module walks the opcodes with abstract values: it knows for every value how heavy and how deep it is,
whatever it is made of, and for every dict and set which numbers and tuples become keys. It is slow, some ten times the
time of loading plain data, and runs only where :mod:`~safeload.analysis.shapes` has no proof.

An object that a call made may be a tuple, may hash what it was given, and may be freed by recursion; so it weighs what
its arguments and its state weigh, and counts as a level of nesting. Values that get parts after they were put into
others (only cyclic structures and hostile streams do that) are summed up again at the end, over the whole graph.

Rule: nothing is executed and no value is hashed before its depth and weight are known to be small. What this walk does
not understand is malformed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError, LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from safeload.limits import Limits

__all__ = ["KeyWalk"]

# Calls whose results hash as a number that is among their arguments. What other calls make has a hash that is not known
# here; so many keys of that kind can collide as max_constructed_keys allows.
_SCALARS = frozenset({b"numpy.core.multiarray.scalar", b"numpy._core.multiarray.scalar"})
# Naive dates and times hash their bytes, with a random key.
_DATES = frozenset({b"datetime.date", b"datetime.datetime", b"datetime.time"})
_BUFFER = b"(buffer)"
# A dict below this size costs too little for its collisions to matter.
_SMALL_DICT = 1_024
_HUGE = 1 << 62
# Keys that are heavier than this are costly to compare even in a small dict.
_HEAVY = 32

# Abstract values: None for constants; bytes for strings (their hash is randomised); int and float for numbers; _Node for
# everything that holds others.


class _Node:
    """A tuple, list, dict, set, or something that a call made.

    Attributes:
        items: what it holds.
        keys: the numbers and nodes that were given to it as keys; ``None`` for none.
        weight: values visited when it is hashed or compared, parts that are shared counted every time.
        depth: levels of what can be hashed: tuples, frozensets, what calls made (``step`` 1; lists, dicts and sets 0). ``levels``: levels of nodes that calls made.
        attached: whether it is part of another node.
        name: of a global, its name; of what a call made, the name of what was called.
        opaque: whether its hash is unknown: a call made it, or a part of it. ``frozen``: whether it is a frozenset.
        size: bytes of an out-of-band buffer. ``value``: of what a call made, something that hashes alike, if that is known.
    """

    # Defaults of the class, not slots: most nodes differ from them in two or three attributes, and thousands are made.
    keys: list[Any] | None = None
    weight = 1
    depth = 1
    step = 1
    levels = 0
    made = attached = frozen = opaque = False
    name = b""
    size = 0
    value: Any = None

    def __init__(self, items: list[Any]) -> None:
        self.items = items


class KeyWalk:
    """Walks canonical streams and raises when hashing their keys, or freeing their objects, could hurt.

    One walk serves all streams that share a memo (several ``load`` calls of one unpickler).
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.memo: dict[int, Any] = {}
        self.work = 0
        self.constructed = 0
        self.large: dict[int, _Node] = {}
        self.nodes: list[_Node] = []
        self.hashed: list[_Node] = []
        self.passed: list[_Node] = []  # arguments and states
        self.budget = limits.max_hash_work
        self.buffers: Iterator[Any] = iter(())
        self.calls = False  # something is called or gets a state
        self.longest_integer = 0  # bytes
        self.late = False  # a node got parts after it became part of another

    def walk(self, code: bytes, buffers: Sequence[Any] = ()) -> None:
        """Check one canonical stream and its buffers.

        Raises:
            LimitExceededError: hashing would nest too deep, take too long, or collide too often.
            FormatError: the stream does not fit together.
        """
        # An honest stream hands every byte to a call a few times at most.
        self.budget += 4 * len(code) + sum(map(_size_of, buffers))
        self.buffers = iter(buffers)
        try:
            self._walk(code)
        except (IndexError, KeyError, ValueError, AttributeError, TypeError) as error:
            raise FormatError(
                "not a well-formed pickle: its stack or memo is used in a way that no pickler writes",
                code="format.stack",
            ) from error
        for node in self.large.values():
            self._collisions(node.keys or [])
        self.large.clear()
        if self.late:
            self._sum_up()
        if self.calls and self.longest_integer > self.limits.max_integer_digits * 5 // 12:
            # Arithmetic on such numbers is quadratic, and nobody knows what a callable computes with its arguments.
            self._too_much("max_integer_digits", "digits in an integer, next to calls")

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
                self._put(stack[-1], items)
                self._keys(stack[-1], items[::2])
            elif opcode == 0x73:  # SETITEM
                value = stack.pop()
                key = stack.pop()
                self._put(stack[-1], (key, value))
                self._keys(stack[-1], (key,))
            elif opcode == 0x86:  # TUPLE2
                stack[-2:] = [self._node(_last(stack, 2))]
            elif opcode == 0x85:  # TUPLE1
                stack[-1] = self._node([stack[-1]])
            elif opcode == 0x87:  # TUPLE3
                stack[-3:] = [self._node(_last(stack, 3))]
            elif opcode == 0x74:  # TUPLE
                items, stack = stack, marks.pop()
                push = stack.append
                push(self._node(items))
            elif opcode in (0x65, 0x61):  # APPENDS, APPEND
                if opcode == 0x65:
                    items, stack = stack, marks.pop()
                    push = stack.append
                else:
                    items = [stack.pop()]
                self._put(stack[-1], items)
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
                stack[-1] = self._made(arguments, stack[-1])
            elif opcode == 0x62:  # BUILD
                state = stack.pop()
                if type(stack[-1]) is _Node and stack[-1].name == _BUFFER:
                    raise ValueError(opcode)  # no pickler sets a state on a buffer
                self._put(stack[-1], (state,))
                self._arguments((state,), stack[-1])
            elif opcode == 0x93:  # STACK_GLOBAL
                name = stack.pop()
                stack[-1] = self._global(stack[-1], name)
            elif opcode in (0x5D, 0x7D, 0x8F):  # EMPTY_LIST, EMPTY_DICT, EMPTY_SET
                push(self._container([]))
            elif opcode == 0x29:  # EMPTY_TUPLE
                push(self._node([]))
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
            self.longest_integer = max(self.longest_integer, end - start)
            stack.append(int.from_bytes(code[start:end], "little", signed=True))
            return end
        if opcode in (0x8D, 0x8E, 0x96):  # BINUNICODE8, BINBYTES8, BYTEARRAY8
            start = pos + 8
            end = start + int.from_bytes(code[pos:start], "little")
            stack.append(code[start:end] if opcode != 0x96 else self._node([]))
            return end
        if opcode == 0x63:  # GLOBAL
            end = _behind_lines(code, pos)
            stack.append(self._global(*code[pos : end - 1].split(b"\n", 1)))
            return end
        if opcode == 0x92:  # NEWOBJ_EX
            keywords, arguments = stack.pop(), stack.pop()
            made = stack[-1] = self._made(arguments, stack[-1])
            self._put(made, (keywords,))
            self._arguments((keywords,), made)
        elif opcode == 0x51:  # BINPERSID
            stack[-1] = self._made(self._node([stack[-1]]), None)
        elif opcode == 0x32:  # DUP
            stack.append(stack[-1])
        elif opcode == 0x97:  # NEXT_BUFFER
            node = self._maker()
            node.name, node.size = _BUFFER, _size_of(next(self.buffers, b""))
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
        elif opcode == 0x49:  # INT
            stack.append(None if argument in (b"00", b"01") else int(argument))
        elif opcode == 0x4C:  # LONG
            stack.append(int(argument.removesuffix(b"L")))
        elif opcode == 0x46:  # FLOAT
            stack.append(float(argument))
        elif opcode == 0x50:  # PERSID
            stack.append(self._maker())
        else:  # STRING, UNICODE
            stack.append(argument)
        return end + 1

    def _closed(self, opcode: int, items: list[Any], stack: list[Any]) -> None:
        """An opcode that took everything above a mark."""
        if opcode == 0x90:  # ADDITEMS
            self._put(stack[-1], items)
            self._keys(stack[-1], items)
        elif opcode in (0x91, 0x64, 0x6C):  # FROZENSET, DICT, LIST
            node = self._node(items) if opcode == 0x91 else self._container(items)
            node.frozen = opcode == 0x91
            if opcode != 0x6C:
                self._keys(node, items if opcode == 0x91 else items[::2])
            stack.append(node)
        elif opcode in (0x6F, 0x69):  # OBJ, INST
            callee = items[0] if opcode == 0x6F else None
            stack.append(self._made(self._node(items[1:] if opcode == 0x6F else items), callee))

    def _node(self, items: list[Any]) -> _Node:
        """A new container of ``items``, a list that is the node's own from now on."""
        node = _Node(items)
        self.nodes.append(node)
        if items:
            self._weigh(node, items)
        return node

    def _container(self, items: list[Any]) -> _Node:
        """A new list, dict or set: hashing ends there."""
        node = _Node(items)
        node.step = node.depth = 0
        self.nodes.append(node)
        if items:
            self._weigh(node, items)
        return node

    def _put(self, target: Any, items: Iterable[Any]) -> None:
        """``items`` become further parts of ``target``."""
        if type(target) is _Node:
            target.items += items
            self._weigh(target, items)

    def _weigh(self, target: _Node, items: Iterable[Any]) -> None:
        weight, depth, levels, held = 0, 0, 0, False
        for item in items:
            kind = type(item)
            if kind is _Node:
                held = item.attached = True
                weight += item.weight
                depth = max(depth, item.depth)
                levels = max(levels, item.levels)
                if item.opaque:
                    target.opaque = True
            elif kind is bytes:
                weight += 1 + (len(item) >> 8)
            elif kind is int:
                weight += 1 + (item.bit_length() >> 6)
            else:
                weight += 1
        # Exponential sharing makes weights of thousands of digits; beyond every limit they need not be exact.
        target.weight = min(target.weight + weight, _HUGE)
        if held:
            target.depth = max(target.depth, depth + target.step)
            levels += target.made
            if levels > target.levels:
                target.levels = levels
                if levels > self.limits.max_nesting:
                    self._nests(levels)
            if target.attached:
                self.late = True

    def _maker(self) -> _Node:
        """Something that a call made, or will make; nothing is known of its hash."""
        node = _Node([])
        node.made = node.opaque = True
        node.levels = 1
        self.nodes.append(node)
        return node

    def _global(self, module: Any, name: Any) -> _Node:
        node = _Node([])
        node.made = True  # with a hash that is known: its address
        self.nodes.append(node)
        if type(module) is bytes and type(name) is bytes:
            node.name = module + b"." + name
        return node

    def _made(self, arguments: Any, callee: Any) -> _Node:
        """The result of a call; the callable may hash what is in the lists it is given."""
        made = self._maker()
        if type(callee) is _Node:
            made.name = callee.name
        if type(arguments) is _Node and arguments.items:
            items = arguments.items
            self._put(made, items)
            self._arguments(items, made)
            if made.name in _SCALARS and len(items) == 2:
                made.value = _scalar(*items)
            elif made.name in _DATES and len(items) == 1:
                made.value = items[0]
            made.opaque = type(made.value) not in (bytes, int, float)
        return made

    def _arguments(self, items: Iterable[Any], made: Any) -> None:
        """Whatever gets ``items`` may copy them, and may put what is in them into a dict or a set."""
        self.calls = True
        cost = 0
        for item in items:
            kind = type(item)
            if kind is _Node:
                # What is shared inside counts every time: a callable may expand it, or print it in an error.
                if item.depth > self.limits.max_tuple_depth:
                    self._too_deep(item.depth)
                cost += len(item.items) + (item.weight + item.size >> 3)
                self.passed.append(item)
                if item.items and not item.made:
                    cost += self._members(item.items, made)
            elif kind is bytes:
                cost += 1 + (len(item) >> 3)
            else:
                cost += 1
        self._spend(cost)

    def _members(self, items: list[Any], made: Any) -> int:
        """Let ``made`` hash ``items``, and what is first in each of them; returns what it costs where they are few."""
        if len(items) > _SMALL_DICT:
            self._keys(made, items)
            firsts = [part.items[0] for part in items if type(part) is _Node and part.items]
            if firsts:
                self._keys(made, firsts)
            return 0
        choosable = sum([type(item) is not bytes and item is not None for item in items])
        return choosable * choosable >> 6

    def _keys(self, target: Any, keys: Iterable[Any]) -> None:
        """``keys`` are hashed and put into ``target``."""
        if type(target) is not _Node:
            return
        kept = [key for key in keys if type(key) is not bytes and key is not None]
        if not kept:
            return
        for key in kept:
            if type(key) is _Node:
                self._hash(key)
            else:
                self._spend(_leaf_weight(key))
        if target.keys is None:
            target.keys = kept
        else:
            target.keys += kept
        if len(target.keys) > _SMALL_DICT or any(type(key) is _Node and key.weight > _HEAVY for key in kept):
            self.large[id(target)] = target

    def _hash(self, key: _Node) -> None:
        if key.depth > self.limits.max_tuple_depth:
            self._too_deep(key.depth)
        self._spend(key.weight)
        self.hashed.append(key)
        if key.opaque:
            self.constructed += 1
            if self.constructed > self.limits.max_constructed_keys:
                self._too_much("max_constructed_keys", "dict keys or set members that are made by calls")

    def _sum_up(self) -> None:
        """Weights and depths again, over the finished graph; edges that close a cycle do not count."""
        for node in _children_first(self.nodes):
            weight, depth, levels = 1, 0, 0
            for item in node.items:
                if type(item) is _Node:
                    if item.weight < 0:  # not summed up yet: the edge closes a cycle
                        continue
                    weight += item.weight
                    depth = max(depth, item.depth)
                    levels = max(levels, item.levels)
                else:
                    weight += _leaf_weight(item)
            node.weight, node.depth, node.levels = min(weight, _HUGE), depth + node.step, levels + node.made
            if node.levels > self.limits.max_nesting:
                self._nests(node.levels)
        self.work = 0
        for key in self.hashed:
            if key.depth > self.limits.max_tuple_depth:
                self._too_deep(key.depth)
            self._spend(key.weight)
        for item in self.passed:
            if item.depth > self.limits.max_tuple_depth:
                self._too_deep(item.depth)
            self._spend(item.weight // 8)

    def _spend(self, weight: int) -> None:
        self.work += weight
        if self.work > self.budget:
            self._too_much(
                "max_hash_work",
                "steps to hash its keys and copy its arguments (parts that are shared count every time)",
            )

    def _collisions(self, keys: list[Any]) -> None:
        from safeload.analysis.collisions import longest_probe

        self._spend(len(keys))
        # Keys are told apart by their text: strings hash randomly, so an author cannot make this step collide.
        light: dict[str, int] = {}
        hashes: list[int] = []
        groups: dict[int, list[int]] = {}  # weights of heavy keys by hash
        values: dict[int, Any] = {}
        try:
            for key in keys:
                value = _value(key, values)
                if type(key) is _Node and key.weight > _HEAVY:
                    hashes.append(hash(value))
                    groups.setdefault(hashes[-1], []).append(key.weight)
                else:  # told apart by their text: strings hash randomly, so an author cannot make this step collide
                    light[repr(value)] = hash(value)
        except RecursionError:
            self._too_deep(self.limits.max_tuple_depth)
        for weights in groups.values():  # keys with equal hashes are compared, and a comparison visits all of both
            self._spend((len(weights) - 1) * sum(weights) // 2)
        hashes += light.values()
        if len(hashes) <= _SMALL_DICT:
            return
        longest = longest_probe(hashes, self.limits.max_probes)
        if longest > self.limits.max_probes:
            self._too_much("max_probes", "collisions for one key of a dict or set")

    def _nests(self, levels: int) -> NoReturn:
        raise LimitExceededError(
            f"the pickle nests objects {levels:,} deep; freeing them again can crash the process. The limit is "
            f"max_nesting={self.limits.max_nesting:,}",
            code="limit.nesting",
        )

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


def _value(key: Any, known: dict[int, Any]) -> Any:
    """The key as an object that hashes like the real one; its depth and weight are known to be small.

    ``known`` keeps the values of nodes by id: parts that are shared are built once.
    """
    if type(key) is not _Node:
        return key
    value = known.get(id(key))
    if value is None:
        value = known[id(key)] = _made_value(key) if key.made else _composed(key, known)
    return value


def _made_value(key: _Node) -> Any:
    return id(key) if key.value is None else key.value


def _composed(key: _Node, known: dict[int, Any]) -> Any:
    values = []
    for item in key.items:
        values.append(_value(item, known))  # noqa: PERF401 - a comprehension would double the depth of the recursion
    return frozenset(values) if key.frozen else tuple(values)


def _scalar(dtype: Any, data: Any) -> Any:
    """What a numpy scalar hashes as: a number, or a string; ``None`` if that is not known here."""
    if type(dtype) is not _Node or dtype.name != b"numpy.dtype" or type(data) is not bytes or not dtype.items:
        return None
    code = dtype.items[0]
    orders = {part for state in dtype.items[1:] if type(state) is _Node for part in state.items if type(part) is bytes}
    if type(code) is not bytes or b">" in orders:
        return None
    if code[:1] in (b"S", b"U"):
        return data
    if code[:1] in (b"i", b"u", b"b", b"M", b"m") and len(data) <= 8:
        return int.from_bytes(data, "little", signed=code[:1] != b"u")
    if code == b"f8" and len(data) == 8:
        return _double(data[::-1], 0)
    return None


def _size_of(buffer: Any) -> int:
    return memoryview(buffer).nbytes


def _leaf_weight(item: Any) -> int:
    """What it costs to hash, compare or copy a value that holds no others, in steps of some nanoseconds."""
    if type(item) is bytes:
        return 1 + len(item) // 256
    return 1 + item.bit_length() // 64 if type(item) is int else 1


def _children_first(nodes: list[_Node]) -> list[_Node]:
    """All nodes, children before parents as far as there are no cycles; weights are set to -1 meanwhile."""
    for node in nodes:
        node.weight = -1
    order: list[_Node] = []
    seen: set[int] = set()
    for root in nodes:
        if id(root) in seen:
            continue
        seen.add(id(root))
        path = [(root, iter(root.items))]
        while path:
            node, rest = path[-1]
            for item in rest:
                if type(item) is _Node and id(item) not in seen:
                    seen.add(id(item))
                    path.append((item, iter(item.items)))
                    break
            else:
                order.append(node)
                path.pop()
    return order
