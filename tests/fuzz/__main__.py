"""Fuzzing as a command of its own: ``python -m tests.fuzz [--seconds N] [target …]``.

With atheris (``pip install safeload[fuzz]``) the targets are guided by coverage; without it, the same targets get the
same corpus, mutated at random. The property is always: *an object or a SafeloadError, nothing else*; a scan never
raises; and what the readers of a stream disagree on is refused. A failing input is written to the current directory.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import pickle
import pickletools
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import safeload
from safeload.engine.census import take_census
from safeload.limits import Limits
from safeload.source.sources import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits(max_artifact_bytes=1 << 20, max_stream_bytes=1 << 20, max_hash_work=1_000_000)
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


def load(data: bytes) -> None:
    """Bytes, file and Unpickler."""
    for read in (
        lambda: safeload.loads(data, limits=LIMITS),
        lambda: safeload.load(io.BytesIO(data), limits=LIMITS),
        lambda: safeload.Unpickler(
            io.BytesIO(data), limits=LIMITS, encoding="latin1", buffers=[b"one", bytearray(b"two")]
        ).load(),
    ):
        try:
            read()
        except safeload.SafeloadError as error:
            if not isinstance(error, pickle.UnpicklingError):
                raise TypeError(type(error)) from error


def scan(data: bytes) -> None:
    """Never raises; what it calls clean loads, or fails in a constructor."""
    report = safeload.scan(data, limits=LIMITS)
    report.to_json()
    if report.verdict == "clean":
        with contextlib.suppress(safeload.LoadError):
            safeload.load(io.BytesIO(data), limits=LIMITS)


def readers(data: bytes) -> None:
    """The census ends where genops and the C unpickler end."""
    try:
        size = take_census(BytesSource(data), LIMITS).size
    except safeload.SafeloadError:
        return
    file = io.BytesIO(data)
    try:
        _Inert(file).load()
    except Exception:
        return
    if file.tell() != size:
        raise AssertionError(f"the C unpickler ends at {file.tell()}, the census at {size}")
    last = 0
    try:
        for _, _, position in pickletools.genops(data):
            last = position or 0
    except ValueError:  # genops unescapes names; what it cannot read is refused later
        try:
            safeload.loads(data, limits=LIMITS)
        except safeload.SafeloadError:
            return
        raise
    if last + 1 != size:
        raise AssertionError(f"genops ends at {last + 1}, the census at {size}")


class _Nothing:
    def __new__(cls, *_args: object, **_kwargs: object) -> object:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *_args: object) -> object:
        return self

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass

    def append(self, _item: object) -> None:
        pass

    extend = add = append


class _Inert(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        return _Nothing

    def persistent_load(self, pid: object) -> None:
        return None


TARGETS: dict[str, Callable[[bytes], None]] = {"load": load, "scan": scan, "readers": readers}


def corpus() -> list[bytes]:
    """Small pickles of everything that the default policy knows."""
    import collections
    import datetime as dt
    import decimal
    import uuid

    import numpy as np

    values = [
        None, [1, 2.5, "a", b"b", 1 << 70], {"a": {"b": (1, 2)}}, {1, 2}, frozenset("ab"), bytearray(b"x" * 40), complex(1, 2),
        collections.OrderedDict(a=1), collections.Counter("aab"), collections.defaultdict(list, a=[1]), collections.deque([1], 3),
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC), decimal.Decimal("1.5"), uuid.UUID(int=7), np.arange(5), np.array(["a", None], dtype=object),
        np.zeros(2, dtype=[("a", "i4"), ("b", "f8", (2,))]), np.float64(1.5), np.datetime64("2020-01-01"), np.ma.array([1, 2], mask=[0, 1]),
        np.random.default_rng(0), ValueError("x"), slice(1, 2), range(3), b"long" * 10_000,
    ]  # fmt: skip
    return [pickle.dumps(value, protocol) for value in values for protocol in range(6)]


def mutate(data: bytes, seeds: list[bytes], chooser: random.Random) -> bytes:
    """One to eight random changes."""
    out = bytearray(data)
    for _ in range(chooser.randint(1, 8)):
        at = chooser.randint(0, len(out))
        kind = chooser.randrange(6)
        if kind == 0 and at < len(out):
            out[at] = chooser.randrange(256)
        elif kind == 1:
            out[at:at] = chooser.choice(OPCODES)
        elif kind == 2:
            del out[at : at + chooser.randint(1, 8)]
        elif kind == 3:
            other = chooser.choice(seeds)
            start = chooser.randint(0, len(other))
            out[at:at] = other[start : start + chooser.randint(1, 60)]
        elif kind == 4:
            out[at:at] = out[max(0, at - chooser.randint(1, 20)) : at]
        else:
            out[at:at] = chooser.choice(
                [b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"1\n", b"-1\n", b"999999999999\n", b"(" * 9, b"\x94"]
            )
    return bytes(out[: 1 << 16])


def at_random(names: list[str], seconds: float, seed: int) -> int:
    """Without atheris; returns the number of inputs tried."""
    chooser, seeds, tried = random.Random(seed), corpus(), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutate(chooser.choice(seeds), seeds, chooser)
        tried += 1
        for name in names:
            try:
                TARGETS[name](data)
            except BaseException:
                path = Path(f"fuzz-{name}-{hashlib.sha256(data).hexdigest()[:12]}.pkl")
                path.write_bytes(data)
                print(f"{name} failed; the input is in {path}", file=sys.stderr)
                raise
        if tried % 200 == 0:
            seeds.append(data)
    return tried


def with_atheris(name: str, seconds: float) -> None:
    """Guided by coverage of safeload's own Python code."""
    import tempfile

    import atheris

    with tempfile.TemporaryDirectory() as folder:
        for index, data in enumerate(corpus()):
            Path(folder, str(index)).write_bytes(data)
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], folder, f"-max_total_time={int(seconds)}", "-max_len=4096"], TARGETS[name])
        atheris.Fuzz()


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"one or more of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="for the random fallback")
    parser.add_argument("--random", action="store_true", help="do not use atheris")
    given = parser.parse_args(arguments)
    names = given.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"unknown targets: {', '.join(sorted(unknown))}")
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    if not given.random and len(names) == 1:
        try:
            import atheris  # noqa: F401
        except ImportError:
            print("atheris is not installed; fuzzing at random", file=sys.stderr)
        else:
            with_atheris(names[0], given.seconds)
            return 0
    tried = at_random(names, given.seconds, seed)
    print(f"{tried:,} inputs, seed {seed}: no failure")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
