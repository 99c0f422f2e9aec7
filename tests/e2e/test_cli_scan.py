"""``safeload scan`` and ``safeload inspect`` as a person types them, on real files."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import tomllib

import numpy as np
import pytest

import safeload


class Runs:
    """Leaves a mark when it is unpickled by anybody careless."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def folder(tmp_path):
    """Artifacts good, unknown, hostile and broken, beside files that are none."""
    (tmp_path / "models" / "sub").mkdir(parents=True)
    (tmp_path / "models" / ".git").mkdir()
    for name, data in {
        "clean.pkl": pickle.dumps({"a": [1, 2.5, "x"]}),
        "array": pickle.dumps(np.arange(5)),
        "unknown.bin": pickle.dumps(argparse.Namespace(x=1)),
        "sub/hostile.txt": pickle.dumps(Runs(f"touch {tmp_path}/fired")),
        "text.md": b"# not an artifact\n",
        "empty": b"",
        ".git/index": pickle.dumps(Runs("true")),
    }.items():
        (tmp_path / "models" / name).write_bytes(data)
    yield tmp_path
    assert not (tmp_path / "fired").exists()


def test_a_tree_is_judged_by_content(folder, run):
    """A hostile pickle is found whatever it is called; what is no artifact is not listed; nothing fires."""
    done = run(folder, "scan", "models")
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    heads = [line for line in lines if line[:1].isalpha()][:4]
    assert heads == [
        "clean        models/array",
        "clean        models/clean.pkl",
        "malicious    models/sub/hostile.txt",
        "unknown      models/unknown.bin",
    ]
    assert any(line.lstrip().startswith("critical") and "system" in line for line in lines)
    assert "4 artifacts scanned: 1 malicious, 1 unknown, 2 clean" in lines
    assert "text.md" not in done.stdout
    assert "hidden directories passed over: models/.git" in done.stdout


def test_a_named_file_is_listed_whatever_it_is(folder, run):
    """The person asked about it; text is skipped, and an empty file says that it is empty."""
    done = run(folder, "scan", "models/text.md", "models/empty")
    assert done.returncode == 0
    assert "skipped      models/empty\n             the file is empty" in done.stdout
    assert "skipped      models/text.md" in done.stdout
    assert "no artifact was scanned: nothing here was judged" in done.stdout


def test_json_is_as_documented_and_the_same_for_any_number_of_jobs(folder, run):
    """Compared byte for byte; programs outside this repository read it."""
    one = run(folder, "scan", "models", "models/text.md", "--format", "json", "--jobs", "1")
    many = run(folder, "scan", "models/text.md", "models", "--format", "json", "--jobs", "4")
    assert one.returncode == many.returncode == 1
    assert one.stdout == many.stdout
    data = json.loads(one.stdout)
    assert data["schema_version"] == 1
    assert data["tool"]["name"] == "safeload"
    paths = [artifact["path"] for artifact in data["artifacts"]]
    assert paths == sorted(paths)
    found = {artifact["path"]: artifact for artifact in data["artifacts"]}
    assert found["models/text.md"]["verdict"] == "skipped"
    hostile = found["models/sub/hostile.txt"]
    assert hostile["verdict"] == "malicious"
    assert hostile["container"] == "pickle"
    assert any(name.endswith(".system") for name in hostile["globals"])
    assert all(
        finding.keys() == {"rule_id", "severity", "message", "location", "evidence"} for finding in hostile["findings"]
    )
    assert data["summary"]["clean"] == 2
    assert data["summary"]["malicious"] == 1


def test_the_report_is_written_also_when_the_gate_fails(folder, run):
    """A pipeline uploads it; an older one is replaced."""
    (folder / "out.json").write_text("old")
    done = run(folder, "scan", "models", "--format", "json", "--output", "out.json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "safeload: wrote out.json: 2 clean, 1 unknown, 1 malicious\n"
    assert json.loads((folder / "out.json").read_text())["summary"]["malicious"] == 1


@pytest.mark.parametrize(
    ("names", "fail_on", "code"),
    [
        (["clean.pkl", "array"], "unknown", 0),
        (["unknown.bin"], "unknown", 1),
        (["unknown.bin"], "malicious", 0),
        (["sub/hostile.txt"], "malicious", 1),
    ],
)
def test_fail_on(folder, names, fail_on, code, run):
    """What is only unknown may pass where a team decides so; what is malicious never does."""
    assert run(folder, "scan", *(f"models/{name}" for name in names), "--fail-on", fail_on).returncode == code


def test_a_policy_makes_unknown_clean(folder, run):
    """A policy file beside packs; both may be repeated."""
    (folder / "safeload.toml").write_text('packs = ["data"]\n[[allow]]\nname = "argparse.Namespace"\n')
    done = run(folder, "scan", "models/unknown.bin", "models/array", "--policy", "safeload.toml", "--policy", "numpy")
    assert done.returncode == 0, done.stdout
    assert run(folder, "scan", "models/array", "--policy", "data").returncode == 1


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("nump", "did you mean 'numpy'?"),
        ("gone.toml", "gone.toml: no such file"),
        ("typo.toml", "line 2"),
    ],
)
def test_a_wrong_policy_ends_the_run(folder, policy, words, run):
    """A policy with a typo must not scan with another one."""
    (folder / "typo.toml").write_text('packs = ["data"]\nalow = []\n')
    done = run(folder, "scan", "models", "--policy", policy)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr


def test_what_cannot_be_scanned_is_reported_and_is_exit_code_3(folder, run):
    """Each with its own reason; nothing hangs."""
    models = folder / "models"
    (models / "sub" / "hostile.txt").unlink()
    (models / "unknown.bin").unlink()
    (models / "lfs.pkl").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    (models / "broken").symlink_to("gone")
    (models / "outside").symlink_to("/etc/hostname")
    os.mkfifo(models / "pipe")
    done = run(folder, "scan", "models")
    assert done.returncode == 3
    for name, reason in (
        ("broken", "target cannot be opened"),
        ("lfs.pkl", "Git LFS pointer"),
        ("outside", "leads out of the tree"),
        ("pipe", "named pipe"),
    ):
        at = done.stdout.index(f"not scanned  models/{name}\n")
        assert reason in done.stdout[at:].splitlines()[1]
    assert "4 files not scanned" in done.stdout
    # Something worse wins.
    (models / "bad").write_bytes(pickle.dumps(Runs("true")))
    assert run(folder, "scan", "models").returncode == 1
    # What stands in the way can be left out.
    assert run(folder, "scan", "models", "--include", "clean.pkl").returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is readable for root")
def test_permission_denied_is_not_scanned(folder, run):
    """A file and a directory that may not be read."""
    (folder / "models" / "clean.pkl").chmod(0)
    (folder / "models" / "sub").chmod(0)
    try:
        done = run(folder, "scan", "models", "--exclude", "unknown.bin")
    finally:
        (folder / "models" / "sub").chmod(0o700)
    assert done.returncode == 3
    assert done.stdout.count("permission denied") == 2


def test_broken_pickles_are_malformed_wherever_they_are_cut(folder, run):
    """Truncated at every byte, with trailing bytes, random: an answer, and never clean."""
    data = pickle.dumps({"key": (1, "two", [3.0])})
    names = []
    for size in range(2, len(data)):
        names.append(f"cut{size}")
        (folder / names[-1]).write_bytes(data[:size])
    for name, content in (("trailing", data + b"x"), ("random", b"\x80\x05" + bytes(range(256)))):
        names.append(name)
        (folder / name).write_bytes(content)
    done = run(folder, "scan", *names, "--format", "json")
    assert done.returncode == 1
    verdicts = {artifact["path"]: artifact["verdict"] for artifact in json.loads(done.stdout)["artifacts"]}
    assert set(verdicts) == set(names)
    assert set(verdicts.values()) == {"malformed"}


def test_hostile_names_reach_no_terminal(folder, run):
    """Of files and of globals: no escape sequence, no forged line, no command to a CI runner."""
    nasty = "\x1b[2Jx\n::error file=a::forged \u202egpj##[group].pkl"
    (folder / "models" / nasty).write_bytes(b"\x80\x04\x8c\x0bos\x1b]0;x\x07\ny\x8c\x04a\r\nb\x93.")
    (folder / "models" / "unknown.bin").rename(folder / "models" / "\udcff\udcfe.pkl")
    for arguments in (
        ("scan", "models"),
        ("inspect", f"models/{nasty}"),
        ("scan", f"models/{nasty}x"),
        ("sign", nasty),
    ):
        done = run(folder, *arguments)
        assert done.returncode != 0
        for stream in (done.stdout, done.stderr):
            assert all(char == "\n" or char.isprintable() for char in stream)
            assert "##[" not in stream
            assert not any(line.lstrip().startswith("::") for line in stream.splitlines())
    data = json.loads(run(folder, "scan", "models", "--format", "json").stdout)
    assert nasty in [artifact["path"].removeprefix("models/") for artifact in data["artifacts"]]
    assert "models/\\xff\\xfe.pkl" in [artifact["path"] for artifact in data["artifacts"]]


def test_names_that_look_like_others_are_escaped(folder, run):
    """Of an artifact everything is ASCII, the TOML to paste too, which means the very same name."""
    name = "\u043es.s\u0443stem"
    module, _, attribute = name.partition(".")
    texts = b"".join(b"\x8c" + bytes([len(text.encode())]) + text.encode() for text in (module, attribute))
    (folder / "look.pkl").write_bytes(b"\x80\x04" + texts + b"\x93)R.")
    for command in ("scan", "inspect"):
        done = run(folder, command, "look.pkl")
        assert done.stdout.isascii()
        assert r"\u043es.s\u0443stem" in done.stdout
    pasted = done.stdout.partition("in safeload.toml:\n    packs")[2].partition("\n  program")[0]
    policy = tomllib.loads("packs" + "\n".join(line.strip() for line in pasted.splitlines()))
    assert [entry["name"] for entry in policy["allow"]] == [name]
    with pytest.raises(safeload.PolicyError) as caught:
        safeload.load(folder / "look.pkl")
    assert str(caught.value).isascii()


def test_a_trail_that_cannot_be_written_ends_the_scan(folder, run):
    """It says why, once, and not that every file had an internal error."""
    (folder / "link").symlink_to("trail")
    for jobs in ("1", "2"):
        done = run(folder, "scan", "models", "--audit", "link", "--jobs", jobs)
        assert (done.returncode, done.stdout) == (2, "")
        assert "it is a symbolic link, and a trail must not be one" in done.stderr
    assert not (folder / "trail").exists()


def test_a_report_goes_through_no_link(folder, run):
    """The file behind a link keeps what it holds, and nothing is scanned for nothing."""
    (folder / "kept").write_text("kept")
    (folder / "link").symlink_to("kept")
    done = run(folder, "scan", "models", "-o", "link")
    assert (done.returncode, done.stdout) == (2, "")
    assert "link is a symbolic link" in done.stderr
    assert (folder / "kept").read_text() == "kept"


def test_a_path_that_does_not_exist_is_a_usage_error(folder, run):
    """Not a clean scan, and not "not scanned" either: nothing was done."""
    done = run(folder, "scan", "models", "modles")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == ("safeload: error: modles does not exist\n  check the spelling; nothing was scanned\n")
    assert run(folder, "scan").returncode == 2


def test_globs_and_hidden(folder, run):
    """As in the help."""
    data = json.loads(run(folder, "scan", "models", "--exclude", "sub", "--hidden", "--format", "json").stdout)
    assert [artifact["path"] for artifact in data["artifacts"]] == [
        "models/.git/index",
        "models/array",
        "models/clean.pkl",
        "models/unknown.bin",
    ]
    assert data["not_entered"] == []


def test_a_scan_is_audited_by_every_worker(folder, run):
    """One whole trail, whatever the number of processes."""
    run(folder, "scan", "models", "--jobs", "3", "--audit", "trail.jsonl")
    done = run(folder, "audit", "verify", "trail.jsonl")
    assert done.returncode == 0, done.stdout
    shown = run(folder, "audit", "show", "trail.jsonl", "--event", "scan", "--json").stdout.splitlines()
    results = [event for event in map(json.loads, shown) if event["phase"] == "result"]
    assert sorted(event["verdict"] for event in results if "verdict" in event).count("malicious") == 1


def test_nothing_is_printed_into_a_closed_pipe(folder):
    """``safeload … | head`` ends in silence."""
    command = f"{sys.executable} -m safeload policy show data numpy | head -1; true"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout.startswith("data")


def test_inspect_shows_everything(folder, run):
    """Container, streams, operations, globals, findings, program, verdict; and does nothing of it."""
    done = run(folder, "inspect", "models/sub/hostile.txt")
    assert done.returncode == 1
    for text in (
        "malicious",
        "container   pickle",
        "protocol",
        "globals (1)",
        "findings (",
        "import system",
        "none: nobody",
    ):
        assert text in done.stdout
    data = json.loads(run(folder, "inspect", "models/sub/hostile.txt", "--json").stdout)
    assert data["verdict"] == "malicious"
    assert "system" in data["source_code"]
    assert data["streams"][0]["operations"]


def test_inspect_of_pure_data(folder, run):
    """What most people have: short and calm."""
    done = run(folder, "inspect", "models/clean.pkl")
    assert done.returncode == 0
    assert "pure data" in done.stdout
    assert "findings" not in done.stdout


@pytest.mark.parametrize(
    ("path", "words"),
    [("gone", "does not exist"), ("models", "is a directory"), ("pipe", "a named pipe"), ("/dev/null", "a device")],
)
def test_inspect_of_what_is_no_file(folder, path, words, run):
    """The same words wherever a file is expected, and no hanging on a pipe."""
    os.mkfifo(folder / "pipe")
    done = run(folder, "inspect", path)
    assert done.returncode == 2
    assert words in done.stderr


def test_scan_of_texts(tmp_path, run):
    """JSON is listed as clean data; configuration, templates and JSON with comments beside it are no artifacts."""
    for name, text in {
        "data.json": '{"a": [1, 2]}\n',
        "twice.json": '{"a": 1, "a": 2}',
        "named.json": '{"$safeload": "object", "name": "shapes.Point", "v": []}',
        "tsconfig.json": '{\n  // comment\n  "strict": true,\n}\n',
        "lines.jsonl": '{"a": 1}\n{"a": 2}\n',
        "setup.cfg": "[metadata]\nname = x\n",
        "poetry.toml": "[[source]]\nname = 'x'\n",
        "page.j2": "{{ title }}\n",
        "version": "1.2.3\n",
    }.items():
        (tmp_path / name).write_text(text)
    done = run(tmp_path, "scan", ".", "--format", "json")
    found = {item["path"]: item["verdict"] for item in json.loads(done.stdout)["artifacts"]}
    assert found == {"data.json": "clean", "named.json": "unknown", "twice.json": "malformed"}
    assert done.returncode == 1
    (named,) = (item for item in json.loads(done.stdout)["artifacts"] if item["path"] == "named.json")
    assert named["globals"] == ["shapes.Point"]


def test_inspect_of_one_file_of_an_archive(tmp_path, run):
    """Its verdict decides, as it does for `load(member=...)`; a name that is not there is a mistake that lists what is."""
    with tarfile.open(tmp_path / "models.tar.gz", "w:gz") as archive:
        for name, data in (("good.pkl", pickle.dumps([1])), ("bad.pkl", b"cposix\nsystem\n(S'true'\ntR.")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    assert run(tmp_path, "inspect", "models.tar.gz").returncode == 1
    good = run(tmp_path, "inspect", "models.tar.gz", "--member", "good.pkl")
    assert good.returncode == 0
    assert "posix.system" not in good.stdout
    bad = run(tmp_path, "inspect", "models.tar.gz", "--member", "bad.pkl", "--json")
    assert (bad.returncode, json.loads(bad.stdout)["verdict"]) == (1, "malicious")
    missing = run(tmp_path, "inspect", "models.tar.gz", "--member", "c.pkl")
    assert missing.returncode == 2
    assert "holds no artifact of the name 'c.pkl'" in missing.stderr
    assert "good.pkl" in missing.stderr
    assert run(tmp_path, "inspect", "models.tar.gz", "--member", "content").returncode == 1
