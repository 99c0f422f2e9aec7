"""Is every operation of a program allowed? All or nothing, before anything is imported.

Most programs are decided by comparing two sets: the operations they contain and the operations that are allowed
whatever their arguments. What is left is looked at use by use, in the order of the stream, because some argument
rules depend on what happened before (:mod:`safeload.policy.rules.arrays`). Rule: nothing here imports or resolves a name of
the program, and no permission of a rule makes up for a change of a class or a computed callable.
"""

from __future__ import annotations

from array import array
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from safeload.facts.printable import printable_ascii
from safeload.findings import Finding, Severity, Verdict
from safeload.limits import ArtifactBudget
from safeload.policy.states import check_state
from safeload.program import Keywords, Kind, Standin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from safeload.policy.model import Policy
    from safeload.policy.rules.dtypes import DType
    from safeload.policy.rules.registry import Check
    from safeload.policy.rules.torch import Tensor
    from safeload.policy.states import Suspects
    from safeload.program import Program, Use

    _Rules = dict[str, list[tuple[Kind, tuple[Check, ...]]]]
    _Refused = dict[tuple[Kind, str], str]

__all__ = ["MALFORMED", "Context", "decide"]

_LIBRARIES = ("numpy.", "pandas.", "scipy.", "sklearn.")
_MAKERS = ("numpy.", "_codecs.encode", "builtins.bytes", "joblib.numpy_pickle.NumpyArrayWrapper")
_VERBS = {
    Kind.REFERENCE: ("policy.not-allowed", "imports", ""),
    Kind.CALL: ("policy.call-not-allowed", "calls", "call = true\nconstruct = false\nstate = false"),
    Kind.CONSTRUCT: ("policy.construct-not-allowed", "makes an instance of", ""),
    Kind.STATE: ("policy.state-not-allowed", "sets the state of what is made by", ""),
    Kind.ITEMS: ("policy.state-not-allowed", "adds items to what is made by", ""),
}

_NEVER = {
    Kind.CLASS_STATE: (
        "policy.class-state",
        "the pickle changes {name} itself, not an instance of it: for the whole process, so it is never allowed",
    ),
    Kind.COMPUTED: (
        "policy.computed-call",
        "the pickle calls something that {name} returned; a callable has to be named, so this is never allowed",
    ),
}

# What a check may raise when it looks at values of other types than it expects.
MALFORMED = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError)


# Rules of what keeps its arguments and does not look into them: an array of objects may hold an object that leads back to it.
_STORES = frozenset(
    """dict-state slots-state exception-state estimator-state public-state torch-module-state user-container-state ndarray-state none few
    tuple slice data pairs iterable deque namespace newobj reconstructor""".split()
)


class Context:
    """What argument rules may know: the policy, the program, and what they noted about earlier uses.

    What is known about an object is kept by the ``id`` of its stand-in, which the program keeps alive.

    Attributes:
        policy: the policy that decides.
        uses: the whole program.
        index: of the use that is judged.
        states: objects that have got their state.
        dtypes: what a dtype describes.
        arrays: where an array was made that still waits for its state.
        counts: the number of items of an array.
        key_sets: what matters of the keys of a state, by its class and its keys (:mod:`safeload.policy.states`).
        forms: the shape and the kind of dtype of an array.
        lengths: what an index is as an array, in items: a range takes no memory before.
        plain: arrays of the class numpy.ndarray itself.
        stores: operations that keep their arguments and do not look into them.
        taken: bytes on which an array lies that can be written to.
        data: the bytes of an array of numbers, or what they are part of.
        places: of a block of a frame: lowest, highest, how many.
        objects: for an array of objects, its dtype's id and its number of items.
        arrows: the number of buffers of an Arrow type.
        bound_methods: whether a method was looked up on an instance.
        budget: what all streams of the artifact have used up.
        models: serialized models that a library's parser is given.
        contents: what objects were made with and given as items, once somebody has asked.
        persistent: the persistent id that an object stands for, once somebody has asked.
        tensors: what is known of a tensor, or of a ``torch.Size``.
        unread: see :meth:`literal`.
    """

    __slots__ = (
        "_copied", "_filled", "_foreign", "_items", "_libraries", "_only_arrays", "arrays", "arrows", "bound_methods", "budget", "contents",
        "counts", "data", "dtypes", "forms", "index", "key_sets", "lengths", "models", "objects", "persistent", "places", "plain", "policy",
        "states", "stores", "taken", "tensors", "unread", "uses",
    )  # fmt: skip

    def __init__(
        self,
        policy: Policy,
        uses: tuple[Use, ...],
        unread: Mapping[int, Callable[[], bytes]] = MappingProxyType({}),
        budget: ArtifactBudget | None = None,
    ) -> None:
        self.policy = policy
        self.budget = ArtifactBudget() if budget is None else budget
        self.unread = unread
        self.uses = uses
        self.index = 0
        self.states: set[int] = set()
        self.dtypes: dict[int, DType] = {}
        self.arrays: dict[int, int] = {}
        self.counts: dict[int, int | None] = {}
        self.forms: dict[int, tuple[tuple[int, ...], str]] = {}
        self.lengths: dict[int, int] = {}
        self.plain: set[int] = set()
        self.stores: set[tuple[Kind, str]] = set()
        self.taken: set[int] = set()
        self.data: dict[int, tuple[DType, Any]] = {}
        self.places: dict[int, tuple[int, int, int] | None] = {}
        self.objects: dict[int, tuple[int, int]] = {}
        self.arrows: dict[int, int | None] = {}
        self.bound_methods = False
        self.models: set[int] = set()
        self.contents: dict[int, list[Use]] | None = None
        self.persistent: dict[int, Any] | None = None
        self.tensors: dict[int, Tensor] = {}
        self.key_sets: dict[tuple[Any, ...], Suspects | str] = {}
        self._items = 0
        self._copied: set[Any] = set()
        self._filled: set[int] | None = None
        self._libraries: bool | None = None
        self._only_arrays: bool | None = None
        self._foreign: dict[frozenset[str], array[int]] = {}

    def has_arrays(self) -> bool:
        """Whether the program uses a library that could expand a range into an array."""
        if self._libraries is None:
            self._libraries = any(use.name.startswith(_LIBRARIES) for use in self.uses)
        return self._libraries

    def only_arrays(self) -> bool:
        """Whether the program makes numpy's objects and nothing else that could look into them."""
        if self._only_arrays is None:
            self._only_arrays = all(use.kind is Kind.REFERENCE or use.name.startswith(_MAKERS) for use in self.uses)
        return self._only_arrays

    def too_many(self) -> bool:
        """Whether this is one object too many of those that take kilobytes or a tenth of a millisecond, and few bytes of a stream."""
        return self.budget.too_heavy()

    def only(self, names: frozenset[str], start: int, stop: int) -> bool:
        """Whether the uses from ``start`` up to ``stop`` are imports, or uses of ``names``, as far as it is known.

        Asked for thousands of objects whose uses overlap, so it looks at each use once.
        """
        if stop <= start:
            return True
        last = self._foreign.setdefault(names, array("q"))
        found = last[-1] if last else -1
        for index in range(len(last), stop):
            use = self.uses[index]
            if use.kind is not Kind.REFERENCE and use.name not in names:
                found = index
            last.append(found)
        return last[stop - 1] < start

    def most_items(self) -> int:
        """How many items something may claim to have that could be expanded: a few millions more than the pickle's data."""
        if not self._items:
            self._items = 10_000_000 + sum(_weight(use.args) for use in self.uses)
        return self._items

    def copies_too_much(self, source: Any, size: int) -> bool:
        """Note that a call copies ``size`` bytes of ``source`` (something hashable that tells it from others), and say if that is too much.

        The first copy is free: the bytes are in the artifact. A stream that has the same ones copied again and again fills the memory.
        """
        if source not in self._copied:
            self._copied.add(source)
            return False
        return self.budget.copies_too_much(size)

    def expands_too_much(self, size: int) -> bool:
        """Note that a call makes ``size`` bytes that are nowhere in the artifact, and say if that is too much; none is free."""
        return self.budget.copies_too_much(size)

    def is_waiting(self, value: Standin) -> bool:
        """Whether an object gets its state later: its class believes what it is told then, so nobody may look into it before."""
        return id(value) in self.arrays or (id(value) not in self.states and self.gets_state(value))

    def content_of(self, value: Standin) -> list[Use]:
        """How an object was made, and what was added to it, in the whole program."""
        if self.contents is None:
            self.contents = {}
            for use in self.uses:
                if use.target is not None and use.kind in (Kind.ITEMS, Kind.CONSTRUCT, Kind.CALL):
                    self.contents.setdefault(id(use.target), []).append(use)
        return self.contents.get(id(value), [])

    def gets_state(self, value: Any) -> bool:
        """Whether the state of an object is set somewhere in the program."""
        if self._filled is None:
            self._filled = {id(use.target) for use in self.uses if use.kind is Kind.STATE}
        return id(value) in self._filled

    def literal(self, value: bytes | bytearray | memoryview) -> bytes:
        """The bytes of a literal of the stream, which are read now if zeros stand for them."""
        held = value.obj if type(value) is memoryview else value
        reader = self.unread.get(id(held))
        return bytes(value) if reader is None else reader()

    def id_of(self, value: Any) -> Any:
        """The persistent id that an object stands for; ``None`` if it is another object."""
        if self.persistent is None:
            self.persistent = {id(use.target): use.args[0] for use in self.uses if use.kind is Kind.PERSISTENT}
        return self.persistent.get(id(value)) if isinstance(value, Standin) else None

    def may_be_made(self, name: str | None) -> bool:
        """Whether the policy lets ``name`` be constructed with any arguments."""
        rule = self.policy.rule(name) if name else None
        return rule is not None and rule.construct is True


def _weight(args: tuple[Any, ...]) -> int:
    """Bytes and list items in some arguments."""
    total = 0
    for item in args:
        for part in item if type(item) is tuple else (item,):
            if type(part) in (bytes, bytearray, memoryview, str, list):
                total += len(part)
    return total


def decide(
    policy: Policy,
    program: Program,
    manifest: Iterable[str] | None = None,
    *,
    persistent: bool = False,
    arguments: bool = True,
    unread: Mapping[int, Callable[[], bytes]] = MappingProxyType({}),
    budget: ArtifactBudget | None = None,
) -> tuple[Finding, ...]:
    """See :meth:`safeload.policy.model.Policy.decide`."""
    operations = program.operations
    if not operations:
        return ()
    findings = [] if manifest is None else _outside(operations, frozenset(manifest))
    if policy.grants_code:
        if not persistent and (Kind.PERSISTENT, "") in operations:
            findings.append(_persistent())
        return tuple(findings)
    plain = policy.name_set
    rest = [operation for operation in operations if operation not in plain]
    if not rest:
        return tuple(findings)
    conditions = policy.conditions
    conditional: dict[tuple[Kind, str], str] = {}
    for operation in rest:
        condition = conditions.get(operation)
        if operation[0] is Kind.COMPUTED and _may_call_result(policy, operation[1]):
            condition = "pinned-call"
        if condition is not None:
            conditional[operation] = condition
        elif operation[0] is not Kind.PERSISTENT:
            findings.append(_refuse(policy, *operation))
        elif not persistent:
            findings.append(_persistent())
    if conditional and arguments:
        findings += _judge(Context(policy, program.uses, unread, budget), conditional)
    return tuple(findings)


def _may_call_result(policy: Policy, name: str) -> bool:
    """Results may be called if they are the attributes that ``pinned-getattr`` admits, with its judgement."""
    rule = policy.rule(name)
    return name == "builtins.getattr" and rule is not None and rule.call == "pinned-getattr"


def _judge(context: Context, conditional: dict[tuple[Kind, str], str]) -> list[Finding]:
    """Apply the argument rules to every use that has one."""
    from safeload.policy.rules import find_rules

    rules: _Rules = {}
    for (kind, name), condition in conditional.items():
        rules.setdefault(name, []).append((kind, find_rules(condition)))
    context.stores = {each for each, condition in conditional.items() if _STORES.issuperset(condition.split("|"))}
    refused: _Refused = {}
    _judge_uses(context, rules, refused)
    return [_argument(kind, name, reason) for (kind, name), reason in refused.items()]


def _judge_uses(context: Context, rules: _Rules, refused: _Refused) -> None:
    """Judge the uses in order, and put the reasons against them into ``refused``."""
    for index, use in enumerate(context.uses):
        judging = rules.get(use[1])
        if judging is None:
            continue
        kind = use[0]
        for judged, checks in judging:
            if judged is not kind:
                continue
            context.index = index
            try:
                reason = check_state(use, context) if kind is Kind.STATE else None
                if reason is None and context.arrays and (kind, use[1]) not in context.stores:
                    reason = _waiting(use, context)
                if reason is None:
                    for check in _judging(checks, use):
                        reason = check(use, context)
                        if reason is None:
                            break
            except MALFORMED:  # a list where a name is looked up in a table, and the like
                reason = "they are of types that no pickler writes there"
            if reason is not None:
                refused.setdefault((kind, use[1]), reason)


def _waiting(use: Use, context: Context) -> str | None:
    """Why a use may not have an array that still waits for its data; ``None`` if it has none.

    C code takes a view of an array that it is given. When the array gets its data, that view is of memory that is freed.
    """
    found = any(_holds(item, context.arrays, 3) for item in use.args)
    return "an array is used before it has got its data" if found else None


def _holds(value: Any, waiting: Mapping[int, int], depth: int) -> bool:
    """Whether one of ``waiting`` is in a traced argument, as deep as rules look."""
    if isinstance(value, Standin):
        return id(value) in waiting
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return depth > 0 and any(_holds(part, waiting, depth - 1) for part in parts)


def _judging(checks: tuple[Check, ...], use: Use) -> tuple[Check, ...]:
    """The checks that may judge a use: of one with keyword arguments only those that look at keywords."""
    if not use.args or type(use.args[-1]) is not Keywords:
        return checks
    from safeload.policy.rules.registry import KEYWORDS

    judging = tuple(check for check in checks if check in KEYWORDS)
    if not judging or any(type(name) is not str for name in use.args[-1]):
        return (_no_keywords,)
    return judging


def _no_keywords(_use: Use, _context: Context) -> str:
    return "it takes no keyword arguments in a pickle"


def _refuse(policy: Policy, kind: Kind, name: str) -> Finding:
    """The finding for an operation that no rule allows."""
    if kind in _NEVER:
        rule_id, text = _NEVER[kind]
        return Finding(rule_id, Severity.HIGH, text.format(name=printable_ascii(name)), evidence=name)
    rule_id, verb, permission = _VERBS[kind]
    if kind is not Kind.REFERENCE and policy.rule(name) is None:
        rule_id = "policy.not-allowed"
    return Finding(rule_id, Severity.MEDIUM, _message(policy, kind, name, verb, permission), evidence=name)


def _message(policy: Policy, kind: Kind, name: str, verb: str, permission: str) -> str:
    from safeload.policy.learn import toml_string
    from safeload.policy.packs import load_pack, packs_naming

    asked = f"the pickle {verb} {printable_ascii(name)}, which the policy does not allow"
    for pack in packs_naming(name):
        if pack not in policy.pack_names and load_pack(pack).rules[name].permission(kind):
            return f"{asked}; the shipped pack {pack!r} does: packs = [{_quoted([*policy.pack_names, pack])}]"
    known = policy.rule(name)
    if known is not None and known.reason and known.reason != "allowed by the application":
        return f"{asked}; the policy allows that name in other ways only ({known.reason})"
    entry = f"[[allow]]\nname = {toml_string(name)}" + (f"\n{permission}" if permission else "")
    return f"{asked}. If you know that it is harmless, add to safeload.toml:\n{entry}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _argument(kind: Kind, name: str, reason: str) -> Finding:
    verbs = {Kind.CONSTRUCT: "constructs", Kind.STATE: "sets the state of", Kind.ITEMS: "adds items to"}
    verb = verbs.get(kind, "calls")
    return Finding(
        "policy.argument",
        Severity.HIGH,
        f"the pickle {verb} {printable_ascii(name)} with arguments that are not harmless: {reason}",
        evidence=name,
    )


def _persistent() -> Finding:
    return Finding(
        "policy.persistent-id",
        Severity.INFO,
        "the pickle holds persistent ids; load it with an Unpickler whose persistent_load resolves them",
        verdict=Verdict.UNKNOWN,
    )


def _outside(operations: tuple[tuple[Kind, str], ...], manifest: frozenset[str]) -> list[Finding]:
    """Findings for what the writer did not sign for."""
    return [
        Finding(
            "policy.not-in-manifest",
            Severity.HIGH,
            f"the pickle's operation '{kind.value} {printable_ascii(name)}' is not in the manifest that its writer signed",
            evidence=name,
        )
        for kind, name in operations
        if f"{kind.value} {name}" not in manifest
    ]
