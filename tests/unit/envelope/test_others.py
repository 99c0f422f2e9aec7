"""Detached signatures, rekeying, Fernet tokens, mappings, and the primitives against published answers."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet, MultiFernet

from safeload.envelope import (
    PUBLIC_MESSAGE,
    open_bytes,
    open_detached,
    open_detached_path,
    open_fernet,
    open_path,
    open_snapshot,
    rekey,
    rekey_path,
    seal,
    seal_detached,
    seal_path,
    unsafe_open_mapped,
    verify_detached_path,
)
from safeload.envelope.keys import Key, KeyRing, SigningKey
from safeload.envelope.primitives import ChunkCipher, context_digest, index_digest, message
from safeload.errors import DecryptionError, EnvelopeError, LimitExceededError, VerificationError
from safeload.facts.suites import Suite
from safeload.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path


def code_of(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(EnvelopeError) as caught:
        call(*arguments, **options)
    return caught.value.code


# Detached


@pytest.mark.parametrize("suite", ["hs256", "ed25519"])
@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_detached(keys: dict[str, Any], suite: str, size: int, tmp_path: Path) -> None:
    """The file stays as it is; sidecar and file together open, in memory and from the path."""
    payload = os.urandom(size)
    path = tmp_path / "model.bin"
    path.write_bytes(payload)
    with path.open("rb") as file:
        sidecar = seal_detached(file, keys[suite], context="m", claims={"a": 1})
    assert path.read_bytes() == payload
    for opened in (
        open_detached(sidecar, payload, keys[suite], context="m"),
        open_detached(bytearray(sidecar), bytearray(payload), keys[suite], context="m"),
        open_detached_path(sidecar, path, keys[suite], context="m"),
    ):
        assert opened.payload == payload
        assert opened.claims == {"a": 1}
    assert verify_detached_path(sidecar, path, keys[suite], context="m").size == size
    assert code_of(verify_detached_path, sidecar, path, keys[suite]) == "envelope.verification"
    path.write_bytes(payload[:-1] + b"?" if payload else b"?")
    for call in (open_detached_path, verify_detached_path):
        assert code_of(call, sidecar, path, keys[suite], context="m") in {
            "envelope.verification",
            "envelope.payload-size",
        }


def test_detached_and_whole_are_not_confused(keys: dict[str, Any]) -> None:
    """A sidecar is no envelope and an envelope no sidecar; an empty payload makes no difference."""
    for payload in (b"", b"x"):
        sidecar = seal_detached(payload, keys["hs256"])
        whole = seal(payload, keys["hs256"])
        assert code_of(open_bytes, sidecar, keys["hs256"]) == "envelope.detached"
        assert code_of(open_detached, whole, payload, keys["hs256"]) == "envelope.not-detached"
        relabelled = sidecar[:10] + b"\0" + sidecar[11:]
        with pytest.raises(EnvelopeError):
            open_bytes(relabelled[:-32] + payload + relabelled[-32:], keys["hs256"])


def test_detached_cosigned(keys: dict[str, Any]) -> None:
    """Sidecars can be cosigned."""
    pair = Key.generate("ed25519")
    sidecar = seal_detached(b"x", keys["hs256"], cosigners=[pair])
    assert len(open_detached(sidecar, b"x", KeyRing([keys["hs256"], pair.public]), require=1).cosigners) == 1
    sidecar = seal_detached(bytes(100), keys["hs256"])
    with pytest.raises(LimitExceededError):
        open_detached(sidecar, bytes(100), keys["hs256"], limits=Limits(max_artifact_bytes=99))


# Rekey


@pytest.mark.parametrize("new", ["hs256", "hs256-fernet", "hs256-gcm", "ed25519", "ed25519-gcm"])
def test_rekey(kind: Any, new: str, tmp_path: Path) -> None:
    """From every suite to every suite: times, codec, version and claims are kept, the message id is new."""
    key, layout = kind
    new_key = Key.generate(new)
    payload = os.urandom(200_000)
    options: dict[str, Any] = {"codec": 3, "version": 9, "claims": {"a": [1]}, "now_us": 5, "expires_in": 10**9}
    data = seal(payload, key, layout=layout, context="c", chunk_log2=16, **options)
    path, target = tmp_path / "x", tmp_path / "y"
    path.write_bytes(data)
    rekey_path(path, key, new_key, target=target, context="c", now_us=6)
    old = open_bytes(data, key, context="c", now_us=6)
    for made in (rekey(data, key, new_key, context="c", now_us=6), target.read_bytes()):
        opened = open_bytes(made, new_key, context="c", now_us=6)
        assert opened.payload == payload
        for name in ("codec", "version", "claims", "created_us", "expires_us"):
            assert getattr(opened, name) == getattr(old, name)
        assert opened.message_id != old.message_id
    assert path.read_bytes() == data


def test_rekey_verifies_first(kind: Any, tmp_path: Path) -> None:
    """What does not verify, has expired, or comes from a revoked key is not sealed anew, and the file stays."""
    key, layout = kind
    new = Key.generate()
    data = bytearray(seal(os.urandom(200_000), key, layout=layout, chunk_log2=16, now_us=5, expires_in=1))
    path = tmp_path / "x"
    for change, ring in ((len(data) // 2, key), (None, key), (None, KeyRing([key]).revoke(key))):
        if change is not None:
            data[change] ^= 1
        path.write_bytes(data)
        now = 6 if change is not None else None
        with pytest.raises(EnvelopeError):
            rekey(bytes(data), ring, new, now_us=now)
        with pytest.raises(EnvelopeError):
            rekey_path(path, ring, new, now_us=now)
        assert path.read_bytes() == data
        if change is not None:
            data[change] ^= 1
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_rekey_in_place_to_another_context(keys: dict[str, Any], tmp_path: Path) -> None:
    """The file itself is replaced, and the context may change."""
    path = tmp_path / "x"
    seal_path(path, b"x", keys["hs256"], context="old")
    rekey_path(path, keys["hs256"], keys["ed25519"], context="old", new_context=("p", "new"))
    assert open_path(path, keys["ed25519"], context=("p", "new")).payload == b"x"
    data = rekey(path.read_bytes(), keys["ed25519"], keys["hs256"], context=("p", "new"), new_context=None)
    assert open_bytes(data, keys["hs256"]).payload == b"x"


def test_rekey_file_changed_between_passes(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second pass verifies again: a file exchanged after the first is not sealed."""
    from safeload.envelope import reseal

    path = tmp_path / "x"
    seal_path(path, bytes(3 << 20), keys["hs256"])
    real = reseal.draft

    def change(*arguments: Any, **options: Any) -> Any:
        with path.open("r+b") as file:
            file.seek(1 << 20)
            file.write(b"evil")
        return real(*arguments, **options)

    monkeypatch.setattr(reseal, "draft", change)
    assert code_of(rekey_path, path, keys["hs256"], keys["ed25519"], target=tmp_path / "y") == "envelope.verification"
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


# Fernet


def test_fernet_token() -> None:
    """A token of `cryptography.fernet` opens with its key, as text or bytes, key object or rotation set."""
    key = Fernet.generate_key()
    token = Fernet(key).encrypt(b"payload")
    other = Fernet(Fernet.generate_key())
    for given in (key, key.decode(), Fernet(key), MultiFernet([other, Fernet(key)])):
        assert open_fernet(token, given) == b"payload"
    assert open_fernet(token.decode(), key) == b"payload"
    assert open_fernet(bytearray(token), key) == b"payload"
    assert open_fernet(memoryview(token), key) == b"payload"


def test_fernet_tokens_are_not_malleable() -> None:
    """What the library itself accepts as the same token in another spelling is refused."""
    key = Fernet.generate_key()
    token = Fernet(key).encrypt(b"payload")
    spellings = [
        token + b"\n", b" " + token, token[:10] + b"\n" + token[10:], token + b"AAAA", token + b"====",
        token.rstrip(b"="), token.replace(b"-", b"+").replace(b"_", b"/") + b"x", token[:5] + b"!" + token[5:],
        token + token, token[:-1], b"", b"====", token[:10] + b"\xff" + token[11:],
    ]  # fmt: skip
    for spelling in spellings:
        if spelling == token:
            continue
        with pytest.raises(DecryptionError) as caught:
            open_fernet(spelling, key)
        assert str(caught.value) == PUBLIC_MESSAGE
        assert caught.value.reason  # type: ignore[attr-defined]
    for at in range(0, len(token), 3):
        changed = bytearray(token)
        changed[at] = ord("A") if changed[at] != ord("A") else ord("B")
        with pytest.raises(DecryptionError):
            open_fernet(bytes(changed), key)
    with pytest.raises(DecryptionError):
        open_fernet("tökén", key)


def test_fernet_unused_bits_in_base64() -> None:
    """The last character before the padding has unused bits: only zeros are canonical."""
    key = Fernet.generate_key()
    for size in range(1, 64, 16):
        token = Fernet(key).encrypt(bytes(size))
        body = token.rstrip(b"=")
        if body == token:
            continue
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        spelled = body[:-1] + alphabet[alphabet.index(body[-1:]) + 1 :][:1] + token[len(body) :]
        assert base64.urlsafe_b64decode(spelled) == base64.urlsafe_b64decode(token)
        with pytest.raises(DecryptionError):
            open_fernet(spelled, key)


def test_fernet_age() -> None:
    """With `ttl`, old tokens and tokens from the future are refused."""
    key = Fernet.generate_key()
    token = Fernet(key).encrypt_at_time(b"x", 1000)
    assert open_fernet(token, key, ttl=10, now=1010) == b"x"
    assert open_fernet(token, key, ttl=10, now=940) == b"x"
    for now in (1011, 939):
        with pytest.raises(DecryptionError):
            open_fernet(token, key, ttl=10, now=now)


def test_fernet_keys() -> None:
    """A wrong key is refused without detail; what is no key at all is a mistake."""
    token = Fernet(Fernet.generate_key()).encrypt(b"x")
    with pytest.raises(DecryptionError):
        open_fernet(token, Fernet.generate_key())
    with pytest.raises(ValueError):
        open_fernet(token, b"short")
    with pytest.raises(TypeError):
        open_fernet(token, 5)


# Mappings


def test_snapshot_cannot_be_changed(keys: dict[str, Any], tmp_path: Path) -> None:
    """The snapshot is a sealed copy: a later change of the file does not show; writing to the view copies the page."""
    path = tmp_path / "x"
    payload = os.urandom(3 << 20)
    seal_path(path, payload, keys["hs256"])
    opened = open_snapshot(path, keys["hs256"])
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert opened.payload == payload
    opened.payload[0] ^= 1
    assert opened.payload != payload
    (tmp_path / "small").write_bytes(b"x")
    assert code_of(open_snapshot, tmp_path / "small", keys["hs256"]) == "envelope.not-an-envelope"
    assert code_of(unsafe_open_mapped, tmp_path / "small", keys["hs256"]) == "envelope.not-an-envelope"
    with pytest.raises(LimitExceededError):
        open_snapshot(path, keys["hs256"], limits=Limits(max_artifact_bytes=1000))


def test_unsafe_mapping_is_what_its_name_says(keys: dict[str, Any], tmp_path: Path) -> None:
    """The documented risk is real: a later change of the file shows in the verified payload."""
    path = tmp_path / "x"
    seal_path(path, bytes(3 << 20), keys["hs256"])
    opened = unsafe_open_mapped(path, keys["hs256"])
    with path.open("r+b") as file:
        file.seek(2 << 20)
        file.write(b"evil")
    assert b"evil" in bytes(opened.payload)


# Published answers


def test_ed25519_rfc_8032() -> None:
    """RFC 8032, section 7.1, tests 1 to 3: our keys are Ed25519 keys."""
    answers = [
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         ("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
         "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b")),
        ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         ("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
         "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00")),
        ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
         "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
         ("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
         "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a")),
    ]  # fmt: skip
    for seed, public, text, signature in answers:
        key = SigningKey.from_seed(Suite.ED25519, bytes.fromhex(seed))
        assert key.sign(bytes.fromhex(text)).hex() == signature
        assert key.public.verify(bytes.fromhex(text), bytes.fromhex(signature))
        assert (
            key.public.export().split(".")[2] == base64.urlsafe_b64encode(bytes.fromhex(public)).rstrip(b"=").decode()
        )
        # S + L is the same signature by the equation; RFC 8032 5.1.7 refuses it, or signatures would be malleable.
        order = 2**252 + 27742317777372353535851937790883648493
        raised = int.from_bytes(bytes.fromhex(signature)[32:], "little") + order
        assert not key.public.verify(bytes.fromhex(text), bytes.fromhex(signature)[:32] + raised.to_bytes(32, "little"))


def test_aes_256_gcm() -> None:
    """McGrew and Viega, GCM specification, test cases 13 and 14 (nonce zero), through both code paths."""
    for chunk, expected in (
        (b"", "530f8afbc74536b9a963b4f1c4cb738b"),
        (bytes(16), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    ):
        for into in (True, False):
            cipher = ChunkCipher(bytes(32), b"")
            cipher._into = cipher._into and into
            out = memoryview(bytearray(len(chunk) + 16))
            cipher.encrypt_into(0, chunk, out, final=False)
            assert bytes(out).hex() == expected
            back = memoryview(bytearray(len(chunk)))
            assert cipher.decrypt_into(0, out, back, final=False)
            assert back == chunk
            assert not cipher.decrypt_into(0, out, back, final=True)
            assert not cipher.decrypt_into(1, out, back, final=False)


def test_what_is_signed() -> None:
    """Always 200 bytes; the index digest and the context digest are those of the specification."""
    import hashlib

    signed = message(context_digest(("p", "b")), bytes(96), b"claims", b"d" * 32)
    assert len(signed) == 200
    assert signed == (
        b"SLE1 tbs" + hashlib.sha256(b"p\0b").digest() + bytes(96) + hashlib.sha256(b"claims").digest() + b"d" * 32
    )
    assert index_digest(18, 5, b"x") == hashlib.sha256(b"SLE1 idx\x12" + (5).to_bytes(8, "big") + b"x").digest()
    assert len(message(context_digest(None), bytes(96), b"", bytes(32))) == 200


def test_public_failure_does_not_chain_the_cause() -> None:
    """No traceback of a cryptographic library leaks which step failed."""
    key = Key.generate("hs256-gcm")
    data = bytearray(seal(b"x", key))
    data[-1] ^= 1
    with pytest.raises(DecryptionError) as caught:
        open_bytes(bytes(data), key)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    with pytest.raises(VerificationError) as other:
        open_bytes(bytes(data), key, context="x")
    assert str(other.value) == str(caught.value)
