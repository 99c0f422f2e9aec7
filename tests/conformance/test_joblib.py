"""joblib's own tests of its file format, run with ``safeload.load`` in place of ``joblib.load``.

joblib ships them in its wheel. Every test that fails is listed with its reason, and only deliberate differences may be on
that list.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PLUGIN = """
import joblib
import joblib.numpy_pickle
import safeload

MODULE = "joblib.test.test_numpy_pickle"
policy = safeload.Policy.packs("data", "numpy")
for name in ("ComplexTestObject", "SubArray", "_class", "_newclass", "_function"):
    policy = policy.allow(f"{MODULE}.{name}")
policy = policy.allow("builtins.len").allow(f"{MODULE}._load_sub_array", call=True).allow(f"{MODULE}.SubArray", call=True)


def load(filename, mmap_mode=None, ensure_native_byte_order="auto"):
    return safeload.load(filename, policy=policy, mmap=mmap_mode is not None)


joblib.load = joblib.numpy_pickle.load = load
"""

DEVIATIONS = {
    "test_memmap_persistence": "mmap=True maps copy-on-write only: there is no read-only mode and none that writes into the file",
    "test_object_array_inner_stream_uses_caller_find_class": "os.getcwd in an array of objects is refused before it is called",
    "test_compress_mmap_mode_warning": "mmap=True of a compressed file loads it, without a warning",
    "test_file_handle_persistence_compressed_mmap": "the same, from an open file",
    "test_file_handle_persistence_in_memory_mmap": "the same, from memory",
    "test_memmap_load": "ensure_native_byte_order is not a choice: arrays are native, mapped ones as they are in the file",
    "test_invalid_parameters_raise": "that argument again",
    "test_joblib_pickle_across_python_versions": "files of joblib 0.9 and older, with arrays in files of their own, are refused",
    "test_joblib_pickle_across_python_versions_with_mmap": "the same",
    "test_in_memory_persistence": "joblib rewinds a file that stands at its end; load reads from where the file stands, as pickle does",
}


def run_suite(folder: Path) -> tuple[set[str], str]:
    """The names of joblib's tests that fail, without their parameters, and all output."""
    (folder / "safeload_in_joblib.py").write_text(PLUGIN, encoding="utf-8")
    root = Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(root)])
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "safeload_in_joblib", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--pyargs", "joblib.test.test_numpy_pickle", "-c", os.devnull, "--rootdir", str(folder)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert re.search(r"\d+ passed", done.stdout), done.stdout + done.stderr
    return set(re.findall(r"^(?:FAILED|ERROR) \S*?::(\w+)", done.stdout, re.MULTILINE)), done.stdout


def test_joblibs_own_tests_pass(tmp_path):
    """What joblib promises of its loader holds for ours, apart from the listed differences; none of those is stale."""
    failed, output = run_suite(tmp_path)
    assert failed == set(DEVIATIONS), output
