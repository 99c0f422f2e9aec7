"""A second reader, written from SPEC.md alone and sharing no code with safeload, opens every accept vector.

It shows that the document says everything, and that the vectors are what the document says and not merely what the
writer does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

DIRECTORY = Path(__file__).parent / "envelope"
SUITES = {"hs256": 1, "hs256-fernet": 2, "hs256-gcm": 3, "ed25519": 4, "ed25519-gcm": 5}


def case_of(name: str) -> dict[str, Any]:
    return json.loads((DIRECTORY / f"{name}.json").read_text())


ACCEPTED = [path.stem for path in sorted(DIRECTORY.glob("*.json")) if case_of(path.stem)["kind"] == "accept"]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, "sha256").digest()


def derive(secret: bytes, info: bytes, length: int = 32, salt: bytes | None = None) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


class ReferenceKey:
    """A key's text, read as the section "Text form" says."""

    def __init__(self, text: str) -> None:
        stem, crc = text.rsplit(".", 1)
        assert int(crc, 16) == zlib.crc32(stem.encode())
        self.prefix, name, body = stem.split(".")
        material = base64.urlsafe_b64decode(body + "==")
        self.suite = SUITES[name]
        byte = bytes([self.suite])
        self.secret = material[32:] if self.suite == 5 else material
        if self.suite >= 4:
            seed = material[:32]
            self.public = (
                Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
                if self.prefix == "slk1"
                else seed
            )
            identity = self.public + (derive(self.secret, b"SLE1 id" + byte) if self.suite == 5 else b"")
        else:
            identity = derive(self.secret, b"SLE1 id" + byte)
        self.id = sha(b"SLE1 kid" + byte + identity)[:16]

    def check(self, tbs: bytes, tag: bytes) -> None:
        assert len(tbs) == 200
        if self.suite >= 4:
            Ed25519PublicKey.from_public_bytes(self.public).verify(tag, tbs)
        else:
            assert mac(derive(self.secret, b"SLE1 mac" + bytes([self.suite])), tbs) == tag


def reference_open(data: bytes, key: ReferenceKey, context: bytes, cosigners: list[ReferenceKey]) -> tuple[bytes, Any]:
    """Payload and claims, by the tables of SPEC.md."""
    assert data[:12] == b"\xf5SLE\r\n\x1a\n\x01" + bytes([key.suite]) + data[10:11] + b"\0"
    layout, log2, count = data[10], data[14], data[15]
    claims_size, size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[40:48], "big")
    assert data[48:64] == key.id
    salt, claims, body = data[64:96], data[96 : 96 + claims_size], data[96 + claims_size :]

    def tbs(digest: bytes) -> bytes:
        return b"SLE1 tbs" + sha(context) + data[:96] + sha(claims) + digest

    slots = body[len(body) - 80 * count :]
    body = body[: len(body) - 80 * count]
    tag_size = 64 if key.suite >= 4 else 32
    head = b""
    keys = derive(key.secret, b"SLE1 msg" + bytes([key.suite]), 64, salt) if key.suite in (3, 5) else b""
    if layout == 0:
        body, tag = body[:-tag_size], body[-tag_size:]
        key.check(tbs(sha(body)), tag)
        if key.suite == 2:
            fernet = derive(key.secret, b"SLE1 fernet\x02")
            body = Fernet(base64.urlsafe_b64encode(fernet)).decrypt(body)
        payload = body
    else:
        step = (1 << log2) + (16 if keys else 0)
        chunks = max(1, -(-size // (1 << log2)))
        if keys:
            head, body = body[:32], body[32:]
            assert mac(keys[:32], tbs(bytes(32))) == head
        if layout == 1:
            digests, tag = body[-tag_size - 32 * chunks : -tag_size], body[-tag_size:]
            body = body[: -tag_size - 32 * chunks]
            digest = sha(b"SLE1 idx" + bytes([log2]) + size.to_bytes(8, "big") + head + digests)
            key.check(tbs(digest), tag)
            assert digests == b"".join(sha(body[n * step : (n + 1) * step]) for n in range(chunks))
            for number, cosigner in enumerate(cosigners):
                assert slots[80 * number : 80 * number + 16] == cosigner.id
                cosigner.check(tbs(digest), slots[80 * number + 16 : 80 * number + 80])
        payload = body
        if keys:
            aead = AESGCM(keys[32:])
            payload = b"".join(
                aead.decrypt(n.to_bytes(11, "big") + bytes([n == chunks - 1]), body[n * step : (n + 1) * step], head)
                for n in range(chunks)
            )
    assert len(payload) == size
    return payload, json.loads(claims or b"{}")


@pytest.mark.parametrize("name", ACCEPTED)
def test_reference_reader(name: str) -> None:
    """Every accept vector opens with a reader made from the document."""
    case = case_of(name)
    data = b"".join(
        zlib.decompress(base64.b64decode(piece[7:])) if piece.startswith("zlib64:") else bytes.fromhex(piece)
        for piece in case["pieces"]
    )
    context = "\0".join(case["context"]).encode()
    cosigners = [ReferenceKey(text) for text in case.get("cosigners", [])]
    payload, claims = reference_open(data, ReferenceKey(case["key"]), context, cosigners)
    assert hashlib.sha256(payload).hexdigest() == case["payload_sha256"]
    claims.pop("sle.cosigners", None)
    assert claims == case.get("claims", claims)
