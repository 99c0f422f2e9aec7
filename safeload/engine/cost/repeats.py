"""Segments of a stream that do the same again: walked once, recognised after that.

A forest is two hundred times the same opcodes with other numbers and other array bytes. When the key walk has finished
an object (BUILD, REDUCE), the segment since the end of the one before it on the same stack becomes a *template*: the same
opcodes and memo references, literals by their class. What matches it where it ended has the same effect:

* It is closed: simulated here opcode by opcode, it takes nothing from the stack that it did not push, leaves the marks as
  they were, imports nothing, and calls what the memo held before it.
* It is apart: memo references lead to before the segment (not into it, not into another one), and nothing found there gets
  parts, keys or a state. So it reads the same values each time, and changes nothing but what it makes.
* It weighs the same: what the walk charges depends on literals only by their class (:data:`~safeload.engine.cost.nodes.ROUNDED`
  for lengths; numbers of up to seven bytes weigh one), and by the value of a key only for large or heavy keys, which
  make no template. The literals of numpy's scalars are of the same length, because their hash is known only for some.

So a match costs what the walk of its model was charged, fills as many memo slots, and leaves on the stack a *twin* of each
node that the model left. A twin has the model's parts, so it may be weighed, but it knows neither the values nor the memo
slots. Rule: whatever asks for those (a memo reference into a match, a key that holds a twin, parts that come late) raises
:class:`~safeload.engine.cost.nodes.ShortcutError`, and the stream is walked again without templates.

What matched often is kept: :mod:`~safeload.engine.cost.folding` leaves most of it out of the trace, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.engine.cost.nodes import ROUNDED, Node, twin_of
from safeload.engine.cost.patterns import Found, Pattern
from safeload.engine.cost.segments import (
    ARRAY,
    BUFFER,
    BYTEARRAY8,
    END,
    EXACT,
    LITERAL,
    MADE,
    MEMO_READS,
    NEXT_BUFFER,
    NUMBER,
    NUMBERS,
    PUT,
    TEXT,
    OpenSegmentError,
    Segment,
    put_into,
    short_long,
    text_at,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from safeload.engine.cost.scales import Scales

__all__ = ["Repeats", "Template"]

_BUILD = 0x62

_MAX_TEMPLATES = 8
# Compiling a pattern takes up to some milliseconds. It is worth it after so many matches, for so many parts.
_MAX_PATTERNS = 16
_WORTH = 3
_LONG = 8
# Numbers and strings in the matches that are kept: beyond it they are not left out of the trace.
_MOST_NUMBERS = 500_000
# Steps that may be taken for nothing: opcodes simulated, parts compared of what does not match in the end. Every byte that a
# match skips earns one.
_PATIENCE = 100_000


class Template:
    """One segment, as what matches it.

    Attributes:
        pushed: what it leaves on the stack: a tag, and the value, or the number of the part that has the bytes.
        reads: memo slots, what they held when the template was made, and how that looked.
        memoized: memo slots that it fills. ``buffers``: those that it takes.
        work, constructed: what its model was charged.
        puts: by the number of a part that is a PUT, how many slots the segment has filled before.
        model: where its model begins and ends, how many buffers were taken and how many slots filled before it.
        slot: the memo slot that holds all that the model left, what a call made and BUILD has set the state of; -1 if that is not so.
        pattern: the parts as regular expressions, if it is worth it.
        matches: how often it matched; ``found``: where it did by its pattern, and the buffers taken before.
    """

    __slots__ = (
        "buffers", "constructed", "found", "matches", "memoized", "model", "parts", "pattern", "pushed", "puts", "reads",
        "slot", "texts", "work",
    )  # fmt: skip

    def __init__(self, segment: Segment, pushed: list[Any], model: tuple[int, int, int, int], slot: int) -> None:
        self.parts = segment.parts
        self.puts = segment.puts
        self.model = model
        self.slot = slot
        self.pattern: Pattern | None = None
        self.found: list[tuple[int, int, Found]] = []
        self.pushed: list[tuple[int, Any]] = [
            # A twin of the model already: the stream may change the model from now on.
            (tag, twin_of(value) if tag == MADE else content if tag == LITERAL else value)
            for (tag, content), value in zip(segment.stack, pushed, strict=True)
        ]
        self.texts = frozenset(content for tag, content in segment.stack if tag == LITERAL)
        self.reads = [(slot, value, _looks(value)) for slot, value in segment.reads.items()]
        self.memoized = segment.memoized
        self.buffers = sum(part.kind == BUFFER for part in self.parts)
        self.work = self.constructed = self.matches = 0

    @property
    def is_long(self) -> bool:
        """Whether a pattern is faster than a look at each part, or other use is made of it."""
        return not self.texts and (self.slot >= 0 or len(self.parts) >= _LONG)

    def holds(self, memo: Mapping[int, Any]) -> bool:
        """Whether all that it reads is as it was when the template was made."""
        return all(memo.get(slot, self) is value and _looks(value) == looks for slot, value, looks in self.reads)

    def match(self, code: bytes, pos: int, sizes: Sequence[int], taken: int, slots: int, longest: int) -> _Match | int:
        """What matches at ``pos``, while ``taken`` of the buffers of these ``sizes`` are taken, or how many parts did.

        ``slots`` of the memo are filled. No integer in it is longer than ``longest`` bytes.
        """
        texts: dict[int, bytes] = {}
        end = len(code) - 1  # there is a STOP behind every segment
        for index, (run, kind, size, _, _) in enumerate(self.parts):
            if not code.startswith(run, pos):
                return index
            pos += len(run)
            if pos >= end:
                return index
            if kind == NUMBER:
                pos += NUMBERS.get(code[pos]) or short_long(code, pos, longest) or end  # beyond the end is no match
            elif kind == END:
                return _Match(pos, texts, None)
            elif kind == PUT:
                # The slots in between are filled by MEMOIZE.
                slot = slots + self.puts[index]
                pos = put_into(code, pos, slot) or end
            elif kind == BUFFER:
                if code[pos] != NEXT_BUFFER or taken >= len(sizes) or ROUNDED[sizes[taken].bit_length()] != size:
                    return index
                taken += 1
                pos += 1
            elif (code[pos] == BYTEARRAY8) != (kind == ARRAY):
                return index
            else:
                start, pos = text_at(code, pos)
                length = pos - start
                if (kind == TEXT and ROUNDED[length.bit_length()] != size) or (kind == EXACT and length != size):
                    return index
                if index in self.texts:
                    texts[index] = code[start:pos]
        return len(self.parts)


class _Match(NamedTuple):
    """Where a match ends, the bytes that it leaves on the stack, by their part, and what the pattern found."""

    end: int
    texts: dict[int, bytes]
    found: Found | None


def _looks(value: Any) -> tuple[Any, ...]:
    """All of a node that a charge or a check depends on and that can change."""
    if type(value) is not Node:
        return ()
    return value.weight, value.depth, value.levels, value.opaque, len(value.items), len(value.keys or ())


class Repeats:
    """What one walk has learned of its stream, the buffers of which have these ``sizes``."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.templates: list[Template] = []
        self.patterned: list[Template] = []  # those with a pattern, in use or not
        self.room = _MOST_NUMBERS
        # Where the last object on a stack ended: the stack, its height, the position, memo slots, and the walk's account.
        self.ends: dict[tuple[int, int], tuple[Any, ...]] = {}
        self.patience = _PATIENCE

    def ended(self, walk: Scales, code: bytes, pos: int, opcode: int, level: int, stack: list[Any]) -> int:
        """``opcode`` has made an object that ends at ``pos``, ``level`` marks deep; returns where the matches end."""
        account = (walk.work, walk.constructed, len(walk.large), walk.taken)
        key = level, opcode
        end = self.ends.get(key)
        if end is not None and end[0] is stack and self._begins_alike(code, end[2], pos):
            self._learn(walk, code, pos, end, account)
        if self.templates:
            pos = self._skip(walk, code, pos, stack)
            account = (walk.work, walk.constructed, len(walk.large), walk.taken)
        self.ends[key] = (stack, len(stack), pos, len(walk.memo) + walk.skipped, account)
        return pos

    def _begins_alike(self, code: bytes, start: int, pos: int) -> bool:
        """Whether it is worth a try: the same first opcode, and the same slot if that reads the memo."""
        first = code[pos]
        return first == code[start] and (first not in MEMO_READS or code[pos + 1] == code[start + 1])

    def _learn(self, walk: Scales, code: bytes, pos: int, end: tuple[Any, ...], account: tuple[int, ...]) -> None:
        """Make a template of the segment that ends at ``pos``, if it can be one."""
        stack, height, start, slots, (work, constructed, large, taken) = end
        if self.patience <= 0 or account[2] != large:
            return
        segment = Segment(walk.memo, slots, walk.sizes[taken : walk.taken])
        try:
            segment.run(code, start, pos)
        except OpenSegmentError:
            return
        finally:
            self.patience -= segment.steps
        pushed = stack[height:]
        if len(pushed) != len(segment.stack) or len(walk.memo) + walk.skipped != slots + segment.memoized:
            return
        slot = -1
        if len(pushed) == 1 and getattr(pushed[0], "made", False) and code[pos - 1] == _BUILD:
            slot = next((n for n in range(slots, slots + segment.memoized) if walk.memo.get(n) is pushed[0]), -1)
        template = Template(segment, pushed, (start, pos, taken, slots), slot)
        template.work, template.constructed = account[0] - work, account[1] - constructed
        self.templates.insert(0, template)
        del self.templates[_MAX_TEMPLATES:]

    def _skip(self, walk: Scales, code: bytes, pos: int, stack: list[Any]) -> int:
        """Account for all matches from ``pos`` on."""
        usable = self.templates
        checked: set[int] = set()
        while True:
            match = self._match(walk, code, pos, checked)
            if match is None:
                break
            template, found = match
            self.patience = min(self.patience + found.end - pos, _PATIENCE)
            self._note(template, found, pos, walk.taken)
            pos = found.end
            _account(walk, template, found, stack)
            if template is not usable[0]:
                usable.remove(template)
                usable.insert(0, template)
        if self.patience <= 0:
            self.templates.clear()
        return pos

    def _match(self, walk: Scales, code: bytes, pos: int, checked: set[int]) -> tuple[Template, _Match] | None:
        """The template that matches at ``pos`` and holds; ``checked`` are those that were seen to hold."""
        slots = len(walk.memo) + walk.skipped
        for template in self.templates:
            pattern = template.pattern
            found = None if pattern is None else pattern.match(code, pos, walk.sizes, walk.taken, slots)
            if found is not None and self._holds(walk, template, checked):
                return template, _Match(found.end, {}, found)
        for template in self.templates:
            match = template.match(code, pos, walk.sizes, walk.taken, slots, walk.longest_integer)
            if isinstance(match, int):
                self.patience -= match
            elif self._holds(walk, template, checked):
                return template, match
        return None

    def _holds(self, walk: Scales, template: Template, checked: set[int]) -> bool:
        if id(template) in checked:
            return True
        if template.holds(walk.memo):
            checked.add(id(template))
            return True
        self.patience -= len(template.parts) + len(template.reads)
        return False

    def _note(self, template: Template, match: _Match, pos: int, taken: int) -> None:
        """What has matched before gets a pattern."""
        template.matches += 1
        if match.found is not None and self.room > 0:
            template.found.append((pos, taken, match.found))
            self.room -= len(template.parts)
        elif template.matches == _WORTH and len(self.patterned) < _MAX_PATTERNS and template.is_long:
            template.pattern = Pattern.of(template.parts, list(template.puts.values()))
            self.patterned.append(template)


def _account(walk: Scales, template: Template, found: _Match, stack: list[Any]) -> None:
    """Let ``walk`` be as if it had walked the match."""
    walk.matches += 1
    walk.skipped += template.memoized
    walk.taken += template.buffers
    walk.spend(template.work)
    if template.constructed:
        walk.count_constructed(template.constructed)
    for tag, value in template.pushed:
        if tag == MADE:
            stack.append(twin_of(value))
        else:
            stack.append(found.texts[value] if tag == LITERAL else value)
