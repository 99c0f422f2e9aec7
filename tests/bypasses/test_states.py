"""States that set what others call: over every class of every pack that may get a state.

Two classes of attack, tried mechanically. A key that only *equals* a name (``numpy.str_``, ``UserString``, an enum of the application) is
none of the strings that a rule looks for and is that attribute after the load. And an attribute under the name of a method is called
by whoever asks for the method: the unpickler for ``append``, NumPy for ``__array_interface__``, ``datetime`` for ``utcoffset``.
"""

from __future__ import annotations

import enum
import importlib
import types
import warnings
from typing import Any

import pickle_parts as parts
import pytest
from pickle_parts import STOP, Raw, call, literal, proto, short, stack_global

import safeload
from safeload.errors import SafeloadError
from safeload.facts.protocols import PROTOCOLS, TOLD
from safeload.policy import Policy
from safeload.policy.members import flags_of, members_of
from safeload.policy.model import Rule
from safeload.policy.packs import load_pack, pack_names
from safeload.program import Kind, Program, Standin, StandinType, Use

pytestmark = pytest.mark.filterwarnings("ignore")

LEN = stack_global("builtins", "len")  # a global that the packs let be referenced
SPECIAL = (
    "__class__",
    "__dict__",
    "__setstate__",
    "__reduce_ex__",
    "__deepcopy__",
    "__array_interface__",
    "__array_struct__",
)
SPECIAL += (
    "__array__",
    "__cuda_array_interface__",
    "__dlpack__",
    "__len__",
    "__getattr__",
    "__arrow_c_stream__",
    "__torch_function__",
)


def dictionary(*items: tuple[bytes, bytes]) -> bytes:
    """A dict, its keys and values given as opcodes."""
    return b"}(" + b"".join(key + value for key, value in items) + b"u"


def named(name: str) -> bytes:
    """The global of a policy name."""
    module, _, path = name.partition(":") if ":" in name else name.rpartition(".")
    return stack_global(module, path)


def user_string(text: str) -> bytes:
    """``collections.UserString``, as it is pickled."""
    return named("collections.UserString") + b")\x81" + dictionary((short("data"), short(text))) + b"b"


def numpy_str(text: str) -> bytes:
    """``numpy.str_``: a subclass of str."""
    size = 4 * len(text)
    dtype = call(named("numpy.dtype"), f"U{len(text)}", False, True)
    dtype += literal((3, "<", None, None, None, size, 4, 8)) + b"b"
    data = text.encode("utf-32-le")
    return named("numpy._core.multiarray.scalar") + b"(" + dtype + b"B" + len(data).to_bytes(4, "little") + data + b"tR"


EQUAL = {"UserString": user_string, "numpy.str_": numpy_str}
# How an instance is made before it gets its state.
MAKERS = {
    "NEWOBJ": lambda name: named(name) + b")\x81",
    "call": lambda name: named(name) + b")R",
    "_reconstructor": lambda name: call(
        named("copyreg._reconstructor"), Raw(named(name)), Raw(named("builtins.object")), None
    ),
    "_reconstructor, dict": lambda name: call(
        named("copyreg._reconstructor"), Raw(named(name)), Raw(named("builtins.dict")), {}
    ),
}


class Target:
    """A class of a pack, and how its instances are made with a state."""

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.maker = next((what for what in MAKERS if self._is_clean(MAKERS[what])), None)

    def _is_clean(self, make: Any) -> bool:
        return clean(proto(4) + make(self.name) + dictionary((short("plain"), literal(1))) + b"b" + STOP, self.policy)

    def stream(self, state: bytes) -> bytes:
        return proto(4) + MAKERS[self.maker or "NEWOBJ"](self.name) + state + b"b" + STOP


def clean(stream: bytes, policy: Policy) -> bool:
    return safeload.scan(stream, policy=policy).verdict == "clean"


@pytest.fixture(scope="module", params=pack_names())
def pack(request: Any) -> str:
    return request.param


@pytest.fixture(scope="module")
def targets(pack: str) -> list[Target]:
    policy = Policy.packs(pack, "data", "numpy")
    return [Target(name, policy) for name, rule in load_pack(pack).rules.items() if rule.state]


def test_the_streams_are_accepted_but_for_the_attack(pack: str, targets: list[Target]) -> None:
    """Otherwise the tests below would prove nothing: most classes take any attributes, and get them here in a clean stream."""
    taken = [target for target in targets if target.maker is not None]
    few = {"catboost", "joblib", "lightgbm", "xgboost", "numpy", "pandas", "scipy"}  # rules that list the attributes
    assert len(taken) >= (0 if pack in few else len(targets) // 2), pack


def each_tried(targets: list[Target], states: dict[str, bytes]) -> None:
    """Every state on the first class of each rule and each way of making it, and in turn on all others."""
    cases = list(states.items())
    seen: set[Any] = set()
    for number, target in enumerate(targets):
        kind = (load_pack_rule(target), target.maker)
        chosen = [cases[number % len(cases)]] if kind in seen else cases
        seen.add(kind)
        for what, state in chosen:
            assert not clean(target.stream(state), target.policy), (target.name, what)


def load_pack_rule(target: Target) -> Any:
    rule = target.policy.rule(target.name)
    return rule and rule.state


def test_keys_that_only_equal_text(targets: list[Target]) -> None:
    """Whatever the key is equal to, and whatever lies there."""
    states = {}
    for what, make in EQUAL.items():
        for name, value in (("append", LEN), ("args", literal(1)), ("plain", literal(1))):
            states[f"{what} {name}"] = dictionary((make(name), value))
            states[f"{what} {name}, behind another"] = dictionary((short("x"), literal(1)), (make(name), value))
        states[f"{what}, slots"] = b"(N" + dictionary((make("append"), LEN)) + b"t"
    for key in (literal(b"append"), literal(1), b"N", literal(("append",))):
        states[f"key {key!r}"] = dictionary((key, LEN))
    each_tried(targets, states)


def test_special_names_and_doubled_keys(targets: list[Target]) -> None:
    """Special names whatever lies there, and a second value behind a harmless first one."""
    states = {name: dictionary((short(name), literal({}))) for name in (*SPECIAL, *TOLD - {"_typ"})}
    states["doubled"] = dictionary((short("append"), literal(1)), (short("append"), LEN))
    states["pair"] = b"(" + dictionary((short("append"), LEN)) + b"Nt"
    states["slots"] = b"(N" + dictionary((short("append"), LEN)) + b"t"
    each_tried(targets, states)


def test_states_whose_keys_cannot_be_seen(targets: list[Target]) -> None:
    """A dict or a tuple that calls make: the unpickler takes subclasses for the same."""
    hook = dictionary((short("append"), LEN))
    pairs = b"](" + b"](" + short("append") + LEN + b"ee"
    made = {
        "OrderedDict, filled": named("collections.OrderedDict") + b")R(" + short("append") + LEN + b"u",
        "OrderedDict(pairs)": named("collections.OrderedDict") + pairs + b"\x85R",
        "defaultdict": named("collections.defaultdict") + b")R(" + short("append") + LEN + b"u",
        "Counter": named("collections.Counter") + hook + b"\x85R",
        "dict(pairs)": named("builtins.dict") + pairs + b"\x85R",
        "tuple of dicts": named("builtins.tuple") + b"](N" + hook + b"e\x85R",
        "UserDict": named("collections.UserDict") + b")\x81" + dictionary((short("data"), hook)) + b"b",
        "ChainMap": named("collections.ChainMap") + b")\x81" + dictionary((short("maps"), b"](" + hook + b"e")) + b"b",
        "a named tuple": named("urllib.parse.DefragResult") + b"(N" + hook + b"t\x81",
    }
    each_tried(targets, made | {f"slots, {what}": b"(N" + state + b"t" for what, state in made.items()})


def wide(policy: Policy, *names: str) -> Policy:
    """The policy that lets these classes have any state: what holds for every state has to refuse alone."""
    rules = [Rule(name, reference=True, construct=True, state=True) for name in names]
    return policy | Policy(rules)


def decided(policy: Policy, name: str, attribute: str, value: Any) -> bool:
    """Whether a policy lets instances of ``name`` have that attribute, asked without a stream."""
    target = _standin("x.y")()
    uses = (Use(Kind.CONSTRUCT, name, (), target), Use(Kind.STATE, name, ({attribute: value},), target))
    return not policy.decide(Program.of(uses))


def _standin(name: str) -> Any:
    return StandinType("standin", (Standin,), {"safeload_name": name, "safeload_producer": name})


def test_no_method_is_shadowed(pack: str, targets: list[Target]) -> None:
    """Each method and property of each class, as the pack tells them and as the installed library has them.

    The rule of the class is left aside: what holds for every state has to refuse them alone.
    """
    function = _standin("builtins.len")
    partial = _standin("functools.partial")()
    asked = 0
    policy = wide(targets[0].policy, *(target.name for target in targets))
    for number, target in enumerate(targets):
        admitted = {each.partition("=")[0] for each in load_pack(pack).rules[target.name].shadows}
        known = members_of(target.name)
        methods = (known.methods | methods_of(load_pack(pack).rules[target.name].resolve or target.name)) - admitted
        for name in methods:
            asked += 1
            assert not decided(policy, target.name, name, function), (target.name, name)
        for name in sorted(methods)[:3]:
            assert not decided(policy, target.name, name, partial), (target.name, name)
        for name in known.properties - admitted:
            assert not decided(policy, target.name, name, function), (target.name, name)
        for name in sorted(methods)[:1] if number % 8 == 0 else ():
            assert not clean(target.stream(dictionary((short(name), LEN))), target.policy), (target.name, name)
    assert asked or not any(members_of(target.name).methods for target in targets)


def methods_of(name: str) -> set[str]:
    """The methods of a class as the library here has it; none if there is no such class."""
    module, _, path = name.partition(":") if ":" in name else name.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found: Any = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            return set()
    if not isinstance(found, type):
        return set()
    plain = (types.FunctionType, types.MethodDescriptorType, staticmethod, classmethod)
    seen: dict[str, Any] = {}
    for base in reversed(found.__mro__):
        seen.update(vars(base))
    return {key for key, value in seen.items() if isinstance(value, plain) and not key.startswith("__")}


def test_every_class_with_a_state_is_described() -> None:
    """A class that the packs' members do not know would be judged as one without methods."""
    for pack in pack_names():
        for name, rule in load_pack(pack).rules.items():
            if rule.state:
                assert flags_of(name) is not None, f"{pack}: {name}; run python tests/members"


@pytest.mark.parametrize("name", ["types.SimpleNamespace", "collections.OrderedDict", "collections.UserDict", "x.Y"])
def test_protocols_on_classes_that_lack_them(name: str) -> None:
    """A namespace has no methods, and C code asks it for the same names as any other object."""
    policy = wide(Policy.packs("data"), name)
    for protocol in PROTOCOLS:
        assert not decided(policy, name, protocol, _standin("builtins.len")), protocol
        assert decided(policy, name, protocol, 1), protocol
    for told in TOLD:
        assert not decided(policy, name, told, 1), told
    assert decided(policy, name, "plain", _standin("builtins.len"))


def test_methods_may_be_replaced_where_a_pack_says_so() -> None:
    """A frozen graph raises errors in place of changing; any other function there is refused."""
    policy = Policy.packs("networkx")
    for value, allowed in (("networkx.classes.function.frozen", True), ("builtins.len", False)):
        assert decided(policy, "networkx.classes.graph.Graph", "add_node", _standin(value)) is allowed


@pytest.mark.parametrize("pack", pack_names())
def test_keyword_arguments(pack: str) -> None:
    """NEWOBJ_EX: no rule of a pack takes keywords for what it checks, whatever their names are."""
    policy = Policy.packs(pack, "data", "numpy")
    words = [dictionary((short("x"), literal(1))), *(dictionary((make("x"), literal(1))) for make in EQUAL.values())]
    words += [dictionary((short("x"), literal(1)), (short("x"), LEN)), dictionary((literal(1), LEN))]
    names = [name for name, rule in load_pack(pack).rules.items() if isinstance(rule.construct, str)]
    seen: set[Any] = set()
    for number, name in enumerate(names):
        rule = load_pack(pack).rules[name].construct
        for keywords in [words[number % len(words)]] if rule in seen else words:
            assert not clean(proto(4) + named(name) + b")" + keywords + b"\x92" + STOP, policy), name
        seen.add(rule)


class Name(str):
    """A subclass of str."""

    __slots__ = ()


class Kinds(enum.StrEnum):
    """Members are equal to text."""

    APPEND = "append"


class Plain:
    """Takes any attribute."""


@pytest.mark.parametrize(
    "key",
    [
        lambda: call(stack_global(__name__, "Name"), "append"),
        lambda: call(stack_global(__name__, "Kinds"), "append"),
        lambda: stack_global(__name__, "Name") + parts.arguments("append") + b"\x81",
    ],
)
def test_keys_of_the_applications_own_classes(key: Any) -> None:
    """Enums and subclasses of str that the application allows, on its own class and on one of a pack."""
    policy = Policy.packs("data").allow(f"{__name__}.Plain")
    policy = policy.allow(f"{__name__}.Name", call=True).allow(f"{__name__}.Kinds", call=True)
    for name in (f"{__name__}.Plain", "types.SimpleNamespace", "collections.UserDict"):
        stream = proto(4) + named(name) + b")\x81" + dictionary((key(), LEN)) + b"b" + STOP
        assert not clean(stream, policy)
        with pytest.raises(SafeloadError):
            safeload.loads(stream, policy=policy)


@pytest.mark.parametrize("maker", ["sklearn.utils._bunch.Bunch", "scipy.optimize._optimize.OptimizeResult"])
@pytest.mark.parametrize("key", [short, user_string, numpy_str])
def test_items_that_answer_for_attributes(maker: str, key: Any) -> None:
    """A dict that looks its attributes up in its items hands NumPy the address of any memory."""
    pytest.importorskip(maker.partition(".")[0])
    memory = dictionary((short("version"), literal(3)), (short("data"), literal((0x41414141, False))))
    filled = named(maker) + b")\x81(" + key("__array_interface__") + memory + b"u"
    copied = call(
        named("copyreg._reconstructor"),
        Raw(named(maker)),
        Raw(named("builtins.dict")),
        Raw(dictionary((key("__array_interface__"), memory))),
    )
    for made in (filled, copied):
        with pytest.raises(SafeloadError):
            safeload.loads(proto(4) + made + STOP, policy=["sklearn"])


@pytest.mark.parametrize("name", ["Chebyshev", "Hermite", "HermiteE", "Laguerre", "Legendre", "Polynomial"])
def test_a_state_that_becomes_the_instances_dict_is_a_copy(name: str) -> None:
    """NumPy's polynomials take the state itself, which the stream could change after it was judged."""
    polynomial = pytest.importorskip("numpy.polynomial")
    cls = getattr(polynomial, name)
    state = dictionary((short("symbol"), short("x"))) + parts.put(1)
    late = parts.get(1) + short("__array_interface__") + literal({}) + b"s0"
    made = named(f"{cls.__module__}.{name}") + b")\x81" + state + b"b"
    try:
        loaded = safeload.loads(proto(4) + made + late + STOP)
    except SafeloadError:
        return
    assert type(loaded) is cls
    assert vars(loaded) == {"symbol": "x"}
