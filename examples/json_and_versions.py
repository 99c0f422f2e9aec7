"""Settings as JSON: readable, with types that come back, checked against a schema, upgraded from an older version.

Run it with ``python examples/json_and_versions.py``; it works in a temporary directory.
"""

import dataclasses
import datetime as dt
import json
import tempfile
from pathlib import Path

import safeload


@safeload.register_json(name="settings.Window")  # only registered classes are ever made from a file
@dataclasses.dataclass
class Window:
    """A dataclass of the program."""

    opens: dt.time
    days: frozenset[str]


@safeload.migration("settings", from_version=1)
def hosts_in_a_list(old: dict) -> dict:
    """Version 1 had one text for all hosts."""
    return {**old, "hosts": old["hosts"].split(",")}


@safeload.migration("settings", from_version=2)
def timeout_in_seconds(old: dict) -> dict:
    """Version 2 had milliseconds."""
    return {**old, "timeout": old["timeout"] / 1000}


SCHEMA = {
    "required": ["hosts", "timeout"],
    "properties": {
        "hosts": {"type": "array", "items": {"type": "string"}},
        "timeout": {"type": "number", "maximum": 60},
    },
}


def refused(what: str, **options: object) -> None:
    """Say why it does not load."""
    try:
        safeload.loads(what.encode() if isinstance(what, str) else what, **options)
    except safeload.SafeloadError as error:
        print(f"refused  {error.code}: {error}")


def main() -> None:
    """Write, read, upgrade, and see what is refused."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "window.json"
        safeload.dump(Window(dt.time(8, 30), frozenset({"mon", "tue"})), path, codec="json")
        print(f"text     {path.read_text()}")
        print(f"loaded   {safeload.load(path).opens!r}")

    key = safeload.Key.generate("hs256")
    old = safeload.dumps({"hosts": "a,b", "timeout": 1500}, codec="json", key=key, kind="settings", version=1)
    print(f"upgraded {safeload.loads(old, keys=key, kind='settings', schema=SCHEMA)}")

    newer = safeload.dumps({}, codec="json", key=key, kind="settings", version=9)
    refused(newer, keys=key)
    slow = safeload.dumps({"hosts": [], "timeout": 90}, codec="json", key=key, kind="settings")
    refused(slow, keys=key, schema=SCHEMA)
    refused('{"admin": false, "\\u0061dmin": true}')
    refused(json.dumps({"$safeload": "object", "name": "os.system", "v": ["ls"]}))


if __name__ == "__main__":
    main()
