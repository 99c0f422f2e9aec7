"""Keys: material plus algorithm, as distinct types that cannot be confused.

``SecretKey`` seals and opens with a shared secret; ``SigningKey`` seals with Ed25519 and ``VerifyKey`` is what its
readers hold. A suite belongs to a key and is never negotiated: an attacker's bytes cannot choose a weaker one. Rules:
raw bytes are refused wherever a key is meant; material appears in ``key.export()`` and nowhere else (no str, repr, pickle);
sub-keys come from HKDF labels, so one secret never serves two purposes (SPEC.md, "Key derivation").
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any, ClassVar, Final, NoReturn

from safeload.envelope.keys.entry import KeyEntry
from safeload.envelope.keys.hkdf import hkdf
from safeload.envelope.keys.text import decode_key, encode_key
from safeload.facts.suites import Suite

__all__ = ["Key", "SecretKey", "SigningKey", "VerifyKey"]

_SECRET_SIZE: Final = 32
_SHARED: Final = frozenset({Suite.HS256, Suite.HS256_FERNET, Suite.HS256_GCM})
# Encodings of the points of small order on Curve25519 in Edwards form, sign bit cleared. Under such a "public key" one
# signature verifies for many messages; see https://eprint.iacr.org/2020/1244 (Taming the many EdDSAs), section 4.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


class Key:
    """A key of one suite. Make one with :meth:`generate` or :meth:`parse`; keys are immutable.

    Attributes:
        suite: the algorithms this key is for.
        key_id: 16 bytes by which an envelope names its key.
        can_sign: whether envelopes can be sealed with it.
        can_verify: whether envelopes can be verified with it (always true).
        can_decrypt: whether payloads of an encrypting suite can be read with it.
    """

    __slots__ = ("_as_entry", "_material", "key_id", "suite")

    suite: Suite
    key_id: bytes
    _material: bytes
    _as_entry: KeyEntry
    _prefix: ClassVar[str] = "slk1"
    can_sign: ClassVar[bool] = True
    can_verify: ClassVar[bool] = True

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        raise TypeError("make a key with Key.generate('hs256') or Key.parse(text); raw bytes are not a key")

    @classmethod
    def _build(cls, suite: Suite, material: bytes, **attributes: Any) -> Any:
        self = object.__new__(cls)
        put = object.__setattr__
        put(self, "suite", suite)
        put(self, "_material", material)
        for name, value in attributes.items():
            put(self, name, value)
        put(self, "_as_entry", KeyEntry(self))
        return self

    @staticmethod
    def generate(suite: str | Suite = "hs256") -> SecretKey | SigningKey:
        """A new random key.

        Args:
            suite: ``"hs256"``, ``"hs256-fernet"``, ``"hs256-gcm"``, ``"ed25519"`` or ``"ed25519-gcm"``.

        Raises:
            ValueError: no such suite.
        """
        chosen = suite if isinstance(suite, Suite) else Suite.parse(suite)
        if chosen in _SHARED:
            return SecretKey.from_secret(chosen, os.urandom(_SECRET_SIZE))
        secret = os.urandom(_SECRET_SIZE) if chosen is Suite.ED25519_GCM else b""
        return SigningKey.from_seed(chosen, os.urandom(_SECRET_SIZE), secret)

    @staticmethod
    def parse(text: str) -> SecretKey | SigningKey | VerifyKey:
        """The key whose text form is ``text`` (surrounding white space is ignored).

        Raises:
            TypeError: ``text`` is not a ``str``; raw bytes are never a key.
            ValueError: it is no key's canonical text. The message quotes nothing of it.
        """
        prefix, suite, material = decode_key(text)
        half = _SECRET_SIZE
        sizes = {"slk1": half, "slp1": half} | ({"slr1": 2 * half} if suite is Suite.ED25519_GCM else {})
        if suite is Suite.ED25519_GCM:
            sizes = dict.fromkeys(sizes, 2 * half)
        if suite in _SHARED:
            del sizes["slp1"]
        if sizes.get(prefix) != len(material):
            raise ValueError(f"a {suite.label} key does not have this form or length; copy the text again")
        if prefix == "slk1":
            if suite in _SHARED:
                return SecretKey.from_secret(suite, material)
            return SigningKey.from_seed(suite, material[:half], material[half:])
        if prefix == "slr1":
            return VerifyKey.from_public(suite, material[:half], secret=material[half:])
        return VerifyKey.from_public(suite, material[:half], secret_id=material[half:])

    @property
    def key_id_hex(self) -> str:
        """The key id as 32 hex digits."""
        return self.key_id.hex()

    @property
    def can_decrypt(self) -> bool:
        """Whether payloads of an encrypting suite can be read with this key (true for suites that do not encrypt)."""
        return True

    @property
    def public(self) -> VerifyKey:
        """What readers hold: verifies, and decrypts for ``ed25519-gcm``, but cannot sign.

        Raises:
            ValueError: the suite has one shared secret and no public half.
        """
        raise ValueError(
            f"a {self.suite.label} key is one shared secret and has no public half; readers need the key itself, "
            "or use Key.generate('ed25519') so that readers cannot forge"
        )

    def find(self, key_id: bytes) -> KeyEntry | None:
        """This key as an entry if its id is ``key_id``: a single key serves as a key ring of one."""
        return self._as_entry if key_id == self.key_id else None

    def message_keys(self, salt: bytes) -> tuple[bytes, bytes]:
        """The header key and the chunk key (32 bytes each) of one message of an ``…-gcm`` suite."""
        secret = self._body_secret()
        keys = hkdf(secret, info=_label(b"SLE1 msg", self.suite), length=64, salt=salt)
        return keys[:32], keys[32:]

    def verify(self, message: bytes, tag: bytes) -> bool:
        """Whether ``tag`` holds for ``message``, in constant time; each kind of key says how."""
        raise NotImplementedError

    def _body_secret(self) -> bytes:
        raise ValueError(f"a {self.suite.label} key of this kind derives no message keys")

    def export(self) -> str:
        """The text form, which :meth:`parse` reads. It holds the secret: ``str()`` and f-strings, which logs are full of, do not."""
        return encode_key(self._prefix, self.suite, self._material)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.suite.label} {self.key_id_hex}>"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Key)  # noqa: S101 - for the type checker
        return self.suite == other.suite and hmac.compare_digest(self._material, other._material)

    def __hash__(self) -> int:
        return hash((type(self), self.key_id))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"keys are immutable; cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"keys are immutable; cannot delete {name!r}")

    def __deepcopy__(self, memo: object = None) -> Key:
        return self

    __copy__ = __deepcopy__

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "keys are never pickled: a pickle of a key leaks it; pass key.export() over a protected channel"
        )


class SecretKey(Key):
    """A shared secret: whoever can verify can also seal (suites ``hs256``, ``hs256-fernet``, ``hs256-gcm``)."""

    __slots__ = ("_fernet", "_mac")

    _mac: hmac.HMAC  # with the key absorbed already: a copy costs less than to set it up anew
    _fernet: bytes

    @classmethod
    def from_secret(cls, suite: Suite, secret: bytes) -> SecretKey:
        """The key with a 32-byte root secret, for tests with fixed keys and for migrations from other key stores."""
        if suite not in _SHARED:
            raise ValueError(f"{suite.label} is not a shared-secret suite; use SigningKey.from_seed")
        secret = _exactly(secret, "root secret")
        mac = hmac.new(hkdf(secret, info=_label(b"SLE1 mac", suite)), digestmod="sha256")
        fernet = hkdf(secret, info=_label(b"SLE1 fernet", suite)) if suite is Suite.HS256_FERNET else b""
        key_id = _key_id(suite, hkdf(secret, info=_label(b"SLE1 id", suite)))
        key: SecretKey = cls._build(suite, secret, key_id=key_id, _mac=mac, _fernet=fernet)
        return key

    def sign(self, message: bytes) -> bytes:
        """The 32-byte HMAC-SHA256 tag of ``message``."""
        mac = self._mac.copy()
        mac.update(message)
        return mac.digest()

    def verify(self, message: bytes, tag: bytes) -> bool:
        """Whether ``tag`` is the tag of ``message`` (compared in constant time)."""
        return hmac.compare_digest(self.sign(message), tag)

    def mac(self, data: bytes, /) -> bytes:
        """The tag of a line of an audit trail, under a sub-key of its own: it is no tag of an envelope."""
        return hmac.digest(hkdf(self._material, info=_label(b"SLE1 trail", self.suite)), data, "sha256")

    def fernet_key(self) -> bytes:
        """The 32-byte Fernet key of an ``hs256-fernet`` key."""
        if not self._fernet:
            raise ValueError(f"a {self.suite.label} key has no Fernet key")
        return self._fernet

    def _body_secret(self) -> bytes:
        return self._material if self.suite is Suite.HS256_GCM else super()._body_secret()


class VerifyKey(Key):
    """What a reader of ``ed25519`` or ``ed25519-gcm`` envelopes holds; it cannot sign.

    For ``ed25519-gcm`` it also carries the secret that decrypts (text form ``slr1…``, confidential);
    :attr:`verify_only` is the same key without it (``slp1…``, may be published): it checks who sealed a file and
    cannot read it.
    """

    __slots__ = ("_public", "_secret", "_verifier")

    _prefix = "slp1"
    can_sign = False
    _public: bytes
    _secret: bytes
    _verifier: Any

    @classmethod
    def from_public(cls, suite: Suite, public: bytes, *, secret: bytes = b"", secret_id: bytes = b"") -> VerifyKey:
        """The key with a 32-byte Ed25519 public key; ``ed25519-gcm`` also needs the secret or its 32-byte id."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if not suite.is_signature:
            raise ValueError(f"{suite.label} has no public keys")
        public = _exactly(public, "public key")
        if public[:31] + bytes((public[31] & 0x7F,)) in _SMALL_ORDER:
            raise ValueError("this public key is a point of small order: anyone can forge under it; get the real key")
        material = public
        if suite is Suite.ED25519_GCM:
            if secret:
                secret_id = hkdf(_exactly(secret, "body secret"), info=_label(b"SLE1 id", suite))
            material += secret or _exactly(secret_id, "id of the body secret")
        elif secret or secret_id:
            raise ValueError("an ed25519 key has no body secret")
        try:
            verifier = Ed25519PublicKey.from_public_bytes(public)
        except ValueError:
            raise ValueError("this is not a valid Ed25519 public key") from None
        key_id = _key_id(suite, public + secret_id)
        key: VerifyKey = cls._build(suite, material, key_id=key_id, _public=public, _secret=secret, _verifier=verifier)
        return key

    @property
    def public(self) -> VerifyKey:
        """This key itself."""
        return self

    @property
    def can_decrypt(self) -> bool:
        """False for an ``ed25519-gcm`` key without its body secret."""
        return self.suite is not Suite.ED25519_GCM or bool(self._secret)

    @property
    def verify_only(self) -> VerifyKey:
        """This key without the secret that decrypts, fit to be published."""
        if self.suite is not Suite.ED25519_GCM or not self._secret:
            return self
        secret_id = hkdf(self._secret, info=_label(b"SLE1 id", self.suite))
        return VerifyKey.from_public(self.suite, self._public, secret_id=secret_id)

    def verify(self, message: bytes, tag: bytes) -> bool:
        """Whether ``tag`` is this signer's signature of ``message``."""
        from cryptography.exceptions import InvalidSignature

        try:
            self._verifier.verify(tag, message)
        except InvalidSignature:
            return False
        return True

    def _body_secret(self) -> bytes:
        return self._secret or super()._body_secret()

    def export(self) -> str:  # noqa: D102 - with the secret that decrypts (slr1...) if this key has it
        return encode_key("slr1" if self._secret else "slp1", self.suite, self._material)


class SigningKey(Key):
    """The private half of an Ed25519 pair (suites ``ed25519``, ``ed25519-gcm``); :attr:`public` is for the readers."""

    __slots__ = ("_reader", "_signer")

    _reader: VerifyKey
    _signer: Any

    @classmethod
    def from_seed(cls, suite: Suite, seed: bytes, secret: bytes = b"") -> SigningKey:
        """The key with a 32-byte Ed25519 seed; ``ed25519-gcm`` also needs its 32-byte body secret."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        seed = _exactly(seed, "Ed25519 seed")
        signer = Ed25519PrivateKey.from_private_bytes(seed)
        reader = VerifyKey.from_public(suite, signer.public_key().public_bytes_raw(), secret=secret)
        key: SigningKey = cls._build(suite, seed + secret, key_id=reader.key_id, _reader=reader, _signer=signer)
        return key

    @property
    def public(self) -> VerifyKey:
        """What readers hold; for ``ed25519-gcm`` it can decrypt, so keep it among the readers."""
        return self._reader

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message``."""
        return bytes(self._signer.sign(message))

    def verify(self, message: bytes, tag: bytes) -> bool:
        """Whether ``tag`` is this key's signature of ``message``."""
        return self._reader.verify(message, tag)

    def _body_secret(self) -> bytes:
        return self._reader._body_secret()  # noqa: SLF001 - the two halves of one pair


def _label(purpose: bytes, suite: Suite) -> bytes:
    return purpose + bytes((suite,))


def _key_id(suite: Suite, identity: bytes) -> bytes:
    return hashlib.sha256(_label(b"SLE1 kid", suite) + identity).digest()[:16]


def _exactly(material: bytes, what: str) -> bytes:
    if not isinstance(material, bytes):
        raise TypeError(f"the {what} is bytes, not {type(material).__name__}")
    if len(material) != _SECRET_SIZE:
        raise ValueError(f"the {what} has {_SECRET_SIZE} bytes, not {len(material)}")
    return material
