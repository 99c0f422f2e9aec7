"""An `Opened` or a SafeloadError, nothing else: on random bytes, on mutated envelopes, on re-signed nonsense."""

from __future__ import annotations

import hashlib
import io
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from safeload.envelope import Layout, Opened, is_envelope, open_bytes, open_fernet, open_file, seal
from safeload.envelope import claims as canonical
from safeload.envelope.keys import Key, SecretKey
from safeload.envelope.primitives import context_digest, message
from safeload.envelope.wire import MAGIC, plan_of, unpack
from safeload.errors import EnvelopeError, SafeloadError
from safeload.facts.suites import Suite

KEYS = {suite.label: Key.generate(suite) for suite in Suite}
LAYOUTS = [
    ("hs256", Layout.INLINE), ("hs256", Layout.INDEXED), ("hs256-fernet", Layout.INLINE), ("hs256-gcm", Layout.STREAM),
    ("ed25519", Layout.INLINE), ("ed25519", Layout.INDEXED), ("ed25519-gcm", Layout.INDEXED),
]  # fmt: skip
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
CLAIMS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=10), JSON, max_size=5)
ONE = SecretKey.from_secret(Suite.HS256, bytes(range(32)))


def opens_or_refuses(data: bytes, key: Any) -> None:
    for read in (lambda: open_bytes(data, key), lambda: open_file(io.BytesIO(data), key)):
        try:
            opened = read()
        except SafeloadError:
            continue
        assert isinstance(opened, Opened)


@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    """Bytes of any kind, with and without the magic in front."""
    for key in KEYS.values():
        opens_or_refuses(data, key)
    opens_or_refuses(MAGIC + data, KEYS["hs256"])
    opens_or_refuses(MAGIC + b"\1" + data, KEYS["hs256"])


@given(st.sampled_from(LAYOUTS), st.data())
@settings(max_examples=150)
def test_mutated_envelopes(pair: tuple[str, Layout], data: st.DataObject) -> None:
    """Several changes at once: overwritten, removed and inserted pieces never open, and never crash."""
    key = KEYS[pair[0]]
    good = seal(b"payload" * 5, key, layout=pair[1], claims={"a": 1})
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        stop = data.draw(st.integers(start, min(len(changed), start + 40)))
        changed[start:stop] = data.draw(st.binary(max_size=40))
    if bytes(changed) == good:
        return
    try:
        open_bytes(bytes(changed), key)
    except SafeloadError:
        return
    raise AssertionError("a changed envelope opened")


@given(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 2**16 - 1), st.tuples(*[st.integers(0, 255)] * 2),
       st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=200))  # fmt: skip
def test_hostile_but_signed_preludes(layout: Any, codec: int, chunk: Any, claims: int, size: int, rest: bytes) -> None:
    """An authorised signer may sign any header: sizes that overflow, odd layouts, whatever. It opens or is refused."""
    header = (
        MAGIC
        + bytes((1, layout[0] % 7, layout[1] % 5, layout[2] % 2))
        + struct.pack(">HBBII", codec, *chunk, claims, 0)
    )
    header += struct.pack(">QQQ", 0, 0, size) + ONE.key_id + bytes(32)
    for body in (rest, rest.ljust(96)[:96]):
        tag = ONE.sign(message(context_digest(None), header, b"", hashlib.sha256(body).digest()))
        opens_or_refuses(header + body + tag, ONE)
    try:
        prelude = unpack(header)
    except EnvelopeError:
        return
    plan = plan_of(prelude)
    assert 96 <= plan.body_at <= plan.index_at <= plan.tag_at <= plan.cosign_at <= plan.total


@given(st.binary(max_size=120))
def test_hostile_but_signed_claims(text: bytes) -> None:
    """Any bytes as authenticated claims: a canonical object or a refusal."""
    padded = text.ljust(len(text) + (-(96 + len(text))) % 64)
    try:
        claims = canonical.decode(padded)
    except EnvelopeError:
        return
    assert canonical.encode(claims, required=True) == padded or not padded


@given(CLAIMS)
def test_claims_round_trip(claims: dict[str, Any]) -> None:
    """One object, one encoding, aligned."""
    encoded = canonical.encode(claims, required=True)
    assert (96 + len(encoded)) % 64 == 0
    assert canonical.decode(encoded) == claims
    assert canonical.encode(dict(reversed(claims.items())), required=True) == encoded


@given(
    st.sampled_from(LAYOUTS),
    st.lists(st.binary(max_size=300), max_size=6),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
)
def test_round_trip(pair: tuple[str, Layout], parts: list[bytes], context: str | None) -> None:
    """Whatever is sealed opens to the same bytes."""
    key = KEYS[pair[0]]
    data = seal(parts, key, layout=pair[1], context=context)
    assert is_envelope(data)
    assert open_bytes(data, key, context=context).payload == b"".join(parts)


@given(st.binary(max_size=300) | st.text(max_size=100))
def test_fernet_tokens(token: bytes | str) -> None:
    """No text is a token by accident, and none crashes."""
    try:
        open_fernet(token, "A" * 43 + "=")
    except SafeloadError:
        return
    raise AssertionError("a token out of nothing")


@given(st.text(max_size=80) | st.sampled_from([key.export() for key in KEYS.values()]).flatmap(
    lambda text: st.integers(0, len(text)).map(lambda at: text[:at] + text[at + 1 :])))  # fmt: skip
def test_key_texts(text: str) -> None:
    """A key's text parses to that key or is a ValueError."""
    try:
        key = Key.parse(text)
    except ValueError:
        return
    assert key.export() == text.strip()
