"""Artifacts in containers: taken apart, judged whole, and only then rebuilt. The same way for a scan and for a load.

    recognise -> split -> judge every stream, examine every member -> (load only) rebuild

Rules: a member is an artifact and takes the same way, down to ``max_depth``; nothing is rebuilt before every stream and
every member has been judged clean; what a stream was judged as is what it is loaded as. Errors of a check are kept as
findings: :meth:`JudgedArtifact.refuse` raises them where somebody wants the object.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError, LimitExceededError, LoadError, SafeloadError
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.archives import member_finding
from safeload.formats.base import SplitRequest, Stream
from safeload.formats.containers import detect, formats
from safeload.formats.damage import diagnose
from safeload.formats.detect import HEAD, is_pickle_head, is_torch_legacy
from safeload.limits import Spending
from safeload.pipeline.joblib.walk import judge_arrays
from safeload.pipeline.polyglot import PickleLook
from safeload.pipeline.sequence import (
    any_encoding,
    broken_judgement,
    internal_error,
    judge_streams,
    judged_stream,
    lenient_findings,
)
from safeload.pipeline.stream import has_arrays, judge
from safeload.pipeline.summary import Repeated, Summary, at_hand
from safeload.pipeline.tree import JudgedArtifact, no_artifact
from safeload.pipeline.verdict import with_evidence
from safeload.program import Program
from safeload.source.blob_source import BlobSource
from safeload.source.unpacking import Budget, weight_of

if TYPE_CHECKING:
    from safeload.audit import Operation
    from safeload.formats.base import Format, Member, Part, Split
    from safeload.pipeline.request import JudgeOptions
    from safeload.pipeline.verdict import Judgement
    from safeload.source.blob import Blob

__all__ = ["ContainerWalk"]

# Findings of formats about a global that the format itself would look up; their evidence is its name.
_NAMES = frozenset({"keras.object"})

_LENIENT = Finding(
    "format.lenient",
    Severity.HIGH,
    "no pickler writes this, but an unpickler that is less strict reads it, imports and calls what it names; do not unpickle it",
    verdict=Verdict.UNKNOWN,
)


class ContainerWalk:
    """Examines the artifacts of one load or scan.

    Args:
        part: which part of the artifact is wanted.
        options: how its streams are judged.
        operation: the audit operation that this is part of.
        loading: the object will be rebuilt.
        whole: the artifact is all of its blob; otherwise something else may follow the stream that it begins with.
        spills: what it unpacks to may be put into a temporary file; not so if it was encrypted.
    """

    def __init__(
        self,
        part: Part,
        options: JudgeOptions,
        operation: Operation,
        *,
        loading: bool = True,
        whole: bool = True,
        spills: bool = True,
    ) -> None:
        self._budget = Budget(options.limits, spills=spills)
        self._spending = Spending(options.limits)
        options = replace(options, spending=self._spending)
        self._look = PickleLook(options)
        self.request = SplitRequest(
            options.limits,
            part,
            loading,
            options.permits,
            whole,
            budget=self._budget,
            pickles=self._look,
            spending=self._spending,
        )
        self._inside = self.request._replace(part=part._replace(member=None, index=None), whole=True)
        self.learns = False  # the programs of the members are wanted
        self.options = options
        self.operation = operation
        self._members = 0
        self._repeated = Repeated()
        self._outermost: JudgedArtifact | None = None

    def examine(
        self,
        blob: Blob,
        *,
        known: Format | None = None,
        name: str = "",
        depth: int = 0,
        request: SplitRequest | None = None,
        needed: bool = True,
    ) -> JudgedArtifact:
        """Take ``blob`` apart and judge everything in it; never raises for what is in it.

        Args:
            blob: the artifact.
            known: its format, if an envelope names it; otherwise its bytes decide.
            name: what the container around it calls it.
            depth: how many containers are around it.
            request: instead of the examiner's.
            needed: a rebuild will ask for it; otherwise it is only looked at.
        """
        examined = JudgedArtifact(name, blob, mmap=self.request.part.mmap, needed=needed)
        request = request or self.request
        if not depth:
            self._budget.packed = self._spending.size = blob.size
            self._outermost = examined
        try:
            if depth > self.request.limits.max_depth:
                raise LimitExceededError(
                    f"containers are nested deeper than max_depth={self.request.limits.max_depth}; unpack the file and look "
                    "at what is inside",
                    code="limit.depth",
                )
            form = known or self._format(blob)
            if form is None:
                if request.part.member is not None or request.part.index is not None:
                    raise FormatError(
                        "member= and index= read a part of a container; this is a pickle, which is loaded whole",
                        code="format.member",
                    )
                self._pickles(examined)
            else:
                examined.container = form.name
                self._only(form, blob)
                self._split(examined, form.split(blob, request if needed else request._replace(loading=False)), depth)
        except SafeloadError as error:
            examined.fail(error)
        except RecursionError:
            examined.fail(LimitExceededError("the artifact nests too deeply to be read", code="limit.recursion"))
        except Exception as error:  # noqa: BLE001 - an error in a check is never clean
            examined.findings.append(internal_error(error))
            examined.internal = error
        return examined

    def _format(self, blob: Blob) -> Format | None:
        if not is_pickle_head(blob.head(HEAD)):
            return detect(blob)
        if not self.request.loading:  # a load takes it as a pickle; does another program as well?
            other = detect(blob)
            if other is not None:
                raise FormatError(
                    f"the file begins as a pickle and is {other.name} too: programs would read different things from it",
                    code="format.polyglot",
                )
        return None

    def _only(self, form: Format, blob: Blob) -> None:
        """Refuse what is in a container for some programs, and a pickle that acts for those that unpickle it.

        Some formats begin with bytes that the author chooses: a tar archive with a name, zstd with a frame to be skipped.
        """
        head = blob.head(HEAD)
        if is_pickle_head(head) or is_torch_legacy(head):  # judged as pickles
            return
        if self._look.acts(blob):
            raise FormatError(
                f"the file is a pickle and {form.name} at once: programs would read different things from it, so it is refused",
                code="format.polyglot",
            )

    def _pickles(self, examined: JudgedArtifact) -> None:
        """An artifact in no container: a pickle, or nothing that is known."""
        blob = examined.blob
        if not blob.size:
            raise FormatError("the file is empty", code="format.empty")
        examined.container = "pickle"
        if self.request.loading and examined.needed:
            try:
                self._stream(examined, Stream("", blob), "")
            except SafeloadError as error:
                if not has_arrays(error):
                    raise
                self._split(examined, formats()["joblib"].split(blob, self.request), 0)
            return
        found = judge_streams(blob, self.options, self.operation)
        examined.judgements, examined.container = found.judgements, found.container
        examined.findings += found.findings
        if found.arrays:
            self._split(examined, formats()["joblib"].split(blob, self.request), 0)
            if found.error is not None:
                self._unpickled(examined, found.error)
        elif found.error is not None:
            self._no_pickle(examined, found.error)

    def _no_pickle(self, examined: JudgedArtifact, error: SafeloadError) -> None:
        """What makes no sense as a pickle from its first byte on: nothing that is known, unless another unpickler makes sense of it."""
        if self._look.acts(examined.blob, error):
            examined.fail(error)
            examined.findings += lenient_findings(examined.blob) or [_LENIENT]
        elif isinstance(error, FormatError) or not self._look.comes_so_far(error):
            examined.container = "unknown"
            diagnosis = diagnose(examined.blob.head(HEAD))
            known = "" if diagnosis is None else f": {diagnosis.message}"
            examined.findings.append(no_artifact(f"is not an artifact of a format that safeload knows{known}"))
        else:
            examined.fail(error)

    def _unpickled(self, examined: JudgedArtifact, error: SafeloadError) -> None:
        """A joblib file for a program that unpickles it: the bytes of its first array are opcodes, ``error`` is where it stops."""
        known = {
            (use.kind, use.name) for judged in examined.judgements if judged.program for use in judged.program.uses
        }
        if not self._look.acts_beside(examined.blob, error, known):
            return
        message = (
            "the bytes of an array are opcodes that a program runs which unpickles the file: joblib would read something else "
            "from it than pickle, so it is refused"
        )
        examined.fail(FormatError(message, code="format.polyglot"))
        broken = broken_judgement(error, self.options)
        if broken is not None:
            examined.judgements.append(broken)

    def _split(self, examined: JudgedArtifact, split: Split, depth: int) -> None:
        examined.split = split
        examined.container = split.container
        examined.findings += [with_evidence(each) if each.rule_id in _NAMES else each for each in split.findings]
        for number, stream in enumerate(split.streams):
            self._spending.check()
            location = stream.location or f"stream {number}"
            try:
                self._stream(examined, stream, location)
            except SafeloadError as error:
                examined.fail(error, location)
                broken = broken_judgement(error, self.options)
                if broken is not None:  # a loader runs a stream up to the place where it breaks
                    examined.judgements.append(_placed(broken, location))
        sums_up = not self.learns and not (self.request.loading and any(member.needed for member in split.members))
        for member in split.members:
            self._spending.check()
            if sums_up:
                self._summed_up(examined, member, depth + 1)
                continue
            self._count(examined, 1)
            inner = self._member(member, depth + 1)
            examined.held += inner.held
            examined.members.append(inner)
            _verify(examined, member)

    def _count(self, examined: JudgedArtifact, members: int) -> None:
        """Count members met, whether they were judged or are known."""
        examined.held += members
        self._members += members
        if self._members > self.request.limits.max_members:
            raise LimitExceededError(
                f"the artifact holds more than max_members={self.request.limits.max_members:,} others",
                code="limit.members",
            )

    def _member(self, member: Member, depth: int) -> JudgedArtifact:
        request = member.request or self._inside
        if not request.whole:
            request = request._replace(whole=True)  # nothing else follows inside of a container
        return self.examine(member.blob, name=member.name, depth=depth, request=request, needed=member.needed)

    def _summed_up(self, examined: JudgedArtifact, member: Member, depth: int) -> None:
        """Judge a member that nothing will be rebuilt of, or find that the same bytes were judged before."""
        member = at_hand(member)
        digest = self._repeated.digest(member)
        known = self._repeated.get(digest, depth)
        if known is not None:
            self._count(examined, 1 + known.held)
            summary = known.again(member.name)
        else:
            self._count(examined, 1)
            inner = self._member(member, depth)
            summary = Summary.of(inner, digest)
            examined.held += summary.held
            self._repeated.add(digest, depth, summary)
        _verify(examined, member)
        member.blob.release()
        if summary.report is not None or not summary.clean:
            examined.summaries.append(summary)
        if summary.report is None and member.blob.size and not member.raw:
            examined.unjudged.append(member.name)

    def _stream(self, examined: JudgedArtifact, stream: Stream, location: str) -> None:
        options = self.options
        if stream.encoding is not None:
            options = replace(options, encoding=stream.encoding)
        if stream.persistent:
            options = replace(options, persistent_load=_unanswered, named=stream.named)
        if stream.arrays and self.request.loading:
            judgement = judge_arrays(stream.blob, options, self.operation)
        elif stream.arrays:
            judgement = any_encoding(
                lambda options: judge_arrays(stream.blob, options, self.operation, skims=True), options
            )
        elif self.request.loading:
            whole = examined.split is None  # a container may leave a stream of plain data alone
            judgement = judge(BlobSource(stream.blob), options, self.operation, will_load=whole)
        else:
            judgement = judged_stream(stream.blob, 0, options, self.operation)
        self._spending.judge(len(judgement.census.code), traced=judgement.program is not None)
        if stream.blob.budget is not None:
            stream.blob.budget.spend_objects(weight_of(judgement.census.code))
        examined.judgements.append(_placed(judgement, location))
        examined.options.append(options)
        if judgement.census.size != stream.blob.size and not self._may_go_on(examined, stream):
            raise FormatError("bytes follow the pickle; nothing else belongs there", code="format.trailing")
        if stream.check is not None:
            examined.findings += stream.check(judgement.program or Program())

    def _may_go_on(self, examined: JudgedArtifact, stream: Stream) -> bool:
        """Whether something else may follow a stream: only in an open file that it is the rest of, not inside of a container."""
        if self.request.whole or examined is not self._outermost:
            return False
        return stream.blob is examined.blob or examined.before_streams() is not None


def _verify(examined: JudgedArtifact, member: Member) -> None:
    if member.verify is not None:
        try:
            member.verify(member.blob)
        except FormatError as error:
            examined.findings.append(member_finding(error, member.name))


def _unanswered(_pid: Any) -> NoReturn:
    raise LoadError("the format does not answer persistent ids while it is judged")


def _placed(judgement: Judgement, location: str) -> Judgement:
    findings = tuple(replace(finding, location=finding.location or location) for finding in judgement.findings)
    return judgement._replace(findings=findings)
