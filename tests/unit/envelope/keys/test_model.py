"""Keys: distinct types, canonical text, and material that shows up nowhere it should not."""

from __future__ import annotations

import copy
import pickle

import pytest

from safeload.envelope.keys import Key, KeyEntry, SecretKey, SigningKey, VerifyKey
from safeload.envelope.keys.text import encode_key
from safeload.facts.suites import Suite

SHARED = ["hs256", "hs256-fernet", "hs256-gcm"]
PAIRS = ["ed25519", "ed25519-gcm"]


@pytest.mark.parametrize("suite", SHARED + PAIRS)
def test_text_round_trip(suite: str) -> None:
    """A key's text gives the same key back: type, id and behaviour."""
    key = Key.generate(suite)
    again = Key.parse(f"  {key.export()}\n")
    assert again == key
    assert type(again) is type(key)
    assert again.key_id == key.key_id
    assert key.export().startswith(f"slk1.{suite}.")
    assert again.verify(b"message", key.sign(b"message"))
    assert not again.verify(b"massage", key.sign(b"message"))


@pytest.mark.parametrize("suite", PAIRS)
def test_public_half(suite: str) -> None:
    """The public half has the same id, verifies and cannot sign; its text says how to treat it."""
    key = Key.generate(suite)
    public = key.public
    assert isinstance(public, VerifyKey)
    assert public.key_id == key.key_id
    assert public.can_verify
    assert not public.can_sign
    assert key.can_sign
    assert not hasattr(public, "sign")
    assert Key.parse(public.export()) == public
    assert public.public is public
    assert public.export().startswith("slp1." if suite == "ed25519" else "slr1.")


def test_published_key_of_an_encrypting_suite_has_no_secret() -> None:
    """`verify_only` may be published: same id, no decryption, and its text does not contain the body secret."""
    key = Key.generate("ed25519-gcm")
    published = key.public.verify_only
    assert published.export().startswith("slp1.ed25519-gcm.")
    assert published.key_id == key.key_id
    assert not published.can_decrypt
    assert key.public.can_decrypt
    again = Key.parse(published.export())
    assert again == published
    with pytest.raises(ValueError, match="derives no message keys"):
        again.message_keys(bytes(32))


@pytest.mark.parametrize("suite", SHARED)
def test_shared_secret_has_no_public_half(suite: str) -> None:
    """Asking for it is a mistake with an answer."""
    with pytest.raises(ValueError, match="no public half"):
        _ = Key.generate(suite).public


@pytest.mark.parametrize("suite", SHARED + PAIRS)
def test_material_shows_in_export_only(suite: str) -> None:
    """No str, no format, no repr, no pickle, no attribute dictionary gives the secret away: those end up in logs."""
    key = Key.generate(suite)
    body = key.export().split(".")[2]
    for shown in (str(key), f"{key}", f"{key!s:>99}", f"{key}", "%s" % key, ascii(key)):  # noqa: UP031
        assert body not in shown
        assert key.key_id_hex in shown
    assert body not in repr(key)
    assert body not in repr([key, KeyEntry(key)])
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(key)
    assert not hasattr(key, "__dict__")
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key


def test_keys_are_immutable() -> None:
    """A key cannot be turned into another one while it is in use."""
    key = Key.generate()
    with pytest.raises(AttributeError):
        key.suite = Suite.ED25519  # type: ignore[misc]
    with pytest.raises(AttributeError):
        del key.key_id


@pytest.mark.parametrize("material", [b"x" * 32, bytearray(32), "secret", 5, None])
def test_raw_material_is_no_key(material: object) -> None:
    """Raw bytes carry no algorithm, so no constructor takes them."""
    for kind in (Key, SecretKey, SigningKey, VerifyKey):
        with pytest.raises(TypeError, match="raw bytes are not a key"):
            kind(material)
    with pytest.raises((TypeError, ValueError)):
        Key.parse(material)  # type: ignore[arg-type]


def test_every_mistyped_character_is_noticed() -> None:
    """The check value finds any single changed or missing character, and the message quotes nothing of the key."""
    text = Key.generate("ed25519").export()
    for at in range(len(text)):
        for wrong in (text[:at] + text[at + 1 :], text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]):
            with pytest.raises(ValueError) as caught:
                Key.parse(wrong)
            assert text.split(".")[2][5:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "suite", "size"),
    [("slk1", Suite.HS256, 31), ("slk1", Suite.HS256, 33), ("slk1", Suite.HS256, 0), ("slp1", Suite.HS256, 32),
     ("slr1", Suite.HS256, 64), ("slr1", Suite.ED25519, 64), ("slp1", Suite.ED25519, 64), ("slk1", Suite.ED25519, 64),
     ("slk1", Suite.ED25519_GCM, 32), ("slp1", Suite.ED25519_GCM, 32), ("slk1", Suite.ED25519_GCM, 96)],
)  # fmt: skip
def test_wrong_form_or_length(prefix: str, suite: Suite, size: int) -> None:
    """A well-formed text of the wrong kind is refused, not stretched or cut."""
    with pytest.raises(ValueError, match="form or length"):
        Key.parse(encode_key(prefix, suite, bytes(range(size))))


@pytest.mark.parametrize(
    "text", ["", "slk1", "slk1...", "slk1.hs256", "slk2.hs256.AAAA.00000000", "slk1.hs256.é.00000000", "a" * 10_000]
)
def test_not_a_key(text: str) -> None:
    """Text that is no key gives a ValueError that says what one looks like."""
    with pytest.raises(ValueError, match="key"):
        Key.parse(text)


def test_non_canonical_base64() -> None:
    """Two texts never name the same key: unused bits must be zero, padding absent."""
    import zlib

    def with_crc(stem: str) -> str:
        return f"{stem}.{zlib.crc32(stem.encode()):08x}"

    text = SecretKey.from_secret(Suite.HS256, bytes(32)).export()
    stem = text.rsplit(".", 1)[0]
    for wrong in (stem[:-1] + "B", stem + "=", stem.replace("A", "+", 1), stem + "\n"):
        with pytest.raises(ValueError, match="key"):
            Key.parse(with_crc(wrong))


def test_ids_depend_on_suite_and_material() -> None:
    """The same secret under another suite is another key with other sub-keys."""
    one = SecretKey.from_secret(Suite.HS256, bytes(32))
    other = SecretKey.from_secret(Suite.HS256_GCM, bytes(32))
    assert one.key_id != other.key_id
    assert one != other
    assert one.sign(b"m") != other.sign(b"m")
    a = SigningKey.from_seed(Suite.ED25519_GCM, bytes(32), b"1" * 32)
    b = SigningKey.from_seed(Suite.ED25519_GCM, bytes(32), b"2" * 32)
    assert a.key_id != b.key_id, "the id commits to the body secret"


def _small_order_points() -> set[bytes]:
    """All encodings of the eight points of small order, computed from the curve equation."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    root = pow(2, (p - 1) // 4, p)

    def sqrt(a: int) -> int | None:
        x = pow(a, (p + 3) // 8, p)
        for candidate in (x, x * root % p):
            if candidate * candidate % p == a % p:
                return candidate
        return None

    def add(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
        (x1, y1), (x2, y2) = one, two
        k = d * x1 * x2 * y1 * y2 % p
        return ((x1 * y2 + x2 * y1) * pow(1 + k, -1, p) % p, (y1 * y2 + x1 * x2) * pow(1 - k, -1, p) % p)

    def times8(point: tuple[int, int]) -> tuple[int, int]:
        for _ in range(3):
            point = add(point, point)
        return point

    found = {0, 1, p - 1}
    # Order 8: y**2 such that doubling gives a point of order 4 (y = 0): x**2 = -y**2 on the curve.
    for sign in (1, -1):
        square = sqrt(1 + d)
        if square is None:
            continue
        y2 = (sign * square - 1) * pow(d, -1, p) % p
        y = sqrt(y2)
        if y is not None:
            found |= {y, p - y}
    encodings = set()
    for y in found:
        x2 = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = sqrt(x2)
        if x is not None:
            assert times8((x, y)) == (0, 1)
            encodings |= {value.to_bytes(32, "little") for value in (y, y + p) if value < 2**255}
    return encodings


def test_small_order_public_keys_are_refused() -> None:
    """Under such a key a signature can be forged for many messages; all encodings are found from the curve itself."""
    points = _small_order_points()
    assert len(points) == 7
    for point in points:
        for sign in (0, 0x80):
            text = encode_key("slp1", Suite.ED25519, point[:31] + bytes([point[31] | sign]))
            with pytest.raises(ValueError, match="small order"):
                Key.parse(text)


def test_generate_names_the_suites() -> None:
    """An unknown suite is a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="ed25519-gcm"):
        Key.generate("aes")
    assert Key.generate(Suite.ED25519).suite is Suite.ED25519
    assert Key.generate().suite is Suite.HS256


def test_wrong_constructors() -> None:
    """Factories for fixed material refuse the wrong suite, type and size."""
    with pytest.raises(ValueError, match="shared-secret"):
        SecretKey.from_secret(Suite.ED25519, bytes(32))
    with pytest.raises(TypeError):
        SecretKey.from_secret(Suite.HS256, "x" * 32)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="32 bytes"):
        SecretKey.from_secret(Suite.HS256, b"short")
    with pytest.raises(ValueError, match="no public keys"):
        VerifyKey.from_public(Suite.HS256, bytes(32))
    with pytest.raises(ValueError, match="no body secret"):
        SigningKey.from_seed(Suite.ED25519, bytes(32), bytes(32))
    with pytest.raises(ValueError, match="body secret"):
        SigningKey.from_seed(Suite.ED25519_GCM, bytes(32))
    with pytest.raises(ValueError, match="no Fernet key"):
        Key.generate("hs256").fernet_key()


def test_text_of_an_unknown_suite_and_an_impossible_point() -> None:
    """A newer suite says to upgrade; bytes that are no curve point are refused here or never verify."""
    import zlib

    stem = "slk1.ml-dsa.AAAA"
    with pytest.raises(ValueError, match="upgrade"):
        Key.parse(f"{stem}.{zlib.crc32(stem.encode()):08x}")
    no_point = (2).to_bytes(32, "little")  # y = 2 has no x on the curve
    try:
        key = VerifyKey.from_public(Suite.ED25519, no_point)
    except ValueError:
        return
    assert not key.verify(b"message", bytes(64))
