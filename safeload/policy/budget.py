"""What the streams of one artifact may cost together when they are loaded.

A file of many members has as many streams, and each is judged by itself. A bound for a stream alone is no bound: eight members of
300 bytes took half a minute to compile their patterns. So whoever judges the streams of one artifact passes the same object along.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ArtifactBudget"]

# Bytes that calls may copy, or make in place of what they are given.
_MOST_COPIES = 1 << 28
# Characters of regular expressions, five microseconds each to compile; what is costly in one is charged as many of them.
_MOST_PATTERNS = 100_000
# Characters of code that scipy makes of a distribution's shapes; a distribution has some 350, compiled in 0.3 ms.
_MOST_TEMPLATES = 1 << 20
# Objects that take kilobytes or a tenth of a millisecond, and few bytes of a stream.
_MOST_HEAVY = 20_000
# Fields of dtypes, counted with those of the dtypes inside of them.
_MOST_FIELDS = 1_000_000


@dataclass(slots=True)
class ArtifactBudget:
    """What has been used up so far; each method notes more of it, and says whether that is too much.

    Attributes:
        copies: bytes that calls copy.
        patterns: characters of regular expressions.
        templates: characters of code templates.
        heavy: objects that are heavier than what the pickle says of them.
        fields: fields of dtypes.
    """

    copies: int = 0
    patterns: int = 0
    templates: int = 0
    heavy: int = 0
    fields: int = 0

    def copies_too_much(self, size: int) -> bool:
        """Whether ``size`` bytes more are too many."""
        self.copies += size
        return self.copies > _MOST_COPIES

    def compiles_too_much(self, patterns: int = 0, templates: int = 0) -> bool:
        """Whether so many more characters to compile are too many."""
        self.patterns += patterns
        self.templates += templates
        return self.patterns > _MOST_PATTERNS or self.templates > _MOST_TEMPLATES

    def too_heavy(self, objects: int = 1) -> bool:
        """Whether so many heavy objects more are too many."""
        self.heavy += objects
        return self.heavy > _MOST_HEAVY

    def describes_too_much(self, fields: int) -> bool:
        """Whether so many more fields of dtypes are too many."""
        self.fields += fields
        return self.fields > _MOST_FIELDS

    def used(self) -> tuple[int, ...]:
        """All of it."""
        return self.copies, self.patterns, self.templates, self.heavy, self.fields
