"""Code that was written for pickle, with one line changed.

Run it with ``python examples/dropin.py``.
"""

import io
import os
from dataclasses import dataclass

import safeload as pickle


@dataclass
class Point:
    """A class of the application's own."""

    x: float
    y: float


ROWS = {7: "row seven"}  # objects outside the pickle, by key


class RowUnpickler(pickle.Unpickler):
    """A subclass as pickle's documentation shows it: ``persistent_load`` is asked after the policy has agreed."""

    def persistent_load(self, pid):
        """The row with this key."""
        return ROWS[pid]


class RowPickler(pickle.Pickler):
    """Stores rows by key."""

    def persistent_id(self, obj):
        """The key of a row."""
        return 7 if obj == ROWS[7] else None


class Hostile:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("echo fired",)


def main() -> None:
    """The calls that programs make."""
    # dumps and loads, as always.
    assert pickle.loads(pickle.dumps({"a": [1, 2.5, None]}, protocol=pickle.HIGHEST_PROTOCOL)) == {"a": [1, 2.5, None]}

    # Several pickles in one file: each load stops right behind its own.
    stream = io.BytesIO()
    for number in range(3):
        pickle.dump(number, stream)
    stream.seek(0)
    assert [pickle.load(stream) for _ in range(3)] == [0, 1, 2]

    # Persistent ids, with subclasses of Pickler and Unpickler.
    stream = io.BytesIO()
    RowPickler(stream).dump(["row seven", "other"])
    stream.seek(0)
    assert RowUnpickler(stream).load() == ["row seven", "other"]

    # A class that the policy does not name is refused; the clause that caught pickle's errors catches that.
    saved = pickle.dumps(Point(1.0, 2.0))
    try:
        pickle.loads(saved)
    except pickle.UnpicklingError as error:
        print(f"refused: {error.code}")

    # Allow it by name, for one call or for the whole process.
    policy = pickle.Policy.packs("data", "numpy").allow(f"{Point.__module__}.Point")
    assert pickle.loads(saved, policy=policy) == Point(1.0, 2.0)
    pickle.configure(policy=policy)
    print(pickle.loads(saved))

    # What no policy of this program names is refused before a byte of it runs.
    try:
        pickle.loads(pickle.dumps(Hostile()))
    except pickle.UnpicklingError as error:
        print(f"refused: {error.code}, verdict {error.report.verdict}")


if __name__ == "__main__":
    main()
