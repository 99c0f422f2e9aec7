"""Pickles that carry code: ways to get bytecode past the grant, to hide what it does, and to break who describes it.

Only a signer whose entry says ``code`` may ship code. What the codec is called, who else signed and which file the code lies
in play no part.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from pickle_parts import STOP, arguments, call, glob, literal, proto, short

import safeload
from safeload import Key, KeyEntry, KeyRing
from safeload.envelope import seal
from safeload.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

dill = pytest.importorskip("dill")
cloudpickle = pytest.importorskip("cloudpickle")

KEY = Key.generate("ed25519")
OTHER = Key.generate("ed25519")
BARE = KeyRing([KeyEntry(KEY.public), KeyEntry(OTHER.public, grants={"code"})])
GRANTED = KeyRing([KeyEntry(KEY.public, grants={"code"})])
DILL, CLOUDPICKLE = 6, 7

CREATE_CODE = glob("dill._dill", "_create_code")
CREATE = glob("dill._dill", "_create_function")
CODE = (
    1,
    0,
    0,
    1,
    1,
    67,
    b"\x97\x00d\x00S\x00",
    (None,),
    ("os", "system"),
    ("x",),
    "f.py",
    "f",
    "f",
    1,
    b"",
    b"",
    (),
    (),
)


def code_of(error: pytest.ExceptionInfo[safeload.SafeloadError]) -> str:
    return error.value.code


def refusals(data: bytes, keys: Any = None) -> set[str]:
    """The codes with which load, load of a file and scan refuse."""
    codes = set()
    for load in (lambda: safeload.loads(data, keys=keys), lambda: safeload.load(io.BytesIO(data), keys=keys)):
        with pytest.raises(safeload.SafeloadError) as caught:
            load()
        codes.add(caught.value.code)
    assert safeload.scan(data, keys=keys).verdict not in ("clean", "skipped")
    return codes


def evil_class(marker: Path) -> type:
    """A class of the main program whose instances run a command when their state is set."""
    space: dict[str, Any] = {"__name__": "__main__", "os": os}
    exec(
        f"class Evil:\n    def __getstate__(self): return 1\n    def __setstate__(self, state): os.system('touch {marker}')",
        space,
    )
    made: type = space["Evil"]
    return made


def test_the_label_changes_nothing():
    """Code under the codec of plain pickles, and plain pickles under the codec of code: the signer has no grant."""
    for library in (dill, cloudpickle):
        for number in (1, DILL, CLOUDPICKLE):
            sealed = seal(library.dumps(lambda: 1), KEY, codec=number)
            assert refusals(sealed, BARE) == {"policy.code"}
            assert safeload.loads(sealed, keys=GRANTED)() == 1
    plain = seal(pickle.dumps([1]), KEY, codec=DILL)
    assert refusals(plain, BARE) == {"policy.code"}
    assert safeload.loads(plain, keys=GRANTED) == [1]


def test_the_label_is_signed():
    """A flipped codec number is a broken signature."""
    sealed = bytearray(seal(pickle.dumps([1]), KEY, codec=1))
    at = next(at for at in range(10, 16) if sealed[at : at + 2] in (b"\x00\x01", b"\x01\x00"))
    sealed[at : at + 2] = sealed[at : at + 2].replace(b"\x01", b"\x06")
    with pytest.raises(safeload.EnvelopeError):
        safeload.loads(bytes(sealed), keys=GRANTED)


def test_a_payload_of_that_codec_is_a_pickle_and_nothing_else():
    """It is not taken for the container that it looks like."""
    import zipfile

    import numpy as np

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", b"x")
    array = io.BytesIO()
    np.save(array, np.arange(3))
    for payload in (archive.getvalue(), array.getvalue(), b"", b"{}", b"\x80\x04"):
        with pytest.raises(safeload.FormatError):
            safeload.loads(seal(payload, KEY, codec=DILL), keys=GRANTED)


def test_only_the_signers_own_grant_counts():
    """Not a cosigner's, not that of another key of the ring, not a revoked key's."""
    payload = dill.dumps(lambda: 1)
    cosigned = seal(payload, KEY, codec=DILL, cosigners=[OTHER])
    assert refusals(cosigned, BARE) == {"policy.code"}
    revoked = KeyRing([KeyEntry(KEY.public, grants={"code"}, state="revoked")])
    with pytest.raises(safeload.EnvelopeError):
        safeload.loads(seal(payload, KEY, codec=DILL), keys=revoked)
    with pytest.raises(safeload.EnvelopeError):
        safeload.loads(seal(payload, Key.generate("ed25519"), codec=DILL), keys=GRANTED)


def test_no_code_in_an_envelope_of_one_signer_by_memory_of_another():
    """A judgement under a grant is not remembered for bytes without one."""
    payload = dill.dumps(lambda: 1)
    assert safeload.loads(seal(payload, KEY, codec=1), keys=GRANTED)() == 1
    policy = safeload.Policy().with_code()
    for _ in range(2):
        with pytest.raises(safeload.PolicyError):
            safeload.loads(payload, policy=policy)
        with pytest.raises(safeload.PolicyError):
            safeload.loads(seal(payload, KEY, codec=1), keys=BARE)


def test_the_manifest_binds_a_signer_with_the_grant_too():
    """Nothing beyond what its writer said it does; and the writer's own manifest says all of it."""
    payload = dill.dumps(lambda: 1)
    assert refusals(seal(payload, KEY, codec=DILL, claims={"manifest": []}), GRANTED) == {"policy.not-in-manifest"}
    some = {"manifest": ["reference dill._dill._create_function", "call dill._dill._create_function"]}
    assert refusals(seal(payload, KEY, codec=DILL, claims=some), GRANTED) == {"policy.not-in-manifest"}
    whole = safeload.dumps(lambda: 1, codec="dill", key=KEY)
    assert "call dill._dill._create_code" in safeload.scan(whole, keys=GRANTED).envelope["claims"]["manifest"]
    with pytest.raises(safeload.FormatError):
        safeload.loads(seal(payload, KEY, codec=DILL, claims={"manifest": "all"}), keys=GRANTED)


def test_a_hostile_class_by_value(marker, refused):
    """What its instances run while they are loaded is seen in the code, and named."""
    for library in (dill, cloudpickle):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = library.dumps(evil_class(marker)())
        refused(data)
        report = safeload.scan(data)
        assert report.verdict == "malicious"
        (finding,) = (each for each in report.findings if each.rule_id == "code.harmful-names")
        assert "os.system" in finding.message
        assert "__setstate__" in finding.message


def test_a_function_of_the_stream_that_the_stream_calls(refused):
    """REDUCE on what _create_function returned: bytecode that runs by being loaded."""
    made = CREATE + b"(" + CREATE_CODE + arguments(*CODE) + b"R" + literal({}) + b"tR"
    data = proto(4) + made + b")R" + STOP
    refused(data)
    report = safeload.scan(data)
    assert report.verdict == "malicious"
    assert safeload.scan(proto(4) + made + STOP).verdict == "unknown"


def test_what_stands_behind_an_instance_of_a_made_class_is_seen(marker, refused):
    """The trace does not end where a stream makes an instance of a class that a call returned."""
    made = glob("types", "new_class") + arguments("C") + b"R)\x81" + b"0"
    data = proto(4) + made + call(glob("posix", "system"), f"touch {marker}") + STOP
    error = refused(data)
    assert error.report is not None
    assert safeload.scan(data).verdict == "malicious"
    for truncated in (data[:-1], data[:-1] + b"\xff"):
        assert safeload.scan(truncated).verdict == "malicious"


def test_an_instance_of_a_made_class_never_loads_by_policy(refused):
    """Whatever the policy names: the arguments of such a stream cannot be judged."""
    policy = (
        safeload.Policy.packs("data", "numpy")
        .allow("types.new_class", call=True)
        .allow("collections.namedtuple", call=True)
    )
    for maker, args in (("types.new_class", ("C",)), ("collections.namedtuple", ("C", "a"))):
        data = proto(4) + glob(*maker.rsplit(".", 1)) + arguments(*args) + b"R)\x81" + STOP
        assert refused(data, policy=policy).code == "policy.computed-call"
    zone = proto(4) + glob("builtins", "getattr") + b"(" + glob("zoneinfo", "ZoneInfo") + short("_unpickle") + b"tR"
    assert refused(zone + arguments("Europe/Paris", True) + b"\x81" + STOP).code == "policy.computed-call"


def test_a_name_of_dill_does_not_excuse_setattr(refused):
    """Dill sets attributes of classes it has just made; of anything else it is evidence of harm."""
    setattr_ = glob("builtins", "setattr")
    module = glob("dill._dill", "_import_module") + arguments("os") + b"R"
    for target in (module, glob("dill._dill", "_create_type"), literal("text")):
        data = proto(4) + setattr_ + b"(" + target + short("system") + b"NtR" + STOP
        refused(data)
        assert safeload.scan(data).verdict == "malicious"
    passed = proto(4) + glob("functools", "partial") + b"(" + setattr_ + b"tR" + STOP
    assert safeload.scan(passed + glob("dill._dill", "_create_code") + b".").verdict == "malicious"
    own = glob("dill._dill", "_create_type") + arguments("C") + b"R"
    benign = proto(4) + setattr_ + b"(" + own + short("system") + b"NtR" + STOP
    assert safeload.scan(benign).verdict == "unknown"


def test_code_inside_joblib_and_archives(monkeypatch: pytest.MonkeyPatch, tmp_path, marker):
    """The container that it lies in changes nothing."""
    joblib = pytest.importorskip("joblib")
    import gzip

    import numpy as np

    class Carrier:
        def __reduce__(self) -> Any:
            return __import__("dill")._dill._create_function, (None, {}), None

    for obj in (Carrier(), [np.arange(5), Carrier()]):
        path = tmp_path / "f.joblib"
        joblib.dump(obj, path)
        data = path.read_bytes()
        assert refusals(data) == {"policy.code"}
        assert "policy.code" in {each.rule_id for each in safeload.scan(data).findings}
        assert refusals(seal(data, KEY, codec=5), BARE) == {"policy.code"}
    dill.extend(True)  # what importing dill before joblib does to a program
    monkeypatch.setattr(joblib.numpy_pickle.NumpyPickler, "dispatch", dict(pickle._Pickler.dispatch))
    try:
        joblib.dump([np.arange(5), lambda: 5], path)
        report = safeload.check([np.arange(5), lambda: 5])
    finally:
        dill.extend(False)
    assert report.codec("joblib").code
    assert refusals(path.read_bytes()) == {"policy.code"}
    assert safeload.loads(seal(path.read_bytes(), KEY, codec=5), keys=GRANTED)[1]() == 5
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(gzip.compress(dill.dumps(lambda: 1)))


def test_vendored_copies(refused):
    """joblib, PySpark and Ray ship cloudpickle under names of their own."""
    for module in ("joblib.externals.cloudpickle.cloudpickle", "pyspark.cloudpickle", "ray.cloudpickle.cloudpickle"):
        error = refused(proto(4) + call(glob(module, "subimport"), "this") + STOP, module="this")
        assert error.code == "policy.code"


def test_imports_by_argument(refused):
    """Both libraries import the module that an argument names."""
    for module, name in (("dill._dill", "_import_module"), ("cloudpickle.cloudpickle", "subimport")):
        assert (
            refused(proto(4) + call(glob(module, name), "antigravity") + STOP, module="antigravity").code
            == "policy.code"
        )


ODD = [
    None,
    -1,
    1 << 80,
    1.5,
    "x" * 100_000,
    b"\x00" * 100_000,
    [[[]]],
    {"a": {}},
    (None, (b"", ())),
    "\x1b[2J\r\n",
    "\u202ex",
]


def test_fake_code_objects_are_described_or_left_out():
    """Every argument of every odd type, at every position: a scan ends, and no text is long or steers a terminal."""
    for maker in (glob("dill._dill", "_create_code"), glob("types", "CodeType")):
        for at in range(len(CODE)):
            for item in ODD:
                args = (*CODE[:at], item, *CODE[at + 1 :])
                report = safeload.scan(proto(4) + maker + arguments(*args) + b"R" + STOP)
                assert report.verdict in ("unknown", "malicious")
                for finding in report.findings:
                    if finding.rule_id.startswith("code."):
                        assert len(finding.message) < 6_000
                        assert finding.message.isascii()
                        assert finding.message.isprintable()


def test_text_that_steers_a_terminal():
    """Names of a code object are text that an attacker chose."""
    names = ("\x1b]0;owned\x07", "::error::x\n::add-mask::y", "##[error]", "\u202eevil", "\ud800")
    args = (*CODE[:8], names, names, *names[:3], 1, b"", b"", (), ())
    report = safeload.scan(proto(4) + CREATE_CODE + arguments(*args) + b"R" + STOP)
    from safeload.cli.reports.document import plain
    from safeload.cli.reports.inspection import inspection

    text = plain(inspection(report))
    assert not any(ord(char) < 32 and char != "\n" for char in text)
    assert "##[" not in text
    assert not any(line.lstrip().startswith("::") for line in text.splitlines())
    assert "\u202e" not in text


def test_very_many_functions():
    """A hundred are described, the rest is counted."""
    one = CREATE_CODE + arguments(*CODE) + b"R0"
    report = safeload.scan(proto(4) + one * 2_000 + b"N" + STOP)
    notes = [each for each in report.findings if each.rule_id == "code.function"]
    assert len(notes) <= 101
    different = b"".join(
        CREATE_CODE + arguments(*CODE[:11], f"f{n}", f"f{n}", *CODE[13:]) + b"R0" for n in range(2_000)
    )
    report = safeload.scan(proto(4) + different + b"N" + STOP)
    notes = [each for each in report.findings if each.rule_id.startswith("code.")]
    assert len(notes) <= 202
    assert any("1,900 more functions" in each.message for each in notes)


def test_a_grant_is_no_licence_to_exhaust(isolated):
    """Depth, hash work, memo, persistent ids and extensions are bounded whoever signed."""
    key = Key.generate("hs256")
    ring = KeyRing([KeyEntry(key, grants={"code"})])
    deep = proto(4) + b")" + b"\x85" * 300_000 + b"}" + b"2" + b"0" + STOP
    as_key = proto(4) + b"})" + b"\x85" * 300_000 + b"Ns" + STOP
    nested_code = proto(4) + CREATE_CODE + b"()" + b"\x85" * 300_000 + b"".join(map(literal, CODE)) + b"tR" + STOP
    nested_calls = proto(4) + CREATE * 10_000 + b"N" + (b"\x85R") * 10_000 + STOP
    memo = proto(4) + b"N" + b"r\xff\xff\xff\x7f" + STOP
    extension = proto(4) + b"\x82\x01" + STOP
    for data in (deep, as_key, nested_code, nested_calls, memo, extension):
        sealed = seal(data, key, codec=DILL)
        assert isolated(sealed, keys=ring).kind in ("refused", "loaded")
        assert isolated(sealed, keys=ring, scan=True).kind != "crash"
    few = Limits(max_operations=100)
    many = proto(4) + (CREATE_CODE + arguments(*CODE) + b"R0") * 200 + b"N" + STOP
    with pytest.raises(safeload.LimitExceededError):
        safeload.loads(seal(many, key, codec=DILL), keys=ring, limits=few)


def test_persistent_ids_are_refused_before_anything_is_imported():
    """A grant covers code, not objects of the application that nobody answers for."""
    data = proto(4) + glob("this", "s") + b"0" + b"Pid\n" + STOP
    with pytest.raises(safeload.PolicyError, match="persistent"):
        safeload.loads(seal(data, KEY, codec=DILL), keys=GRANTED)
    assert "this" not in sys.modules


def test_names_that_only_dill_knows_need_the_grant():
    """``__builtin__.__main__`` stands for the main program's names: a policy that allows it gets no further."""
    for version in (2, 4):
        data = proto(version) + glob("__builtin__", "__main__") + STOP
        policy = safeload.Policy().allow("__builtin__.__main__").allow("builtins.__main__")
        for load in (safeload.loads, lambda data, policy: safeload.Unpickler(io.BytesIO(data), policy=policy).load()):
            with pytest.raises(safeload.LoadError):
                load(data, policy=policy)
        granted = safeload.loads(seal(data, KEY, codec=DILL), keys=GRANTED)
        assert granted is vars(sys.modules["__main__"])
