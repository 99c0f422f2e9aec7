"""Pure data built once: weighed before anything of it is hashed, and filled where it lies.

A stream without code can do nothing but build its object, but filling its dicts and sets may cost more than it says. So it runs
respelled (:mod:`safeload.engine.respell`) on an unpickler that gives it real dicts and sets and keeps what belongs into them; that
is weighed, and then they are filled. What comes out is what the unpickler itself would have built.

Rule: nothing is hashed before it was weighed. A frozenset cannot be filled later, and out-of-band buffers are the loader's:
such streams are built by the unpickler as they are, once they were weighed.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from safeload.engine import respell as tags
from safeload.engine.cost.account import Account
from safeload.engine.cost.weigh import Scales
from safeload.engine.data_unpickler import Built
from safeload.engine.feed import CodeFeed
from safeload.engine.respell import respell
from safeload.errors import FormatError, LimitExceededError, SafeloadError
from safeload.program import Frozen, Members, Pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safeload.limits import Limits, Spending

__all__ = ["build_data"]


def build_data(code: bytes, limits: Limits, spending: Spending | None, *, encoding: str, errors: str) -> Built | None:
    """Build the object of a canonical stream without code and buffers.

    Returns:
        The object, or ``None`` for what is light enough, but has to be built by the unpickler itself.

    Raises:
        FormatError: the unpickler does not accept it.
        LimitExceededError: it would take too long to build.
    """
    respelled = respell(code)
    scales = Scales(Account(limits, spending))
    scales.expect(respelled, len(code))
    unpickler = _Builder(CodeFeed(respelled.code), encoding=encoding, errors=errors)
    value = _run(unpickler.load)
    pending = unpickler.pending
    scales.made = [held for _, held in pending.values()] + unpickler.frozen
    has_frozen = bool(unpickler.frozen)
    scales.weigh()
    if has_frozen:
        return None
    _run(lambda: _fill(pending.values()))
    return Built(value)


def _run(step: Any) -> Any:
    try:
        return step()
    except SafeloadError:
        raise
    except MemoryError as error:
        raise LimitExceededError("the pickle needs more memory than there is", code="limit.memory") from error
    except Exception as error:
        raise FormatError.wrap(error) from error


def _fill(pending: Iterable[tuple[Any, Pairs]]) -> None:
    for target, held in pending:
        if type(target) is dict:
            target.update(zip(held[::2], held[1::2], strict=True))
        else:
            target.update(held)


class _Builder(pickle.Unpickler):
    """The C unpickler for respelled streams of pure data.

    Attributes:
        pending: dicts and sets by ``id``, and what belongs into them.
        frozen: what stands for frozensets.
    """

    def __init__(self, file: Any, *, encoding: str, errors: str) -> None:
        super().__init__(file, encoding=encoding, errors=errors)
        self.pending: dict[int, tuple[Any, Pairs]] = {}
        self.frozen: list[Any] = []

    def find_class(self, module: str, name: str) -> Any:  # noqa: ARG002
        """Refuse: the census has seen no code."""
        raise FormatError("a stream of pure data asks for a global", code="policy.disagreement")

    def persistent_load(self, pid: Any) -> Any:
        """Do what the respelled opcode does."""
        if type(pid) is not tuple:
            raise FormatError("a stream of pure data has a persistent id", code="policy.disagreement")
        payload, tag = pid
        if tag == tags.SET_ITEMS:
            return self._put(payload[0], payload[1], dict)
        if tag == tags.EMPTY_DICT:
            return {}
        if tag == tags.SET_ITEM:
            return self._put(payload[0], payload[1:], dict)
        if tag == tags.DICT:
            return self._put({}, payload, dict)
        if tag == tags.EMPTY_SET:
            return set()
        if tag == tags.ADD_ITEMS:
            return self._put(payload[0], payload[1], set)
        if tag == tags.FROZENSET:
            self.frozen.append(Frozen(payload))
            return self.frozen[-1]
        if tag == tags.BYTES:
            return bytearray(payload)
        raise FormatError("a stream of pure data makes an object", code="policy.disagreement")

    def _put(self, target: Any, items: Any, kind: type) -> Any:
        """Keep what belongs into a dict or a set. One that stays empty, as millions may, takes nothing more."""
        if not items:
            return target
        if type(target) is not kind:
            raise FormatError(
                "the pickle assigns items to what is no dict, or adds them to no set", code="format.set-item"
            )
        if kind is dict and len(items) % 2:
            raise FormatError("not a well-formed pickle: odd number of items for SETITEMS")
        known = self.pending.get(id(target))
        if known is None:
            known = self.pending[id(target)] = target, Pairs() if kind is dict else Members()
        known[1].take(items)
        return target
