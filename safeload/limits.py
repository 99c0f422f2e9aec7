"""The bounds that keep a hostile artifact from exhausting the process that reads it.

One frozen dataclass; every bound has a default that real artifacts stay far below, and a
:class:`~safeload.errors.LimitExceededError` that names the field to raise. Sizes are bytes, the rest are counts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for reading, analysing and loading one artifact.

    Attributes:
        max_artifact_bytes: size of the whole artifact.
        max_stream_bytes: size of one opcode stream without its long literals (array bytes).
        max_tuple_depth: nesting of tuples (CPython hashes tuples recursively in C).
        max_nesting: levels of objects that calls make (some C types are freed recursively).
        max_hash_work: elements visited when every dict key and set member of a stream is hashed once.
        max_probes: longest chain of colliding keys in one dict or set.
        max_constructed_keys: dict keys and set members in one stream that a call made, so that their hash is not known
            beforehand (numpy scalars do not count).
        max_integer_digits: length of a number written as text (protocol 0, JSON).
        max_global_name: length of a module or attribute name.
        max_globals: distinct globals in one artifact.
        max_operations: imports, calls and state sets in one stream.
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

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"Limits.{field.name} must be an int, not {type(value).__name__}")
            if value < 1:
                raise ValueError(f"Limits.{field.name} must be at least 1, got {value}")


DEFAULT_LIMITS = Limits()
