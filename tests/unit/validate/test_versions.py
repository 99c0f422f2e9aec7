"""Kinds and versions of payloads: old ones are upgraded on load, new ones and others are refused, nothing is guessed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import safeload
from safeload.audit.testing import capture
from safeload.envelope import open_bytes, rekey, seal
from safeload.errors import LoadError, MissingKeyError, SchemaError, VersionError
from safeload.validate import versions
from safeload.validate.versions import check_kind, known_version

KEY = safeload.Key.generate("hs256")


@pytest.fixture(autouse=True)
def _fresh_migrations(monkeypatch):
    """Migrations of one test are not seen by the next."""
    monkeypatch.setattr(versions, "_by_kind", {})


@pytest.fixture
def settings():
    """Version 3 of a kind: names became lists in 2, and got a count in 3. Notes the versions it was called for."""
    called = []

    @safeload.migration("settings", from_version=1)
    def split(data):
        called.append(1)
        return {"names": data["names"].split(",")}

    @safeload.migration("settings", from_version=2)
    def count(data):
        called.append(2)
        data["count"] = len(data["names"])
        return data

    return called


@pytest.mark.parametrize("codec", ["pickle", "json"])
@pytest.mark.parametrize("suite", ["hs256", "hs256-fernet", "hs256-gcm", "ed25519", "ed25519-gcm"])
def test_old_payloads_are_upgraded(settings, codec, suite):
    """Whatever the codec and the suite, the chain begins at the payload's version, and the kind is found in the claims."""
    key = safeload.Key.generate(suite)
    first = safeload.dumps({"names": "a,b"}, key=key, kind="settings", version=1, codec=codec)
    assert safeload.loads(first, keys=key) == {"names": ["a", "b"], "count": 2}
    assert settings == [1, 2]
    second = safeload.dumps({"names": ["x"]}, key=key, kind="settings", version=2, codec=codec)
    assert safeload.loads(second, keys=key) == {"names": ["x"], "count": 1}
    assert settings == [1, 2, 2]


def test_the_writer_writes_the_known_version(settings, tmp_path):
    """Without version= the version is the one that the migrations lead to, and such a payload needs no step."""
    path = tmp_path / "s.sle"
    safeload.dump({"names": [], "count": 0}, path, key=KEY, kind="settings")
    opened = open_bytes(path.read_bytes(), KEY)
    assert (opened.version, opened.claims["payload"]) == (3, "settings")
    assert safeload.load(path, keys=KEY, kind="settings") == {"names": [], "count": 0}
    assert settings == []


def test_newer_payloads_are_refused_before_they_are_loaded(settings):
    """The bytes are not even parsed: what a newer program wrote is not for this one."""
    data = seal(b"no pickle", KEY, version=4, claims={"payload": "settings"})
    with pytest.raises(
        VersionError, match="version 4 of 'settings', and this program knows versions up to 3"
    ) as caught:
        safeload.loads(data, keys=KEY)
    assert caught.value.code == "version.newer"


def test_a_reader_can_name_its_version():
    """Without migrations version= says what is known; below it a step is missing, above it is newer."""
    data = safeload.dumps([1], key=KEY, kind="plain", version=2)
    assert safeload.loads(data, keys=KEY) == [1]
    assert safeload.loads(data, keys=KEY, version=2) == [1]
    with pytest.raises(VersionError, match="knows versions up to 1"):
        safeload.loads(data, keys=KEY, version=1)
    with pytest.raises(VersionError, match="no migration of 'plain' leads from version 2 to 3") as caught:
        safeload.loads(data, keys=KEY, version=3)
    assert caught.value.code == "version.gap"


def test_a_gap_in_the_chain_is_an_error(settings):
    """Nothing is handed out half upgraded, and no step runs before the chain is known to be complete."""
    safeload.migration("settings", from_version=4)(lambda data: data)
    data = safeload.dumps({"names": "a"}, key=KEY, kind="settings", version=1)
    with pytest.raises(VersionError, match="leads from version 3 to 5") as caught:
        safeload.loads(data, keys=KEY)
    assert caught.value.code == "version.gap"
    assert settings == []


def test_a_step_may_skip_versions():
    """A step leads where it says; one that would lead beyond the wanted version is no step towards it."""
    safeload.migration("jump", from_version=0, to_version=5)(lambda data: [*data, 5])
    data = safeload.dumps([], key=KEY, kind="jump", version=5)
    assert safeload.loads(data, keys=KEY) == []
    old = safeload.dumps([], key=KEY)  # from before kinds were written
    assert safeload.loads(old, keys=KEY, kind="jump") == [5]
    assert safeload.loads(old, keys=KEY) == []
    with pytest.raises(VersionError, match="from version 0 to 3"):
        safeload.loads(old, keys=KEY, kind="jump", version=3)


def test_another_kind_is_refused(settings):
    """A valid file of another kind does not pass for the one that was asked for."""
    data = safeload.dumps({"names": "a"}, key=KEY, kind="users", version=1)
    with pytest.raises(VersionError, match="of the kind 'users', and 'settings' was asked for") as caught:
        safeload.loads(data, keys=KEY, kind="settings")
    assert caught.value.code == "version.kind"


@pytest.mark.parametrize("kind", [7, "", "x" * 101, "a\nb", ["settings"], {"settings": 1}])
def test_a_kind_that_is_no_name_is_refused(kind):
    """The claim is the signer's, and is not believed to be a string."""
    with pytest.raises(VersionError, match="is no name"):
        safeload.loads(seal(b"N.", KEY, claims={"payload": kind}), keys=KEY)


def test_names_in_errors_are_printable():
    """A kind in another script cannot steer a terminal."""
    data = safeload.dumps(1, key=KEY, kind="gr\u00fc\u00df", version=3)
    with pytest.raises(VersionError) as caught:
        safeload.loads(data, keys=KEY, version=1)
    assert str(caught.value).isascii()


def test_a_step_that_raises_is_a_load_error():
    """The cause is chained, the message names the step."""
    data = safeload.dumps({}, key=KEY, kind="broken", version=1)

    @safeload.migration("broken", from_version=1)
    def step(data):
        return data["missing"]

    with pytest.raises(LoadError, match="migration of 'broken' from version 1 failed: KeyError") as caught:
        safeload.loads(data, keys=KEY)
    assert caught.value.code == "version.migration"
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_step_that_refuses_is_heard():
    """A step may raise an error of safeload's own, which is not disguised."""
    safeload.migration("strict", from_version=1)(lambda data: safeload.loads(b"garbage"))
    with pytest.raises(safeload.FormatError):
        safeload.loads(safeload.dumps(1, key=KEY, kind="strict", version=1), keys=KEY)


def test_a_step_that_forgets_to_return_is_an_error():
    """It changed the object in place and returned nothing; the object is not replaced by None."""
    safeload.migration("forgets", from_version=1)(lambda data: data.clear())
    with pytest.raises(LoadError, match="returned nothing"):
        safeload.loads(safeload.dumps([1], key=KEY, kind="forgets", version=1), keys=KEY)


def test_the_schema_judges_the_upgraded_object(settings):
    """The reader's schema is that of the current version, the writer's that of what is written."""
    schema = {"required": ["count"]}
    data = safeload.dumps({"names": "a"}, key=KEY, kind="settings", version=1, schema={"required": ["names"]})
    assert safeload.loads(data, keys=KEY, schema=schema) == {"names": ["a"], "count": 1}
    with pytest.raises(SchemaError, match="'missing'"):
        safeload.loads(data, keys=KEY, schema={"required": ["missing"]})


def test_nothing_runs_on_a_payload_that_is_refused(settings):
    """A step gets only what was verified and judged."""
    forged = safeload.dumps({"names": "a"}, key=safeload.Key.generate("hs256"), kind="settings", version=1)
    with pytest.raises(MissingKeyError):
        safeload.loads(forged, keys=KEY)
    hostile = seal(b"cos\nsystem\n(S'true'\ntR.", KEY, version=1, claims={"payload": "settings"})
    with pytest.raises(safeload.PolicyError):
        safeload.loads(hostile, keys=KEY)
    assert settings == []


def test_versions_are_under_the_signature(settings):
    """Whoever changes a byte of version or kind has no valid envelope any more."""
    data = safeload.dumps({"names": "a"}, key=KEY, kind="settings", version=1)
    for at in (23, data.index(b"settings")):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(safeload.VerificationError):
            safeload.loads(bytes(changed), keys=KEY)


def test_a_new_key_keeps_kind_and_version(settings):
    """Sealed anew, it does not make an old payload a new one."""
    other = safeload.Key.generate("ed25519")
    data = rekey(safeload.dumps({"names": "a"}, key=KEY, kind="settings", version=1), KEY, other)
    assert safeload.loads(data, keys=other)["count"] == 1


@pytest.mark.parametrize("options", [{"kind": "settings"}, {"version": 3}])
def test_unsigned_artifacts_have_no_kind(options, tmp_path):
    """Nobody vouches for a version outside an envelope: asked for one, such an artifact is refused, in every way of reading."""
    with pytest.raises(ValueError, match="needs an envelope"):
        safeload.dumps(1, **options)
    path = tmp_path / "a.pkl"
    safeload.dump([1], path)
    data = path.read_bytes()
    with path.open("rb") as file:
        for load, source in (
            (safeload.load, path),
            (safeload.load, file),
            (safeload.loads, data),
            (safeload.loads, b"[1]"),
        ):
            with pytest.raises(VersionError) as caught:
                load(source, **options)
            assert caught.value.code == "version.unsigned"


def test_unsigned_artifacts_in_memory_have_no_kind():
    """The short way for small files in memory asks as well."""
    import io

    with pytest.raises(VersionError):
        safeload.load(io.BytesIO(safeload.dumps(1)), kind="settings")
    with pytest.raises(MissingKeyError):
        safeload.loads(safeload.dumps(1), kind="settings", keys=KEY)


def test_the_trail_has_the_migration(settings):
    """One event for it, with the kind and the number of steps, after the load and before the validation."""
    data = safeload.dumps({"names": "a"}, key=KEY, kind="settings", version=1)
    with capture() as events:
        safeload.Loader(keys=KEY, audit=lambda _: None).loads(data, schema={})
    results = [event for event in events if event["phase"] == "result"]
    names = [event["event"].removeprefix("safeload.") for event in results]
    assert names.index("load") < names.index("migrate") < names.index("validate")
    migrated = results[names.index("migrate")]
    assert (migrated["action"], migrated["operations"], migrated["outcome"]) == ("settings", 2, "ok")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"kind": 1, "from_version": 1}, TypeError),
        ({"kind": "", "from_version": 1}, ValueError),
        ({"kind": "a", "from_version": "1"}, TypeError),
        ({"kind": "a", "from_version": True}, TypeError),
        ({"kind": "a", "from_version": -1}, ValueError),
        ({"kind": "a", "from_version": 2, "to_version": 2}, ValueError),
        ({"kind": "a", "from_version": 1, "to_version": 1 << 32}, ValueError),
    ],
)
def test_mistakes_in_a_migration(arguments, error):
    """They are found when the program starts."""
    with pytest.raises(error):
        safeload.migration(**arguments)
    assert known_version("a") is None


def test_two_functions_for_one_step():
    """Which of them would run? The second is an error, unless it is the first one again (a reloaded module)."""

    def step(data):
        return data

    def other(data):
        return data

    safeload.migration("twice", from_version=1)(step)
    safeload.migration("twice", from_version=1)(step)
    with pytest.raises(ValueError, match="already"):
        safeload.migration("twice", from_version=1)(other)
    with pytest.raises(TypeError):
        safeload.migration("twice", from_version=2)(None)


@pytest.mark.parametrize("kind", [1, "", "x" * 101, "a\tb"])
def test_mistakes_in_kind(kind):
    """The same rule for writers and readers."""
    for call in (
        lambda: check_kind(kind),
        lambda: safeload.dumps(1, key=KEY, kind=kind),
        lambda: safeload.dumps(1, key=KEY, kind=kind, version=2),
        lambda: safeload.loads(safeload.dumps(1, key=KEY), keys=KEY, kind=kind),
        lambda: safeload.loads(safeload.dumps(1, key=KEY), keys=KEY, kind=kind, version=0),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()
    with pytest.raises(TypeError):
        safeload.loads(b"N.", version="3")


def test_neither_migrations_nor_json_are_imported_for_a_plain_load():
    """They cost nothing where they are not used."""
    code = """
import sys, json, pickle, safeload
safeload.loads(pickle.dumps({"a": [1]}))
key = safeload.Key.generate("hs256")
safeload.loads(safeload.dumps([1], key=key), keys=key)
print(json.dumps([name for name in sys.modules if name.startswith(("safeload.validate", "safeload.formats.jsontext"))]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
