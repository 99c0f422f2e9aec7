"""What happened to a file that is no artifact: told by its first bytes, so that a person knows what to do about it.

"Byte 0x3c is no pickle opcode" is true of a web page that was saved as a model, and helps nobody. Rule: nothing is decided here. It is
asked only after everything that reads artifacts has refused, and it says nothing where it is not sure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Diagnosis", "diagnose", "is_model_name"]


class Diagnosis(NamedTuple):
    """What a file is; ``damaged``: it was meant to be another one."""

    message: str
    damaged: bool = True


_AGAIN = "it is not the file that was asked for. Fetch it again, as binary"
_FOREIGN = (
    (b"PAR1", "a Parquet file; read it with pandas.read_parquet or pyarrow"),
    (b"ARROW1", "an Arrow or Feather file; read it with pyarrow"),
    (b"FEA1", "a Feather file; read it with pyarrow"),
    (b"ORC", "an ORC file; read it with pyarrow.orc"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file; read it with scipy.io.loadmat"),
    (b"CBM1", "a CatBoost model; read it with CatBoost().load_model"),
    (b"{L\0\0\0\0\0\0\0", "an XGBoost model (UBJSON); read it with xgboost.Booster().load_model"),
    (b"tree\nversion=", "a LightGBM model as text; read it with lightgbm.Booster(model_file=...)"),
    (b"tree\r\nversion=", "a LightGBM model as text; read it with lightgbm.Booster(model_file=...)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"Obj\x01", "an Avro file"),
    (b"RDX2\n", "a data file of R"),
    (b"RDX3\n", "a data file of R"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x7fELF", "a program (ELF)"),
)
_HTML = re.compile(rb"\s*(?:<!--.{0,200}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_XML = re.compile(rb"\s*<(?:\?xml\b|[A-Za-z][\w:.-]{0,60}[\s>/])")
_NUMBER = re.compile(rb"\s*[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\s*")
_BASE64 = re.compile(rb"(?:gA[IMQU]|gAJ|gAN|gAS|gAV|UEsDB|H4sI)[A-Za-z0-9+/_-]{5,}[A-Za-z0-9+/_=\r\n-]*")
_REPR = re.compile(rb"b['\"]\\x80\\x0[0-5]")
_TEXT_PICKLE = frozenset(b"(c]}lpIFVSLd")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"
_LOOK = 256
_MODEL_NAMES = (
    ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".sav", ".npy", ".npz", ".h5", ".hdf5", ".keras", ".safetensors", ".model",
    ".dill", ".th",
)  # fmt: skip


def diagnose(head: bytes) -> Diagnosis | None:
    """What the file that begins with ``head`` (some 256 bytes) is; ``None`` if its bytes do not tell."""
    head = head[:_LOOK]
    for magic, what in _FOREIGN:
        if head.startswith(magic):
            return Diagnosis(f"this is {what}; safeload does not read that format", damaged=False)
    for found in (_of_markup, _of_encoding, _of_text):
        diagnosis = found(head)
        if diagnosis is not None:
            return diagnosis
    return None


def _of_markup(head: bytes) -> Diagnosis | None:
    text = head.removeprefix(_BOM)
    if _HTML.match(text):
        return Diagnosis(
            f"this is a web page (HTML), as servers send for an error, a login or a virus warning; {_AGAIN}"
        )
    if _XML.match(text):
        kind = "an error message in XML, as object stores send it" if b"<Error>" in head else "an XML document"
        return Diagnosis(f"this is {kind}; {_AGAIN}")
    return None


def _of_encoding(head: bytes) -> Diagnosis | None:
    if head.startswith(_UTF16):
        return Diagnosis("this is text in UTF-16, as PowerShell's > writes; write it again as UTF-8, or as binary")
    if head.startswith(_BOM):
        return Diagnosis(
            "the file begins with a byte order mark, so a text editor or a text-mode copy has changed it; fetch it again as binary"
        )
    if head.startswith((b"\xc2\x80", b"\xef\xbf\xbd")):
        return Diagnosis(
            "the file was written again as text in UTF-8, which changes binary data; fetch it again as binary"
        )
    return None


def _of_text(head: bytes) -> Diagnosis | None:
    if _REPR.match(head):
        return Diagnosis(
            "this is the text that Python shows for bytes (b'...'), not the bytes; write the bytes to a file opened with 'wb'"
        )
    if _BASE64.fullmatch(head):
        return Diagnosis("this is base64 text of an artifact; decode it first (base64.b64decode)")
    if _NUMBER.fullmatch(head):
        return Diagnosis("this is a number as text (JSON); read it with json.loads", damaged=False)
    ends = head.count(b"\r\n")
    if head[:1] and head[0] in _TEXT_PICKLE and ends > 1 and ends == head.count(b"\n"):
        return Diagnosis(
            "the file has Windows line ends (CRLF), which a text-mode copy or git's autocrlf has put there; fetch it again as binary"
        )
    return None


def is_model_name(path: str) -> bool:
    """Whether a file is called like one that holds a model or an artifact."""
    return path.lower().endswith(_MODEL_NAMES)
