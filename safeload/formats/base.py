"""What a container format offers: recognise an artifact by its bytes, split it into what can be judged, rebuild the object.

A format never judges a pickle and never decides what may load. It takes an artifact apart into *streams* (pickles, which
the pipeline judges under the policy), *members* (artifacts of their own, which take the whole way again) and *findings*
(what the format itself has to say). Only when all of that is clean does the pipeline call :meth:`Split.rebuild`.

Rules: ``split`` executes nothing of the artifact, believes no announced length, and reads the metadata that ``rebuild`` will rely on
once, into private memory. A file that two usual readers would understand differently is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from safeload.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from safeload.findings import Finding
    from safeload.limits import Spending
    from safeload.program import Program
    from safeload.source.blob import Blob
    from safeload.source.unpacking import Budget

__all__ = [
    "FALLBACK",
    "GENERIC",
    "NO",
    "SPECIFIC",
    "WHOLE",
    "EncodeOptions",
    "Format",
    "Member",
    "Part",
    "Parts",
    "PickleReader",
    "Split",
    "SplitRequest",
    "Stream",
]

# Answers of Format.recognise. Of two formats that know an artifact the more specific one takes it from one that is ``refined`` (a
# PyTorch file is also a zip); any other two make it a polyglot, which is refused. FALLBACK is for what nobody looks into.
NO, FALLBACK, GENERIC, SPECIFIC = range(4)


class PickleReader(Protocol):
    """Looks at a pickle without loading it: where it ends, and what it holds."""

    def size(self, blob: Blob, offset: int) -> int:
        """The length of the pickle at ``offset``.

        Raises:
            FormatError: there is none.
        """
        ...

    def acts(self, blob: Blob) -> bool:
        """Whether ``blob`` begins as a pickle that imports or calls something, if only before it breaks, or that is whole."""
        ...

    def value(self, blob: Blob) -> Any:
        """What the pickle that ``blob`` is holds, with inert stand-ins for globals and for what calls would return.

        Raises:
            FormatError: it is not well-formed.
        """
        ...


class Part(NamedTuple):
    """Which part of an artifact the caller wants, and as what.

    Attributes:
        arrays: ``"numpy"``: tensors of other libraries as NumPy arrays, without importing the library.
        member: the part of the artifact to read (an HDF5 path, the name of an array); ``None`` for all of it.
        index: which part of that array to read, as for ``array[index]``.
        mmap: leave arrays in a mapping of the file where the format allows it.
    """

    arrays: str | None = None
    member: str | None = None
    index: Any = None
    mmap: bool = False


WHOLE = Part()


class SplitRequest(NamedTuple):
    """How a format is to take one artifact apart: what the walk through the containers knows when it gets there.

    Attributes:
        limits: bounds on sizes and counts.
        part: what the caller wants of it.
        loading: ``False`` for a scan, which never rebuilds: what only a rebuild needs may be skipped.
        permits: whether the policy lets an artifact refer to a global (``"module.name"``).
        whole: the artifact is all of its blob; otherwise something else may follow the stream that it begins with.
        budget: what the artifact's compressed parts may still unpack to; shared by everything inside it.
        pickles: looks at pickles that are part of a format's own structure.
        spending: what looking at the artifact has cost so far.
    """

    limits: Limits = DEFAULT_LIMITS
    part: Part = WHOLE
    loading: bool = True
    permits: Callable[[str], bool] = lambda _name: False
    whole: bool = True
    budget: Budget | None = None
    pickles: PickleReader | None = None
    spending: Spending | None = None

    def inside(self) -> SplitRequest:
        """The request for the one file that ``part.member`` names: what is left of it is about that file."""
        return self._replace(part=self.part._replace(member=None))


class EncodeOptions(NamedTuple):
    """How a codec is to write an object: the keyword arguments of ``dump`` that concern it."""

    limits: Limits = DEFAULT_LIMITS
    protocol: int | None = None
    compress: Any = None
    fix_imports: bool = True


class Stream(NamedTuple):
    """One pickle inside an artifact, to be judged by the pipeline.

    Attributes:
        location: where it is, for findings (``"archive/data.pkl"``); ``""`` if it is the whole artifact.
        blob: its bytes, exactly.
        persistent: the format answers persistent ids itself (``Parts.stream(persistent_load=...)``).
        check: what the format demands of the stream's program besides the policy (of the persistent ids in it, say).
        encoding: of strings of Python 2 pickles, if the format prescribes it.
        arrays: array bytes stand between its opcodes, as joblib writes them.
        named: the global in a persistent id that stands for that very global, while the stream is traced; ``None`` for any other
            id. The format's ``persistent_load`` has to answer with what that global is.
    """

    location: str
    blob: Blob
    persistent: bool = False
    check: Callable[[Program], Iterable[Finding]] | None = None
    encoding: str | None = None
    arrays: bool = False
    named: Callable[[Any], Any] | None = None


class Member(NamedTuple):
    """An artifact inside an artifact: ``name`` as the artifact spells it, and its bytes.

    ``request``: what is left of the split's own request where it goes on in the member, as for something compressed, or the
    ``index`` of an array in an archive. Without it a member is read whole.
    ``needed``: ``rebuild`` will ask for it. What is not needed, and no artifact at all, says nothing against the rest.
    ``verify``: for a scan, raises where the bytes, as they were read, are not those that the container announces; they are examined
    all the same, because some programs load them (CVE-2025-10156).
    ``raw``: bytes that the format itself knows to be numbers; they are judged for what else they could be, and need to be nothing.
    """

    name: str
    blob: Blob
    request: SplitRequest | None = None
    needed: bool = True
    verify: Callable[[Blob], None] | None = None
    raw: bool = False


class Parts(Protocol):
    """What ``rebuild`` may ask for: the objects of the streams and members of its split, judged clean before."""

    def stream(
        self,
        index: int,
        *,
        persistent_load: Callable[[Any], Any] | None = None,
        substitutes: Mapping[str, Any] | None = None,
    ) -> Any:
        """The object of ``streams[index]``.

        ``substitutes`` are the format's own objects for globals of the stream, by policy name, in place of what the
        name stands for; such a name is not imported.
        """
        ...

    def member(self, index: int) -> Any:
        """The object of ``members[index]``."""
        ...


class Split(Protocol):
    """An artifact taken apart.

    It may have ``globals`` as well: names that the format itself would look up, for reports.
    """

    @property
    def container(self) -> str:
        """The name of what it is, for reports."""
        ...

    @property
    def streams(self) -> Sequence[Stream]:
        """The pickles in it, in the order in which a loader would load them."""
        ...

    @property
    def members(self) -> Sequence[Member]:
        """The artifacts in it."""
        ...

    @property
    def findings(self) -> Sequence[Finding]:
        """What the format noticed. Anything that is not informational (``Verdict.CLEAN``) refuses."""
        ...

    def rebuild(self, parts: Parts) -> Any:
        """Make the object. Called once at most, after everything above was found clean.

        Raises:
            SafeloadError: the bytes turn out not to be what they announced.
        """
        ...


class Format(Protocol):
    """One container format; a module of :mod:`safeload.formats.containers` has one as ``FORMAT``.

    It may have ``refined = True``: other formats are a kind of it, and take what they know from it; and ``begins``: bytes, one of
    which is the first of every artifact that it recognises.
    """

    name: str

    def recognise(self, blob: Blob) -> int:
        """:data:`SPECIFIC`, :data:`GENERIC`, :data:`FALLBACK` or :data:`NO`, by content. Never raises for what is in the bytes."""
        ...

    def split(self, blob: Blob, request: SplitRequest) -> Split:
        """Take the artifact apart.

        Raises:
            FormatError: it is broken, or readers would understand it differently.
            LimitExceededError: it is beyond ``request.limits``.
        """
        ...
