"""Functions by value: dill pickles load for a signer who may ship code, and for nobody else.

Such a pickle is a program: loading it runs what its author wrote. Needs ``pip install 'safeload[dill]'``.
Run it with ``python examples/code_pickles.py``.
"""

import re
import tempfile
import threading
from pathlib import Path

import dill

import safeload
from safeload import Key, KeyEntry, KeyRing

FACTOR = 2


def scale(value):
    """A function of the main program, which another program cannot import by name."""
    return FACTOR * value


class Pipeline:
    """An object with parts that pickle cannot write."""

    def __init__(self):
        self.transform = lambda value: value + 1
        self.lock = threading.Lock()


def main() -> None:
    """Sign a function, load it with and without the grant, look at an unsigned one."""
    key = Key.generate("ed25519")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "scale.sle"
        safeload.dump(scale, path, codec="dill", key=key)

        # The grant belongs to the signer and stands in the reader's ring, nowhere in the file.
        trusted = KeyRing([KeyEntry(key.public, grants={"code"})])
        print(f"with the grant: {safeload.load(path, keys=trusted)(21)}")
        try:
            safeload.load(path, keys=KeyRing([KeyEntry(key.public)]))
        except safeload.PolicyError as error:
            print(f"without the grant: {error.code}")

    unsigned = dill.dumps(scale)
    try:
        safeload.loads(unsigned)
    except safeload.PolicyError as error:
        print(f"unsigned: {error.code}")
    for finding in safeload.scan(unsigned).findings:
        if finding.rule_id == "code.function":
            text = finding.message.removeprefix("makes the function ").replace(str(Path(__file__).parent) + "/", "")
            print(f"it would make: {re.sub(', line [0-9]+', '', text)}")

    # What is wrong with an object, before anybody writes it.
    report = safeload.check(Pipeline())
    for part in report.bad:
        print(f"pickle cannot write {part.path}, a {part.type}: {part.reason}")
    for each in report.codecs:
        if each.ok:
            print(f"{each.name} can{', with code' if each.code else ''}")
    print(safeload.check({"rows": [1, 2, 3]}))


if __name__ == "__main__":
    main()
