"""Train a model, sign it, load it in another process, and see a hostile file refused.

Run it with ``python examples/quickstart.py``; it needs scikit-learn (``pip install safeload[sklearn]``) and works in a
temporary directory.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import safeload
from safeload.audit import read_trail, verify_trail

CONTEXT = "model/iris"  # where the file belongs: a valid file in another place does not open


def train(folder: Path, key: safeload.Key) -> None:
    """The writer: it has the private key."""
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier

    features, species = load_iris(return_X_y=True)
    model = RandomForestClassifier(n_estimators=50, random_state=0).fit(features, species)
    safeload.dump(model, folder / "model.sle", key=key, context=CONTEXT, expires_in=30 * 86_400)
    size = (folder / "model.sle").stat().st_size
    print(f"writer   signed a model of {size:,} bytes with key {key.key_id_hex}")


class Payload:
    """What an attacker uploads: unpickling it runs a command."""

    def __reduce__(self):
        return os.system, ("echo the payload ran > fired",)


def attack(folder: Path) -> None:
    """The attacker can write files, but has no key."""
    (folder / "hostile.pkl").write_bytes(pickle.dumps(Payload()))
    signed = bytearray((folder / "model.sle").read_bytes())
    signed[len(signed) // 2] ^= 1
    (folder / "tampered.sle").write_bytes(signed)


def serve(folder: Path) -> None:
    """The reader, a process of its own: it has the public key only, in the environment."""
    loader = safeload.Loader(
        policy=["data", "numpy", "sklearn"],
        keys=safeload.KeyRing.from_env("SAFELOAD_KEYS"),
        audit=folder / "trail.jsonl",
    )
    model = loader.load(folder / "model.sle", context=CONTEXT)
    print(f"reader   loaded {type(model).__name__}, prediction {model.predict([[5.1, 3.5, 1.4, 0.2]])[0]}")
    unsigned = safeload.Loader(policy=["data", "numpy", "sklearn"], audit=folder / "trail.jsonl")
    for name, refusing in (("hostile.pkl", loader), ("hostile.pkl", unsigned), ("tampered.sle", loader)):
        try:
            refusing.load(folder / name, context=CONTEXT)
        except safeload.SafeloadError as error:
            print(f"reader   refused {name}: {error.code}")
    print(f"reader   did the payload run? {'yes' if (folder / 'fired').exists() else 'no'}")


def main() -> None:
    """Writer, attacker, reader, and what the trail says about it."""
    if len(sys.argv) == 2:
        serve(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = safeload.Key.generate("ed25519")
        train(folder, key)
        attack(folder)
        sys.stdout.flush()  # or what is redirected to a file would come after the reader's lines
        environment = {**os.environ, "SAFELOAD_KEYS": key.public.export()}
        command = [sys.executable, str(Path(__file__).resolve()), str(folder)]
        subprocess.run(command, env=environment, cwd=folder, check=True)
        print("\nscan     ", end="")
        report = safeload.scan(folder / "hostile.pkl")
        print(f"{report.verdict}: {', '.join(report.globals)}\n\ntrail")
        for event in read_trail(folder / "trail.jsonl"):
            if event["phase"] == "result":
                detail = event.get("reason_code") or event.get("key_id") or ""
                milliseconds = event["duration_us"] / 1_000
                print(f"    {event['event']:<17} {event['outcome']:<8} {milliseconds:>8.1f} ms  {detail}".rstrip())
        trail = verify_trail(folder / "trail.jsonl")
        print(f"    {trail.events} events, chain {'intact' if trail.ok else 'BROKEN'}")


if __name__ == "__main__":
    main()
