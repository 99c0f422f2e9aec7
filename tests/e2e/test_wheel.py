"""The wheel holds the whole package and nothing else, and works from wherever it is unpacked.

``.ci/run`` also installs it with its dependencies, and without extras, into an empty environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the working tree, built without network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_package(wheel):
    """Packs, schemas, the specification and the marker for type checkers are data files that a build can lose."""
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "safeload").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == source
    assert {"safeload/py.typed", "safeload/audit/event.schema.json"} <= packed


def test_the_wheel_runs_without_the_source(wheel, tmp_path):
    """No module needs a file that lies only in the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import io, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import safeload\n"
        "assert safeload.__file__.startswith(sys.argv[1]), safeload.__file__\n"
        "stream = io.BytesIO()\n"
        "safeload.dump([1, 2], stream)\n"
        "assert safeload.loads(stream.getvalue()) == [1, 2]\n"
        "assert safeload.Policy.packs('data', 'numpy', 'sklearn', 'pandas', 'scipy').digest\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_runs_isolated(tmp_path):
    """``python -Im safeload`` ignores the current directory, where an attacker may have put a ``click.py``."""
    (tmp_path / "click.py").write_text("raise SystemExit('imported from the current directory')")
    command = [sys.executable, "-Im", "safeload", "--help"]
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "scan" in done.stdout


def test_importing_the_package_imports_no_heavy_library():
    """A command line or a web worker must not pay for numpy, fickling or cryptography that it does not use."""
    code = (
        "import sys, safeload\n"
        "heavy = {'numpy', 'fickling', 'cryptography', 'jsonschema', 'joblib', 'click', 'rich', 'logging'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
