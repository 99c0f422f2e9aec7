"""What the guard does with what it hears: the mode, policy and trail that are in force, for the process and for a block.

Rule: a refused name is refused, and put on record, every time it is asked for; what is only recorded or warned of is told
once per name, so that a week of it fits into a trail.
"""

from __future__ import annotations

import enum
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from safeload.engine.harmful import is_harmful
from safeload.errors import PolicyError
from safeload.facts import forks
from safeload.findings import Finding, Report, Severity, Verdict
from safeload.guard.names import is_allowed_by_name, readings

if TYPE_CHECKING:
    from collections.abc import Callable

    from safeload.api.loader import Loader

__all__ = ["GuardWarning", "Mode", "State", "block", "current", "process"]

_MOST_KNOWN: Final = 1 << 14  # distinct globals remembered; an attacker chooses how many there are


class GuardWarning(UserWarning):
    """Something was unpickled that the guard's policy does not allow."""


class Mode(enum.IntEnum):
    """How strict the guard is; a higher number is stricter."""

    RECORD = 1
    WARN = 2
    REFUSE = 3

    @classmethod
    def of(cls, word: str) -> Mode:
        """The mode of that name.

        Raises:
            ValueError: there is none.
        """
        known = {mode.name.lower(): mode for mode in cls}
        if word not in known:
            raise ValueError(f"the guard's mode is one of {', '.join(known)}, not {word!r}")
        return known[word]


class State:
    """One mode with its policy and trail, and what it has met so far.

    Attributes:
        mode: how strict it is.
        loader: judges whole streams; has the policy and the auditor, and no keys: a guard asks what a stream does, not who wrote it.
        allowed: lookups that need no second thought, as ``(module, name)``.
        met: what was looked up and not allowed by its name alone: policy name -> how often.
    """

    __slots__ = ("_lock", "_told", "allowed", "listeners", "loader", "met", "mode")

    def __init__(self, mode: Mode, loader: Loader) -> None:
        self.mode = mode
        self.loader = loader
        self.allowed: set[tuple[str, str]] = set()
        self.met: dict[str, int] = {}
        self.listeners: list[Callable[[str], None]] = []
        self._told: set[str] = set()
        self._lock = forks.lock()

    def meet(self, module: str, name: str) -> None:
        """Judge a lookup of an unpickler that is not safeload's.

        Raises:
            PolicyError: the mode is to refuse, and the policy does not allow the name whatever is done with it.
        """
        if type(module) is not str or type(name) is not str:
            raise PolicyError("a global was asked for by something that is no name", code="guard.refused")
        if is_allowed_by_name(self.loader.policy, module, name):
            if self.mode is Mode.RECORD:
                self._tell(readings(module, name)[0], "allowed")
            if len(self.allowed) < _MOST_KNOWN and len(readings(module, name)) == 1:
                self.allowed.add((module, name))
            return
        asked = readings(module, name)[0]
        self._count(asked)
        if self.mode is not Mode.REFUSE:
            if self._tell(asked, "unknown") and self.mode is Mode.WARN:
                self.warn(f"{_shown(asked)} was unpickled without a judgement of the whole stream")
            return
        raise self._refusal(asked)

    def warn(self, what: str) -> None:
        """Warn of something that the mode ``refuse`` would have stopped."""
        warnings.warn(f"{what}; the guard is in mode 'warn', so it was loaded", GuardWarning, stacklevel=4)

    def refused(self, error: Exception) -> None:
        """Count what the layer refused by a judgement of the whole stream; the load itself is in the trail already."""
        report = getattr(error, "report", None)
        for name in getattr(report, "globals", None) or ():
            rule = self.loader.policy.rule(name)
            if rule is None or not rule.reference:
                self._count(name)
        for listener in self.listeners:
            listener(str(error))

    def proposal(self) -> str:
        """What was met and is not allowed, as the text of a policy file to be reviewed; evidence of harm as a remark."""
        from safeload.policy.learn import policy_of_names

        harmful = sorted(name for name in self.met if is_harmful(name))
        text = policy_of_names(name for name in self.met if not is_harmful(name)).to_toml()
        return text + "".join(f"# Evidence of harm, left out: {_shown(name)}\n" for name in harmful)

    def _count(self, name: str) -> None:
        with self._lock:
            if name in self.met or len(self.met) < _MOST_KNOWN:
                self.met[name] = self.met.get(name, 0) + 1

    def _tell(self, name: str, verdict: str) -> bool:
        """Put a name on record once; whether this was the first time."""
        with self._lock:
            if name in self._told or len(self._told) >= _MOST_KNOWN:
                return False
            self._told.add(name)
        with self.loader.audit.operation(
            "guard", action=self.mode.name.lower(), globals=[name], verdict=_verdict(name, verdict), outcome="ok"
        ):
            pass
        return True

    def _refusal(self, name: str) -> PolicyError:
        conditional = self.loader.policy.rule(name) is not None
        why = (
            "the policy allows it with conditions, which need the whole stream, and this way of unpickling shows only names"
            if conditional
            else "the policy does not allow it"
        )
        error = PolicyError(
            f"the guard refused {_shown(name)}: {why}. Load it with safeload.load, or allow it (call=True) in the guard's policy",
            code="guard.refused",
            report=_report(name),
        )
        with self.loader.audit.operation(
            "guard", action="refuse", globals=[name], verdict=_verdict(name, "unknown"), outcome="refused", reason_code=error.code
        ):  # fmt: skip
            pass
        for listener in self.listeners:
            listener(str(error))
        return error


def _report(name: str) -> Report:
    verdict = Verdict.MALICIOUS if is_harmful(name) else Verdict.UNKNOWN
    severity = Severity.CRITICAL if verdict is Verdict.MALICIOUS else Severity.HIGH
    finding = Finding("guard.refused", severity, f"an unpickler asked for {_shown(name)}", evidence=name)
    return Report(verdict=verdict, findings=(finding,), globals=(name,))


def _verdict(name: str, otherwise: str) -> str:
    if otherwise == "allowed":
        return "clean"
    return "malicious" if is_harmful(name) else otherwise


def _shown(name: str) -> str:
    from safeload.facts.printable import printable

    return printable(name[:200])


process: list[State | None] = [None]  # one place, shared with the hook, that install() writes to
block: ContextVar[State | None] = ContextVar("safeload.guard", default=None)


def current() -> State | None:
    """What is in force here: the block's, or else the process's."""
    state: Any = block.get()
    return state if state is not None else process[0]
