"""JSON texts: plain ones, and those with the marker form of :mod:`safeload.formats.jsontext`.

Recognised is what begins as only JSON does, at a glance: an object with a name in quotes, an array that begins with values, or a
single value that is all of the file and does not begin with a digit. INI files, TOML, templates and JSON5 begin differently or turn out not to be JSON.

What turns out not to be JSON is a text file like any other for a scan, and not listed in that of a directory (JSON with
comments, several JSON texts in one file): nothing that it holds could be loaded. It is malformed, and listed, if the marker occurs in
it, so that somebody means it for safeload, or if it is JSON that readers understand differently: a name twice, an overlong number, a
nesting beyond the limit. A load refuses all of it, and says line and column.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from safeload.errors import FormatError
from safeload.findings import Finding, Severity, Verdict
from safeload.formats.base import GENERIC, NO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from safeload.formats.base import EncodeOptions, Parts, SplitRequest
    from safeload.source.blob import Blob

__all__ = ["CODECS", "FORMAT"]

# Beyond the longest number that is read.
_LOOK = 8_192
_BOM = b"\xef\xbb\xbf"
_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrtu])*+'
_SCALAR = rb"(?:true|false|null|NaN|-?Infinity|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?)"
# `[` and whatever arrays it begins with, then a value and what may follow it; a long value reaches beyond what is looked at.
_ARRAY = rb"(?:\[" + _SPACE + rb")++(?:\]|\{" + _SPACE + rb'(?:"|\}|\Z)|' + _STRING + rb'(?:"' + _SPACE + rb"(?:[,\]]|\Z)|\Z)|" + _SCALAR + _SPACE + rb"(?:[,\]]|\Z)|\Z)"  # fmt: skip
_OBJECT = rb"\{" + _SPACE + rb"(?:\}|" + _STRING + rb'(?:"' + _SPACE + rb"(?::|\Z)|\Z)|\Z)"
_BEGINS = re.compile(_SPACE + rb"(?:" + _OBJECT + rb"|" + _ARRAY + rb")")
_SINGLE = re.compile(_SPACE + rb"(?:" + _SCALAR + rb"|" + _STRING + rb'")' + _SPACE)
_STRING_BEGINS = re.compile(_SPACE + _STRING + rb"\Z")
# Errors of texts that are no JSON at all.
_NO_JSON = frozenset({"json.syntax", "json.encoding", "json.bom"})


class _Json:
    name = "json"

    def recognise(self, blob: Blob) -> int:
        """See the module's docstring."""
        head = blob.head(_LOOK).removeprefix(_BOM)
        if _BEGINS.match(head):
            return GENERIC
        if blob.size <= _LOOK:
            # A digit is an opcode of pickle too, and a file of one number is more often a version than JSON. The codec
            # writes a space before a number.
            return GENERIC if _SINGLE.fullmatch(head) and not head[:1].isdigit() else NO
        ends = blob.tail(64).rstrip(b" \t\r\n").endswith(b'"')
        return GENERIC if ends and _STRING_BEGINS.match(head) else NO

    def split(self, blob: Blob, request: SplitRequest) -> _Split:
        """Parse the text, and judge the names in it."""
        from safeload.formats.jsontext import parse

        if request.loading and (request.part.mmap or request.part.member is not None or request.part.index is not None):
            raise FormatError("a JSON text is loaded whole: without mmap=, member= and index=", code="format.parts")
        try:
            data = blob.read(0, min(blob.size, request.limits.max_json_bytes + 1))
            tree, marked = parse(data, request.limits)
        except FormatError as error:
            if request.loading or error.code not in _NO_JSON or b"$safeload" in data:
                raise
            return _Split(None, request, (_no_artifact(error),), container="unknown")
        return _judged(tree, request) if marked else _Split(tree, request)


def _judged(tree: Any, request: SplitRequest) -> _Split:
    from safeload.formats.jsontext import Reader, names_in
    from safeload.formats.jsontext.registry import is_registered, not_registered

    names = names_in(tree)
    findings = tuple(
        Finding("json.not-registered", Severity.MEDIUM, not_registered(name), evidence=_shown(name))
        for name in names
        if not is_registered(name) and (request.loading or not request.permits(name))
    )
    if not request.loading:
        Reader(request.limits, loading=False).read(tree)
        tree = None
    return _Split(tree, request, findings, names=tuple(map(_shown, names)), marked=True)


def _shown(name: str) -> str:
    return name[:200].encode("unicode_escape").decode("ascii")


def _no_artifact(error: FormatError) -> Finding:
    message = f"begins like JSON and is none ({error}), so it holds nothing to load"
    return Finding("format.unknown", Severity.INFO, message, verdict=Verdict.SKIPPED)


class _Split:
    streams = members = ()

    def __init__(
        self,
        tree: Any,
        request: SplitRequest,
        findings: tuple[Finding, ...] = (),
        *,
        names: tuple[str, ...] = (),
        marked: bool = False,
        container: str = "json",
    ) -> None:
        self.container = container
        self.findings = findings
        self.globals = names
        self._tree = tree
        self._marked = marked
        self._limits = request.limits

    def rebuild(self, parts: Parts) -> Any:  # noqa: ARG002 - a JSON text has no parts
        """The object."""
        from safeload.formats.jsontext import Reader

        tree, self._tree = self._tree, None
        return Reader(self._limits, loading=True).read(tree) if self._marked else tree


class _Codec:
    """UTF-8 without white space (but for one before a number that is all of the text); neither ``protocol`` nor ``compress`` mean anything for it."""

    name = reads = "json"
    number = 3
    code = False

    def encode(self, obj: Any, request: EncodeOptions) -> Sequence[Any]:
        """The text."""
        from safeload.formats.jsontext import write

        if request.compress is not None:
            _no_compression()
        text = write(obj, request.limits)
        return (b" " + text if text[:1].isdigit() else text,)  # see recognise


def _no_compression() -> NoReturn:
    raise ValueError("codec='json' does not compress; compress the file, which is read compressed as well")


FORMAT = _Json()
CODECS = (_Codec(),)
