"""The guarantees of ``threat-model.md``, tried from outside through the public interface alone.

One test or a few per guarantee, in its order. They know nothing of how a guarantee is kept, so that they stay as they are
when the inside is rewritten; unit tests prove the mechanisms.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import pickle
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

import safeload


def name(module: str, attribute: str) -> bytes:
    """STACK_GLOBAL with its two strings."""
    return text(module) + text(attribute) + b"\x93"


def text(value: str) -> bytes:
    """SHORT_BINUNICODE."""
    encoded = value.encode()
    return b"\x8c" + bytes([len(encoded)]) + encoded


def stream(*parts: bytes) -> bytes:
    """A pickle of protocol 4 without frames."""
    return b"\x80\x04" + b"".join(parts) + b"."


@pytest.fixture
def application(monkeypatch):
    """A module ``application`` whose classes and functions note what is done to them in ``done``."""
    module = types.ModuleType("application")
    code = """
done = []

class Allowed:
    def __new__(cls, *args):
        done.append("new")
        return object.__new__(cls)

    def __init__(self, *args):
        done.append("init")

    def __setstate__(self, state):
        done.append("state")
        self.__dict__.update(state)

class Plain:
    pass

class Pair(tuple):
    def __new__(cls, a, b):
        return tuple.__new__(cls, (a, b))

def function(*args):
    done.append("call")
    return Plain()
"""
    exec(code, module.__dict__)
    monkeypatch.setitem(sys.modules, "application", module)
    return module


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module ``evil_module`` that leaves a mark when it is imported, and whose ``run`` leaves another."""
    (tmp_path / "evil_module.py").write_text(
        f"open({str(tmp_path / 'imported')!r}, 'w').close()\n"
        f"def run(*args):\n    open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda: (tmp_path / "imported").exists() or (tmp_path / "ran").exists() or "evil_module" in sys.modules
    sys.modules.pop("evil_module", None)


ALLOWED = name("application", "Allowed") + b")\x81}b"  # NEWOBJ, then BUILD with an empty dict
EVIL = name("evil_module", "run") + b")R"


# G1 to G4: authenticity.

NOT_SIGNED = {
    "pickle": pickle.dumps([1]),
    "empty": b"",
    "nonsense": b"\xff\xfe\xfd" * 100,
    "truncated pickle": pickle.dumps([1])[:-3],
    "hostile": stream(EVIL),
}


@pytest.mark.parametrize("data", NOT_SIGNED.values(), ids=NOT_SIGNED)
def test_g1_with_keys_nothing_unsigned_is_parsed(data):
    """The same answer whatever the bytes are shows that nobody looked at them."""
    loader = safeload.Loader(keys=safeload.Key.generate())
    with pytest.raises(safeload.SafeloadError) as caught:
        loader.loads(data)
    assert caught.value.code in ("envelope.unsigned", "format.empty")
    assert (caught.value.code == "format.empty") <= (data == b"")


@pytest.mark.parametrize("suite", ["hs256", "hs256-fernet", "hs256-gcm", "ed25519", "ed25519-gcm"])
def test_g1_every_changed_byte_is_noticed(suite):
    """No byte of an envelope is without protection."""
    key = safeload.Key.generate(suite)
    loader = safeload.Loader(keys=key)
    sealed = safeload.dumps({"a": 1}, key=key)
    assert loader.loads(sealed) == {"a": 1}
    for index in range(0, len(sealed), 3):
        changed = bytearray(sealed)
        changed[index] ^= 0x41
        with pytest.raises(safeload.SafeloadError):
            loader.loads(bytes(changed))


def test_g2_the_artifact_chooses_no_suite():
    """An envelope relabelled with any other suite or layout does not open."""
    key = safeload.Key.generate("hs256-gcm")
    loader = safeload.Loader(keys=key)
    sealed = safeload.dumps([1], key=key)
    for suite, layout in itertools.product(range(8), range(5)):
        if (suite, layout) != (sealed[9], sealed[10]):
            changed = sealed[:9] + bytes([suite, layout]) + sealed[11:]
            with pytest.raises(safeload.EnvelopeError):
                loader.loads(changed)


def test_g3_elsewhere_or_revoked_or_expired_does_not_open(monkeypatch):
    """Place, key state and time are the reader's to judge."""
    key = safeload.Key.generate()
    ring = safeload.KeyRing([key])
    sealed = safeload.dumps([1], key=key, context="here", expires_in=60)
    assert safeload.loads(sealed, keys=ring, context="here") == [1]
    for context in (None, "there", ("here", "")):
        with pytest.raises(safeload.VerificationError):
            safeload.loads(sealed, keys=ring, context=context)
    with pytest.raises(safeload.EnvelopeError) as caught:
        safeload.loads(sealed, keys=ring.revoke(key), context="here")
    assert caught.value.code == "envelope.key-revoked"
    import time

    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 61 * 10**9)
    with pytest.raises(safeload.EnvelopeError) as caught:
        safeload.loads(sealed, keys=ring, context="here")
    assert caught.value.code == "envelope.expired"


@pytest.mark.parametrize("suite", ["hs256-fernet", "hs256-gcm", "ed25519-gcm"])
def test_g4_ciphertext_shows_nothing_and_failures_say_nothing(suite):
    """The payload is not readable in the file, and a wrong context and a changed body read the same."""
    key = safeload.Key.generate(suite)
    sealed = safeload.dumps(b"a secret" * 10, key=key, context="here")
    assert b"a secret" not in sealed
    messages = set()
    for data, context in ((sealed, "there"), (sealed[:-1] + bytes([sealed[-1] ^ 1]), "here")):
        with pytest.raises(safeload.EnvelopeError) as caught:
            safeload.loads(data, keys=key, context=context)
        messages.add(str(caught.value))
    assert len(messages) == 1


# G5 to G10: what a stream may do.


def test_g5_nothing_runs_before_the_whole_stream_is_judged(application, evil):
    """What is allowed does not happen either when something behind it in the stream is refused."""
    policy = safeload.Policy.packs("data").allow("application.Allowed")
    with pytest.raises(safeload.PolicyError):
        safeload.loads(stream(b"](", ALLOWED, EVIL, b"e"), policy=policy)
    assert application.done == []
    assert not evil()
    assert type(safeload.loads(stream(ALLOWED), policy=policy)) is application.Allowed


def test_g5_no_module_is_imported_for_a_refused_stream(evil):
    """Importing is running."""
    with pytest.raises(safeload.PolicyError):
        safeload.loads(stream(name("evil_module", "run")))
    assert not evil()


PERMISSIONS = {
    "reference": name("application", "Allowed"),
    "construct": name("application", "Allowed") + b")\x81",
    "state": name("application", "Allowed") + b")\x81}b",
    "call": name("application", "Allowed") + b")R",
}
GRANTS = {
    "reference": {"construct": False, "state": False},
    "construct": {"state": False},
    "state": {},
    "call": {"construct": False, "state": False, "call": True},
}
ADMITS = {
    "reference": {"reference"},
    "construct": {"reference", "construct"},
    "state": {"reference", "construct", "state"},
    "call": {"reference", "call"},
}


@pytest.mark.parametrize("granted", GRANTS)
@pytest.mark.parametrize("used", PERMISSIONS)
def test_g6_each_permission_gives_itself_only(application, granted, used):
    """Naming a class does not allow calling it, making one does not allow giving it a state."""
    policy = safeload.Policy().allow("application.Allowed", **GRANTS[granted])
    if used in ADMITS[granted]:
        safeload.loads(stream(PERMISSIONS[used]), policy=policy)
    else:
        with pytest.raises(safeload.PolicyError):
            safeload.loads(stream(PERMISSIONS[used]), policy=policy)
        assert application.done == []


PLAIN = name("application", "Plain")
NEVER = {
    "state of a class": PLAIN + b"}" + text("x") + b"K\x01sb",
    "attribute of a class": PLAIN + b"N}" + text("x") + b"K\x01s\x86b",
    "call of a result": name("application", "function") + b")R)R",
    "class replaced in a state": PLAIN + b")\x81}" + text("__class__") + name("application", "Allowed") + b"sb",
    "class replaced in slots": PLAIN + b")\x81N}" + text("__class__") + name("application", "Allowed") + b"s\x86b",
    "hook from a state": PLAIN + b")\x81}" + text("__setstate__") + name("application", "Allowed") + b"sbK\x01b",
    "hook from an OrderedDict": PLAIN
    + b")\x81"
    + name("collections", "OrderedDict")
    + b")R"
    + text("__setstate__")
    + name("application", "Allowed")
    + b"sbK\x01b",
    "method from a state": PLAIN + b")\x81}" + text("append") + name("application", "Allowed") + b"sb(K\x01e",
    "second method from a state": PLAIN
    + b")\x81}("
    + text("append")
    + b"K\x01"
    + text("extend")
    + name("application", "Allowed")
    + b"ub(K\x01K\x02e",
    "method from an OrderedDict": PLAIN
    + b")\x81"
    + name("collections", "OrderedDict")
    + b")R"
    + text("extend")
    + name("application", "Allowed")
    + b"sb(K\x01K\x02e",
    "class replaced by a named tuple": PLAIN
    + b")\x81"
    + name("application", "Pair")
    + b"N}"
    + text("__class__")
    + name("application", "Allowed")
    + b"s\x86\x81b",
    "class replaced by an OrderedDict": PLAIN
    + b")\x81N"
    + name("collections", "OrderedDict")
    + b")R"
    + text("__class__")
    + name("application", "Allowed")
    + b"s\x86b",
}


@pytest.mark.parametrize("code", NEVER.values(), ids=NEVER)
def test_g6_no_permission_adds_up_to_a_call(application, code):
    """Classes that may be made and given a state cannot be combined into a call that nobody allowed."""
    policy = safeload.Policy.packs("data").allow("application.Plain").allow("application.Allowed")
    policy = policy.allow("application.Pair").allow("application.function", call=True)
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(stream(code), policy=policy)
    assert "init" not in application.done


def test_g7_a_replaced_attribute_is_not_taken_for_the_name(application):
    """Whoever overwrote a module's attribute, the policy did not mean that."""
    import os

    application.function = os.getpid
    policy = safeload.Policy().allow("application.function", call=True)
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(stream(name("application", "function"), b")R"), policy=policy)


class ChangingFile(io.BytesIO):
    """Harmless when it is read the first time, hostile from then on."""

    def read(self, size=-1):
        """As of a file that somebody replaces after the first read."""
        position = self.tell()
        data = super().read(size)
        if data:
            hostile = stream(EVIL).ljust(len(self.getvalue()), b".")
            self.getbuffer()[:] = hostile[: len(self.getvalue())]
            self.seek(position + len(data))
        return data

    def readinto(self, buffer):
        """The same through the other way of reading."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_g9_a_file_that_changes_after_it_was_read_changes_nothing(size, evil):
    """Whatever bytes come, the opcodes are those that were judged: an object of data, or a refusal."""
    file = ChangingFile(pickle.dumps(bytes(size)))
    with contextlib.suppress(safeload.SafeloadError):
        assert type(safeload.load(file)) is bytes
    assert not evil()


TWO_MEANINGS = {
    "something behind the end": pickle.dumps(1) + pickle.dumps(2),
    "second PROTO": b"\x80\x04N0\x80\x02N.",
    "frame ends inside an opcode": b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00K\x01\x95\x01\x00\x00\x00\x00\x00\x00\x00K.",
    "frame beyond the end": b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00K\x01.",
    "frame in a frame": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x02\x00\x00\x00\x00\x00\x00\x00K\x01.",
    "extension registry": b"\x80\x02\x82\x01.",
    "number with underscore": b"I1_0\n.",
    "number with spaces": b"I 1\n.",
    "unknown opcode": b"\x80\x04\xa0.",
    "unknown protocol": b"\x80\x09N.",
}


@pytest.mark.parametrize("data", TWO_MEANINGS.values(), ids=TWO_MEANINGS)
def test_g10_a_stream_with_two_meanings_is_refused(data):
    """Where two readers would see different programs there is no program to judge."""
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(data)


# G11: cost.


def shared_tuples(depth: int) -> bytes:
    """A tuple whose hash visits 2**depth elements, as a dict's key."""
    return b"\x80\x04})" + b"".join(b"\x940h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(depth)) + b"Ns."


BOMBS = {
    "deep tuple as a key": b"\x80\x04}" + b")" + b"\x85" * 300_000 + b"Ns.",
    "shared tuples as a key": shared_tuples(60),
    "memo index": b"\x80\x04Nr\xff\xff\xff\x7f.",
    "announced bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "announced string": b"\x80\x04X\xff\xff\xff\x7f.",
    "long decimal number": b"L" + b"9" * 1_000_000 + b"L\n.",
    "long name": b"\x80\x04X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"\x94h\x00\x93.",
}


def colliding(count: int) -> bytes:
    """A dict whose integer keys all hash to the same value."""
    modulus = (1 << 61) - 1
    keys = b"".join(b"\x8a\x0f" + (7 + modulus * (i + 2)).to_bytes(15, "little") + b"N" for i in range(count))
    return b"\x80\x04}(" + keys + b"u."


@pytest.mark.parametrize("data", [*BOMBS.values(), colliding(60_000)], ids=[*BOMBS, "colliding integers"])
def test_g11_a_bomb_is_refused_and_the_process_lives(data):
    """Each of these crashes ``pickle.loads``, fills the memory, or keeps it busy for hours."""
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(data)
    assert not safeload.is_safe(data)


def test_g11_many_small_streams_cost_what_their_bytes_cost():
    """Scanning reads on behind each stream without copying the rest of the file each time."""
    report = safeload.scan(pickle.dumps(None) * 2_000 + pickle.dumps(bytes(50_000_000)))
    assert report.verdict == "clean"
    assert len(report.streams) == 2_001


# G12 to G15: trust, failure, hooks.


def test_g12_a_signers_policy_is_its_own(application):
    """Being trusted to sign is not being trusted with every class."""
    trusted, other = safeload.Key.generate(), safeload.Key.generate()
    policy = safeload.Policy.packs("data").allow("application.Plain")
    ring = safeload.KeyRing([safeload.KeyEntry(trusted, policy=policy), other])
    made = application.Plain()
    made.__class__.__module__ = "application"
    assert type(safeload.loads(safeload.dumps(made, key=trusted), keys=ring)) is application.Plain
    with pytest.raises(safeload.PolicyError):
        safeload.loads(safeload.dumps(made, key=other), keys=ring)


def test_g12_the_signers_manifest_is_a_bound(application):
    """An operation that the writer did not state is refused although the policy allows it."""
    from safeload.envelope import seal

    key = safeload.Key.generate()
    policy = safeload.Policy.packs("data").allow("application.Plain")
    payload = stream(PLAIN, b")\x81")
    stated = ["construct application.Plain", "reference application.Plain"]
    honest = seal(payload, key, claims={"manifest": stated})
    assert type(safeload.loads(honest, keys=key, policy=policy)) is application.Plain
    silent = seal(payload, key, claims={"manifest": stated[:1]})
    with pytest.raises(safeload.PolicyError):
        safeload.loads(silent, keys=key, policy=policy)


OPCODES = st.sampled_from([bytes([byte]) for byte in range(256)])
PIECES = st.one_of(
    OPCODES, st.binary(max_size=4), st.sampled_from([text("os"), text("system"), b"}", b"]", b")", b"("])
)


@given(st.lists(PIECES, max_size=30).map(lambda parts: b"\x80\x04" + b"".join(parts) + b"."))
def test_g13_an_object_or_a_safeload_error(data):
    """Nothing else, whatever the bytes; and a scan reports, it does not raise."""
    with contextlib.suppress(safeload.SafeloadError):
        safeload.loads(data)
    assert safeload.scan(data).verdict in ("clean", "unknown", "malicious", "malformed", "skipped")


def test_g13_what_was_not_looked_at_is_not_clean(monkeypatch):
    """A scan that gives up behind many pickles says so: the next one may be the hostile one."""
    monkeypatch.setattr("safeload.pipeline.sequence._MAX_STREAMS", 5)
    assert safeload.scan(pickle.dumps(1) * 5).verdict == "clean"
    report = safeload.scan(pickle.dumps(1) * 5 + stream(EVIL))
    assert report.verdict == "unknown"
    assert [finding.rule_id for finding in report.findings] == ["limit.streams"]


def test_g14_scanning_loads_nothing(application, evil):
    """Neither what is refused nor what is allowed happens, inside an envelope too."""
    policy = safeload.Policy.packs("data").allow("application.Allowed")
    key = safeload.Key.generate()
    from safeload.envelope import seal

    for code in (stream(ALLOWED), stream(b"](", ALLOWED, EVIL, b"e"), stream(EVIL)[:-1]):
        safeload.scan(code, policy=policy)
        safeload.scan(seal(code, key), policy=policy, keys=key)
        safeload.is_safe(code, policy=policy)
    assert application.done == []
    assert not evil()


class Watching(safeload.Unpickler):
    """Notes what it is asked."""

    def __init__(self, file, **options):
        super().__init__(file, **options)
        self.asked = []

    def find_class(self, module, qualname):
        """An application's own hook."""
        self.asked.append(f"{module}.{qualname}")
        return super().find_class(module, qualname)

    def persistent_load(self, pid):
        """An application's own hook."""
        self.asked.append(pid)
        return pid


def test_g15_hooks_are_asked_after_the_policy(application):
    """A hook is part of the application: it must not see what the policy refuses."""
    policy = safeload.Policy.packs("data").allow("application.Plain")
    refused = Watching(io.BytesIO(stream(b"](", text("id"), b"Q", PLAIN, EVIL, b"e")), policy=policy)
    with pytest.raises(safeload.PolicyError):
        refused.load()
    assert refused.asked == []
    allowed = Watching(io.BytesIO(stream(b"](", text("id"), b"Q", PLAIN, b"e")), policy=policy)
    assert allowed.load() == ["id", application.Plain]
    assert allowed.asked == ["id", "application.Plain"]


# G16: audit.


def test_g16_without_a_record_nothing_is_loaded(application):
    """A required sink that fails stops the operation before the payload is looked at."""
    from safeload.audit import Auditor

    class Broken:
        def emit(self, event):
            raise OSError(28, "No space left on device")

    policy = safeload.Policy().allow("application.Allowed")
    with pytest.raises(safeload.AuditError):
        safeload.loads(stream(ALLOWED), policy=policy, audit=Auditor(required=[Broken()]))
    assert application.done == []


def test_g16_no_payload_is_in_an_event():
    """The trail of a secret is not a copy of it."""
    events = []
    loader = safeload.Loader(audit=events.append)
    loader.loads(pickle.dumps({"password-0815": ["secret-4711"]}))
    with pytest.raises(safeload.PolicyError):
        loader.loads(stream(b"](", text("secret-4711"), EVIL, b"e"))
    with pytest.raises(safeload.SafeloadError):
        loader.loads(pickle.dumps("secret-4711")[:-3])
    assert len(events) >= 8
    assert "secret-4711" not in json.dumps(events)  # identifiers are random, and four digits occur in them
    assert "password-0815" not in json.dumps(events)


# G19: writes.


@pytest.mark.parametrize("suite", [None, "hs256", "hs256-gcm"])
def test_g19_a_failed_dump_leaves_the_old_file(suite, tmp_path):
    """An object that cannot be pickled half-way does not cost what was there before, and leaves nothing beside it."""
    key = safeload.Key.generate(suite) if suite else None
    path = tmp_path / "artifact"
    safeload.dump([1, 2], path, key=key)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        safeload.dump([bytes(100_000), lambda: None], path, key=key)
    assert safeload.load(path, keys=key) == [1, 2]
    assert [found.name for found in tmp_path.iterdir()] == ["artifact"]
