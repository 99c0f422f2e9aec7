"""HKDF and HMAC against published answers."""

from __future__ import annotations

import hmac
import os

import pytest

from safeload.envelope.keys.hkdf import Mac, hkdf

# RFC 5869, appendix A, the cases with SHA-256: secret, salt, info, length, output.
RFC5869 = [
    ("0b" * 22, "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", 42,
     "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
    ("".join(f"{n:02x}" for n in range(0x50)), "".join(f"{n:02x}" for n in range(0x60, 0xB0)),
     "".join(f"{n:02x}" for n in range(0xB0, 0x100)), 82,
     ("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
     "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87")),
    ("0b" * 22, "", "", 42,
     "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
]  # fmt: skip

# RFC 4231: key, data, HMAC-SHA-256 (case 5 is truncated in the RFC and left out).
RFC4231 = [
    ("0b" * 20, "4869205468657265", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    ("4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    ("aa" * 20, "dd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    ("0102030405060708090a0b0c0d0e0f10111213141516171819", "cd" * 50,
     "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    ("aa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First".hex(),
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
]  # fmt: skip


@pytest.mark.parametrize(("secret", "salt", "info", "length", "expected"), RFC5869)
def test_rfc_5869(secret: str, salt: str, info: str, length: int, expected: str) -> None:
    """The RFC's answers: our HKDF is HKDF."""
    output = hkdf(bytes.fromhex(secret), salt=bytes.fromhex(salt), info=bytes.fromhex(info), length=length)
    assert output.hex() == expected


@pytest.mark.parametrize(("key", "data", "expected"), RFC4231)
def test_rfc_4231(key: str, data: str, expected: str) -> None:
    """The RFC's answers: the prepared HMAC is HMAC, also for keys longer than a block."""
    mac = Mac(bytes.fromhex(key))
    assert mac.digest(bytes.fromhex(data)).hex() == expected
    assert mac.digest(bytes.fromhex(data)).hex() == expected, "the prepared state is not used up"


def test_against_the_standard_library() -> None:
    """For keys and messages around the block size."""
    for key_size in (0, 1, 32, 63, 64, 65, 200):
        for size in (0, 55, 56, 63, 64, 65, 200):
            key, message = os.urandom(key_size), os.urandom(size)
            assert Mac(key).digest(message) == hmac.digest(key, message, "sha256")


def test_bounds() -> None:
    """HKDF refuses lengths it cannot give."""
    assert len(hkdf(b"s", info=b"", length=8160)) == 8160
    for length in (0, -1, 8161):
        with pytest.raises(ValueError):
            hkdf(b"s", info=b"", length=length)
