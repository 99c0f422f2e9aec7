"""A cheap proof that hashing the keys of a pure-data stream is harmless.

CPython hashes tuples recursively in C and compares colliding keys one by one, so a stream of a few
kilobytes can crash or stall the process that loads it (:mod:`safeload.engine.cost.hashing` has the attacks). Two regular
expressions recognise streams in which that cannot happen, at a fraction of the cost of loading them:

* no tuple except flat ones made of literals in place (no sharing, no nesting), no frozenset, nothing but strings,
  lists, dicts, sets and flat tuples in the memo;
* numbers and tuples only where they cannot be keys (values of dicts with string keys, items of lists), and memo
  references only to the first slots where they can be keys, apart from a bounded number of others; if tuples are in these
  slots, no more references than their lengths allow (:mod:`~safeload.engine.cost.references`).

A stream that does not match is not refused: it takes the exact way. Rule: a pattern may only accept; whatever it
does not recognise counts as unproven.
"""

from __future__ import annotations

import functools
import re

from safeload.engine import opcodes
from safeload.engine.cost.once import Once
from safeload.engine.cost.records import learn_records
from safeload.engine.cost.references import cheap_references

__all__ = ["is_harmless", "is_plain", "plain_code"]

# Numbers that may be keys: with n of them in one dict, colliding at worst, insertion takes n * n / 2 steps of a few
# nanoseconds, 0.1 s here.
_LOOSE_NUMBERS = 8_192
# A long memo reference may be a long tuple: hashing and comparing it takes as long as so many numbers.
_LOOSE_REFERENCE = 32
# Below this size a stream cannot hold that many numbers.
_SMALL = 2 * _LOOSE_NUMBERS
# A pickler begins another frame about here.
_ONE_FRAME = 1 << 17

_CONSTANT = rb"[N\x88\x89]"
_ANY_TUPLE, _TUPLE_1_OR_2, _TUPLE_1 = rb"[\x85\x86\x87]", rb"[\x85\x86]", rb"\x85"


def _any(*alternatives: bytes) -> bytes:
    return b"(?:" + b"|".join(alternatives) + b")"


# What MEMOIZE is in a pattern; it counts slots up, so it never fills one again.
_MEMOIZE = rb"\x94?+"


class _Dialect:
    """How one generation of protocols writes memo operations, strings and numbers.

    Alternations are flat and every alternative begins with a literal byte: the regular expression engine rejects such a
    branch without entering it, which makes these patterns several times faster.
    """

    def __init__(
        self, memo: bytes, get: tuple[bytes, ...], strings: tuple[bytes, ...], numbers: tuple[bytes, ...]
    ) -> None:
        self.seen = 0  # bytes of large streams
        self.memo = memo  # optional
        # With PUT a slot can be filled again and again: then a GET with a short index could be any number of tuples.
        self.tuple_memo = memo if memo == _MEMOIZE else b""
        self.get = get
        self.strings = tuple(string + memo for string in strings)
        self.numbers = numbers
        # What may be a key whose hash somebody chose: a number, or (by a memo reference) a tuple of numbers.
        self.number = re.compile(b"(?s)" + _any(*numbers, *get[1:]))
        self.atoms = (*numbers, *self.strings, _CONSTANT)
        # A GET with a short index: 256 slots at most, whatever they hold.
        self.keys = (get[0], *self.strings)
        # What may stand anywhere. A container is memoized right after it is made; a number never is.
        self.plain = (*get, rb"[\]\}\x8f]" + memo, rb"\([ld]" + memo, rb"[(aesu\x90\x97\x98]")

    def runs(self, memo: bytes) -> tuple[bytes, ...]:
        """Runs of atoms, made into a flat tuple by the opcode behind them if there is one."""
        atom = _any(*self.atoms)
        two_or_more = atom + _any(atom + b"++(?:" + _ANY_TUPLE + memo + b")?+", _TUPLE_1_OR_2 + memo, b"")
        return (*self.flat_tuples(memo), atom + _any(two_or_more, _TUPLE_1 + memo, b""))

    def flat_tuples(self, memo: bytes) -> tuple[bytes, ...]:
        """Tuples that begin with an opcode of their own."""
        return (rb"\((?:" + b"|".join(self.atoms) + rb")*+t" + memo, rb"\)" + self.memo)

    def values(self, memo: bytes) -> tuple[bytes, ...]:
        """One value, exactly (between keys the count matters): an atom, a memo reference or a tuple of numbers."""
        number = _any(*self.numbers)
        tail = _any(_TUPLE_1 + memo, number + _any(rb"\x86", number + rb"\x87") + memo) + b"?+"
        # Most numbers stand alone: one look at the byte behind them settles that.
        numeric = tuple(one + rb"(?![KMJGIFL\x8a\x85])" for one in self.numbers)
        numeric += tuple(one + tail for one in self.numbers)
        alone, made = numeric[: len(self.numbers)], numeric[len(self.numbers) :]
        return (_CONSTANT, *alone, *self.strings, *self.get, *made, *self.flat_tuples(memo))

    def nested(self, values: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Lists and dicts of ``values``."""
        value, key, memo = _any(*values), _any(*self.keys), self.memo
        single = _any(*self.get, _CONSTANT, *self.numbers)
        empty = rb"(?!\()"
        lists = rb"\]" + memo + _any(rb"\(" + value + b"++e", single + b"a", empty)
        dicts = rb"\}" + memo + _any(rb"\((?:" + key + value + b")++u", key + single + b"s", empty)
        return (lists, dicts)

    @Once
    def small(self) -> re.Pattern[bytes]:
        """For streams too short to hold many numbers: only tuples and the memo matter."""
        return self._loose(self.memo)

    @Once
    def medium(self) -> re.Pattern[bytes]:
        """:attr:`small` without tuples in the memo: none can be used again and again."""
        return self._loose(b"")

    def _loose(self, tuple_memo: bytes) -> re.Pattern[bytes]:
        return re.compile(
            b"(?s)"
            + _any(*self.plain[: len(self.get) + 1], *self.runs(tuple_memo), *self.plain[len(self.get) + 1 :])
            + b"*+"
        )

    @Once
    def large(self) -> re.Pattern[bytes]:
        """Numbers only as items of lists, in flat tuples, or as values of string keys."""
        return re.compile(b"(?s)" + _any(*self._whole(), *self.plain[len(self.get) :]) + b"*+")

    @Once
    def whole(self) -> re.Pattern[bytes]:
        """:attr:`large` without what opens or closes a container on its own: it stops at the start of an unfinished one."""
        return re.compile(b"(?s)" + _any(*self._whole()) + b"*+")

    @Once
    def bracket(self) -> re.Pattern[bytes]:
        """One opcode that opens or closes a container."""
        return re.compile(b"(?s)" + _any(*self.plain[len(self.get) :]))

    def _whole(self) -> tuple[bytes, ...]:
        values = self.values(self.tuple_memo)
        nested = self.nested(values)
        key, get_short = _any(*self.keys), self.get[0]
        return (
            # Records after the first of their kind: every key is a memo reference.
            rb"\}" + self.memo + rb"\((?:" + get_short + _any(*values, *nested) + b")++u",
            rb"\}" + self.memo + rb"\((?:" + key + _any(*values, *nested) + b")++u",
            rb"\]" + self.memo + rb"\(" + _any(*self.get, *nested, *self.runs(self.tuple_memo)) + b"++e",
            *nested,
            rb"\((?:" + key + _any(*values) + b")++u",  # further batches of a large dict or list
            rb"\(" + _any(*self.get, *self.runs(self.tuple_memo)) + b"++e",
            *(one + _any(*self.numbers) + b"s" for one in self.keys),
            *(number + b"a" for number in self.numbers),
            *self.strings,
            _CONSTANT,
            get_short,
        )


# Longest string in a pattern that is repeated many times over: compiling takes time for every length.
_LONGEST = 127


@functools.lru_cache(maxsize=3)
def _dialect(protocol: int) -> _Dialect:
    binary = (rb"K.", rb"M..", rb"J....", rb"G.{8}", rb"\x8a" + opcodes.counted(1, 32))
    if protocol >= 4:
        string = rb"[\x8cC]" + opcodes.counted(1, _LONGEST)
        return _Dialect(_MEMOIZE, (rb"h.", rb"j...."), (string,), binary)
    if protocol >= 1:
        strings = (rb"[XT]" + opcodes.counted(4, _LONGEST), rb"[UC]" + opcodes.counted(1, 32))
        return _Dialect(rb"(?:q.|r....)?+", (rb"h.", rb"j...."), strings, (*binary, opcodes.LONG))
    numbers = (opcodes.INT, opcodes.FLOAT, opcodes.LONG)
    return _Dialect(rb"(?:p[0-9]++\n)?+", (rb"g[0-9]{1,2}\n", opcodes.GET), (opcodes.UNICODE, opcodes.STRING), numbers)


_PUTS = (b"q", b"r", b"p")
_LONG_GETS = b"jg"


# Streams from this length on are worth learning what their records look like, the more often the longer they are.
_MANY = 1 << 20
# Where records stop, so many bytes are matched by the general pattern before they are tried again.
_PIECE = 1 << 9

# Strings that are too long for a pattern: opcode -> width of the length.
_LONG_STRINGS = {0x8C: 1, 0x43: 1, 0x55: 1, 0x58: 4, 0x42: 4, 0x54: 4, 0x8D: 8, 0x8E: 8}
_STOP = 0x2E
_MEMOIZED = 0x94
_FRAME = 0x95
_FRAME_END = 11


# The patterns for large streams take a fifth of a second to compile, once for each dialect. Streams of medium size take the
# exact way until that has cost as much.
_PATIENCE = 1 << 20


def _worth_compiling(size: int, protocol: int) -> bool:
    dialect = _dialect(_generation(protocol))
    dialect.seen += size  # a rough count; a race costs a few milliseconds
    return dialect.seen >= _PATIENCE


def _generation(protocol: int) -> int:
    """The protocol that writes as ``protocol`` does."""
    return 2 if protocol == 1 else min(protocol, 4)


# Before Python 3.11.5 a possessive repetition may end in the middle of what it repeats (gh-106052): nothing is proven by such a one.
_RELIABLE = re.compile(rb"(?:N|[XB](?:a|bc|d))*+").match(b"NBbx").end() == 1  # type: ignore[union-attr]


def is_harmless(code: bytes, protocol: int) -> bool:
    """Whether the canonical stream ``code``, without code-carrying opcodes, is proven harmless to hash."""
    if not _RELIABLE:
        return False
    dialect = _dialect(_generation(protocol))
    if len(code) > _SMALL and not _worth_compiling(len(code), protocol):
        return protocol >= 4 and _few_hashes(code) and _Loose(code, dialect, small=True).proven(2)
    return _Loose(code, dialect, small=len(code) <= _SMALL).proven(2 if protocol >= 2 else 0)


# The opcodes of numbers of more than two bytes, and of tuples: keys of other kinds hash at random, or are too few to collide.
_HASHED = (b"J", b"G", b"\x8a", b"L", b"t", b"\x85", b"\x86", b"\x87")


def _few_hashes(code: bytes) -> bool:
    """Whether a stream of protocol 4 has few keys whose hashes somebody could choose.

    The bytes of the opcodes are counted wherever they stand, so it is never too few. The pattern for medium streams lets no tuple be
    used twice, so each counts once.
    """
    return sum(map(code.count, _HASHED)) <= _LOOSE_NUMBERS


def is_plain(data: bytes) -> bool:
    """Whether ``data`` is a small stream of protocol 4 or 5 in one frame, of plain data, proven harmless: no census needed.

    The pattern for small streams accepts a subset of what the census accepts, so this is both in one step.
    """
    size = len(data)
    if (
        not _RELIABLE
        or not _FRAME_END < size <= _ONE_FRAME
        or data[0] != 0x80
        or data[1] not in (4, 5)
        or data[2] != _FRAME
        or int.from_bytes(data[3:_FRAME_END], "little") != size - _FRAME_END
    ):
        return False
    if size > _SMALL and not _few_hashes(data):
        return False
    return _Loose(data, _dialect(4), small=True).proven(_FRAME_END)


def plain_code(data: bytes) -> bytes | None:
    """The canonical form of a large stream of plain data in frames, if it is proven harmless; no census needed.

    The pattern for large streams accepts a subset of what the census accepts, and that frames end where opcodes do is
    checked here too.

    Returns:
        The stream without its frame headers, or ``None`` if it has to take the usual way.
    """
    size = len(data)
    if (
        not _RELIABLE
        or size <= _SMALL
        or data[0] != 0x80
        or data[1] not in (4, 5)
        or not _worth_compiling(size, data[1])
    ):
        return None
    begun = opcodes.data_run(size).match(data, _FRAME_END, _LOOK).end()  # type: ignore[union-attr]
    if data[begun] in opcodes.CODE:  # most streams with code show it early, and need not be copied
        return None
    parts, pos, ends, end = [data[:2]], 2, [], 2
    while pos < size and data[pos] == _FRAME:
        start = pos + 9
        pos = start + int.from_bytes(data[pos + 1 : start], "little")
        if pos > size:
            return None
        parts.append(data[start:pos])
        end += pos - start
        ends.append(end)
    parts.append(data[pos:])
    code = b"".join(parts)
    if ends and end == len(code):
        ends.pop()  # the last frame ends behind STOP
    return code if _framed(code, ends) else None


_LOOK = 1 << 12

# A container that a frame cuts is at most about so long; how often its start may be looked for in one frame.
_CUT = 1 << 15
_TRIES = 8
_STEPS = 1_000
_CLOSING = b"eu"
_BATCHES = (b"(}", b"(]")


def _framed(code: bytes, ends: list[int]) -> bool:
    """Whether ``code`` is proven harmless and an opcode begins at each of ``ends``."""
    dialect = _dialect(4)
    walk = _Loose(code, dialect)
    opcode_run = opcodes.data_run(len(code))
    pos = 2
    for end in ends:
        tries, steps = _TRIES, _STEPS
        while True:
            pos = walk.run(dialect.whole, pos, end)
            if pos == end:
                break
            # Something unfinished: a container that the frame cuts is matched as a whole with the next one.
            # A batch that ends, or begins with a container, goes on with whole ones.
            if end - pos <= _CUT and code[pos] not in _CLOSING and code[pos : pos + 2] not in _BATCHES:
                if opcode_run.match(code, pos, end).end() == end:  # type: ignore[union-attr]
                    break
                tries -= 1
            bracket = dialect.bracket.match(code, pos, end)
            pos = walk.step(pos) if bracket is None else bracket.end()
            steps -= 1
            if not 0 <= pos <= end or not tries or not steps:
                return False
    return walk.proven(pos)


class _Loose:
    """Goes on where a pattern stops: long strings, and a bounded number of values that may be keys."""

    def __init__(self, code: bytes, dialect: _Dialect, *, small: bool = False) -> None:
        """``small``: it is short, or has few keys whose hashes somebody could choose."""
        self.code = code
        self.last = len(code) - 1
        self.dialect = dialect
        self.left = 0 if small else _LOOSE_NUMBERS
        self.small = small
        self.pattern = dialect.large if not small else dialect.small if len(code) <= _SMALL else dialect.medium
        self._records: re.Pattern[bytes] | None = None
        self._lesson = 0 if dialect.memo == _MEMOIZE and len(code) >= _MANY else len(code)  # where it is time to learn

    def proven(self, pos: int) -> bool:
        """Whether the pattern gets from ``pos`` to the STOP at the end."""
        code, last = self.code, self.last
        pattern = self.pattern
        while pos >= 0:
            pos = self.run(pattern, pos, len(code))
            if pos >= last:
                return pos == last and code[pos] == _STOP and (self.small or self.cheap())
            pos = self.step(pos)
        return False

    def cheap(self) -> bool:
        """Whether references to tuples cost little; only MEMOIZE leaves tuples in the memo here."""
        return self.dialect.memo != _MEMOIZE or cheap_references(self.code, 2)

    def run(self, pattern: re.Pattern[bytes], pos: int, end: int) -> int:
        """How far ``pattern``, a run of alternatives, gets from ``pos``; by records where there are some.

        A piece of the stream or a frame may cut what an alternative matches: then the run stops before it. Where the
        cut is before a MEMOIZE, which is optional, something shorter would match there.
        """
        code = self.code
        if pos >= self._lesson:
            self._lesson = 4 * pos + _MANY
            self._records = learn_records(code, pos, end)
        records, piece = self._records, _PIECE
        while records is not None and end - pos > piece:
            behind = records.match(code, pos, end).end()  # type: ignore[union-attr]
            piece = _PIECE if behind > pos else piece * 2
            cut = behind + piece
            pos = behind
            if cut >= end:
                break
            behind = pattern.match(code, pos, cut).end()  # type: ignore[union-attr]
            if behind == pos or code[behind] == _MEMOIZED:
                break
            pos = behind
        behind = pattern.match(code, pos, end).end()  # type: ignore[union-attr]
        if behind == end < len(code) and code[end] == _MEMOIZED:
            behind = pattern.match(code, pos, end - 1).end()  # type: ignore[union-attr]
        return behind

    def step(self, pos: int) -> int:
        """The position behind the opcode at ``pos``; -1 if it proves nothing."""
        code = self.code
        width = _LONG_STRINGS.get(code[pos])
        if width is not None:
            start = pos + 1 + width
            pos = start + int.from_bytes(code[pos + 1 : start], "little")
            if pos > self.last:  # an announced length that is not there, and may be too large for an index
                return -1
            if code[pos : pos + 1] == b"\x94":
                return pos + 1
        else:
            found = None if self.small else self.dialect.number.match(code, pos)
            self.left -= _LOOSE_REFERENCE if code[pos] in _LONG_GETS else 1
            if found is None or self.left < 0:
                return -1
            pos = found.end()
            if code[pos : pos + 1] == b"\x94":
                return -1
        return -1 if code[pos : pos + 1] in _PUTS else pos
