"""``keygen``, ``sign``, ``verify``, ``encrypt``, ``decrypt`` and ``rekey`` as a person types them."""

from __future__ import annotations

import functools
import json
import os
import pickle
import stat
import zipfile
from typing import TYPE_CHECKING

import pytest

import safeload
from safeload.envelope import seal

if TYPE_CHECKING:
    from pathlib import Path

DATA = {"weights": [1, 2, 3]}


@pytest.fixture
def run(run):
    """A command that must succeed unless a test says otherwise."""
    return functools.partial(run, code=0)


@pytest.fixture
def refused(run):
    """A command that must fail, say ``words``, print nothing else and change no file."""

    def refused(folder: Path, words: str, *arguments: str, code: int = 1, **environment: str) -> str:
        before = files(folder)
        done = run(folder, *arguments, code=code, **environment)
        assert words in done.stderr
        assert done.stdout == ""
        assert files(folder) == before
        assert code != 2 or len(done.stderr.splitlines()) <= 2
        return done.stderr

    return refused


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    """An artifact, a pair of keys, and keys that encrypt."""
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(DATA))
    for name, suite in (("signer", "ed25519"), ("shared", "hs256"), ("vault", "hs256-gcm"), ("small", "hs256-fernet")):
        key = safeload.Key.generate(suite)
        write_key(tmp_path / f"{name}.key", key)
        if suite == "ed25519":
            write_key(tmp_path / "readers.key", key.public)
    return tmp_path


def write_key(path: Path, key: safeload.Key) -> None:
    path.write_text(f"{key.export()}\n")
    path.chmod(0o600)


def test_keygen_writes_a_private_file_and_shows_no_secret(tmp_path, run):
    """Mode 0600 whatever the umask; the secret is in the file and nowhere else."""
    done = run(tmp_path, "keygen", "--suite", "ed25519", "--output", "a.key", "--public", "b.key", "--label", "team x")
    secret, public = ((tmp_path / name).read_text() for name in ("a.key", "b.key"))
    assert secret.startswith("slk1.ed25519.")
    assert public.startswith("slp1.ed25519.")
    assert "slk1" not in done.stdout + done.stderr
    assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600
    ring = safeload.KeyRing.from_file(tmp_path / "a.key")
    assert ring.entries[0].label == "team x"
    assert ring.primary.public == safeload.KeyRing.from_file(tmp_path / "b.key").entries[0].key


def test_keygen_never_overwrites_a_key_unasked(tmp_path, refused, run):
    """A lost key cannot be made again."""
    run(tmp_path, "keygen", "--output", "a.key")
    before = (tmp_path / "a.key").read_bytes()
    refused(tmp_path, "a.key exists", "keygen", "--output", "a.key", code=2)
    refused(tmp_path, "a.key exists", "keygen", "--suite", "ed25519", "--output", "n.key", "--public", "a.key", code=2)
    run(tmp_path, "keygen", "--output", "a.key", "--force")
    assert (tmp_path / "a.key").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "nowhere to put the key"),
        (("--suite", "rsa", "--print"), "'rsa' is not one of"),
        (("--output", "no/dir.key"), "mkdir -p no"),
        (("--output", "x", "--public", "y"), "no public half"),
        (("--suite", "ed25519", "--output", "x", "--public", "./x"), "the same file"),
        (("--existing", "gone", "--public", "y"), "does not exist"),
        (("--output", "x", "--label", "a\nb"), "control characters"),
    ],
)
def test_keygen_says_what_is_missing(tmp_path, arguments, words, refused):
    """And writes nothing."""
    refused(tmp_path, words, "keygen", *arguments, code=2)


def test_keygen_prints_only_when_asked_and_derives_public_halves(tmp_path, refused, run):
    """For an environment variable, and for who forgot --public."""
    text = run(tmp_path, "keygen", "--suite", "ed25519-gcm", "--print").stdout.strip()
    key = safeload.Key.parse(text)
    write_key(tmp_path / "k.key", key)
    run(tmp_path, "keygen", "--existing", "k.key", "--public", "p.key")
    assert (tmp_path / "p.key").read_text().strip() == key.public.export()
    refused(tmp_path, "--existing", "keygen", "--existing", "k.key", "--output", "q", code=2)


def test_sign_verify_load(folder, run):
    """The main way: sign, say who signed it, load it in Python with the public half."""
    done = run(folder, "sign", "model.pkl", "--key-file", "signer.key", "--context", "m1", "--expires-in", "30d")
    assert "signed model.pkl -> model.pkl.sle" in done.stderr
    assert "expires 20" in done.stderr
    done = run(folder, "verify", "model.pkl.sle", "--key-file", "readers.key", "--context", "m1")
    assert done.stdout.startswith("verified  model.pkl.sle\n  signed by   ")
    for text in ("ed25519", "expires     20", "matches the one given", "pickle,"):
        assert text in done.stdout
    ring = safeload.KeyRing.from_file(folder / "readers.key")
    assert safeload.load(folder / "model.pkl.sle", keys=ring, context="m1") == DATA
    shown = json.loads(
        run(folder, "verify", "model.pkl.sle", "--key-file", "readers.key", "--context", "m1", "--json").stdout
    )
    assert shown[0]["verified"] is True
    assert shown[0]["key_id"] == ring.entries[0].key.key_id_hex


def test_the_manifest_of_what_was_signed_is_in_the_claims(folder, run):
    """Readers load nothing beyond it."""
    import numpy as np

    (folder / "array.pkl").write_bytes(pickle.dumps(np.arange(3)))
    run(folder, "sign", "array.pkl", "--key-file", "shared.key")
    data = json.loads(run(folder, "inspect", "array.pkl.sle", "--key-file", "shared.key", "--json").stdout)
    assert data["verdict"] == "clean"
    assert any("reconstruct" in line for line in data["envelope"]["claims"]["manifest"])
    assert safeload.load(folder / "array.pkl.sle", keys=safeload.KeyRing.from_file(folder / "shared.key")).tolist() == [
        0,
        1,
        2,
    ]


def test_purpose_and_context_are_a_pair(folder, refused, run):
    """The same pair opens it, half of it does not."""
    where = ("--context", "user-7", "--purpose", "cache")
    run(folder, "sign", "model.pkl", "--key-file", "shared.key", *where)
    run(folder, "verify", "model.pkl.sle", "--key-file", "shared.key", *where)
    refused(folder, "not verified", "verify", "model.pkl.sle", "--key-file", "shared.key", "--context", "user-7")
    refused(folder, "needs --context", "verify", "model.pkl.sle", "--key-file", "shared.key", "--purpose", "c", code=2)


def test_a_detached_signature_leaves_the_file_as_it_is(folder, refused, run):
    """In FILE.slsig, found by itself or named."""
    run(folder, "sign", "model.pkl", "--key-file", "signer.key", "--detached")
    assert (folder / "model.pkl").read_bytes() == pickle.dumps(DATA)
    run(folder, "verify", "model.pkl", "--key-file", "readers.key")
    assert "slsig" not in run(folder, "scan", "model.pkl", ".", "--include", "*.slsig").stdout
    (folder / "model.pkl.slsig").rename(folder / "elsewhere")
    refused(folder, "no signature model.pkl.slsig", "verify", "model.pkl", "--key-file", "readers.key")
    run(folder, "verify", "model.pkl", "--key-file", "readers.key", "--signature", "elsewhere")
    refused(folder, "a detached signature, not the file", "verify", "elsewhere", "--key-file", "readers.key", code=2)
    (folder / "model.pkl").write_bytes(pickle.dumps({**DATA, "x": 1}))
    refused(folder, "not verified", "verify", "model.pkl", "--key-file", "readers.key", "--signature", "elsewhere")


def test_nothing_is_overwritten_unasked(folder, refused, run):
    """Not by sign, not by decrypt."""
    run(folder, "sign", "model.pkl", "--key-file", "shared.key")
    refused(folder, "model.pkl.sle exists", "sign", "model.pkl", "--key-file", "shared.key", code=2)
    refused(folder, "model.pkl exists", "decrypt", "model.pkl.sle", "--key-file", "shared.key", code=2)
    run(folder, "sign", "model.pkl", "--key-file", "shared.key", "--force")
    run(folder, "decrypt", "model.pkl.sle", "--key-file", "shared.key", "--force")


@pytest.mark.parametrize("key", ["vault", "small"])
def test_encrypt_and_decrypt(folder, key, run):
    """The payload comes back byte for byte, in a file for its owner alone."""
    run(folder, "encrypt", "model.pkl", "--key-file", f"{key}.key")
    assert b"weights" not in (folder / "model.pkl.sle").read_bytes()
    (folder / "model.pkl").unlink()
    done = run(folder, "decrypt", "model.pkl.sle", "--key-file", f"{key}.key")
    assert "wrote model.pkl: pickle" in done.stderr
    assert (folder / "model.pkl").read_bytes() == pickle.dumps(DATA)
    assert stat.S_IMODE((folder / "model.pkl").stat().st_mode) == 0o600


def test_a_public_half_verifies_what_it_cannot_read(tmp_path, refused, run):
    """Who checks files need not be able to read them."""
    key = safeload.Key.generate("ed25519-gcm")
    write_key(tmp_path / "k.key", key)
    write_key(tmp_path / "p.key", key.public.verify_only)
    (tmp_path / "m").write_bytes(pickle.dumps(DATA))
    run(tmp_path, "encrypt", "m", "--key-file", "k.key")
    run(tmp_path, "verify", "m.sle", "--key-file", "p.key")
    refused(tmp_path, "cannot decrypt", "decrypt", "m.sle", "--key-file", "p.key", "--output", "x")


def test_keys_come_from_where_they_are_said_to_be(folder, run):
    """The default variable, a named one, a command."""
    key = (folder / "shared.key").read_text().strip()
    run(folder, "sign", "model.pkl", SAFELOAD_KEYS=key)
    run(folder, "verify", "model.pkl.sle", "--key-env", "MINE", MINE=key)
    run(folder, "verify", "model.pkl.sle", "--key-command", "cat shared.key")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no key was given"),
        (("--key-file", "gone.key"), "gone.key does not exist"),
        (("--key-file", "."), "not a regular file"),
        (("--key-file", "open.key"), "chmod 600 open.key"),
        (("--key-file", "link.key"), "is a symlink"),
        (("--key-file", "model.pkl"), "chmod 600"),
        (("--key-file", "garbage.key"), "line 1"),
        (("--key-file", "empty.key"), "holds no key"),
        (("--key-env", "NOT_SET"), "NOT_SET is not set"),
        (("--key-command", "false"), "status 1"),
        (("--key-command", "no-such-program"), "cannot be run"),
        (("--key-keyring",), "requires an argument"),
    ],
)
@pytest.mark.parametrize("command", ["sign", "verify"])
def test_every_mistake_with_keys_has_its_own_message(folder, command, arguments, words, refused):
    """And says what to do next."""
    (folder / "open.key").write_text((folder / "shared.key").read_text())
    (folder / "open.key").chmod(0o644)
    (folder / "link.key").symlink_to("shared.key")
    for name, text in (("garbage.key", "slk1.hs256.abc.def\n"), ("empty.key", "# none\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    error = refused(folder, words, command, "model.pkl", *arguments, code=2)
    assert "slk1.hs256.abc" not in error


@pytest.mark.parametrize(
    ("key", "command", "words"),
    [
        ("vault", "sign", "safeload encrypt"),
        ("signer", "encrypt", "safeload sign"),
        ("readers", "sign", "can seal"),
    ],
)
def test_the_key_must_fit_the_command(folder, key, command, words, refused):
    """A key is for one thing; the error names the other command."""
    refused(folder, words, command, "model.pkl", "--key-file", f"{key}.key", code=2)


class Runs:
    def __reduce__(self):
        return os.system, ("true",)


def test_what_is_hostile_or_broken_is_not_signed(folder, refused, run):
    """Unless as bytes, which nothing will load."""
    (folder / "evil.pkl").write_bytes(pickle.dumps(Runs()))
    (folder / "cut.pkl").write_bytes(pickle.dumps(DATA)[:-2])
    refused(folder, "evil.pkl is malicious and was not sealed", "sign", "evil.pkl", "--key-file", "shared.key")
    refused(folder, "cut.pkl is malformed and was not sealed", "sign", "cut.pkl", "--key-file", "shared.key")
    run(folder, "sign", "evil.pkl", "--key-file", "shared.key", "--raw")
    with pytest.raises(safeload.FormatError):
        safeload.load(folder / "evil.pkl.sle", keys=safeload.KeyRing.from_file(folder / "shared.key"))


def test_what_is_no_pickle_is_sealed_as_bytes(folder, run):
    """An archive for another team: signed, verified, taken out again."""
    (folder / "text").write_text("hello")
    (folder / "two").write_bytes(pickle.dumps(1) + pickle.dumps(2))
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.writestr("notes.txt", "nothing to load")
    for name in ("text", "two", "zip"):
        assert "sealed as bytes" in run(folder, "sign", name, "--key-file", "shared.key").stderr
        assert "raw," in run(folder, "verify", f"{name}.sle", "--key-file", "shared.key").stdout
        run(folder, "decrypt", f"{name}.sle", "--key-file", "shared.key", "--output", "out", "--force")
        assert (folder / "out").read_bytes() == (folder / name).read_bytes()


def test_an_envelope_or_a_pointer_is_not_signed_by_mistake(folder, refused, run):
    """Twice wrapped, or not the file at all."""
    run(folder, "sign", "model.pkl", "--key-file", "shared.key")
    refused(folder, "an envelope already", "sign", "model.pkl.sle", "--key-file", "shared.key", code=2)
    (folder / "lfs").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n")
    refused(folder, "git lfs pull", "sign", "lfs", "--key-file", "shared.key", code=2)


@pytest.mark.parametrize("duration", ["0d", "30", "-1d", "1y", "999999999w"])
def test_a_wrong_duration_is_a_usage_error(folder, duration, refused):
    """Not an envelope that expires at another time."""
    refused(folder, "--expires-in", "sign", "model.pkl", "--key-file", "shared.key", f"--expires-in={duration}", code=2)


def test_what_does_not_verify_says_why_and_gives_nothing(folder, refused):
    """Wrong key, wrong context, expired, changed, cut, appended, unknown kinds: exit code 1 and no output."""
    key = safeload.KeyRing.from_file(folder / "shared.key").primary
    good = seal(pickle.dumps(DATA), key, claims={"a": 1})
    expired = seal(pickle.dumps(DATA), key, now_us=1_000_000, expires_in=1)
    cases = {
        "unknown version": (good[:8] + b"\x09" + good[9:], "upgrade safeload"),
        "suite": (good[:9] + b"\x09" + good[10:], "suite 9"),
        "codec": (good[:12] + b"\x00\x77" + good[14:], "codec 119"),
        "truncated": (good[:-1], "fetch it again"),
        "header": (good[:50], "inside its header"),
        "trailing": (good + b"x", "remove them"),
        "changed": (good[:-40] + bytes([good[-40] ^ 1]) + good[-39:], "either the file was changed"),
        "expired": (expired, "expired at 1970"),
        "context": (seal(b"x", key, context="c"), "it needs a --context"),
        "other key": (seal(b"x", safeload.Key.generate()), "no key with id"),
    }
    for name, (data, words) in cases.items():
        (folder / "bad.sle").write_bytes(data)
        error = refused(folder, words, "verify", "bad.sle", "--key-file", "shared.key")
        assert error.startswith("safeload: error: bad.sle: not verified: "), name
        refused(folder, words, "decrypt", "bad.sle", "--key-file", "shared.key", "--output", "out")


@pytest.mark.parametrize("command", ["verify", "decrypt", "sign"])
def test_what_is_no_file_is_told_apart(folder, command, refused):
    """A typo, a directory, a pipe; nothing hangs."""
    os.mkfifo(folder / "pipe.sle")
    (folder / "dir.sle").mkdir()
    for path, words in (("gone.sle", "does not exist"), ("dir.sle", "is a directory"), ("pipe.sle", "a named pipe")):
        refused(folder, words, command, path, "--key-file", "shared.key", code=2)
    if command == "decrypt":
        refused(folder, "is no envelope", command, "model.pkl", "--key-file", "shared.key", "--output", "x", code=2)
        refused(folder, "where to?", command, "model.pkl", "--key-file", "shared.key", code=2)


def test_several_files_are_verified_to_the_last(folder, run):
    """One bad file does not hide another."""
    run(folder, "sign", "model.pkl", "--key-file", "shared.key")
    (folder / "bad.sle").write_bytes(b"\xf5SLE\r\n\x1a\n")
    done = run(folder, "verify", "bad.sle", "model.pkl.sle", "model.pkl", "--key-file", "shared.key", code=1)
    assert "NOT VERIFIED  bad.sle: " in done.stdout
    assert "verified  model.pkl.sle" in done.stdout
    assert "2 of 3 files are not verified" in done.stderr
    data = json.loads(
        run(folder, "verify", "bad.sle", "model.pkl.sle", "--key-file", "shared.key", "--json", code=1).stdout
    )
    assert [entry["verified"] for entry in data] == [False, True]


def test_rekey_goes_on_after_a_bad_file_and_can_be_repeated(folder, refused, run):
    """What verified has the new key, what did not is untouched; a second run changes nothing."""
    run(
        folder,
        "sign",
        "model.pkl",
        "--key-file",
        "shared.key",
        "--expires-in",
        "9d",
        "--context",
        "c",
        "--version",
        "7",
    )
    good = (folder / "model.pkl.sle").read_bytes()
    (folder / "bad.sle").write_bytes(good[:-1])
    (folder / "text.sle").write_text("no envelope")
    options = ("--key-file", "shared.key", "--new-key-file", "signer.key", "--context", "c")
    done = run(folder, "rekey", "bad.sle", "model.pkl.sle", "text.sle", "gone.sle", *options, code=1)
    assert "sealed anew    model.pkl.sle" in done.stdout
    assert done.stdout.count("left as it is") == 3
    assert "1 of 4 envelopes have key" in done.stderr
    assert (folder / "bad.sle").read_bytes() == good[:-1]
    new = (folder / "model.pkl.sle").read_bytes()
    assert "has it         model.pkl.sle" in run(folder, "rekey", "model.pkl.sle", *options).stdout
    assert (folder / "model.pkl.sle").read_bytes() == new
    data = json.loads(
        run(folder, "verify", "model.pkl.sle", "--key-file", "readers.key", "--context", "c", "--json").stdout
    )
    assert data[0]["suite"] == "ed25519"
    assert data[0]["version"] == 7
    assert data[0]["expires_us"] > 0
    refused(folder, "which new key?", "rekey", "model.pkl.sle", "--key-file", "shared.key", code=2)


def test_inspect_of_an_envelope_labels_what_nobody_vouches_for(folder, run):
    """Without a key every field is called unverified; with it none is."""
    run(folder, "sign", "model.pkl", "--key-file", "signer.key", "--context", "c")
    done = run(folder, "inspect", "model.pkl.sle", code=3)
    assert "NOT VERIFIED" in done.stdout
    assert "unverified key id" in done.stdout
    done = run(folder, "inspect", "model.pkl.sle", "--key-file", "readers.key", "--context", "c")
    assert "unverified" not in done.stdout
    assert "verified: the signature holds" in done.stdout
    run(folder, "inspect", "model.pkl.sle", "--key-file", "readers.key", code=1)


def test_what_is_done_is_audited(folder, run):
    """Attempt and result, of refusals too, without anything of the payload."""
    trail = ("--audit", "trail.jsonl")
    run(folder, "sign", "model.pkl", "--key-file", "shared.key", *trail)
    run(folder, "verify", "model.pkl.sle", "--key-file", "shared.key", *trail)
    run(folder, "verify", "model.pkl", "--key-file", "shared.key", *trail, code=1)
    run(folder, "decrypt", "model.pkl.sle", "--key-file", "shared.key", "--output", "o", *trail)
    run(folder, "rekey", "model.pkl.sle", "--key-file", "shared.key", "--new-key-file", "signer.key", *trail)
    lines = run(folder, "audit", "show", "trail.jsonl", "--json").stdout
    results = [
        event for event in map(json.loads, lines.splitlines()) if event["phase"] == "result" and "parent" not in event
    ]
    assert [(event["event"], event["outcome"]) for event in results if event["event"] != "safeload.scan"] == [
        ("safeload.seal", "ok"),
        ("safeload.verify", "ok"),
        ("safeload.verify", "refused"),
        ("safeload.decrypt", "ok"),
        ("safeload.seal", "ok"),
    ]
    assert "weights" not in lines
    assert run(folder, "audit", "verify", "trail.jsonl").stdout.startswith("whole")


def test_kind_and_version_of_a_payload(folder, refused, run):
    """What `sign --kind --version` says is what `load(kind=...)` asks for, and what `verify --kind` demands."""
    run(folder, "sign", "model.pkl", "--key-file", "signer.key", "--kind", "model", "--version", "3")
    done = run(folder, "verify", "model.pkl.sle", "--key-file", "readers.key", "--kind", "model")
    assert "  kind        model\n" in done.stdout
    assert "  version     3\n" in done.stdout
    (facts,) = json.loads(run(folder, "verify", "model.pkl.sle", "--key-file", "readers.key", "--json").stdout)
    assert (facts["kind"], facts["version"]) == ("model", 3)
    words = "is of the kind 'model', not 'user'"
    refused(folder, words, "verify", "model.pkl.sle", "--key-file", "readers.key", "--kind", "user")
    keys = safeload.KeyRing.from_file(folder / "readers.key")
    assert safeload.load(folder / "model.pkl.sle", keys=keys, kind="model", version=3) == DATA
    with pytest.raises(safeload.VersionError):
        safeload.load(folder / "model.pkl.sle", keys=keys, kind="user")
    refused(folder, "printable", "sign", "model.pkl", "--key-file", "signer.key", "--kind", "\a", code=2)


def test_a_scan_of_an_envelope_that_is_bound_to_a_place(folder, refused, run):
    """`scan` gets at the payload with the context that it was sealed with, and only then."""
    place = ("--context", "fraud", "--purpose", "cache")
    run(folder, "sign", "model.pkl", "--key-file", "signer.key", *place)
    scan = ("scan", "model.pkl.sle", "--key-file", "readers.key")
    assert "clean        model.pkl.sle" in run(folder, *scan, *place).stdout
    run(folder, *scan, code=1)
    run(folder, *scan, "--context", "other", code=1)
    refused(folder, "--purpose needs --context", *scan, "--purpose", "cache", code=2)
