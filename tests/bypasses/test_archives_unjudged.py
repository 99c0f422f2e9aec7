"""An archive is clean only if everything in it was judged: what is in it beside an artifact is what its usual loader runs.

TorchServe runs a handler, NeMo makes the classes of a YAML file, torch.export evaluates expressions of a JSON file, TensorFlow runs a graph:
each with a harmless pickle beside it, which alone would be clean.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

import safeload
from safeload.cli import main
from safeload.findings import Verdict

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = pickle.dumps({"w": [1.0]})
HANDLER = b"import os\nos.system('echo hi')\n"
# A SavedModel with one graph of one node.
SAVED_MODEL = b"\x08\x01\x12\x07\x12\x05\x0a\x03\x0a\x01x"


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


PT2 = {
    "model/archive_format": b"pt2",
    "model/models/model.json": json.dumps({"expr_str": "__import__('os').system('echo hi')"}).encode(),
    "model/data/weights/model.pkl": WEIGHTS,
}
ARCHIVES = {
    "mar": zipped(**{"w.pkl": WEIGHTS, "handler.py": HANDLER, "MAR-INF/MANIFEST.json": b'{"model": {"handler": "handler.py"}}'}),
    "mar, a default handler": zipped(**{"w.pkl": WEIGHTS, "MAR-INF/MANIFEST.json": b'{"model": {"handler": "x"}}'}),
    "nemo": tarred(**{"./model_config.yaml": b"_target_: os.system\n", "./w.ckpt": WEIGHTS}),
    "nemo, gzip": gzip.compress(tarred(**{"model_config.yaml": b"_target_: os.system\n", "w.ckpt": WEIGHTS})),
    "pt2": zipped(**PT2),
    "pt2 of JSON only": zipped(**{"m/models/model.json": b'{"expr_str": "1"}', "m/w.pkl": WEIGHTS}),
    "pt2, older": zipped(**{"serialized_exported_program.json": b'{"expr_str": "1"}', "w.pkl": WEIGHTS}),
    "pt2 as a checkpoint": zipped(**{"m/data.pkl": WEIGHTS, "m/models/model.json": b'{"expr_str": "1"}'}),
    "SavedModel": zipped(**{"m/saved_model.pb": SAVED_MODEL, "m/w.pkl": WEIGHTS}),
    "an archive in an archive": zipped(a=WEIGHTS, b=zipped(c=WEIGHTS, handler=HANDLER)),
    "text beside a checkpoint": zipped(**{"m/data.pkl": WEIGHTS, "m/run.py": HANDLER}),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_with_something_unjudged_is_not_clean(name: str, tmp_path: Path) -> None:
    """The report is skipped, not clean, it says that not all was judged, and a pipeline sees exit code 3, also in a directory."""
    report = safeload.scan(ARCHIVES[name])
    assert report.verdict is Verdict.SKIPPED
    assert not report.was_scanned
    assert not report.is_no_artifact
    (tmp_path / "model").write_bytes(ARCHIVES[name])
    for fails_on in ("unknown", "malicious"):
        assert main(["scan", "--fail-on", fails_on, str(tmp_path)]) == 3


def test_what_was_not_judged_is_named() -> None:
    """The names of the files stand in the finding, in ASCII; those of the files that were judged do not."""
    report = safeload.scan(zipped(**{"w.pkl": WEIGHTS, "handler.py": HANDLER, "notes\u202e.txt": b"x"}))
    (finding,) = report.findings
    assert finding.rule_id == "archive.not-judged"
    assert "2 files" in finding.message
    assert "'handler.py', 'notes\\u202e.txt'" in finding.message
    assert "w.pkl" not in finding.message


def test_something_worse_stays_worse() -> None:
    """A file that nobody judged takes nothing from what was found in the others."""
    report = safeload.scan(zipped(**{"w.pkl": b"cposix\nsystem\n(S'echo'\ntR.", "README": b"hello"}))
    assert report.verdict is Verdict.MALICIOUS
    assert not report.was_scanned


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_of_data_are_clean(pack: object) -> None:
    """Pickles, JSON and empty files: all of it is judged. Without any artifact the archive is none."""
    data = pack(**{"a.pkl": WEIGHTS, "b.json": b'{"a": 1}', "empty": b""})  # type: ignore[operator]
    assert safeload.scan(data).verdict is Verdict.CLEAN
    assert safeload.scan(pack(**{"a.txt": b"hello", "b.txt": b"you"})).is_no_artifact  # type: ignore[operator]


def test_a_saved_model_directory_was_not_scanned(tmp_path: Path) -> None:
    """TensorFlow's directory: the graph is a program, and no name of a file decides that it is looked at."""
    (tmp_path / "saved_model.pb").write_bytes(SAVED_MODEL)
    assert main(["scan", str(tmp_path)]) == 3


@pytest.mark.parametrize("name", ["mar", "nemo", "pt2", "pt2, older"])
def test_a_load_of_a_program_says_what_it_is(name: str) -> None:
    """Not that several files are there to choose from: the archive is a program to its own loader. Single files of it load."""
    with pytest.raises(safeload.FormatError, match=r"TorchServe|NeMo|torch\.export"):
        safeload.loads(ARCHIVES[name])
    assert safeload.load(io.BytesIO(ARCHIVES["mar"]), member="w.pkl") == {"w": [1.0]}
