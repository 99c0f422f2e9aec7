"""Seal and open: every suite and layout, sizes around every border, every kind of payload and claim."""

from __future__ import annotations

import array
import os
import pickle
from datetime import timedelta
from typing import Any

import pytest

from safeload.envelope import Layout, Opened, inspect_prelude, is_envelope, open_bytes, seal
from safeload.envelope.keys import Key, KeyRing
from safeload.envelope.wire import PRELUDE_SIZE, plan_of, unpack
from safeload.errors import EnvelopeError, VerificationError

CHUNK = 1 << 16


@pytest.mark.parametrize(
    "size", [0, 1, 15, 16, 31, 32, 33, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7]
)
def test_sizes(kind: Any, size: int) -> None:
    """The payload comes back exactly, at every border of blocks and chunks, and the size is the computed one."""
    key, layout = kind
    payload = os.urandom(size)
    data = seal(payload, key, layout=layout, chunk_log2=16, context=("cache", "k"))
    opened = open_bytes(data, KeyRing([key]), context=("cache", "k"))
    assert opened.payload == payload
    assert opened.size == size
    assert opened.layout is layout
    assert opened.suite is key.suite
    assert opened.key_id == key.key_id
    assert opened.entry.key == key
    assert is_envelope(data)
    assert plan_of(unpack(data)).total == len(data)


def test_fields(kind: Any) -> None:
    """Codec, version, times, claims come back; the message id is never twice the same."""
    key, layout = kind
    claims = {"name": "é\n", "n": -5, "list": [None, True, {"x": "y"}], "tuple": (1, 2)}
    made = [
        seal(
            b"x",
            key,
            layout=layout,
            codec=2,
            version=2**32 - 1,
            claims=claims,
            now_us=1000,
            expires_in=timedelta(seconds=2),
        )
        for _ in range(2)
    ]
    opened = open_bytes(made[0], key, now_us=2_000_999)
    assert (opened.codec, opened.codec_name, opened.version) == (2, "pickle+buffers", 2**32 - 1)
    assert (opened.created_us, opened.expires_us) == (1000, 2_001_000)
    assert opened.claims == {**claims, "tuple": [1, 2]}
    assert opened.message_id != open_bytes(made[1], key, now_us=0).message_id
    assert "name" not in repr(opened)
    with pytest.raises(EnvelopeError) as caught:
        open_bytes(made[0], key, now_us=2_001_000)
    assert caught.value.code == "envelope.expired"


def test_aligned_payload(keys: dict[str, Any]) -> None:
    """INDEXED payloads start at a multiple of 64, whatever the claims, so that mapped arrays are aligned."""
    for length in range(0, 140, 7):
        data = seal(b"x" * 70, keys["hs256"], layout=Layout.INDEXED, claims={"a": "b" * length})
        assert plan_of(unpack(data)).body_at % 64 == 0
    data = seal(b"x", keys["hs256"], layout=Layout.INDEXED)
    assert plan_of(unpack(data)).body_at == 128


def test_parts_are_one_payload(kind: Any) -> None:
    """Parts of any type and any division give the same payload as the joined bytes."""
    key, layout = kind
    payload = os.urandom(2 * CHUNK + 5)
    parts = [
        b"",
        payload[:1],
        memoryview(payload)[1:CHUNK],
        bytearray(payload[CHUNK : 2 * CHUNK + 1]),
        payload[2 * CHUNK + 1 :],
        b"",
    ]
    assert open_bytes(seal(parts, key, layout=layout, chunk_log2=16), key).payload == payload
    numbers = array.array("d", range(100))
    assert open_bytes(seal(numbers, key, layout=layout), key).payload == numbers.tobytes()
    strided = memoryview(bytes(range(100)))[::3]
    assert (
        open_bytes(seal([strided, pickle.PickleBuffer(b"tail")], key, layout=layout), key).payload
        == strided.tobytes() + b"tail"
    )
    assert open_bytes(seal([], key, layout=layout), key).payload == b""


def test_source_bytes_are_not_copied(keys: dict[str, Any]) -> None:
    """Opening bytes that are not encrypted gives a view of them."""
    data = seal(b"payload", keys["hs256"])
    opened = open_bytes(data, keys["hs256"])
    assert opened.payload.obj is data
    view = memoryview(data)
    assert open_bytes(view, keys["hs256"]).payload.obj is data


@pytest.mark.parametrize("layout", [Layout.INLINE, Layout.INDEXED])
def test_mutable_input_is_copied_first(keys: dict[str, Any], layout: Layout) -> None:
    """Memory that somebody else can write is not what the payload refers to: no change after verification is seen."""
    data = bytearray(seal(b"payload", keys["hs256"], layout=layout))
    for given in (data, memoryview(data), memoryview(data).toreadonly()):
        opened = open_bytes(given, keys["hs256"])
        at = data.index(b"payload")
        data[at] ^= 1
        assert opened.payload == b"payload"
        data[at] ^= 1


def test_automatic_layout(keys: dict[str, Any]) -> None:
    """Small payloads are INLINE, large ones INDEXED, encrypted ones what their suite has."""
    small, large = b"x", bytes((1 << 20) + 1)
    layouts = {
        suite: (open_bytes(seal(small, key), key).layout.name, open_bytes(seal(large, key), key).layout.name)
        for suite, key in keys.items()
    }
    assert layouts == {
        "hs256": ("INLINE", "INDEXED"), "hs256-fernet": ("INLINE", "INLINE"), "hs256-gcm": ("STREAM", "STREAM"),
        "ed25519": ("INLINE", "INDEXED"), "ed25519-gcm": ("INDEXED", "INDEXED"),
    }  # fmt: skip


def test_fast_path_makes_the_same_bytes(keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The short path for small entries differs from the general one in nothing."""
    monkeypatch.setattr(os, "urandom", lambda size: b"s" * size)
    for suite in ("hs256", "ed25519"):
        fast = seal(b"payload", keys[suite], context="c", now_us=5, version=3, codec=4)
        general = seal(b"payload", keys[suite], context="c", now_us=5, version=3, codec=4, claims={})
        assert fast == general


def test_encrypted_payload_does_not_show(keys: dict[str, Any]) -> None:
    """Suites that encrypt do; the others leave the payload readable."""
    secret = b"a secret that is long enough" * 3
    for suite, key in keys.items():
        assert (secret in seal(secret, key)) == (suite in ("hs256", "ed25519"))


@pytest.mark.parametrize(
    ("context", "same"),
    [
        (None, ("", "")),
        ("a", ("", "a")),
        (("p", "b"), (b"p", b"b")),
        ("é", "é".encode()),
        (b"", None),
        (("p", "x\0y"), ("p", b"x\0y")),
    ],
)
def test_equal_contexts(keys: dict[str, Any], context: Any, same: Any) -> None:
    """Spellings of one context."""
    assert open_bytes(seal(b"x", keys["hs256"], context=context), keys["hs256"], context=same).payload == b"x"


@pytest.mark.parametrize(
    ("context", "other"),
    [
        (None, "a"),
        ("a", None),
        ("ab", ("a", "b")),
        (("a", "b"), ("", "ab")),
        (("a", "b"), ("b", "a")),
        ("é", "e\u0301"),
        ("a", "a "),
    ],
)
def test_different_contexts(kind: Any, context: Any, other: Any) -> None:
    """An envelope that was moved to another place fails, with the one public message."""
    key, layout = kind
    with pytest.raises(VerificationError):
        open_bytes(seal(b"x", key, layout=layout, context=context), key, context=other)


@pytest.mark.parametrize(
    "context", [5, ("a",), ("a", "b", "c"), ["a", "b"], (1, 2), ("a\0b", "c"), "\ud800", bytearray(b"x")]
)
def test_wrong_contexts(keys: dict[str, Any], context: Any) -> None:
    """A context that could be confused with another one is a mistake of the caller."""
    for call in (
        lambda: seal(b"x", keys["hs256"], context=context),
        lambda: open_bytes(seal(b"x", keys["hs256"]), keys["hs256"], context=context),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()


@pytest.mark.parametrize(
    "options",
    [
        *({"codec": codec} for codec in (0, 13, -1, 0x10000, "pickle", 0x8000)),
        *({"codec": 0x8000, "claims": {"codec": name}} for name in ("", "x" * 65, 5)),
        {"codec": True, "claims": {}},
        *({"version": version} for version in (-1, 2**32, 1.5)),
        *({"now_us": moment} for moment in (-1, 2**64)),
        *({"expires_in": seconds} for seconds in (0, -5, 1e300, float("nan"))),
        *({"claims": {"a": value}} for value in (1.5, b"x", 2**53, "\ud800", "x" * 70000, float("nan"), Ellipsis, {1})),
        *({"claims": claims} for claims in ({1: 2}, {"\ud800": 1}, {"sle.x": 1})),
        *({"layout": layout} for layout in (7, Layout.STREAM)),
        *({"layout": Layout.INDEXED, "chunk_log2": chunk} for chunk in (15, 25)),
    ],
    ids=lambda options: str(options)[:60],
)
def test_callers_mistakes(keys: dict[str, Any], options: dict[str, Any]) -> None:
    """What a reader would refuse is not written in the first place."""
    with pytest.raises((TypeError, ValueError, OverflowError)):
        seal(b"x", keys["hs256"], **options)


def test_recursive_claims_are_a_mistake(keys: dict[str, Any]) -> None:
    """A structure that contains itself ends in an error, not in a crash."""
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(ValueError, match="nested"):
        seal(b"x", keys["hs256"], claims=loop)


def test_keys_that_cannot_seal() -> None:
    """Text, raw bytes and public keys are refused before anything is written."""
    public = Key.generate("ed25519").public
    with pytest.raises(ValueError, match="cannot sign"):
        seal(b"x", public)
    for wrong in ("slk1.x", b"x" * 32, bytearray(32)):
        with pytest.raises((TypeError, AttributeError)):
            seal(b"x", wrong)
        with pytest.raises((TypeError, AttributeError)):
            seal([b"x"], wrong)
    with pytest.raises(TypeError):
        seal("text", Key.generate())


def test_fernet_suite_is_for_small_payloads(keys: dict[str, Any]) -> None:
    """More than 16 MiB names the suite that can."""
    with pytest.raises(ValueError, match="hs256-gcm"):
        seal(bytes((16 << 20) + 1), keys["hs256-fernet"])


def test_private_codec(keys: dict[str, Any]) -> None:
    """A private codec is named in the claims."""
    opened = open_bytes(seal(b"x", keys["hs256"], codec=0x8000, claims={"codec": "acme"}), keys["hs256"])
    assert opened.codec_name == "acme"


def test_inspect_verifies_nothing_and_says_so(kind: Any) -> None:
    """The fields for display are all called unverified, and fit JSON."""
    import json

    key, layout = kind
    data = seal(b"x", key, layout=layout, claims={"secret": 1})
    shown = inspect_prelude(data[:PRELUDE_SIZE])
    assert all(name.startswith("unverified_") for name in shown)
    assert shown["unverified_suite"] == key.suite.label
    assert shown["unverified_total_size"] == len(data)
    json.dumps(shown)
    with pytest.raises(EnvelopeError):
        inspect_prelude(b"\x80\x05")


def test_public_half_opens(keys: dict[str, Any]) -> None:
    """Readers of signature suites hold the public half; without the body secret they cannot decrypt, and are told."""
    for suite in ("ed25519", "ed25519-gcm"):
        key = keys[suite]
        data = seal(b"x", key)
        assert isinstance(open_bytes(data, key.public), Opened)
    with pytest.raises(EnvelopeError) as caught:
        open_bytes(data, keys["ed25519-gcm"].public.verify_only)
    assert caught.value.code == "envelope.verify-only-key"
