"""Outside of the jail: read an artifact once, verify and decrypt it, judge it, and put it into sealed memory.

Rules: keys stay here. What is judged is what is sealed is what the jail reads. Evidence of harm is refused here: the sandbox
is for what nobody knows, not for what somebody recognised.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from safeload.errors import FormatError, PolicyError
from safeload.facts import forks
from safeload.findings import Verdict
from safeload.pipeline.request import check_size
from safeload.pipeline.scan import scan
from safeload.pipeline.signer import is_pickled, open_envelope, opened_stream, payload_format, signer_options
from safeload.pipeline.stages import is_envelope, open_artifact
from safeload.sandbox.libraries import modules_for
from safeload.source.sources import source_for_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from safeload.audit import Operation
    from safeload.findings import Report
    from safeload.limits import Limits
    from safeload.pipeline.request import ReadRequest
    from safeload.sandbox.libraries import Modules

__all__ = ["Artifact", "prepare", "seal", "sealed_memory"]

# By container: which loader the jail uses.
_FORMS = {
    "pickle": "pickle", "joblib": "joblib", "npy": "numpy", "npz": "numpy", "torch": "torch", "keras": "keras",
    "hdf5": "judged", "json": "judged", "safetensors": "judged",
}  # fmt: skip
_COMPRESSED = frozenset({"gzip", "bzip2", "xz", "lzma", "zlib", "lz4"})
_NEEDED = {
    "joblib": ("joblib",),
    "torch": ("torch",),
    "keras": ("keras",),
    "judged": ("safeload.sandbox.inside.judged",),
}
_NEEDED_BY_CONTAINER = {
    "hdf5": ("h5py", "safeload.formats.hdf5"),
    "json": ("safeload.formats.jsontext", "safeload.formats.jsontext.parse"),
}
_KNOWN_REPORTS = 64


class Artifact(NamedTuple):
    """A judged artifact in sealed memory.

    ``places`` are offset and length of the stream and of each buffer that belongs to it; ``form`` names the loader.
    """

    descriptor: int
    places: tuple[tuple[int, int], ...]
    form: str
    modules: Modules
    report: Report
    options: dict[str, Any]

    def close(self) -> None:
        """Give the memory back."""
        os.close(self.descriptor)


def prepare(
    source: Any,
    request: ReadRequest,
    operation: Operation,
    *,
    libraries: Iterable[str] = (),
    needs: Iterable[str] = (),
    refuse: bool = True,
) -> Artifact:
    """The artifact from a path or a binary file, ready for the jail.

    ``needs``: modules besides those that it names; ``refuse``: evidence of harm is an error.

    Raises:
        SafeloadError: it cannot be opened, verified or decrypted, or there is evidence of harm in it.
    """
    data = source if type(source) is bytes else _read(source, request.limits)
    signed = is_envelope(data, request)
    report = _judged(data, request, operation)
    if refuse:
        _refuse(report)
    pieces: Sequence[Any] = [data]
    container = report.container
    if signed:
        pieces, container = _opened(data, request, operation)
    form = _form(container, report)
    modules = modules_for(
        _globals(report), libraries, ("numpy", *_NEEDED.get(form, ()), *_NEEDED_BY_CONTAINER.get(container, ()), *needs)
    )
    options = request.judging
    keywords = {"fix_imports": options.fix_imports, "encoding": options.encoding, "errors": options.errors}
    descriptor, places = sealed_memory(pieces)
    return Artifact(descriptor, places, form, modules, report, keywords)


def _read(source: Any, limits: Limits) -> bytes:
    if isinstance(source, (str, bytes, os.PathLike)):
        with open_artifact(os.fsdecode(source), limits.max_artifact_bytes) as file:
            return _rest(file, limits)
    if hasattr(source, "read"):
        return _rest(source, limits)
    raise TypeError("source must be a path or a binary file")


def _rest(file: Any, limits: Limits) -> bytes:
    reader = source_for_file(file)
    data = bytes(reader.rest(limits.max_artifact_bytes))
    check_size(len(data), limits)
    return data


# A service loads the same model again and again, and a report costs more than the jail.
_reports: OrderedDict[tuple[Any, ...], Report] = OrderedDict()
_reports_lock = forks.lock()


def _judged(data: bytes, request: ReadRequest, operation: Operation) -> Report:
    if request.keys is not None:
        return scan(data, request, operation)  # whether a signature holds is a question of now
    key = (hashlib.sha256(data).digest(), *request.judging.cache_key())
    with _reports_lock:
        found = _reports.get(key)
    if found is None:
        found = scan(data, request, operation)
        with _reports_lock:
            _reports[key] = found
            while len(_reports) > _KNOWN_REPORTS:
                _reports.popitem(last=False)
    return found


def _refuse(report: Report) -> None:
    """Refuse what must not even be tried."""
    if report.verdict in (Verdict.CLEAN, Verdict.UNKNOWN):
        return
    worst = next((finding for finding in report.findings if finding.verdict is report.verdict), None)
    said = worst.message if worst is not None else f"the verdict is {report.verdict}"
    code = worst.rule_id if worst is not None else None
    if report.verdict is Verdict.MALICIOUS:
        raise PolicyError(f"not loaded, not even in the sandbox: {said}", code=code, report=report)
    raise FormatError(said, code=code, report=report)


def _globals(report: Report) -> list[str]:
    names = list(report.globals)
    for member in report.members:
        names += _globals(member)
    return names


def _form(container: str, report: Report) -> str:
    if container in _COMPRESSED:
        inside = [member.container for member in report.members]
        if inside and all(name in ("pickle", "joblib") for name in inside):
            return "joblib"
    form = _FORMS.get(container)
    if form is None:
        raise FormatError(
            f"the sandbox has no loader for {container!r}; unpack it and load what is inside",
            code="format.unsupported",
            report=report,
        )
    return form


def _opened(data: bytes, request: ReadRequest, operation: Operation) -> tuple[Sequence[Any], str]:
    """The payload of an envelope: its stream and buffers, and its container."""
    opened = open_envelope(data, request, operation)
    signed = signer_options(opened, request)
    if is_pickled(opened):
        stream, buffers = opened_stream(opened, request, signed)
        return [stream, *(buffers or ())], "pickle"
    return [opened.payload], payload_format(opened, signed).name


def sealed_memory(pieces: Sequence[Any]) -> tuple[int, tuple[tuple[int, int], ...]]:
    """A memory file with these bytes-like pieces, which nobody can change any more; where each of them stands."""
    descriptor = os.memfd_create("safeload-artifact", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        places = []
        offset = 0
        for piece in pieces:
            view = memoryview(piece).cast("B")
            places.append((offset, len(view)))
            write_at(descriptor, offset, view)
            offset = (offset + len(view) + 63) // 64 * 64
        seal(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, tuple(places)


def write_at(descriptor: int, offset: int, data: Any) -> None:
    """Write all of a bytes-like object."""
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        offset, view = offset + count, view[count:]


def seal(descriptor: int) -> None:
    """Make a memory file unchangeable.

    Raises:
        OSError: somebody holds it mapped for writing.
    """
    fcntl.fcntl(
        descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    )
