"""Write the envelope vectors, deterministically: `python tests/vectors/generate.py [directory]`.

One case a file. `kind` is accept or reject; `pieces` are the envelope, each a hex string or a slice `[base, start,
stop]` of another case's envelope (so that a chunk of 64 KiB is stored once); `key` is a key's text; a reject case has
the stable error `code`. Existing vectors are never changed: a new release adds files, it must still pass the old
ones.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

from safeload.envelope import Layout, wire
from safeload.envelope.cosignatures import make_slots
from safeload.envelope.keys import Key, SecretKey, SigningKey
from safeload.envelope.parts import MemorySource
from safeload.envelope.sealing import Draft, draft, write_envelope
from safeload.facts.suites import Suite

NOW = 1_800_000_000_000_000
CONTEXT = ["model", "fraud-2027"]


def material(name: str, size: int = 32) -> bytes:
    """Fixed pseudo-random bytes."""
    return hashlib.shake_256(b"safeload vectors " + name.encode()).digest(size)


KEYS: dict[str, Key] = {
    suite.label: SecretKey.from_secret(suite, material(suite.label))
    for suite in (Suite.HS256, Suite.HS256_FERNET, Suite.HS256_GCM)
} | {
    "ed25519": SigningKey.from_seed(Suite.ED25519, material("ed25519")),
    "ed25519-gcm": SigningKey.from_seed(Suite.ED25519_GCM, material("ed25519-gcm"), material("body secret")),
}
COSIGNERS = [SigningKey.from_seed(Suite.ED25519, material(f"cosigner {n}")) for n in range(3)]


def fernet(key: bytes, payload: bytes, seconds: int) -> bytes:
    """A Fernet token with a fixed IV, written out by hand (the library draws its own)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    pad = 16 - len(payload) % 16
    iv = material("fernet iv", 16)
    encryptor = Cipher(algorithms.AES(key[16:]), modes.CBC(iv)).encryptor()
    body = encryptor.update(payload + bytes([pad]) * pad) + encryptor.finalize()
    signed = b"\x80" + struct.pack(">Q", seconds) + iv + body
    return base64.urlsafe_b64encode(signed + hmac.digest(key[:16], signed, "sha256"))


def plan(payload: bytes, key: Key, name: str, **options: Any) -> Draft:
    """A draft with fixed salt and time."""
    options.setdefault("context", tuple(CONTEXT))
    options.setdefault("now_us", NOW)
    options.setdefault("chunk_log2", 16)
    return draft(len(payload), key, salt=material(f"salt {name}"), **options)


def envelope(payload: bytes, suite: str, name: str, **options: Any) -> bytes:
    """A sealed envelope."""
    key = KEYS[suite]
    made = plan(payload, key, name, **options)
    if suite == "hs256-fernet":
        token = fernet(key.fernet_key(), payload, made.prelude.created_us // 1_000_000)
        return made.header + made.claims + token + key.sign(made.message(hashlib.sha256(token).digest()))
    out: list[bytes] = []
    write_envelope(made, MemorySource([payload]), lambda piece: out.append(bytes(piece)))
    return b"".join(out)


def resign(data: bytes, suite: str, *, context: tuple[str, str] | None = None) -> bytes:
    """``data`` (INLINE, suites 1 and 4) signed again, as a faulty or hostile *authorised* writer would."""
    from safeload.envelope.primitives import context_digest, message

    tag = 64 if suite == "ed25519" else 32
    body_at = 96 + int.from_bytes(data[16:20], "big")
    digest = hashlib.sha256(data[body_at:-tag]).digest()
    signed = message(context_digest(context or tuple(CONTEXT)), data[:96], data[96:body_at], digest)
    return data[:-tag] + KEYS[suite].sign(signed)


class Cases:
    """Collects cases and writes them."""

    def __init__(self) -> None:
        self.cases: dict[str, dict[str, Any]] = {}
        self.bytes: dict[str, bytes] = {}

    def accept(self, name: str, data: bytes, suite: str, payload: bytes, reason: str, **more: Any) -> None:
        """A case that opens."""
        self._add(name, [data], suite, reason, kind="accept", payload_sha256=hashlib.sha256(payload).hexdigest(),
                  payload_size=len(payload), **more)  # fmt: skip
        self.bytes[name] = data

    def reject(self, name: str, pieces: Any, suite: str, code: str, reason: str, **more: Any) -> None:
        """A case that is refused with ``code``."""
        self._add(
            name, pieces if isinstance(pieces, list) else [pieces], suite, reason, kind="reject", code=code, **more
        )

    def _add(self, name: str, pieces: list[Any], suite: str, reason: str, **more: Any) -> None:
        assert name not in self.cases, name
        stored = [_stored(piece) if isinstance(piece, bytes) else piece for piece in pieces]
        case = {
            "name": name,
            "reason": reason,
            "key": KEYS[suite].export(),
            "context": CONTEXT,
            "now_us": NOW,
            "pieces": stored,
        }
        self.cases[name] = case | more


def _stored(piece: bytes) -> str:
    if len(piece) < 4096:
        return piece.hex()
    return "zlib64:" + base64.b64encode(zlib.compress(piece, 9)).decode()


def patch(data: bytes, at: int, new: bytes) -> bytes:
    """``data`` with bytes replaced."""
    return data[:at] + new + data[at + len(new) :]


def accepted(cases: Cases) -> None:
    """What must open."""
    payload = b"\x80\x05}\x94."  # a pickled empty dict
    claims = {
        "content": "model é",
        "manifest": {"sha256": "0" * 64},
        "n": 2**53 - 1,
        "ok": True,
        "none": None,
        "list": [1, -1],
    }
    for suite in KEYS:
        for size in (0, 1, 15, 16, 17, 255):
            data = bytes(range(size))
            cases.accept(
                f"{suite}-{size}", envelope(data, suite, f"{suite} {size}"), suite, data, f"payload of {size} bytes"
            )
        data = envelope(payload, suite, f"{suite} full", claims=claims, version=7, expires_in=60, codec=1)
        cases.accept(f"{suite}-claims", data, suite, payload, "claims, version, expiry", claims=claims, version=7)
    for suite in ("hs256", "ed25519"):
        data = envelope(payload, suite, "indexed", layout=Layout.INDEXED)
        cases.accept(f"{suite}-indexed", data, suite, payload, "INDEXED with one chunk")
        cases.accept(
            f"{suite}-indexed-empty", envelope(b"", suite, "e", layout=Layout.INDEXED), suite, b"", "empty INDEXED"
        )
    private = envelope(payload, "hs256", "private", codec=0x8001, claims={"codec": "acme-frames"})
    cases.accept("hs256-private-codec", private, "hs256", payload, "private codec named in the claims")
    data = envelope(payload, "hs256", "cosigned", cosigners=COSIGNERS)
    texts = [key.public.export() for key in COSIGNERS]
    cases.accept("hs256-cosigned", data, "hs256", payload, "three cosignatures", cosigners=texts, require=3)
    chunk = 1 << 16
    for size in (chunk, 2 * chunk, 2 * chunk + 100):
        data = b"".join(bytes([65 + n]) * chunk for n in range(3))[:size]  # each chunk its own letter
        for suite, layout in (("hs256", Layout.INDEXED), ("hs256-gcm", None), ("ed25519-gcm", None)):
            sealed = envelope(data, suite, f"{suite} {size}", layout=layout)
            if suite == "hs256" or size == 2 * chunk + 100:  # ciphertext does not compress
                cases.accept(f"{suite}-chunks-{size}", sealed, suite, data, f"{size} bytes in chunks of {chunk}")


def header_rejects(cases: Cases) -> None:
    """Every field of the prelude outside its registry, and every field changed to another valid value."""
    good = cases.bytes["hs256-255"]
    indexed = cases.bytes["hs256-indexed"]
    fields = [
        ("magic", 0, b"\xf4", "not-an-envelope"), ("magic-crlf", 4, b"\n\n", "not-an-envelope"),
        ("version-0", 8, b"\0", "unknown-version"), ("version-2", 8, b"\2", "unknown-version"),
        ("suite-0", 9, b"\0", "unknown-suite"), ("suite-6", 9, b"\6", "unknown-suite"), ("suite-255", 9, b"\xff", "unknown-suite"),
        ("layout-stream", 10, b"\2", "unknown-layout"), ("layout-4", 10, b"\4", "unknown-layout"),
        ("layout-255", 10, b"\xff", "unknown-layout"),
        ("flags-1", 11, b"\1", "unknown-flags"), ("flags-128", 11, b"\x80", "unknown-flags"),
        ("codec-0", 12, b"\0\0", "unknown-codec"), ("codec-13", 12, b"\0\x0d", "unknown-codec"),
        ("codec-7fff", 12, b"\x7f\xff", "unknown-codec"), ("codec-other", 12, b"\0\2", "verification"),
        ("codec-private", 12, b"\x80\0", "verification"),
        ("chunk-size", 14, b"\x12", "chunk-size"),
        ("cosignatures", 15, b"\1", "cosignature-count"), ("cosignatures-255", 15, b"\xff", "cosignature-count"),
        ("claims-64", 16, b"\0\0\0\x40", "claims-size"), ("claims-1", 16, b"\0\0\0\1", "claims-size"),
        ("claims-huge", 16, b"\xff\xff\xff\xe0", "claims-size"), ("claims-max-plus", 16, b"\0\1\0\x20", "claims-size"),
        ("claims-32", 16, b"\0\0\0\x20", "truncated"),
        ("schema-version", 20, b"\0\0\0\1", "verification"), ("created", 24, b"\xff", "verification"),
        ("expires", 39, b"\1", "verification"),
        ("payload-plus", 47, b"\0", "trailing-bytes"), ("payload-minus", 46, b"\1", "truncated"),
        ("payload-2**63", 40, b"\x80", "limit"), ("payload-2**64-1", 40, b"\xff" * 8, "limit"),
        ("key-id", 48, b"\0", "missing-key"), ("salt", 64, b"\0", "verification"), ("salt-end", 95, b"\0", "verification"),
    ]  # fmt: skip
    for name, at, new, code in fields:
        cases.reject(f"prelude-{name}", patch(good, at, new), "hs256", code, f"byte {at} of the prelude is {new.hex()}")
    for name, at, new, code in [
        ("chunk-log2-15", 14, b"\x0f", "chunk-size"), ("chunk-log2-25", 14, b"\x19", "chunk-size"),
        ("chunk-log2-0", 14, b"\0", "chunk-size"), ("chunk-log2-255", 14, b"\xff", "chunk-size"),
        ("chunk-log2-17", 14, b"\x11", "verification"), ("claims-none", 16, b"\0\0\0\0", "claims-size"),
        ("cosignatures-9", 15, b"\x09", "cosignature-count"), ("cosignatures-1", 15, b"\1", "truncated"),
        ("layout-inline", 10, b"\0", "chunk-size"), ("layout-detached", 10, b"\3", "chunk-size"),
    ]:  # fmt: skip
        cases.reject(
            f"indexed-{name}", patch(indexed, at, new), "hs256", code, f"byte {at} of the prelude is {new.hex()}"
        )
    for suite, other, code in (
        ("hs256", 4, "truncated"), ("ed25519", 1, "trailing-bytes"), ("hs256-gcm", 1, "unknown-layout"),
        ("hs256-gcm", 5, "unknown-layout"), ("hs256", 2, "truncated"), ("hs256", 3, "unknown-layout"),
    ):  # fmt: skip
        data = patch(cases.bytes[f"{suite}-17"], 9, bytes([other]))
        cases.reject(f"relabel-{suite}-as-{other}", data, suite, code, "suite relabelled: sizes or layouts differ")
    signed = cases.bytes["ed25519-17"]
    shortened = patch(signed, 9, b"\1")[:-32]
    cases.reject(
        "relabel-exact-size", shortened, "ed25519", "verification", "suite relabelled and cut to the right size"
    )


def whole_rejects(cases: Cases) -> None:
    """Cut, appended, moved, expired, opened with the wrong key or context."""
    for suite in KEYS:
        data = cases.bytes[f"{suite}-17"]
        size = len(data)
        cases.reject(f"{suite}-last-byte-missing", data[:-1], suite, "truncated", "truncated")
        cases.reject(f"{suite}-byte-appended", data + b"\0", suite, "trailing-bytes", "appended")
        cases.reject(f"{suite}-doubled", data + data, suite, "trailing-bytes", "two envelopes")
        cases.reject(
            f"{suite}-zip-appended", data + b"PK\5\6" + bytes(18), suite, "trailing-bytes", "polyglot with a zip"
        )
        cases.reject(f"{suite}-prepended", b"\0" + data, suite, "not-an-envelope", "a byte in front")
        cases.reject(f"{suite}-header-only", data[:96], suite, "truncated", "the prelude alone")
        cases.reject(f"{suite}-half-header", data[:50], suite, "truncated", "half a prelude")
        flipped = patch(data, size - 1, bytes([data[-1] ^ 1]))
        code = "decryption" if suite == "hs256-gcm" else "verification"
        cases.reject(f"{suite}-last-bit", flipped, suite, code, "last bit flipped")
        body = patch(data, 97, bytes([data[97] ^ 0x40]))
        cases.reject(f"{suite}-body-bit", body, suite, "verification", "a bit behind the prelude flipped")
        cases.reject(f"{suite}-no-context", data, suite, "verification", "opened without a context", context=None)
        cases.reject(
            f"{suite}-other-binding", data, suite, "verification", "another binding", context=["model", "fraud-2028"]
        )
        cases.reject(f"{suite}-moved-border", data, suite, "verification", "purpose and binding divided elsewhere",
                     context=["mode", "lfraud-2027"])  # fmt: skip
        late = cases.cases[f"{suite}-claims"]["pieces"]
        cases.reject(f"{suite}-expired", late, suite, "expired", "at the moment of expiry", now_us=NOW + 60_000_000)
        cases.reject(f"{suite}-too-old", data, suite, "too-old", "older than the reader accepts", min_created=NOW + 1)
        cases.reject(f"{suite}-not-admitted", data, suite, "suite-not-admitted", "the reader admits another suite only",
                     suites=["hs256" if suite != "hs256" else "ed25519"])  # fmt: skip


def claims_rejects(cases: Cases) -> None:
    """Claims an authorised writer should not have written: signed, and still refused."""
    base = cases.bytes["hs256-17"]
    body = base[96:]
    texts = {
        "space": b'{"a": 1}', "order": b'{"b":1,"a":1}', "duplicate": b'{"a":1,"a":1}', "float": b'{"a":1.0}', "exponent": b'{"a":1e2}',
        "nan": b'{"a":NaN}', "infinity": b'{"a":-Infinity}', "big": b'{"a":9007199254740992}', "minus-zero": b'{"a":-0}',
        "huge-integer": b'{"a":' + b"9" * 9000 + b"}", "array": b"[1]", "string": b'"a"', "null": b"null",
        "raw-utf8": '{"a":"é"}'.encode(), "bad-utf8": b'{"a":"\xff"}', "surrogate": b'{"a":"\\ud800"}', "upper-escape": b'{"a":"\\u00E9"}',
        "needless-escape": b'{"a":"\\u0061"}', "slash-escape": b'{"a":"\\/"}', "tab": b'{"a":1}\t', "newline": b'{"a":1}\n',
        "leading-space": b' {"a":1}', "nul": b'{"a":1}\0', "bom": b'\xef\xbb\xbf{"a":1}', "deep": b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        "bomb": b'{"a":' + b"[" * 30_000, "empty-text": b"", "trailing-comma": b'{"a":1,}', "comment": b'{"a":1}//',
        "two-objects": b'{"a":1}{"b":1}', "utf-16": '{"a":1}'.encode("utf-16-le"),
    }  # fmt: skip
    for name, text in texts.items():
        padded = text.ljust(len(text) + (-(96 + len(text))) % 64)
        data = base[:16] + len(padded).to_bytes(4, "big") + base[20:96] + padded + body
        cases.reject(f"claims-{name}", resign(data, "hs256"), "hs256", "claims", f"claims are not canonical: {name}")
    text = b'{"a":1}'.ljust(96)
    data = base[:16] + len(text).to_bytes(4, "big") + base[20:96] + text + body
    cases.reject("claims-padding", resign(data, "hs256"), "hs256", "claims", "more padding than needed")
    data = resign(patch(base, 12, b"\x80\x01"), "hs256")
    cases.reject("claims-private-codec-unnamed", data, "hs256", "claims", "private codec without its name")
    claims = b'{"sle.cosigners":["' + b"0" * 32 + b'"]}'
    claims = claims.ljust(len(claims) + (-(96 + len(claims))) % 64)
    data = base[:16] + len(claims).to_bytes(4, "big") + base[20:96] + claims + body
    cases.reject(
        "claims-cosigners-without-slots", resign(data, "hs256"), "hs256", "verification", "a list without slots"
    )


def chunk_rejects(cases: Cases) -> None:
    """Chunks swapped, doubled, dropped, spliced, emptied."""
    chunk = 1 << 16
    for suite, start, step in (("hs256-gcm", 128, chunk + 16), ("hs256", 128, chunk), ("ed25519-gcm", 160, chunk + 16)):
        base = f"{suite}-chunks-{2 * chunk + 100}"
        start = 96 + 32 if suite != "ed25519-gcm" else 96 + 32 + 32
        end = len(cases.bytes[base])
        first, second = [base, start, start + step], [base, start + step, start + 2 * step]
        head, tail = [base, 0, start], [base, start + 2 * step, end]
        code = "decryption" if suite == "hs256-gcm" else "verification"
        cases.reject(f"{suite}-chunks-doubled", [head, first, first, tail], suite, code, "chunk 0 twice")
        cases.reject(f"{suite}-chunks-dropped", [head, second, tail], suite, "truncated", "chunk 0 missing")
        cases.reject(
            f"{suite}-chunks-inserted", [head, first, first, second, tail], suite, "trailing-bytes", "chunk 0 inserted"
        )
        shorter = (chunk).to_bytes(8, "big")
        if suite != "hs256":
            cases.reject(f"{suite}-chunks-swapped", [head, second, first, tail], suite, code, "chunks 0 and 1 swapped")
            size = [[base, 0, 40], shorter.hex(), [base, 48, start + step]]
            if suite == "hs256-gcm":
                cases.reject(f"{suite}-cut-at-chunk", size, suite, "verification", "cut behind chunk 0, size adapted")
        else:
            cases.reject(f"{suite}-digests-swapped", [[base, 0, end - 128], [base, end - 96, end - 64], [base, end - 128, end - 96],
                         [base, end - 64, end]], suite, "verification" , "digests reordered")  # fmt: skip
    empty, one = cases.bytes["hs256-gcm-0"], cases.bytes["hs256-gcm-1"]
    cases.reject("hs256-gcm-empty-final-chunk", patch(one, 40, one[40:48]) + empty[-16:], "hs256-gcm", "trailing-bytes",
                 "an empty chunk behind the last")  # fmt: skip
    cases.reject("hs256-gcm-no-chunk", empty[:-16], "hs256-gcm", "truncated", "an empty payload without its chunk")
    cases.reject("hs256-gcm-spliced", cases.bytes["hs256-gcm-16"][:128] + cases.bytes["hs256-gcm-claims"][-32:], "hs256-gcm",
                 "decryption", "the chunk of another message")  # fmt: skip
    other = envelope(bytes(16), "hs256-gcm", "other")
    cases.reject("hs256-gcm-header-tag-of-other", cases.bytes["hs256-gcm-16"][:96] + other[96:], "hs256-gcm", "verification",
                 "header tag and chunk of another message")  # fmt: skip


def cosignature_rejects(cases: Cases) -> None:
    """Slots altered, exchanged, claimed by others."""
    texts = [key.public.export() for key in COSIGNERS]
    payload = b"\x80\x05}\x94."
    good = cases.bytes["hs256-cosigned"]
    size = len(good)
    more = {"cosigners": texts, "require": 0}
    wrong = patch(good, size - 1, bytes([good[-1] ^ 1]))
    cases.reject("cosigned-wrong-signature", wrong, "hs256", "verification", "a cosignature altered", **more)
    swapped = good[: size - 160] + good[size - 80 :] + good[size - 160 : size - 80]
    cases.reject("cosigned-swapped", swapped, "hs256", "verification", "two slots exchanged", **more)
    doubled = good[: size - 80] + good[size - 160 : size - 80]
    cases.reject("cosigned-doubled", doubled, "hs256", "verification", "one slot twice", **more)
    renamed = patch(good, size - 80, bytes(16))
    cases.reject("cosigned-renamed", renamed, "hs256", "verification", "a slot of nobody", **more)
    emptied = good[: size - 64] + bytes(64)
    cases.reject(
        "cosigned-too-few", emptied, "hs256", "cosignatures", "two of three required", cosigners=texts, require=3
    )
    cases.reject("cosigned-unknown", good, "hs256", "cosignatures", "cosigners' keys unknown", cosigners=[], require=1)
    made = plan(payload, KEYS["hs256"], "cosigned", cosigners=COSIGNERS)
    strangers = make_slots(COSIGNERS, made.message(bytes(32)))
    cases.reject(
        "cosigned-other-message",
        good[: size - 240] + strangers,
        "hs256",
        "verification",
        "made over another body",
        **more,
    )
    cases.reject(
        "cosigned-none-inline",
        cases.bytes["hs256-17"],
        "hs256",
        "cosignatures",
        "none where one is required",
        require=1,
    )


def fernet_rejects(cases: Cases) -> None:
    """Tokens that are not canonical or not of this key, under a right outer tag (a hostile authorised writer)."""
    key = KEYS["hs256-fernet"]
    made = plan(b"\0" * 17, key, "fernet")
    token = fernet(key.fernet_key(), b"\0" * 17, NOW // 1_000_000)

    def outer(body: bytes) -> bytes:
        return made.header + body + key.sign(made.message(hashlib.sha256(body).digest()))

    std = token[:40] + b"+/" + token[42:]
    for name, body, reason in [
        ("junk", b"!" + token[1:], "a character outside base64"), ("standard-alphabet", std, "+ and / instead of - and _"),
        ("padding", token[:-4] + b"====", "padding that is none"), ("newline", token[:-1] + b"\n", "ends with a newline"),
        ("inner-mac", fernet(bytes(32), b"\0" * 17, 0), "a token of another key"),
        ("shorter-payload", fernet(key.fernet_key(), b"\0" * 16, 0), "payload size differs from the announced one"),
    ]:  # fmt: skip
        cases.reject(f"fernet-{name}", outer(body), "hs256-fernet", "decryption", reason)


def wire_check() -> None:
    """The generator relies on these."""
    assert wire.PRELUDE_SIZE == 96


def main(directory: Path) -> None:
    """Write every case."""
    wire_check()
    cases = Cases()
    accepted(cases)
    for family in (header_rejects, whole_rejects, claims_rejects, chunk_rejects, cosignature_rejects, fernet_rejects):
        family(cases)
    directory.mkdir(parents=True, exist_ok=True)
    for name, case in cases.cases.items():
        file = name.replace("*", "x")
        (directory / f"{file}.json").write_text(json.dumps(case, indent=1, ensure_ascii=True) + "\n")
    kinds = [case["kind"] for case in cases.cases.values()]
    print(f"{kinds.count('accept')} accept, {kinds.count('reject')} reject")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "envelope")
