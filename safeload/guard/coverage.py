"""What the guard covers in this process, as it is now.

Rule: nothing is called covered because it was so at the start; each entry point is looked at again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

from safeload.guard.layer import REPLACED
from safeload.guard.state import current
from safeload.guard.switch import early

__all__ = ["GuardStatus", "status"]

# By way of which replaced entry point others are judged as a whole.
_THROUGH: Final = {
    "numpy.load(allow_pickle=True)": "pickle.load",
    "pandas.read_pickle": "pickle.load",
    "torch.load(weights_only=False)": "pickle.Unpickler",
}
# These look up their globals with CPython's own code, whoever bound what when.
_NET: Final = (
    "cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads", "multiprocessing.connection.Connection.recv",
    "multiprocessing.reduction.ForkingPickler.loads", "pickle._Unpickler", "shelve.open",
    "subclasses of pickle.Unpickler and pickle._Unpickler that have no find_class of their own, or call super().find_class",
)  # fmt: skip
_NEVER: Final = (
    "subclasses made before the guard, or of pickle._Unpickler, whose own find_class does not call super().find_class",
    "unpicklers that are not CPython's: zodbpickle, TorchScript (torch.jit.load), torch.load(weights_only=True)",
    "other ways to run data: marshal.loads, yaml.unsafe_load, logging.config.listen, eval",
    "globals of the extension registry (copyreg.add_extension) that were looked up before",
    "what ran before the guard was installed, and processes that are started without it",
)


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """What a guard can say for itself.

    Attributes:
        mode: ``"record"``, ``"warn"``, ``"refuse"``, or ``""`` where none is in force.
        covered: entry points that unpickle nothing that the policy does not allow (in mode ``refuse``).
        names_only: those of them that are judged by the names of their globals, strictly: a name with conditions is refused.
        bound_early: what other modules had taken from ``pickle`` by name before the guard came. It was replaced in those modules;
            what is kept elsewhere (a class, a default argument, an object) is judged by names only.
        never: what no guard inside of a process covers.
        met: globals that were looked up and not allowed, and how often.
    """

    mode: str
    covered: tuple[str, ...]
    names_only: tuple[str, ...]
    bound_early: tuple[str, ...]
    never: tuple[str, ...]
    met: dict[str, int]


def status() -> GuardStatus:
    """What is covered now."""
    state = current()
    if state is None:
        return GuardStatus("", (), (), (), _NEVER, {})
    judged = {name for name, replacement in REPLACED.items() if _is_there(name, replacement)}
    judged |= {name for name, by_way in _THROUGH.items() if by_way in judged}
    names_only = {*REPLACED, *_THROUGH, *_NET} - judged
    return GuardStatus(
        state.mode.name.lower(),
        tuple(sorted(judged | names_only)),
        tuple(sorted(names_only)),
        tuple(sorted(early)),
        _NEVER,
        dict(state.met),
    )


def _is_there(name: str, replacement: Any) -> bool:
    """Whether nobody has put something else into its place since."""
    module, _, attribute = name.rpartition(".")
    return getattr(sys.modules.get(module), attribute, None) is replacement
