"""Where the command line takes its keys from, and which one it seals with."""

from __future__ import annotations

import pytest

from safeload.cli.failure import Failure
from safeload.cli.key_options import KeySource, private_key
from safeload.envelope.keys import Key, KeyEntry
from safeload.envelope.keys.lines import format_lines


@pytest.fixture
def key_file(tmp_path):
    def write(*entries):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.key"
        path.write_text(format_lines(KeyEntry(entry) if isinstance(entry, Key) else entry for entry in entries))
        path.chmod(0o600)
        return str(path)

    return write


@pytest.fixture(autouse=True)
def no_keys_around(monkeypatch):
    monkeypatch.delenv("SAFELOAD_KEYS", raising=False)


def test_the_default_variable_is_used_only_when_nothing_else_is_named(key_file, monkeypatch):
    """A key that happens to be in the environment must not join those that were chosen."""
    around, chosen = Key.generate(), Key.generate()
    monkeypatch.setenv("SAFELOAD_KEYS", around.export())
    assert [entry.key for entry in KeySource().ring()] == [around]
    assert [entry.key for entry in KeySource(files=(key_file(chosen),)).ring()] == [chosen]
    assert not KeySource(unsigned=True).named


def test_several_places_are_one_ring(key_file, monkeypatch):
    """In the order of the options; the first one seals."""
    keys = [Key.generate() for _ in range(3)]
    monkeypatch.setenv("MINE", keys[2].export())
    ring = KeySource(files=(key_file(keys[0]), key_file(keys[1])), env="MINE").ring()
    assert [entry.key for entry in ring] == keys


def test_a_command_prints_keys(key_file):
    """A secret manager's client, with quoting as in a shell and without one."""
    key = Key.generate()
    assert KeySource(command=f"cat '{key_file(key)}'").ring().primary == key
    for command in ("", "'open"):
        with pytest.raises(Failure):
            KeySource(command=command or " ").ring()


def test_the_os_key_store(monkeypatch):
    """``SERVICE/USER``; the user may be left out."""
    keyring = pytest.importorskip("keyring")
    key = Key.generate()
    monkeypatch.setattr(keyring, "get_password", {("s", "u"): key.export(), ("s", "safeload"): key.export()}.get)
    monkeypatch.setattr(
        keyring, "get_password", lambda s, u: key.export() if (s, u) in {("s", "u"), ("s", "safeload")} else None
    )
    assert KeySource(keyring="s/u").ring().primary == key
    assert KeySource(keyring="s").ring().primary == key


def test_one_key_in_two_places(key_file):
    """The private half wins over the public one, and what is revoked anywhere is revoked."""
    key = Key.generate("ed25519")
    public, private = key_file(key.public), key_file(key)
    revoked = key_file(KeyEntry(key, state="revoked"))
    assert KeySource(files=(public, private)).ring().primary == key
    assert KeySource(files=(private, public)).ring().primary == key
    for files in ((private, revoked), (revoked, private)):
        (entry,) = KeySource(files=files).ring()
        assert entry.state == "revoked"


def test_the_key_that_fits_the_command_is_chosen(key_file):
    """A ring may hold one key to sign and one to encrypt."""
    signs, encrypts = Key.generate("hs256"), Key.generate("hs256-gcm")
    source = KeySource(files=(key_file(signs, encrypts),))
    assert private_key(source, encrypts=False, key_id=None) == signs
    assert private_key(source, encrypts=True, key_id=None) == encrypts


def test_a_key_can_be_named(key_file):
    """By the start of its id or by its label; an ambiguous or unknown name lists what there is."""
    one, two = Key.generate(), Key.generate()
    source = KeySource(files=(key_file(KeyEntry(one, label="old"), KeyEntry(two, label="new")),))
    assert private_key(source, encrypts=False, key_id="new") == two
    assert private_key(source, encrypts=False, key_id=one.key_id_hex[:12].upper()) == one
    for name in ("", "nope"):
        with pytest.raises(Failure) as caught:
            private_key(source, encrypts=False, key_id=name)
        assert "old, new" in caught.value.hint


@pytest.mark.parametrize(
    ("suite", "encrypts", "command"), [("hs256", True, "safeload sign"), ("hs256-gcm", False, "safeload encrypt")]
)
def test_a_key_of_the_wrong_kind_says_what_it_is_for(key_file, suite, encrypts, command):
    """The suite belongs to the key and is never negotiated."""
    source = KeySource(files=(key_file(Key.generate(suite)),))
    with pytest.raises(Failure, match=suite) as caught:
        private_key(source, encrypts=encrypts, key_id=None)
    assert command in caught.value.hint


def test_keys_that_cannot_seal(key_file):
    """Public halves and retired keys only read."""
    key = Key.generate("ed25519")
    for entry in (key.public, KeyEntry(key, state="verify-only")):
        with pytest.raises(Failure, match="none of the given keys can seal"):
            private_key(KeySource(files=(key_file(entry),)), encrypts=False, key_id=None)


def test_no_key_says_how_to_get_one():
    """The first error that most people will see."""
    with pytest.raises(Failure) as caught:
        KeySource().ring()
    assert "keygen" in caught.value.hint
    assert KeySource().ring_if_named() is None
