"""The bounds that keep a hostile artifact from exhausting the process that reads it.

One frozen dataclass; every bound has a default that real artifacts stay far below, and a
:class:`~safeload.errors.LimitExceededError` that names the field to raise. Sizes are bytes, the rest are counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NoReturn

from safeload.errors import LimitExceededError

__all__ = ["DEFAULT_LIMITS", "ArtifactBudget", "Limits", "Spending"]

# What one stream costs besides its opcodes, as bytes of opcodes: to set up a census, and a trace with what follows it.
_STREAM, _TRACED = 100, 2_000
# How much of that an artifact may have for each of its own bytes, whatever the limit is.
_WORK_PER_BYTE = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for reading, analysing and loading one artifact.

    Attributes:
        max_artifact_bytes: size of the whole artifact.
        max_stream_bytes: size of one opcode stream without its long literals (array bytes).
        max_tuple_depth: nesting of tuples (CPython hashes tuples recursively in C).
        max_nesting: levels of objects that calls make (some C types are freed recursively).
        max_hash_work: elements visited when every dict key and set member of an artifact is hashed once.
        max_probes: longest chain of colliding keys in one dict or set.
        max_constructed_keys: dict keys and set members in one stream that a call made, so that their hash is not known
            beforehand (numpy scalars do not count).
        max_integer_digits: length of a number written as text (protocol 0, JSON).
        max_global_name: length of a module or attribute name.
        max_globals: distinct globals in one artifact.
        max_operations: imports, calls and state sets in one artifact.
        max_work: bytes of opcodes that are judged in one artifact, where each stream counts for 100 more, and one that imports or
            calls for 2,000 more; an artifact that is large itself may have 16 for each of its bytes.
        max_compiled: characters of patterns and other descriptions that a load would compile, in one artifact.
        max_claims_bytes: size of an envelope's claims.
        max_members: entries of an archive or container, and arrays in a file.
        max_depth: containers inside containers.
        max_unpacked_bytes: what all compressed parts of an artifact unpack to, together.
        max_ratio: unpacked bytes per packed byte, for what unpacks to more than 64 MiB.
        max_large_ratio: the same for what unpacks to more than 1 GiB.
        max_unpacked_memory: unpacked bytes of one compressed part that are kept in memory; more go to a temporary file without a
            name (not those of an encrypted envelope).
        max_unpacked_objects: memory for the objects of pickles that are unpacked, by an estimate; for an artifact that is large
            itself, as much as a pickle of its size could need.
        max_json_bytes: size of a JSON text, which is parsed in memory; its objects take some ten times as much.
        max_json_depth: nesting of arrays and objects in a JSON text.
        max_sandbox_seconds: time for one request to the sandbox, from its start to its result.
        max_sandbox_memory: what a process in the sandbox may take beyond the libraries in it.
        max_sandbox_result: size of one result of the sandbox.
    """

    max_artifact_bytes: int = 1 << 36
    max_stream_bytes: int = 1 << 30
    max_tuple_depth: int = 500
    max_nesting: int = 2_000
    max_hash_work: int = 50_000_000
    max_probes: int = 1_000
    max_constructed_keys: int = 4_096
    max_integer_digits: int = 4_300
    max_global_name: int = 1_024
    max_globals: int = 10_000
    max_operations: int = 10_000_000
    max_work: int = 1 << 25
    max_compiled: int = 4_000
    max_claims_bytes: int = 65_536
    max_members: int = 100_000
    max_depth: int = 6
    max_unpacked_bytes: int = 1 << 34
    max_ratio: int = 1_000
    max_large_ratio: int = 100
    max_unpacked_memory: int = 1 << 27
    max_unpacked_objects: int = 1 << 29
    max_json_bytes: int = 1 << 29
    max_json_depth: int = 200
    max_sandbox_seconds: int = 60
    max_sandbox_memory: int = 1 << 31
    max_sandbox_result: int = 1 << 30

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"Limits.{each.name} must be an int, not {type(value).__name__}")
            if value < 1:
                raise ValueError(f"Limits.{each.name} must be at least 1, got {value}")


DEFAULT_LIMITS = Limits()


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
    """What the streams of one artifact cost together when they are loaded, by what is known before.

    Each method notes more of it, and says whether that is too much: eight members of 300 bytes took half a minute to compile
    their patterns, each within the bound for one stream.

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

    def spend(self, used: tuple[int, ...]) -> bool:
        """Note what a stream costs that was judged before, and is loaded once more; says whether it is too much."""
        copies, patterns, templates, heavy, fields = used
        return (
            self.copies_too_much(copies)
            | self.compiles_too_much(patterns, templates)
            | self.too_heavy(heavy)
            | self.describes_too_much(fields)
        )


@dataclass(slots=True)
class Spending:
    """What judging one artifact has cost so far, all of its streams and members together.

    One is made for each artifact and handed to whatever judges a part of it. Limits that hold for a stream alone let an
    archive of a few hundred bytes, with tens of thousands of streams in it, take a scan for minutes. Counts only, no clock:
    the same artifact gets the same verdict on every machine.

    Attributes:
        limits: the bounds.
        size: bytes of the whole artifact, as far as they are known.
        work: see ``Limits.max_work``. operations, hash_work, compiled: as the limits of these names.
        calls: what its calls would copy and compile.
        exhausted: what was raised when one of them was reached; nothing more of the artifact is judged then.
    """

    limits: Limits
    size: int = 0
    work: int = 0
    operations: int = 0
    hash_work: int = 0
    compiled: int = 0
    calls: ArtifactBudget = field(default_factory=ArtifactBudget)
    exhausted: LimitExceededError | None = None

    def judge(self, code_size: int, *, traced: bool) -> None:
        """Charge one stream with ``code_size`` bytes of opcodes.

        Raises:
            LimitExceededError: all streams together take too long to be judged.
        """
        self.work += code_size + (_TRACED if traced else _STREAM)
        if self.work > self.limits.max_work and self.work > self.size * _WORK_PER_BYTE:
            self._too_much("max_work", self.limits.max_work, "streams take more work to be judged than", "limit.work")

    def operate(self, count: int) -> None:
        """Charge imports, calls and state sets.

        Raises:
            LimitExceededError: there are too many.
        """
        self.operations += count
        if self.operations > self.limits.max_operations:
            most = self.limits.max_operations
            self._too_much("max_operations", most, "imports, calls and state sets are more than", "limit.operations")

    def hash(self, work: int) -> None:
        """Charge steps to hash keys and to copy arguments.

        Raises:
            LimitExceededError: there are too many.
        """
        self.hash_work += work
        if self.hash_work > self.limits.max_hash_work:
            most = self.limits.max_hash_work
            self._too_much(
                "max_hash_work", most, "steps to hash its keys and copy its arguments are more than", "limit.hash-work"
            )

    def compile(self, characters: int) -> None:
        """Charge the text of a pattern, or of another description that is compiled when it is loaded.

        Raises:
            LimitExceededError: all of them together are too long.
        """
        self.compiled += characters
        if self.compiled > self.limits.max_compiled:
            self._too_much("max_compiled", self.limits.max_compiled, "patterns are longer than", "limit.compiled")

    def check(self) -> None:
        """Refuse to go on where a limit was reached before.

        Raises:
            LimitExceededError: it was.
        """
        if self.exhausted is not None:
            raise self.exhausted

    def _too_much(self, name: str, most: int, what: str, code: str) -> NoReturn:
        self.exhausted = LimitExceededError(
            f"the artifact's {what} {name}={most:,}; raise Limits({name}=...) if you trust the author", code=code
        )
        raise self.exhausted
