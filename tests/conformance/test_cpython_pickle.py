"""CPython's own tests of pickle (``test.pickletester``), run against safeload under a policy that allows their classes.

Where safeload refuses on purpose, ``DEVIATIONS`` names the test, the reason and the codes of the refusals. Such a test
still runs to its end: a refusal with a listed code is counted and pickle answers instead, so everything else that the
test checks has to hold. A listed test without a refusal is an error, and so is a refusal that is not listed.
"""

from __future__ import annotations

import builtins
import collections
import copyreg
import functools
import io
import pickle
import types
import unittest
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import safeload
from safeload import Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

try:
    import test.pickletester as suite
except ImportError as missing:  # Debian and others strip it from their Python
    pytest.skip(f"this Python comes without its test suite ({missing})", allow_module_level=True)


class Deviation(NamedTuple):
    """Why a test of CPython's does not hold for safeload."""

    reason: str
    codes: tuple[str, ...]
    ends: bool = False  # the test does not load, so pickle cannot answer: the refusal ends it


_EXTENSION = Deviation(
    "the extension registry is refused: a filled copyreg._extension_cache answers without find_class",
    ("format.extension",),
)
_MEMO = Deviation(
    "a memo index above its own position in the stream is refused: CPython allocates the memo up to the index",
    ("limit.memo-index",),
)
_GETATTR = Deviation(
    "bound methods are calls of builtins.getattr (protocols 0 to 3), which may only be called for listed attributes of "
    "listed classes, and for names inside of a class that is named: with any others it reaches everything",
    ("policy.argument",),
)
_PARTIAL = Deviation(
    "protocols 2 and 3 call the result of functools.partial; a callable has to be named",
    ("policy.argument", "policy.computed-call"),
)
_OWN_WORDS = Deviation("pickle refuses too; the message is not its message to the letter", ("format.malformed",))
_NO_NAME = Deviation("a global's name that is not made of identifiers is refused", ("format.global-name",))
_NOT_NAMED = Deviation(
    "find_class answers for names that the policy allows, and refuses all others", ("policy.not-allowed",), ends=True
)
_TRAILING = Deviation("bytes behind a pickle in loads() are refused: something may hide there", ("format.trailing",))
_PERSISTENT = Deviation(
    "bytes in protocols 1 and 2 are a call of codecs.encode, which is a persistent id here; a callable has to be named",
    ("format.malformed",),
)

# Test (without its class: of all classes that load under a policy) -> why it does not hold.
DEVIATIONS: dict[str, Deviation] = {
    "test_global_ext1": _EXTENSION,
    "test_global_ext2": _EXTENSION,
    "test_global_ext4": _EXTENSION,
    "test_get": _MEMO,
    "test_long_binget": _MEMO,
    **dict.fromkeys(
        (
            "test_in_band_buffers",
            "test_oob_buffers",
            "test_oob_buffers_writable_to_readonly",
            "test_dump_load_oob_buffers",
            "test_dumps_loads_oob_buffers",
        ),
        _GETATTR,
    ),
    "test_py_methods": _GETATTR,
    "test_c_methods": _GETATTR,
    "test_complex_newobj_ex": _PARTIAL,
    "InMemoryTests.test_misc_get": _TRAILING,
    "GrantedCodeTests.test_misc_get": _TRAILING,
    "test_return_correct_type": _PERSISTENT,
    "test_protocol0_is_ascii_only": _OWN_WORDS,
    # From Python 3.13 on.
    "test_load_stack_global": _NO_NAME,
    "AbstractUnpickleTests.test_bad_ext_code": _EXTENSION,
    "test_bad_ext_inverted_registry": _EXTENSION,
    "test_bytes_memoization": _GETATTR,
    "test_bytearray_memoization": _GETATTR,
    "test_recursive_nested_names2": _GETATTR,
    "UnpicklerTests.test_find_class": _NOT_NAMED,
}


# What the suite's pickles call besides its own classes. A program would not allow most of it for any arguments.
_CALLED = """
    builtins.bytearray builtins.complex builtins.dict builtins.int builtins.iter builtins.list builtins.map
    builtins.range builtins.str builtins.type copyreg._reconstructor functools.partial collections.UserDict
    collections.UserList http.cookies.Morsel http.cookies.SimpleCookie os.stat_result os.statvfs_result os.terminal_size time.struct_time
"""
# What they only name.
_NAMED = """
    dbm.whichdb functools.reduce math.log os.path.join builtins:str.upper mödule.glöbal builtins:bytearray.maketrans
    builtins:dict.fromkeys builtins:str.count builtins:str.index builtins:tuple.count
"""
# Classes that tests define while they run, by their place in the suite's module.
_DEFINED_LATER = """
    Bad Clearer Nested Nested.A Nested.A.B Nested.A.B.C PyMethodsTest PyMethodsTest.Nested PyMethodsTest.Nested.ketchup
    PyMethodsTest.Nested.maple PyMethodsTest.Nested.pie PyMethodsTest.biscuits PyMethodsTest.cheese PyMethodsTest.wine
    Recursive Recursive.mod.Recursive Recursive.ref Subclass Subclass.Nested
    Subclass.Nested.count Subclass.count
"""


def _name(path: str, module: str = suite.__name__) -> str:
    return f"{module}:{path}" if "." in path else f"{module}.{path}"


def _own_names(namespace: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Policy names of the classes and functions in ``namespace`` that the suite defines, with those inside them."""
    for name, value in namespace.items():
        if getattr(value, "__module__", None) not in (suite.__name__, "__main__") or not callable(value):
            continue
        yield _name(prefix + name)
        if isinstance(value, type):
            yield f"__main__.{name}"
            yield from _own_names(vars(value), f"{prefix}{name}.")
            yield from (_name(f"{prefix}{name}.{method}") for method in vars(value) if method == "_reconstruct")


def suite_policy() -> Policy:
    """The default policy, the suite's own classes, and what its pickles need of the standard library."""
    policy = Policy.packs("data", "numpy")
    for path in _DEFINED_LATER.split():
        policy = policy.allow(_name(path), call=True)
    for name in (*_own_names(vars(suite)), *_CALLED.split()):
        policy = policy.allow(name, call=True)
    for name, value in vars(builtins).items():
        if isinstance(value, type | types.BuiltinFunctionType):
            policy = policy.allow(_name(name, value.__module__), construct=False, state=False)
            policy = policy.allow(_name(value.__qualname__, value.__module__), construct=False, state=False)
    for name in _NAMED.split():
        policy = policy.allow(name, construct=False, state=False)
    return policy


def _codes(error: safeload.SafeloadError) -> set[str]:
    """Why something was refused; fickling's opinions on what the policy refuses do not count."""
    findings = () if error.report is None else error.report.findings
    return {found.rule_id for found in findings if found.rule_id.startswith("policy.")} or {error.code}


class Refusals:
    """What safeload refused in a test that is listed as a deviation."""

    def __init__(self, codes: tuple[str, ...]) -> None:
        self.codes = codes
        self.seen: set[str] = set()

    def load(self, with_safeload: Callable[[], Any], with_pickle: Callable[[], Any]) -> Any:
        try:
            return with_safeload()
        except safeload.SafeloadError as error:
            codes = _codes(error)
            if not codes <= set(self.codes):
                raise
            self.seen |= codes
        return with_pickle()


def deviation_of(case: type[SafeloadCase], test: str) -> Deviation | None:
    """The entry of ``DEVIATIONS`` for a test; what only a policy refuses loads where nothing is refused by one."""
    exact = next((DEVIATIONS[name] for base in case.__mro__ if (name := f"{base.__name__}.{test}") in DEVIATIONS), None)
    deviation = exact or DEVIATIONS.get(test)
    if deviation is not None and exact is None and case.policy.grants_code:
        return None if deviation.codes[0].startswith("policy.") else deviation
    return deviation


class SafeloadCase(unittest.TestCase):
    """Common to all: the default loader has the suite's policy, and deviations have to happen."""

    policy = suite_policy()
    refusals = Refusals(())
    bad_stack_errors = (pickle.UnpicklingError,)  # as for CPython's C implementation
    truncated_errors = (pickle.UnpicklingError,)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(safeload.reset)
        safeload.configure(policy=cls.policy)

    def run(self, result=None):
        name = self._testMethodName
        deviation = deviation_of(type(self), name)
        if deviation is None:
            return super().run(result)
        self.refusals = Refusals(deviation.codes)
        test = getattr(self, name)

        @functools.wraps(test)
        def deviating():
            if deviation.ends:
                with pytest.raises(safeload.SafeloadError) as caught:
                    test()
                self.refusals.seen = _codes(caught.value)
            else:
                test()
            assert self.refusals.seen == set(deviation.codes), "listed as a deviation, but not refused so"

        setattr(self, name, deviating)
        return super().run(result)


def _relisted(options: dict[str, Any]) -> dict[str, Any]:
    """``options`` with buffers that two unpicklers can go through."""
    return options if options.get("buffers") is None else {**options, "buffers": list(options["buffers"])}


class _Dumps:
    """``dumps`` by a Pickler."""

    def dumps(self, obj, protocol=None, **options):
        file = io.BytesIO()
        safeload.Pickler(file, protocol, **options).dump(obj)
        return file.getvalue()


class InMemoryTests(suite.AbstractPickleTests, suite.AbstractUnpickleTests, SafeloadCase):
    """``loads`` and ``dumps``."""

    test_framed_write_sizes_with_delayed_writer = None  # these need a Pickler or Unpickler class
    test_find_class = None
    test_custom_find_class = None

    def dumps(self, obj, protocol=None, **options):
        return safeload.dumps(obj, protocol, **options)

    def loads(self, data, **options):
        options = _relisted(options)
        return self.refusals.load(lambda: safeload.loads(data, **options), lambda: pickle.loads(data, **options))


class GrantedCodeTests(InMemoryTests):
    """The same under the grant ``code``: what a policy refuses loads; what no grant makes safe does not."""

    policy = SafeloadCase.policy.with_code()


class UnpicklerTests(_Dumps, suite.AbstractPickleTests, suite.AbstractUnpickleTests, SafeloadCase):
    """``Pickler`` and ``Unpickler`` on files in memory."""

    pickler = safeload.Pickler
    unpickler = safeload.Unpickler

    def loads(self, data, **options):
        options = _relisted(options)
        return self.refusals.load(
            lambda: safeload.Unpickler(io.BytesIO(data), **options).load(),
            lambda: pickle.Unpickler(io.BytesIO(data), **options).load(),
        )


class FlowTests(_Dumps, suite.AbstractUnpickleTests, SafeloadCase):
    """``load`` from files that have ``read`` and ``readline`` only, so that nothing may be read ahead."""

    test_find_class = None
    test_custom_find_class = None

    def loads(self, data, **options):
        options = _relisted(options)
        return self.refusals.load(
            lambda: safeload.load(suite.MinimalIO(data), **options),
            lambda: pickle.load(suite.MinimalIO(data), **options),
        )


class BufferedFlowTests(_Dumps, suite.AbstractUnpickleTests, SafeloadCase):
    """``load`` from a flow with a small buffer."""

    test_find_class = None
    test_custom_find_class = None

    def loads(self, data, **options):
        options = _relisted(options)
        return self.refusals.load(
            lambda: safeload.load(io.BufferedReader(suite.UnseekableIO(data), 3), **options),
            lambda: pickle.load(io.BytesIO(data), **options),
        )


class ModuleTests(suite.AbstractPickleModuleTests, SafeloadCase):
    """The functions of the module."""

    dump = staticmethod(safeload.dump)
    dumps = staticmethod(safeload.dumps)
    Pickler = safeload.Pickler
    Unpickler = safeload.Unpickler

    def load(self, file, **options):
        options = _relisted(options)
        start = file.tell()
        return self.refusals.load(
            lambda: safeload.load(file, **options), lambda: (file.seek(start), pickle.load(file, **options))[1]
        )

    def loads(self, data, **options):
        options = _relisted(options)
        return self.refusals.load(lambda: safeload.loads(data, **options), lambda: pickle.loads(data, **options))


class _Persistent:
    pickler = safeload.Pickler
    unpickler = safeload.Unpickler

    def dumps(self, obj, protocol=None):
        class PersistentPickler(self.pickler):
            def persistent_id(_, obj):  # noqa: N805 - self is the test
                return self.persistent_id(obj)

        file = io.BytesIO()
        PersistentPickler(file, protocol).dump(obj)
        return file.getvalue()

    def loads(self, data, **options):
        def load(base):
            class PersistentUnpickler(base):
                def persistent_load(_, pid):  # noqa: N805
                    return self.persistent_load(pid)

            return PersistentUnpickler(io.BytesIO(data), **options).load()

        return self.refusals.load(lambda: load(self.unpickler), lambda: load(pickle.Unpickler))


class PersistentTests(_Persistent, suite.AbstractPersistentPicklerTests, SafeloadCase):
    """Persistent ids."""


class IdentityPersistentTests(_Persistent, suite.AbstractIdentityPersistentPicklerTests, SafeloadCase):
    """Every object is its own persistent id."""


class ObjectTests(suite.AbstractPicklerUnpicklerObjectTests, SafeloadCase):
    """One Pickler or Unpickler used several times."""

    pickler_class = safeload.Pickler
    unpickler_class = safeload.Unpickler


class DispatchTableTests(suite.AbstractDispatchTableTests, SafeloadCase):
    """``dispatch_table``."""

    pickler_class = safeload.Pickler

    def get_dispatch_table(self):
        return copyreg.dispatch_table.copy()


class ChainDispatchTableTests(suite.AbstractDispatchTableTests, SafeloadCase):
    """``dispatch_table`` that is no dict."""

    pickler_class = safeload.Pickler

    def get_dispatch_table(self):
        return collections.ChainMap({}, copyreg.dispatch_table)


class HookTests(suite.AbstractHookTests, SafeloadCase):
    """``reducer_override``."""

    class CustomPickler(safeload.Pickler, suite.AbstractCustomPicklerClass):
        pass

    pickler_class = CustomPickler


if hasattr(suite, "AbstractPicklingErrorTests"):  # from Python 3.13 on

    class PicklingErrorTests(_Dumps, suite.AbstractPicklingErrorTests, SafeloadCase):
        """Errors of ``Pickler``."""

        pickler = safeload.Pickler


@pytest.mark.skipif(not hasattr(suite, "AbstractPicklingErrorTests"), reason="an older suite has fewer tests")
def test_the_list_of_deviations_names_tests() -> None:
    """A deviation of a test that does not exist would explain nothing."""
    cases = {name: value for name, value in globals().items() if isinstance(value, type) and name.endswith("Tests")}
    for entry in DEVIATIONS:
        case, _, test = entry.rpartition(".")
        holders = [cases.get(case) or getattr(suite, case)] if case else cases.values()
        assert any(callable(getattr(holder, test, None)) for holder in holders), entry
