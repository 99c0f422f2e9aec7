"""A cache of signed objects on a disk that others can write to, with an audit trail.

Each entry is bound to its key and expires; an entry that was changed, moved or is too old is a miss, and the trail
says why. Run it with ``python examples/audit_service.py``.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

import safeload
from safeload.audit import JsonlSink, read_trail, verify_trail


class Cache:
    """Objects by name, in files of ``folder``."""

    def __init__(self, folder: Path, keys: safeload.KeyRing, trail: Path) -> None:
        # The trail is a required sink: where an access cannot be put on record, it does not happen.
        self._loader = safeload.Loader(keys=keys, audit=JsonlSink(trail))
        self._keys = keys
        self._folder = folder

    def path(self, name: str) -> Path:
        """The file of an entry; the name never becomes part of a path."""
        return self._folder / hashlib.sha256(name.encode()).hexdigest()

    def put(self, name: str, value: object, *, seconds: float = 3_600) -> None:
        """Store ``value``."""
        self._loader.dump(value, self.path(name), key=self._keys.primary, context=f"cache/{name}", expires_in=seconds)

    def get(self, name: str) -> object:
        """The value of ``name``, or ``None`` if there is none that can be trusted."""
        try:
            return self._loader.load(self.path(name), context=f"cache/{name}")
        except FileNotFoundError:
            return None
        except safeload.EnvelopeError as error:
            print(f"miss for {name!r}: {error.code}")
            return None


def main() -> None:
    """Fill the cache, attack it, read the trail."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trail = folder / "trail.jsonl"
        (folder / "cache").mkdir()
        keys = safeload.KeyRing([safeload.Key.generate("hs256")])
        cache = Cache(folder / "cache", keys, trail)

        cache.put("user/1", {"name": "Ada", "admin": True})
        cache.put("user/2", {"name": "Eve", "admin": False})
        print(cache.get("user/1"))

        # Somebody who can write to the disk gives user 2 the entry of user 1. It is valid, but not here.
        shutil.copy(cache.path("user/1"), cache.path("user/2"))
        print(cache.get("user/2"))

        # A new key: old entries still open, new ones are sealed with it.
        rotated = Cache(folder / "cache", keys.rotate(safeload.Key.generate("hs256")), trail)
        print(rotated.get("user/1"))

        refused = [event for event in read_trail(trail) if event.get("outcome") == "refused"]
        print(f"refusals on record: {', '.join(sorted({str(event['reason_code']) for event in refused}))}")
        report = verify_trail(trail)
        print(
            f"{report.events} events, chain {'intact' if report.ok else 'broken'}, unfinished {len(report.unfinished)}"
        )


if __name__ == "__main__":
    main()
