"""HKDF and HMAC against published answers."""

from __future__ import annotations

import pytest

from safeload.envelope.keys.hkdf import hkdf

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


@pytest.mark.parametrize(("secret", "salt", "info", "length", "expected"), RFC5869)
def test_rfc_5869(secret: str, salt: str, info: str, length: int, expected: str) -> None:
    """The RFC's answers: our HKDF is HKDF."""
    output = hkdf(bytes.fromhex(secret), salt=bytes.fromhex(salt), info=bytes.fromhex(info), length=length)
    assert output.hex() == expected


def test_bounds() -> None:
    """HKDF refuses lengths it cannot give."""
    assert len(hkdf(b"s", info=b"", length=8160)) == 8160
    for length in (0, -1, 8161):
        with pytest.raises(ValueError):
            hkdf(b"s", info=b"", length=length)
