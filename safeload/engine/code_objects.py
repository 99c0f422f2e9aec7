"""Which functions would a dill or cloudpickle pickle create? Read from the arguments that the trace recorded.

A code object is described by the arguments of the call that would make it: numbers, bytecode, names. They are read by
position, in the layouts of all Python versions, and nothing is ever built from them. Rule: whatever an argument is, it is
described or left out; no text is longer than :data:`_TEXT`, and all of it is printable ASCII.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.facts.code_makers import family
from safeload.findings import Finding, Severity, Verdict
from safeload.program import Kind, StandinType, global_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from safeload.program import Program, Use

__all__ = ["Function", "code_findings", "functions_of", "sets_own_attributes"]

_TEXT = 80  # characters of one name
_NAMES = 24  # names in one list
_MOST = 100  # functions described, each in a note of its own

# Calling what one of these returned runs bytecode of the stream.
_FUNCTION_MAKERS = (
    "._create_function",
    "._make_function",
    "._make_skel_func",
    ".FunctionType",
    ".LambdaType",
    ".function",
)
# Methods that the unpickler, or what it builds, calls while it loads.
_RUN_BY_LOADING = frozenset(
    """
    __new__ __init__ __setstate__ __setitem__ __setattr__ __getattr__ __getattribute__ __getinitargs__ __reduce__ __reduce_ex__ __del__
    __hash__ __eq__ __set_name__ __init_subclass__ __prepare__ __call__ __get__ __missing__ append extend add
    """.split()
)
# Names that say what a function is for, where it runs by being loaded: alone, or as an attribute of the module.
_HARMFUL = frozenset(
    "__import__ exec eval execfile subprocess ctypes pty socket marshal importlib urllib requests".split()
)
_OF_OS = frozenset(
    "system popen execv execve execl execlp execvp spawnl spawnv fork posix_spawn remove unlink rmdir".split()
)
_OS = frozenset({"os", "posix", "nt"})
_SETATTR = "builtins.setattr"
_VARARGS, _VARKEYWORDS = 4, 8  # of co_flags


class Function(NamedTuple):
    """A code object as its maker's arguments describe it; ``line`` is 0 where they do not say."""

    name: str
    file: str
    line: int
    arguments: tuple[str, ...]
    names: tuple[str, ...]
    harmful: tuple[str, ...]

    @property
    def message(self) -> str:
        """One line for a person."""
        where = f" of {self.file}" + (f", line {self.line}" if self.line else "")
        uses = f"; uses {', '.join(self.names)}" if self.names else ""
        return f"makes the function {self.name}({', '.join(self.arguments)}){where}{uses}"


def functions_of(program: Program) -> Iterator[Function]:
    """The functions, classes' bodies and comprehensions whose code the program makes, in its order."""
    for use in program.uses:
        if use.kind in (Kind.CALL, Kind.COMPUTED) and family(use.name) is not None:
            found = _described(use.args)
            if found is not None:
                yield found


def _described(args: tuple[Any, ...]) -> Function | None:
    """The code object that a call with these arguments would make, ``None`` if they are no code object's.

    ``[lnotab,] argcount[, posonly][, kwonly], nlocals, stacksize, flags, code, consts, names, varnames, filename, name
    [, qualname], firstlineno, ...``: dill puts the first, Python 2 had neither of the counts, 3.8 added one, 3.11 the qualname.
    """
    start = 1 if args and type(args[0]) is not int else 0
    numbers: list[int] = []
    for item in args[start : start + 7]:
        if type(item) is not int:
            break
        numbers.append(item)
    rest = args[start + len(numbers) :]
    if not 4 <= len(numbers) <= 6 or len(rest) < 7 or type(rest[2]) is not tuple or type(rest[3]) is not tuple:
        return None
    names, variables, file, name, following = rest[2], rest[3], rest[4], rest[5], rest[6:8]
    if type(following[0]) is str:  # the qualname
        name = following[0]
    line = next((item for item in following if type(item) is int), 0)
    used = {item for item in names[:10_000] if type(item) is str}
    return Function(
        _text(name),
        _text(file),
        line if 0 < line < 1 << 31 else 0,
        _arguments(numbers, variables),
        _texts(names),
        _harmful(used),
    )


def _arguments(numbers: list[int], variables: tuple[Any, ...]) -> tuple[str, ...]:
    """The first variables, ``*args`` and ``**kwargs`` with their stars; Python 2 had no keyword-only ones."""
    flags = numbers[-1]
    keyword_only = {6: 2, 5: 1}.get(len(numbers))
    count = numbers[0] + (0 if keyword_only is None else numbers[keyword_only])
    count = min(max(count, 0), len(variables))
    texts = _texts(variables[:count])
    for flag, stars in ((_VARARGS, "*"), (_VARKEYWORDS, "**")):
        if flags & flag and count < len(variables):
            texts += (stars + _text(variables[count]),)
            count += 1
    return texts


def _harmful(used: set[str]) -> tuple[str, ...]:
    of_os = (f"os.{name}" for name in used & _OF_OS) if used & _OS else ()
    return tuple(sorted([*(used & _HARMFUL), *of_os]))


def _texts(items: tuple[Any, ...]) -> tuple[str, ...]:
    texts = tuple(_text(item) for item in items[:_NAMES])
    return (*texts, f"... {len(items) - _NAMES} more") if len(items) > _NAMES else texts


def _text(value: Any) -> str:
    """A name as printable ASCII; ``"?"`` for what is none."""
    if type(value) is bytes:  # Python 2, read with encoding="bytes"
        value = value[: _TEXT + 1].decode("latin-1")
    if type(value) is not str:
        return "?"
    text: str = value[: _TEXT + 1]
    if not (text.isascii() and text.isprintable()):
        text = text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= _TEXT else text[: _TEXT - 3] + "..."


def code_findings(program: Program, kind: str) -> tuple[list[Finding], list[Finding]]:
    """What is to be said of a program that carries code.

    Args:
        program: the program.
        kind: its family (:func:`safeload.facts.code_makers.family_of`).

    Returns:
        Evidence of harm in the code itself, for a program that is refused anyway, and notes that describe the functions.
    """
    evidence: dict[str, Finding] = {}
    notes = [_note("code.kind", f"a {kind} pickle: it carries code" if kind != "code" else "it carries code", kind)]
    total = 0
    called = any(use.kind is Kind.COMPUTED and use.name.endswith(_FUNCTION_MAKERS) for use in program.uses)
    if called:
        message = "the pickle makes a function out of bytecode and calls it: loading runs what its author wrote"
        evidence[""] = Finding("code.called", Severity.CRITICAL, message, evidence=kind, verdict=Verdict.MALICIOUS)
    for function in functions_of(program):
        total += 1
        if function.harmful and len(evidence) < _MOST:
            evidence.setdefault(function.message, _evidence(function, called=called))
        if total <= _MOST:
            notes.append(_note("code.function", function.message, function.name))
    if total > _MOST:
        notes.append(_note("code.function", f"makes {total - _MOST:,} more functions", ""))
    return list(evidence.values()), notes


def _note(rule_id: str, message: str, evidence: str) -> Finding:
    return Finding(rule_id, Severity.INFO, message, evidence=evidence, verdict=Verdict.CLEAN)


def _evidence(function: Function, *, called: bool) -> Finding:
    """Names that a harmful function would use; evidence of harm only if loading is enough to run it."""
    names = ", ".join(function.harmful)
    runs = called or function.name.rpartition(".")[2] in _RUN_BY_LOADING
    how = "and loading may run it" if runs else "if somebody calls it"
    return Finding(
        "code.harmful-names",
        Severity.CRITICAL if runs else Severity.HIGH,
        f"the function {function.name} that the pickle makes uses {names}, {how}",
        evidence=names,
        verdict=Verdict.MALICIOUS if runs else Verdict.UNKNOWN,
    )


def sets_own_attributes(program: Program) -> bool:
    """Whether ``setattr`` is used as dill uses it, and nowhere else: for classes and cells that the stream has made."""
    return all(_is_dills(use) for use in program.uses)


def _is_dills(use: Use) -> bool:
    if use.kind is Kind.CALL and use.name == _SETATTR:
        return bool(use.args) and _is_new(use.args[0])
    if all(global_name(item) != _SETATTR for item in use.args):
        return True
    return (use.name, *map(_spelled, use.args)) == ("builtins.getattr", "dill._dill", "_setattr", _SETATTR)


def _is_new(item: Any) -> bool:
    """Whether the stream has made it: a class or a cell, and not what somebody else uses too."""
    if isinstance(item, StandinType):  # the global itself
        return False
    name = getattr(item, "safeload_producer", "")
    return name == "types.new_class" or (name.startswith("dill._dill._create_") and family(name) == "dill")


def _spelled(item: Any) -> Any:
    return global_name(item) or (item if type(item) is str else None)
