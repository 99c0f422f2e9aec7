"""Runs that end in the middle: files are whole, and a second run does what is left and nothing else."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import safeload
from safeload import Key
from safeload.api.batch.journal import Journal


@pytest.fixture
def files(tmp_path):
    """Six artifacts: the numbers from 0."""
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"{number}.pkl" for number in range(6)]
    for number, path in enumerate(paths):
        path.write_bytes(pickle.dumps(number))
    return paths


def test_what_is_done_and_unchanged_is_skipped(tmp_path, files):
    """Only that: what failed, what changed and what is new is done."""
    journal = tmp_path / "journal"
    files[1].write_bytes(b"broken")
    assert safeload.load_many(files[:5], resume=journal).run() == (5, 1, 0, 5)
    stamp = files[2].stat()
    files[2].write_bytes(pickle.dumps(7))  # as long as before, and made to look as old
    os.utime(files[2], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    results = list(safeload.load_many(files, resume=journal))
    assert [result.skipped for result in results] == [True, False, False, True, True, False]
    assert [result.value for result in results] == [None, None, 7, None, None, 5]
    assert [result.ok for result in results] == [True, False, True, True, True, True]
    assert journal.stat().st_mode & 0o777 == 0o600


def test_what_is_not_clean_is_looked_at_again(tmp_path, files):
    """A second scan must not pass over what the first one found."""
    files[3].write_bytes(pickle.dumps(os.system))
    for _ in range(2):
        results = list(safeload.scan_many(files, resume=tmp_path / "journal"))
        assert [result.index for result in results if not result.ok] == [3]
    assert [result.skipped for result in results] == [True, True, True, False, True, True]


def test_a_result_that_nobody_took_is_not_done(tmp_path, files):
    """What the caller did not come to work on comes again."""
    with safeload.load_many(files, resume=tmp_path / "journal") as batch:
        assert [next(batch).value for _ in range(3)] == [0, 1, 2]
    values = [result.value for result in safeload.load_many(files, resume=tmp_path / "journal")]
    assert values == [None, None, 2, 3, 4, 5]


def test_targets_are_skipped_only_if_the_journal_says_so(tmp_path, files):
    """A file in the target's place may be anything; one that changed since is written again."""
    targets = [tmp_path / f"{number}.out" for number in range(4)]
    targets[0].write_bytes(b"somebody's")
    journal = tmp_path / "journal"

    def run():
        items = [(number, path) for number, path in enumerate(targets)]
        return [result.skipped for result in safeload.dump_many(items, resume=journal)]

    assert run() == [False] * 4
    assert safeload.load(targets[0]) == 0
    targets[1].unlink()
    targets[2].write_bytes(b"somebody's")
    assert run() == [True, False, False, True]
    assert [safeload.load(target) for target in targets] == [0, 1, 2, 3]


def test_a_journal_is_for_one_kind_of_run(tmp_path, files):
    """What one policy, key or option let pass says nothing about another."""
    journal = tmp_path / "journal"
    key = Key.generate()
    safeload.scan_many(files, resume=journal).run()
    for call in (
        lambda: safeload.scan_many(files, resume=journal, policy="sklearn"),
        lambda: safeload.scan_many(files, resume=journal, keys=key),
        lambda: safeload.scan_many(files, resume=journal, context="other"),
        lambda: safeload.scan_many(files, resume=journal, limits=safeload.Limits(max_depth=2)),
        lambda: safeload.load_many(files, resume=journal),
    ):
        with pytest.raises(ValueError, match="another kind of run"):
            call()


def test_two_runs_do_not_share_a_journal(tmp_path, files):
    """They would work on the same targets; when the first is over, the second may."""
    with safeload.load_many(files, resume=tmp_path / "journal") as batch:
        next(batch)
        with pytest.raises(ValueError, match="in use by another run"):
            safeload.load_many(files, resume=tmp_path / "journal")
    assert safeload.load_many(files, resume=tmp_path / "journal").run().ok


@pytest.mark.parametrize(
    "torn", [b'{"item": "/a", "st', b"\xff\xfe\n", b"[" * 60_000 + b"\n", b"null\n", b'{"item": 3}\n']
)
def test_a_line_that_is_not_understood_is_not_done(tmp_path, torn):
    """After a crash, or by somebody's hand: what stands around it counts, and the next line is whole."""
    path = tmp_path / "journal"
    journal = Journal(path, "run")
    journal.add("/a", "sha256:1")
    journal.close()
    with path.open("ab") as file:
        file.write(torn)
    journal = Journal(path, "run")
    journal.add("/b\udcff", "sha256:2")
    journal.close()
    journal = Journal(path, "run")
    assert journal.matches(journal.knows("/a"), "sha256:1")
    assert not journal.matches(journal.knows("/a"), "sha256:2")
    assert journal.matches(journal.knows("/b\udcff"), "sha256:2")
    assert journal.knows("/c") is None
    journal.close()


def test_a_header_that_a_crash_tore_is_written_anew(tmp_path):
    """A run that was killed at its very start can be repeated."""
    path = tmp_path / "journal"
    path.write_bytes(b'{"safeload_journal": 1, "ru')
    Journal(path, "run").close()
    assert json.loads(path.read_bytes()) == {"safeload_journal": 1, "run": "run"}


def test_what_is_no_journal_is_not_touched(tmp_path):
    """Somebody's file, a directory, a pipe, a link: an error, and the file as it was."""
    (tmp_path / "notes").write_text("my notes\n")
    (tmp_path / "short").write_text("x")
    for name in ("notes", "short"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match="not a journal"):
            safeload.load_many([], resume=tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(OSError):
        safeload.load_many([], resume=tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises((OSError, ValueError)):
            safeload.load_many([], resume=tmp_path / "pipe")
        (tmp_path / "link").symlink_to(tmp_path / "new")
        with pytest.raises(OSError):
            safeload.load_many([], resume=tmp_path / "link")
    assert not (tmp_path / "new").exists()


def test_debris_of_a_killed_run_is_removed_and_nothing_else(tmp_path):
    """A temporary file of the target, older than the run; not a younger one, not another target's, not a user's."""
    old = time.time() - 100
    names = [".a.out.0123456789abcdef.tmp", ".a.out.fedcba9876543210.tmp", ".z.out.0123456789abcdef.tmp", ".a.out.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (old, old))
    os.utime(tmp_path / names[1])
    assert safeload.dump_many([(1, tmp_path / "a.out")]).run().ok
    assert all((tmp_path / name).exists() for name in names)
    assert safeload.dump_many([(1, tmp_path / "a.out")], resume=tmp_path / "journal").run().ok
    assert [(tmp_path / name).exists() for name in names] == [False, True, True, True]


SCRIPT = """
import sys, safeload
folder, backend = sys.argv[1], sys.argv[2]
def items():
    for number in range(120):
        if number == 80:
            sys.stdin.readline()  # the first run is killed here at the latest, however slow who kills it is
        yield [number, b"x" * 300_000], f"{folder}/{number}.out"
if __name__ == "__main__":
    for result in safeload.dump_many(items(), jobs=2, backend=backend, resume=f"{folder}/journal"):
        print("skipped" if result.skipped else "done" if result.ok else result.error, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("number", "backend"),
    [
        (signal.SIGKILL, "threading"),
        (signal.SIGTERM, "threading"),
        (signal.SIGINT, "threading"),
        (signal.SIGKILL, "loky"),
    ],
)
def test_a_run_that_is_killed_leaves_whole_files_and_is_taken_up_again(tmp_path, number, backend):
    """Whatever ends it: every target that exists is whole, and the second run does the rest."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    folder = tmp_path / "out"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(Path(safeload.__file__).parents[1])}
    command = [sys.executable, "-W", "error", str(script), str(folder), backend]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert [process.stdout.readline() for _ in range(20)] == ["done\n"] * 20
    process.send_signal(number)
    process.wait()
    process.communicate()
    assert process.returncode != 0
    targets = list(folder.glob("[0-9]*.out"))
    assert 20 <= len(targets) < 120
    for target in targets:
        assert safeload.load(target) == [int(target.stem), b"x" * 300_000]
    for debris in folder.glob(".*.tmp"):
        os.utime(debris, (0, 0))
    again = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    lines = again.stdout.splitlines()
    assert len(lines) == 120
    assert set(lines) == {"skipped", "done"}
    assert 19 <= lines.count("skipped") <= len(targets)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["journal", *(f"{n}.out" for n in range(120))])
