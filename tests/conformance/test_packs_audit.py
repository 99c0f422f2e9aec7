"""Every entry of every shipped pack: does it exist, may it be there, and does its reason say why?"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from safeload.policy import Policy
from safeload.policy.packs import load_pack, pack_names
from safeload.policy.rules import known_rules
from safeload.program import Kind, Program, Standin, StandinType, Use

_spec = importlib.util.spec_from_file_location("pack_audit", Path(__file__).with_name("pack_audit.py"))
assert _spec is not None
assert _spec.loader is not None
pack_audit = importlib.util.module_from_spec(_spec)
sys.modules["pack_audit"] = pack_audit
_spec.loader.exec_module(pack_audit)

pytestmark = pytest.mark.filterwarnings("ignore")

# Callables that take any arguments: C constructors that check the types of all of them and call none.
ANY_ARGUMENTS = {
    "datetime.date",
    "datetime.datetime",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "decimal.Context",
    "decimal.Decimal",
}

# Functions and classes that packs let a stream import: none of them may reach a callable as an argument.
FUNCTIONS = (
    "builtins.len",
    "numpy.mean",
    "numpy.core.multiarray._reconstruct",
    "sklearn.metrics._classification.f1_score",
)


def global_standin(name: str) -> type:
    """What the trace passes for a global."""
    return StandinType("standin", (), {"safeload_name": name, "safeload_producer": name})


def result_standin(name: str) -> Standin:
    """What the trace passes for the result of a call."""
    return type("result", (Standin,), {"safeload_producer": name})()


@pytest.mark.parametrize("pack", pack_names())
def test_every_entry_exists(pack: str) -> None:
    """A misspelled name would be a hole nobody sees; names of other versions are marked with those versions."""
    missing = []
    for rule in pack_audit.entries(pack):
        if not rule.versions:
            try:
                pack_audit.resolve(rule.resolve or rule.name)
            except LookupError as error:
                missing.append(f"{rule.name}: {error}")
    assert not missing


@pytest.mark.parametrize("pack", pack_names())
def test_reasons_name_what_was_flagged(pack: str) -> None:
    """A class that runs code of its own while it is unpickled needs a reason that speaks about that code."""
    silent = [
        f"{flag.name}: {flag.what}"
        for rule in pack_audit.entries(pack)
        for flag in pack_audit.flags_of(rule)
        if flag.what != "C function" and flag.what not in flag.reason
    ]
    assert not silent


@pytest.mark.parametrize("pack", pack_names())
def test_permissions_are_reviewed(pack: str) -> None:
    """No entry is called with arguments of the stream's choice, constructed with any, or given a state without a rule."""
    for rule in load_pack(pack).rules.values():
        assert rule.reason, rule.name
        assert "*" not in rule.name
        assert rule.call is not True or rule.name in ANY_ARGUMENTS, rule.name
        assert rule.construct is not True, rule.name
        assert rule.state is not True, rule.name
        for permission in (rule.call, rule.construct, rule.state, rule.items):
            for name in permission.split("|") if isinstance(permission, str) else ():
                assert name in known_rules(), rule.name


def called() -> list[str]:
    """Every name that some pack lets be called."""
    names = {rule.name for pack in pack_names() for rule in load_pack(pack).rules.values() if rule.call}
    return sorted(names - ANY_ARGUMENTS)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_callable_receives_a_function(function: str) -> None:
    """If a callable took a function, or the bound result of one, that would be a call the policy has not seen."""
    policy = Policy.packs(*pack_names())
    assert policy.rule(function) is not None
    accepted = []
    for name in called():
        for args in [
            (function,),
            (function, 1),
            (function, "x"),
            (1, function),
            ("x", function),
            (function, (0,), b"b"),
        ]:
            traced = tuple(global_standin(item) if item == function else item for item in args)
            use = Use(Kind.CALL, name, traced, result_standin(name))
            if not policy.decide(Program.of([use])):
                accepted.append((name, args))
    # A slice keeps what it is given; the class that __newobj__ constructs is judged as a use of its own.
    assert {name for name, _ in accepted} <= {"builtins.slice", "copyreg.__newobj__"}


def test_no_callable_allocates_what_it_is_told() -> None:
    """An integer argument must not become a size: one billion is refused, or is only stored."""
    policy = Policy.packs(*pack_names())
    stores = (
        "pandas._libs.tslibs",
        "pandas.tseries.offsets",
        "sklearn._loss",
        "sklearn.linear_model",
        "_loss",
        "pandas._libs.sparse",
    )
    plain = {
        "none",
        "plain",
        "data",
        "integers",
        "range",
        "slice",
        "number",
        "timestamp",
        "offset",
        "arrow-type",
        "fraction",
        "enum-member",
        "interval",
    }
    for name in called():
        for args in [(10**9,), (10**9, 10**9), ("f8", (10**9,)), (10**9, "f8")]:
            if not policy.decide(Program.of([Use(Kind.CALL, name, args, result_standin(name))])):
                rule = policy.rule(name)
                assert rule is not None
                assert name.startswith(stores) or rule.call in plain, (name, args)


def test_dangerous_names_are_in_no_pack() -> None:
    """A list of names that have been used to get code run, or that write, read, import or spawn."""
    policy = Policy.packs(*pack_names())
    for name in (
        "os.system posix.system subprocess.Popen builtins.eval builtins.exec builtins.compile builtins.open"
        " builtins.__import__ importlib.import_module pickle.loads _pickle.loads marshal.loads types.FunctionType"
        " types.CodeType operator.methodcaller operator.attrgetter operator.itemgetter functools.reduce builtins.map"
        " builtins.filter builtins.iter builtins.apply numpy.load numpy.save numpy.fromfile numpy.loadtxt numpy.genfromtxt"
        " numpy.testing._private.utils.runstring numpy.f2py.crackfortran.getlincoef numpy.apply_along_axis"
        " pandas.read_pickle pandas.read_csv pandas.eval pandas.core.computation.eval.eval joblib.load"
        " joblib.memory.Memory scipy.io.loadmat sklearn.datasets.fetch_openml sklearn.utils.fixes.threadpool_info"
        " pkgutil.resolve_name pydoc.locate copyreg.__newobj_ex__ copyreg.add_extension gc.get_objects sys.modules"
        " builtins.setattr builtins.globals builtins.vars builtins.print builtins.input builtins.breakpoint"
    ).split():
        assert policy.rule(name) is None, name


def test_what_may_not_exist_is_replaced() -> None:
    """A memory map opens the file it is told to; its pickles are loaded as plain arrays."""
    rule = Policy.packs("numpy").rule("numpy.memmap")
    assert rule is not None
    assert rule.resolve == "numpy.ndarray"
