"""A damaged file says what happened to it, and a file of another format says which one it is; neither gets the reasons of a broken pickle."""

from __future__ import annotations

import base64
import io
import json
import pickle
import zipfile
from typing import TYPE_CHECKING

import pytest

import safeload
from safeload.cli import main
from safeload.formats.damage import diagnose

if TYPE_CHECKING:
    from pathlib import Path

DATA = pickle.dumps({"weights": [1.0, 2.0], "name": "a model"})
TEXT = pickle.dumps([1, "a", {"b": 2}], 0)
DAMAGED = {
    "a web page": (
        b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head></html>",
        "web page",
    ),
    "a web page behind white space": (b"\n\n  <html lang='en'><body>404</body></html>", "web page"),
    "an error of an object store": (
        b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>",
        "object stores",
    ),
    "line ends": (TEXT.replace(b"\n", b"\r\n"), "Windows line ends"),
    "a mark in front": (b"\xef\xbb\xbf" + DATA, "byte order mark"),
    "UTF-8": (DATA.decode("latin-1").encode(), "UTF-8"),
    "UTF-8 with replacements": (DATA.decode("utf-8", "replace").encode(), "UTF-8"),
    "UTF-16": (json.dumps({"a": 1}).encode("utf-16"), "UTF-16"),
    "base64": (base64.b64encode(DATA), "base64"),
    "base64 in lines": (base64.encodebytes(DATA), "base64"),
    "the repr of bytes": (repr(DATA).encode(), "Python shows"),
}
FOREIGN = {
    "LightGBM": (b"tree\nversion=v4\nnum_class=1\n", "LightGBM"),
    "Parquet": (b"PAR1\x15\x04\x15\x10\x15\x14L\x15\x02\x15\x00PAR1", "Parquet"),
    "MATLAB": (b"MATLAB 5.0 MAT-file Platform: posix".ljust(124) + b"\x00\x01IM", "MATLAB"),
    "XGBoost": (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{", "XGBoost"),
    "CatBoost": (b"CBM1\x00\x00\x00\x00", "CatBoost"),
    "a number": (b"42", "json.loads"),
    "a database": (b"SQLite format 3\0" + bytes(100), "SQLite"),
}
ALL = {**DAMAGED, **FOREIGN}


@pytest.mark.parametrize("name", ALL)
def test_load_says_what_it_is(name: str, tmp_path: Path) -> None:
    """From memory and from a file: an error of the format, with the cause and the remedy, and nothing about opcodes."""
    data, words = ALL[name]
    path = tmp_path / "model.pkl"
    path.write_bytes(data)
    for load, source in ((safeload.loads, data), (safeload.load, str(path))):
        with pytest.raises(safeload.FormatError, match=words) as caught:
            load(source)
        assert "opcode" not in str(caught.value)


@pytest.mark.parametrize("name", DAMAGED)
def test_a_scan_lists_damaged_models(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a directory too, if the file is called like a model; text that is called like text is none."""
    data, words = DAMAGED[name]
    (tmp_path / "model.pt").write_bytes(data)
    assert safeload.scan(tmp_path / "model.pt").verdict == "malformed"
    assert main(["scan", "--format", "json", str(tmp_path)]) == 1
    (artifact,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert artifact["verdict"] == "malformed"
    assert any(words in finding["message"] for finding in artifact["findings"])


def test_other_files_are_not_listed(tmp_path: Path) -> None:
    """A page called index.html, and an image: a directory scan passes them over."""
    (tmp_path / "index.html").write_bytes(DAMAGED["a web page"][0])
    (tmp_path / "table.parquet").write_bytes(FOREIGN["Parquet"][0])
    assert main(["scan", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    "data", [DATA, TEXT, pickle.dumps("<html>", 0), b"", b"hello", b"(lp0\n.", b"gARE", b"\x80\x04N."]
)
def test_nothing_is_said_without_a_reason(data: bytes) -> None:
    """Of pickles, plain text and nothing."""
    assert diagnose(data) is None


def test_a_save_that_did_not_end(tmp_path: Path) -> None:
    """torch.save that was interrupted: an archive with PyTorch's marks and without the pickle is no choice of files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x/version", "3\n")
        archive.writestr("x/byteorder", "little")
        archive.writestr("x/.data/serialization_id", "1" * 40)
    path = tmp_path / "x.pt"
    path.write_bytes(out.getvalue())
    assert safeload.scan(path).verdict == "malformed"
    with pytest.raises(safeload.FormatError, match="did not end"):
        safeload.load(path)
