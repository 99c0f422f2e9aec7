"""Every envelope vector through every way of reading, as SPEC.md promises: what a release wrote, later ones read."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import runpy
import zlib
from pathlib import Path
from typing import Any

import pytest

from safeload.envelope import decrypt_to, open_bytes, open_file, open_path, open_snapshot, verify_path
from safeload.envelope.keys import Key, KeyRing
from safeload.errors import EnvelopeError, LimitExceededError, MissingKeyError, SafeloadError

DIRECTORY = Path(__file__).parent / "envelope"
FILES = sorted(DIRECTORY.glob("*.json"))


def read_case(name: str) -> dict[str, Any]:
    return json.loads((DIRECTORY / f"{name}.json").read_text())


def envelope_of(case: dict[str, Any]) -> bytes:
    parts = []
    for piece in case["pieces"]:
        if isinstance(piece, list):
            base, start, stop = piece
            parts.append(envelope_of(read_case(base))[start:stop])
        elif piece.startswith("zlib64:"):
            parts.append(zlib.decompress(base64.b64decode(piece[7:])))
        else:
            parts.append(bytes.fromhex(piece))
    return b"".join(parts)


class Pipe:
    """A source that can only be read forward, in small steps."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 40_000))


def ways(data: bytes, directory: Path) -> dict[str, Any]:
    path = directory / "envelope"
    path.write_bytes(data)

    def through_file(ring: Any, **options: Any) -> Any:
        with path.open("rb") as file:
            return open_file(file, ring, **options)

    def decrypted(ring: Any, **options: Any) -> Any:
        target = directory / "target"
        try:
            opened = decrypt_to(path, target, ring, **options)
        except SafeloadError:
            assert not target.exists()
            raise
        opened.payload = memoryview(target.read_bytes())
        return opened

    return {
        "bytes": lambda ring, **options: open_bytes(data, ring, **options),
        "bytearray": lambda ring, **options: open_bytes(bytearray(data), ring, **options),
        "BytesIO": lambda ring, **options: open_file(io.BytesIO(data), ring, **options),
        "pipe": lambda ring, **options: open_file(Pipe(data), ring, **options),
        "file": through_file,
        "path": lambda ring, **options: open_path(path, ring, **options),
        "snapshot": lambda ring, **options: open_snapshot(path, ring, **options),
        "decrypt_to": decrypted,
        "decrypt_to from pipe": lambda ring, **options: decrypt_to(Pipe(data), directory / "piped", ring, **options),
        "verify": lambda ring, **options: verify_path(path, ring, **options),
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path: Path, tmp_path: Path) -> None:
    """The vector opens to the same payload, or is refused with the same code, however it is read."""
    case = read_case(path.stem)
    data = envelope_of(case)
    key = Key.parse(case["key"])
    keys = [key.public if key.suite.is_signature else key, *map(Key.parse, case.get("cosigners", []))]
    ring = KeyRing(keys)
    options: dict[str, Any] = {"context": case["context"] and tuple(case["context"]), "now_us": case["now_us"]}
    options |= {name: case[name] for name in ("require", "min_created", "suites") if name in case}
    for way, read in ways(data, tmp_path).items():
        if case["kind"] == "accept":
            opened = read(ring, **options)
            assert opened.size == case["payload_size"], way
            assert opened.claims == case.get("claims", opened.claims), way
            assert opened.version == case.get("version", 0), way
            assert len(opened.cosigners) == len(case.get("cosigners", [])), way
            if way not in ("verify", "decrypt_to from pipe"):
                assert hashlib.sha256(opened.payload).hexdigest() == case["payload_sha256"], way
            continue
        with pytest.raises(SafeloadError) as caught:
            read(ring, **options)
        expected = "limit.max-artifact-bytes" if case["code"] == "limit" else f"envelope.{case['code']}"
        codes = {expected}
        if "pipe" in way and case["code"] in ("truncated", "trailing-bytes"):
            # The end of a pipe is seen last: by then a chunk or a tag may have failed already.
            codes |= {"envelope.verification", "envelope.decryption"}
        assert caught.value.code in codes, (way, caught.value, getattr(caught.value, "reason", None))
        assert isinstance(caught.value, EnvelopeError | LimitExceededError)


def test_vectors_are_plenty() -> None:
    """More vectors reject than accept, and all that the generator makes are there."""
    kinds = [read_case(path.stem)["kind"] for path in FILES]
    assert kinds.count("reject") > 3 * kinds.count("accept") > 100


def test_generator_is_deterministic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Running the generator again gives the stored files: the writer's bytes have not changed."""
    generator = runpy.run_path(str(DIRECTORY.parent / "generate.py"))
    generator["main"](tmp_path)
    capsys.readouterr()
    made = {path.name: path.read_text() for path in tmp_path.glob("*.json")}
    assert made.keys() <= {path.name for path in FILES}
    for name, text in made.items():
        stored, fresh = json.loads((DIRECTORY / name).read_text()), json.loads(text)
        assert [_plain(piece) for piece in fresh.pop("pieces")] == [_plain(piece) for piece in stored.pop("pieces")], (
            name
        )
        assert fresh == stored, name


def _plain(piece: Any) -> Any:
    """A piece without its compression, which may differ between zlib versions."""
    if isinstance(piece, str) and piece.startswith("zlib64:"):
        return zlib.decompress(base64.b64decode(piece[7:])).hex()
    return piece


@pytest.mark.parametrize("path", [path for path in FILES if path.stem.endswith("-claims")], ids=lambda path: path.stem)
def test_no_key_is_said_plainly(path: Path) -> None:
    """Without the key, the error names its id and what to do."""
    case = read_case(path.stem)
    data = envelope_of(case)
    with pytest.raises(MissingKeyError, match=data[48:64].hex()):
        open_bytes(data, KeyRing())
