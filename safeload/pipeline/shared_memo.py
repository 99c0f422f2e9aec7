"""Streams that share a memo, as with several ``load`` calls of one unpickler.

Rule: the traced memo holds what the unpickler's memo holds; a later stream is judged by what earlier ones memoized.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from safeload.engine.collector import pause
from safeload.engine.cost.proof import is_harmless
from safeload.errors import FormatError, PolicyError
from safeload.pipeline.rebuild import compare_states, found_for, may_call
from safeload.pipeline.stream import Source, census_of, decided, new_tracer
from safeload.pipeline.verdict import COMPUTED_CLASS, Judgement
from safeload.program import nested_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from safeload.audit import Operation
    from safeload.engine.census import Census
    from safeload.engine.trace import Tracer
    from safeload.pipeline.request import JudgeOptions
    from safeload.program import Use

__all__ = ["MemoTracer"]

# Streams that an unpickler has loaded are kept up to this size, to judge them again for another one's memo.
_HISTORY_BYTES = 1 << 22


class MemoTracer:
    """Judges streams that share a memo, one after the other.

    The first stream is traced only if it has to be; when a second one comes, the first is caught up on, because the second
    may use what the first one memoized. Rule: the traced memo holds what the unpickler's memo holds. A stream that was
    refused is taken out of it again (:meth:`rewind`), because the unpickler never sees that stream.
    """

    def __init__(self, options: JudgeOptions) -> None:
        self._options = options
        self._history: list[Census] | None = []  # judged streams; None once they are too large to keep
        self._tracer: Tracer | None = None
        self._renamed: dict[str, set[str]] = {}  # what the application's find_class found under another name
        self._tracing = False  # the tracer is ahead of the unpickler, or was left in the middle of a stream

    def judge(
        self,
        source: Source,
        operation: Operation,
        buffers: Iterable[Any] | None,
        *,
        persistent_load: Callable[[Any], Any] | None = None,
        whole: bool = False,
    ) -> Judgement:
        """Judge the next stream of ``source``; raises unless the verdict is clean."""
        options = replace(self._options, persistent_load=persistent_load)
        with operation.child("analyse"):
            census = census_of(source, options, buffers, whole=whole)
            untouched = not self._history and self._tracer is None
            if untouched and not census.has_code and is_harmless(census.code, census.protocol):
                self._history = [census]
                return Judgement(census)
            tracer = self._state()
            self._tracing = True
            tracer.uses.clear()
            with pause:
                try:
                    tracer.trace(census.code, census.protocol, census.buffers)
                except FormatError as error:
                    if error.code != COMPUTED_CLASS:
                        raise
                    tracer = self._traced_again(census)  # refused by decide(); this is to see all of it
        judgement = (
            decided(census, tracer, options, operation)
            if tracer.uses
            else Judgement(census, probes=tracer.scales.keys.probes)  # keys may be objects of earlier streams
        )
        for asked, found in self._renamed.items():
            self._decide_renamed(asked, found)
        self._remember(census)
        self._tracing = False
        return judgement

    def _traced_again(self, census: Census) -> Tracer:
        """A tracer of the stream and those before it that does not stop at classes made by calls."""
        tracer = new_tracer(self._options, makes_classes=True)
        for past in self._history or ():
            tracer.trace(past.code, past.protocol, past.buffers)
        tracer.uses.clear()
        tracer.trace(census.code, census.protocol, census.buffers)
        return tracer

    def rewind(self) -> bool:
        """Undo what a refused stream did to the traced memo; ``False`` if that is not known any more."""
        if self._tracing:
            self._tracing = False
            self._tracer = None
            return self._history is not None
        return True

    def _remember(self, census: Census) -> None:
        history = self._history
        if history is not None:
            history.append(census)
            if sum(len(past.code) for past in history) > _HISTORY_BYTES:
                self._history = None

    def resolve_into(self, resolved: dict[tuple[str, str], Any]) -> None:
        """Add the globals of the streams judged so far."""
        from safeload.engine.load.resolve import check_class
        from safeload.program import Kind

        if self._tracer is None:
            return
        constructed = {use.name for use in self._tracer.uses if use.kind is Kind.CONSTRUCT}
        for spelling, name in self._tracer.spellings.items():
            if spelling not in resolved:
                resolved[spelling] = found_for(name, self._options.policy)
            if name in constructed:
                check_class(name, resolved[spelling], callable_too=may_call(name, self._options.policy))
        compare_states(self._tracer.uses, self._options.policy)

    def find(self, module: str, name: str, original: tuple[str, str] | None) -> Any:
        """Resolve a name that the application asks for while the stream's ``original`` name is looked up.

        What the stream does with the original name it then does with this one, so that is what is judged.
        """
        from safeload.engine.load.resolve import check_class
        from safeload.engine.trace import legacy_name, policy_name
        from safeload.program import Kind, Use

        tracer = self._state()
        asked = tracer.spellings.get(original) if original else None
        known = tracer.spellings.get((module, name))
        if known is None or original != (module, name):
            if known is None:
                if tracer.maps_names:
                    module, name = legacy_name(module, name)
                known = policy_name(module, name)
            if asked is None:
                self._decide_uses([Use(Kind.REFERENCE, known)])
            else:
                self._decide_renamed(asked, {known})
                self._renamed.setdefault(asked, set()).add(known)
        found = found_for(known, self._options.policy)
        if any(use.kind is Kind.CONSTRUCT and use.name in (asked, known) for use in tracer.uses):
            check_class(known, found, callable_too=may_call(known, self._options.policy))
        return found

    def _decide_renamed(self, asked: str, found: Iterable[str]) -> None:
        """What the latest stream does with ``asked``, it does with what was found instead, in that stream or before."""
        uses = self._tracer.uses if self._tracer else ()
        nested = nested_name(asked, "")
        for name in found:
            renamed = [use._replace(name=name) for use in uses if use.name == asked]
            inner = nested_name(name, "")  # what getattr finds in it
            renamed += [
                use._replace(name=inner + use.name[len(nested) :]) for use in uses if use.name.startswith(nested)
            ]
            self._decide_uses(renamed)

    def _decide_uses(self, uses: list[Use]) -> None:
        from safeload.program import Program

        refused = self._options.policy.decide(Program.of(uses))
        if refused:
            raise PolicyError(f"refused: {refused[0].message}", code=refused[0].rule_id)

    def share_memo(self, other: MemoTracer) -> None:
        """Take over the memo of another tracer, by tracing again what it has traced.

        Its stand-ins cannot be shared: what is done to them would be recorded there, and judged by nobody here.
        """
        if other._history is None:
            raise ValueError("this memo belongs to streams that are too large to judge again")
        self._history = [*other._history]
        self._tracer = None

    def clear_memo(self) -> None:
        """Forget what was memoized."""
        self._history = []
        self._tracer = None
        self._tracing = False

    def _state(self) -> Tracer:
        if self._tracer is None:
            tracer = new_tracer(self._options)
            for census in self._history or ():
                tracer.trace(census.code, census.protocol, census.buffers)
            self._tracer = tracer
        return self._tracer
