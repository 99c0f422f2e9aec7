"""Streams that only less strict unpicklers read: never clean, and never passed over. And texts, which nobody unpickles."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import pytest
from pickle_parts import STOP, call, glob, proto

import safeload

_LONG = ".".join(["path.os"] * 200) + ".system"


def _payload(marker: str) -> bytes:
    return call(glob("os", "mkdir"), marker) + STOP


STREAMS = {
    "octal number": lambda marker: b"I010\n0" + _payload(marker),
    "blank in a number": lambda marker: b"I 1\n0" + _payload(marker),
    "hexadecimal number": lambda marker: b"L0x10L\n0" + _payload(marker),
    "PROTO in the middle": lambda marker: b"N0" + proto(2) + _payload(marker),
    "number beyond the limit": lambda marker: b"I" + b"0" * 20_000 + b"\n0" + _payload(marker),
    "path of attributes beyond the limit": lambda marker: b"N0" + proto(4) + call(glob("os", _LONG), f"mkdir {marker}") + STOP,
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_what_others_read(name: str, marker) -> None:
    """A protocol 0 pickle has no magic number; what ``pickle.load`` runs must not be taken for no pickle at all."""
    data = STREAMS[name](str(marker))
    code = f"import pickle; pickle.loads({data!r})"
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert marker.exists()  # the attack is one
    marker.rmdir()
    report = safeload.scan(data)
    assert report.verdict in ("unknown", "malformed", "malicious")
    assert "format.lenient" in {finding.rule_id for finding in report.findings}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", data)
    assert safeload.scan(file.getvalue()).verdict == report.verdict
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(data)
    assert not marker.exists()


_COLUMNS = ",".join(f"column{number}" for number in range(3_000)).encode()
TEXTS = [
    b"requests==2.0\nnumpy\n",
    b"train,test\n1,2\n",
    b"torch\nnumpy\n",
    b"(requests)\n",
    b"X,Y,Z\n1,2,3\n",
    b"customer," + _COLUMNS + b"\n1,2\n",
    b"item," + _COLUMNS + b"\n1,2\n",
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:8].decode())
def test_texts_are_no_artifacts(text: bytes, tmp_path) -> None:
    """A limit that no unpickler comes to is no reason to call a table or a list of requirements not scanned."""
    path = tmp_path / "x"
    path.write_bytes(text)
    for source in (text, path):
        report = safeload.scan(source)
        assert [finding.rule_id for finding in report.findings] == ["format.unknown"]
        assert report.verdict == "skipped"


def test_limits_that_are_met(tmp_path) -> None:
    """A short file that makes the unpickler allocate its memory is no text."""
    for data in (b"Nr\xff\xff\xff\x7f.", b"(Nr~~~~l."):
        assert "limit.memo-index" in {finding.rule_id for finding in safeload.scan(data).findings}
