"""Discovery passes over nothing in silence, and follows nothing out of the tree."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from safeload.cli.discover import Globs, discover
from safeload.cli.failure import Failure

NONE = Globs(())


def walk(*paths, include=(), exclude=(), hidden=False):
    return discover(tuple(map(str, paths)), include=Globs(include), exclude=Globs(exclude), hidden=hidden)


def names(found, root):
    return sorted(Path(path).relative_to(root).as_posix() for path in found.files)


def missed(found, root):
    return {
        Path(path).relative_to(root).as_posix(): report.findings[0].rule_id for path, report in found.missed.items()
    }


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for name in ("a.pkl", "sub/b.bin", "sub/deep/c", ".hidden/d", ".file"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_every_file_is_found_whatever_its_name(tree):
    """Scanners that go by extension miss what is called otherwise (CVE-2025-1889)."""
    found = walk(tree)
    assert names(found, tree) == [".file", "a.pkl", "sub/b.bin", "sub/deep/c"]
    assert [Path(path).name for path in found.not_entered] == [".hidden"]
    assert not any(found.files.values())


def test_hidden_directories_are_entered_when_asked_for_or_named(tree):
    """They are passed over because of .git, not because nothing can be in them."""
    assert ".hidden/d" in names(walk(tree, hidden=True), tree)
    assert names(walk(tree / ".hidden"), tree) == [".hidden/d"]


def test_a_symlink_out_of_the_tree_is_reported_and_not_followed(tree, tmp_path):
    """A hostile tree may point at anything that the scanning user can read."""
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "elsewhere").mkdir()
    (tree / "file").symlink_to(tmp_path / "secret")
    (tree / "folder").symlink_to(tmp_path / "elsewhere")
    (tree / "root").symlink_to("/")
    found = walk(tree)
    assert missed(found, tree) == dict.fromkeys(("file", "folder", "root"), "scan.symlink-outside")


def test_a_sibling_whose_name_starts_like_the_tree_is_outside(tree, tmp_path):
    """``tree-other`` is not in ``tree``: the comparison is by components."""
    (tmp_path / "tree-other").mkdir()
    (tmp_path / "tree-other" / "x").write_bytes(b"x")
    (tree / "link").symlink_to(tmp_path / "tree-other" / "x")
    assert missed(walk(tree), tree) == {"link": "scan.symlink-outside"}


def test_symlinks_inside_the_tree_are_followed_once(tree):
    """Caches of models are made of such links; loops end, and a directory is not listed twice."""
    (tree / "sub" / "loop").symlink_to(tree)
    (tree / "again").symlink_to("sub")
    (tree / "cached").symlink_to(".hidden")
    (tree / "file").symlink_to(".hidden/d")
    found = walk(tree)
    assert names(found, tree) == [".file", "a.pkl", "cached/d", "file", "sub/b.bin", "sub/deep/c"]
    assert not found.missed


def test_what_is_no_file_has_its_own_message(tree, monkeypatch):
    """Nothing is opened that could block, and nothing is left out."""
    os.mkfifo(tree / "fifo")
    (tree / "broken").symlink_to("nowhere")
    (tree / "self").symlink_to("self")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tree)  # the name of a socket is short
        server.bind("sock")
    found = walk(tree)
    assert missed(found, tree) == {
        "broken": "scan.broken-symlink",
        "fifo": "scan.not-a-file",
        "self": "scan.broken-symlink",
        "sock": "scan.not-a-file",
    }
    messages = {Path(path).name: report.findings[0].message for path, report in found.missed.items()}
    assert "named pipe" in messages["fifo"]
    assert "socket" in messages["sock"]


def test_a_directory_that_cannot_be_listed_is_reported(tree, monkeypatch):
    """Permission denied in the middle of a tree is not an empty directory."""
    real = os.scandir

    def scandir(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = walk(tree)
    assert missed(found, tree) == {"sub/deep": "scan.directory-unreadable"}
    assert "permission denied" in found.missed[str(tree / "sub/deep")].findings[0].message


def test_named_things(tree, tmp_path):
    """What is named is listed; a link that is named is followed, for its target is what the person means."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tree / "a.pkl")
    (tmp_path / "broken").symlink_to("nowhere")
    found = walk(tree / "a.pkl", tmp_path / "link", tmp_path / "fifo", tmp_path / "broken", tree)
    assert found.files[str(tree / "a.pkl")] is True
    assert found.files[str(tmp_path / "link")] is True
    assert found.files[str(tree / "sub/b.bin")] is False
    assert {Path(path).name for path in found.missed} == {"fifo", "broken"}


@pytest.mark.parametrize("path", ["nothing/here", "a\0b"])
def test_a_path_that_does_not_exist_ends_the_run(path):
    """A typo must not be a clean scan."""
    with pytest.raises(Failure, match=r"does not exist|NUL"):
        walk(path)


def test_a_file_where_a_directory_is_expected_does_not_exist(tree):
    """``file/x``: said as it is, without a traceback."""
    with pytest.raises(Failure, match="does not exist"):
        walk(tree / "a.pkl" / "x")


def test_the_current_directory_adds_no_prefix(tree, monkeypatch):
    """Paths in a report can be given back to the next command."""
    monkeypatch.chdir(tree)
    assert sorted(walk(".").files) == [".file", "a.pkl", "sub/b.bin", "sub/deep/c"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.pkl", ["a.pkl"]),
        ("sub", ["sub/b.bin", "sub/deep/c"]),
        ("sub/*", ["sub/b.bin", "sub/deep/c"]),
        ("sub/*.bin", ["sub/b.bin"]),
        ("*/c", []),
        ("**/c", ["sub/deep/c"]),
        ("sub/**/c", ["sub/deep/c"]),
        ("sub/**", ["sub/b.bin", "sub/deep/c"]),
        ("deep/", ["sub/deep/c"]),
        ("./sub/b.bin", ["sub/b.bin"]),
        ("[!a]*", [".file", "sub/b.bin", "sub/deep/c"]),
    ],
)
def test_globs(tree, pattern, expected):
    """The same patterns choose and leave out; a star does not cross a directory."""
    everything = names(walk(tree), tree)
    assert names(walk(tree, include=(pattern,)), tree) == expected
    assert names(walk(tree, exclude=(pattern,)), tree) == [name for name in everything if name not in expected]


def test_an_empty_pattern_is_a_mistake():
    """It would match nothing, or everything; neither was meant."""
    with pytest.raises(Failure, match="empty"):
        Globs(("",))
