"""Files are read without hanging and written whole or not at all."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from safeload.cli.failure import Failure
from safeload.cli.files import new_file, open_regular, refuse_existing, replace_text


def test_open_regular_says_what_is_wrong(tmp_path, monkeypatch):
    """Each kind of mistake has its own message; a pipe without a writer does not hang."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").symlink_to("gone")
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
    for path, words in (
        ("missing", "does not exist"),
        ("broken", "symlink to something that does not exist"),
        (".", "is a directory"),
        ("fifo", "a named pipe"),
        ("sock", "a socket"),
        ("/dev/null", "a device"),
        ("a\0b", "NUL"),
    ):
        with pytest.raises(Failure, match=words) as caught:
            open_regular(path)
        assert caught.value.hint


def test_permission_is_named(tmp_path, monkeypatch):
    """Not "cannot open file"."""

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    with pytest.raises(Failure, match="permission denied"):
        open_regular("x")


def test_a_failed_write_leaves_no_trace(tmp_path):
    """Neither a half file nor a temporary one, and the old one is whole."""
    target = tmp_path / "out"
    target.write_text("old")

    def write():
        with new_file(str(target), force=True) as stream:
            stream.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_named(tmp_path):
    """The person learns what to do, and nothing is left behind."""

    def write():
        with new_file(str(tmp_path / "out"), force=False):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Failure, match="no space left"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_overwritten(tmp_path):
    """Also not one that appears while the new one is being written, nor a dangling symlink."""
    target = tmp_path / "out"

    def late():
        with new_file(str(target), force=False) as stream:
            stream.write(b"new")
            target.write_text("somebody else's")

    with pytest.raises(Failure, match="exists"):
        late()
    assert target.read_text() == "somebody else's"
    (tmp_path / "link").symlink_to("nowhere")
    for path in (target, tmp_path / "link"):
        with pytest.raises(Failure, match="exists"):
            refuse_existing(str(path), force=False)


def test_the_target_must_be_a_place_for_a_file(tmp_path):
    """Found out before any work is done."""
    for path in (tmp_path, tmp_path / "no" / "file"):
        with pytest.raises(Failure, match="directory"):
            refuse_existing(str(path), force=True)


def test_without_hard_links_a_file_is_published_all_the_same(tmp_path, monkeypatch):
    """FAT and some network file systems have none."""

    def no_links(*_args, **_kwargs):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with new_file(str(tmp_path / "out"), force=False) as stream:
        stream.write(b"x")
    assert (tmp_path / "out").read_bytes() == b"x"


def test_a_report_replaces_an_older_one(tmp_path):
    """Every run of a pipeline writes the same name; unencodable text does not end it."""
    (tmp_path / "real").write_text("old")
    replace_text(str(tmp_path / "real"), "new \udcff\n")
    assert (tmp_path / "real").read_text() == "new \\udcff\n"
    replace_text("/dev/null", "gone")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs symbolic links")
@pytest.mark.parametrize("target", ["real", "missing", "folder", "fifo", "/dev/null"])
def test_a_report_is_not_written_through_a_link(target, tmp_path):
    """Who can plant a link where reports are written would choose what they overwrite."""
    (tmp_path / "real").write_text("old")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(Failure, match="is a symbolic link"):
        replace_text(str(tmp_path / "link"), "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "folder", "link", "real"]


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
def test_an_open_file_of_the_process_is_written_to(tmp_path):
    """``-o /dev/stderr`` is a link of the system's own: the report goes where it leads, and the link stays."""
    with (tmp_path / "log").open("w+") as log:
        replace_text(f"/dev/fd/{log.fileno()}", "report")
        assert log.read() == "report"
