"""Every program in ``examples/`` runs as its docstring says, in a directory of its own, with warnings as errors.

The tests compare what a reader of the output would rely on: what loaded, what was refused and why.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder: Path, example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example with ``folder`` as its current directory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SAFELOAD", "PYTEST"))}
    command = [sys.executable, "-W", "error", str(EXAMPLES / example), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def lines(folder: Path, example: str) -> list[str]:
    """The output of an example that must succeed in silence on stderr."""
    done = run(folder, example)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_every_example_is_run_here():
    """An example that no test runs goes stale."""
    source = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in source] == []


def test_quickstart(tmp_path):
    """The main job: a signed model loads in another process, hostile files do not, the trail tells both."""
    pytest.importorskip("sklearn")
    output = "\n".join(lines(tmp_path, "quickstart.py"))
    assert "loaded RandomForestClassifier, prediction 0" in output
    assert "refused hostile.pkl: envelope." in output
    assert "refused hostile.pkl: policy." in output
    assert "refused tampered.sle: envelope.verification" in output
    assert "did the payload run? no" in output
    assert "malicious: posix.system" in output or "malicious: nt.system" in output
    assert "chain intact" in output


def test_dropin(tmp_path):
    """Code written for pickle works unchanged, and its except clause catches the refusals."""
    output = lines(tmp_path, "dropin.py")
    assert output == [
        "refused: policy.not-allowed",
        "Point(x=1.0, y=2.0)",
        "refused: policy.not-allowed, verdict malicious",
    ]


def test_audit_service(tmp_path):
    """An entry that was moved is a miss, and the trail says so."""
    output = lines(tmp_path, "audit_service.py")
    assert output[0] == "{'name': 'Ada', 'admin': True}"
    assert output[1:3] == ["miss for 'user/2': envelope.verification", "None"]
    assert output[3] == "{'name': 'Ada', 'admin': True}"
    assert output[4] == "refusals on record: envelope.verification"
    assert output[5].endswith("chain intact, unfinished 0")


def test_own_classes(tmp_path):
    """A learned policy allows what it has seen and nothing else."""
    output = lines(tmp_path, "own_classes.py")
    assert 'name = "shapes.Rectangle"' in output
    assert output[-2:] == ["[2]", "refused: shapes.Circle"]


def test_joblib_models(tmp_path):
    """Joblib files load, hide nothing behind an array, are written and mapped."""
    output = lines(tmp_path, "joblib_models.py")
    assert output == [
        "loaded 15.0",
        f"refused malicious {os.mkdir.__module__}.mkdir ran: False",
        "joblib reads 3.0 safeload reads 3.0",
        "mapped memmap 999999",
    ]


def test_torch_checkpoints(tmp_path):
    """Checkpoints are scanned, loaded as tensors and as arrays, and hide nothing; safetensors are written and read."""
    pytest.importorskip("torch")
    assert lines(tmp_path, "torch_checkpoints.py") == [
        "good.pt torch clean",
        "bad.pt torch malicious",
        "tensor (2, 3)",
        "refused, ran: False",
        "array float32",
        "member (2, 3)",
    ]


def test_code_pickles(tmp_path):
    """A function loads under its signer's grant and from nobody else; check() says what is wrong with an object."""
    pytest.importorskip("dill")
    output = lines(tmp_path, "code_pickles.py")
    assert output[:4] == [
        "with the grant: 42",
        "without the grant: policy.code",
        "unsigned: policy.code",
        "it would make: scale(value) of code_pickles.py; uses FACTOR",
    ]
    text = "\n".join(output)
    assert "obj.transform" in text
    assert "dill can, with code" in text
    assert "joblib can\n" not in text


def test_batches(tmp_path):
    """One bad item is one result, and a second run skips what is done."""
    assert lines(tmp_path, "batches.py") == [
        "written: 10",
        "not clean: 4.pkl malicious",
        "first run: 9 loaded, 0 skipped, 1 refused",
        "second run: 0 loaded, 9 skipped, 1 refused",
    ]


def test_json_and_versions(tmp_path):
    """Types come back, old versions are upgraded, and each refusal says why."""
    output = lines(tmp_path, "json_and_versions.py")
    assert '"name":"settings.Window"' in output[0]
    assert output[1] == "loaded   datetime.time(8, 30)"
    assert output[2] == "upgraded {'hosts': ['a', 'b'], 'timeout': 1.5}"
    codes = [line.split()[1].rstrip(":") for line in output[3:]]
    assert codes == ["version.newer", "schema.mismatch", "json.duplicate", "json.not-registered"]


class Hostile:
    """Would leave a file behind if it were loaded."""

    def __reduce__(self):
        return open, ("fired", "w")


def test_scan_before_merge_of_named_files(tmp_path):
    """Clean artifacts pass, a hostile one is annotated and does not run, other files do not matter."""
    (tmp_path / "clean.pkl").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "notes.txt").write_text("no artifact")
    clean = run(tmp_path, "scan_before_merge.py", "--files", "clean.pkl", "notes.txt")
    assert (clean.returncode, clean.stdout) == (0, "clean.pkl: clean\n")
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Hostile()))
    hostile = run(tmp_path, "scan_before_merge.py", "--files", "clean.pkl", "hostile.pkl", "missing.pkl")
    assert hostile.returncode == 1
    assert "hostile.pkl: malicious" in hostile.stdout
    assert "::error file=hostile.pkl,title=policy." in hostile.stdout
    assert "::warning file=missing.pkl::not scanned" in hostile.stdout
    assert not (tmp_path / "fired").exists()
    assert run(tmp_path, "scan_before_merge.py", "--files", "missing.pkl").returncode == 3


def test_scan_before_merge_of_hostile_names_and_archives(tmp_path):
    """A file name gives the runner no command, and what an archive holds is annotated at the archive."""
    names = ["a\n::error file=b::forged.pkl", "::set-output name=x::y,z:100%.pkl", "##[error]m\u043edel.pkl"]
    for name in names:
        (tmp_path / name).write_bytes(pickle.dumps(Hostile()))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("in\n::error::side.pkl", pickle.dumps(Hostile()))
    done = run(tmp_path, "scan_before_merge.py", "--files", *names, "all.zip")
    assert done.returncode == 1
    printed = done.stdout.splitlines()
    commands = [line for line in printed if line.lstrip().startswith("::") or "##[" in line]
    assert {line.partition(",title=")[0] for line in commands} == {
        "::error file=a%0A%3A%3Aerror file=b%3A%3Aforged.pkl",
        "::error file=%3A%3Aset-output name=x%3A%3Ay%2Cz%3A100%25.pkl",
        "::error file=##[error]m\u043edel.pkl",
        "::error file=all.zip",
    }
    inside = [line for line in commands if line.startswith("::error file=all.zip,") and "in in" in line]
    assert any("title=policy." in line for line in inside)
    assert sum("malicious" in line for line in printed if line not in commands) == 4
    assert not (tmp_path / "fired").exists()


def git(folder: Path, *arguments: str) -> str:
    """Run git with an identity, whatever the machine's configuration."""
    settings = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_scan_before_merge_takes_the_policy_from_the_base(tmp_path):
    """A change that brings a hostile file and a policy that allows it is still refused."""
    git(tmp_path, "init", "-q")
    (tmp_path / "safeload.toml").write_text('packs = ["data"]\n')
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "base")
    base = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "safeload.toml").write_text('packs = ["data"]\n[[allow]]\nname = "io.open"\ncall = true\n')
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps(Hostile()))
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "change")
    done = run(tmp_path, "scan_before_merge.py", base)
    assert done.returncode == 1, done.stderr
    assert "hostile.pkl: malicious" in done.stdout


def test_hdf5_files(tmp_path):
    """HDF5 is written and read, whole and in part; links and code in a model are refused."""
    pytest.importorskip("h5py")
    output = lines(tmp_path, "hdf5_files.py")
    assert output == [
        "attributes B12 counts",
        "part (2, 1000)",
        "link hdf5.external-link",
        "refused malicious keras.code",
    ]
