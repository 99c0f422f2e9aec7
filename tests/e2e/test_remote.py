"""Artifacts in object stores: a real S3 server on this machine, ``fsspec``'s memory, and an HTTP server that is no friend."""

from __future__ import annotations

import contextlib
import http.server
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

import safeload
from safeload import Key, KeyRing, Limits, Verdict
from safeload.source.locations import RemoteFile, is_remote, local_path

fsspec = pytest.importorskip("fsspec")


class Hostile:
    """Runs a command if it is loaded."""

    def __reduce__(self):
        return os.system, ("true",)


@pytest.fixture(scope="module")
def s3():
    """The base URL of a bucket in a server on the loopback interface, for this process and its children."""
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("models")
        yield "s3://models"
        fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


@pytest.fixture(params=["s3", "memory", "file"])
def base(request, tmp_path):
    """A place of each kind, empty."""
    if request.param == "s3":
        url = f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    elif request.param == "memory":
        url = f"memory://{tmp_path.name}"
    else:
        url = tmp_path.as_uri()
    yield url
    with contextlib.suppress(FileNotFoundError):
        fsspec.core.url_to_fs(url)[0].rm(fsspec.core.url_to_fs(url)[1], recursive=True)


def names(base):
    """The objects below a URL."""
    system, path = fsspec.core.url_to_fs(base)
    system.invalidate_cache()
    return sorted(name.rpartition("/")[2] for name in system.find(path))


def test_one_artifact(base):
    """Load, dump and scan take a URL where they take a path, with the same result."""
    url, key = f"{base}/a.pkl", Key.generate("ed25519-gcm")
    safeload.dump({"a": list(range(1000))}, url)
    assert safeload.load(url) == {"a": list(range(1000))}
    report = safeload.scan(url)
    assert (report.verdict, report.path) == (Verdict.CLEAN, url)
    safeload.dump([1], url, key=key, context="c")  # replaces it
    assert safeload.load(url, keys=key, context="c") == [1]
    with pytest.raises(safeload.MissingKeyError):
        safeload.load(url)
    assert names(base) == ["a.pkl"]


def test_large_arrays_and_other_codecs(base):
    """More than one block, and containers that are read here and there."""
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1_500_000)
    safeload.dump({"w": array}, f"{base}/big.joblib", codec="joblib", compress=0)
    safeload.dump({"w": array}, f"{base}/big.sle", key=(key := Key.generate()))
    assert (safeload.load(f"{base}/big.joblib")["w"] == array).all()
    assert (safeload.load(f"{base}/big.sle", keys=key)["w"] == array).all()


def test_what_is_not_there(base):
    """The same error as for a path, and it is one item's."""
    for call in (safeload.load, safeload.scan):
        with pytest.raises(FileNotFoundError):
            call(f"{base}/none")
    results = list(safeload.load_many([f"{base}/none"]))
    assert isinstance(results[0].error, FileNotFoundError)


def test_a_dump_that_fails_leaves_nothing_and_the_old_object(base):
    """Whole or not at all: an object that does not pickle, after much that did."""
    url = f"{base}/a.pkl"
    safeload.dump([1], url)
    before = set(Path(tempfile.gettempdir()).glob("safeload-*"))
    for target in (url, f"{base}/b.pkl"):
        with pytest.raises((AttributeError, pickle.PicklingError)):
            safeload.dump([b"x" * 3_000_000, lambda: 0], target)
    assert names(base) == ["a.pkl"]
    assert safeload.load(url) == [1]
    assert set(Path(tempfile.gettempdir()).glob("safeload-*")) == before


def test_batches(base, tmp_path):
    """Written, verified, sealed anew, scanned and loaded; a second run with the journal has nothing to do."""
    old, new = Key.generate(), Key.generate()
    urls = [f"{base}/{number}.sle" for number in range(5)]
    items = [(number, url) for number, url in enumerate(urls)]
    journal = tmp_path / "journal-of-dumps"
    assert safeload.dump_many(items, key=old, resume=journal).run() == (5, 0, 0, 5)
    assert safeload.dump_many(items, key=old, resume=journal).run() == (5, 0, 5, 5)
    safeload.dump(7, urls[2], key=old)
    assert safeload.dump_many(items, key=old, resume=journal).run() == (5, 0, 4, 5)
    assert safeload.verify_many(urls, keys=old).run().ok
    assert [result.value for result in safeload.rekey_many(urls, new, keys=KeyRing([old]))] == ["sealed"] * 5
    assert [result.value for result in safeload.rekey_many(urls, new, keys=KeyRing([old]))] == ["unchanged"] * 5
    assert safeload.scan_many(urls, keys=new).run().ok
    assert [result.value for result in safeload.load_many(urls, keys=new)] == list(range(5))


def test_an_altered_envelope_is_not_sealed_anew(base):
    """The object in the store stays as it is, so that somebody can look at it."""
    url, old = f"{base}/a.sle", Key.generate()
    data = safeload.dumps([1], key=old)
    system, path = fsspec.core.url_to_fs(url)
    system.pipe_file(path, data[:-1] + bytes([data[-1] ^ 1]))
    result = next(safeload.rekey_many([url], Key.generate(), keys=KeyRing([old])))
    assert isinstance(result.error, safeload.VerificationError)
    assert system.cat_file(path)[:-1] == data[:-1]


def test_processes_read_from_the_store_themselves(s3):
    """A URL crosses into other processes where an open file would not."""
    urls = [f"{s3}/many/{number}.pkl" for number in range(4)]
    for url in urls[:3]:
        safeload.dump([url], url)
    fsspec.core.url_to_fs(urls[3])[0].pipe_file("models/many/3.pkl", pickle.dumps(Hostile()))
    code = (
        "import sys, safeload\n"
        "print([str(result.value.verdict) for result in safeload.scan_many(sys.argv[1:], backend='loky', jobs=2)])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(safeload.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *urls], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['clean', 'clean', 'clean', 'malicious']\n"


def test_the_command_line_takes_urls(s3):
    """``scan`` and ``verify``, with the exit codes that they have for files."""
    key = Key.generate()
    safeload.dump([1], f"{s3}/cli/a.pkl")
    safeload.dump([1], f"{s3}/cli/a.sle", key=key)
    fsspec.filesystem("s3").pipe_file("models/cli/bad.pkl", pickle.dumps(Hostile()))
    environment = {
        **os.environ, "PYTHONPATH": str(Path(safeload.__file__).parents[1]), "SAFELOAD_KEYS": key.export(),
    }  # fmt: skip

    def run(*arguments):
        command = [sys.executable, "-W", "error", "-m", "safeload", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    code, output = run("scan", f"{s3}/cli/bad.pkl", f"{s3}/cli/a.sle")
    assert code == 1
    assert "malicious" in output
    environment["SAFELOAD_KEYS"] = ""
    assert run("scan", f"{s3}/cli/a.pkl")[0] == 0
    assert run("scan", f"{s3}/cli/none.pkl")[0] == 3
    environment["SAFELOAD_KEYS"] = key.export()
    assert run("verify", f"{s3}/cli/a.sle")[0] == 0
    assert run("verify", f"{s3}/cli/a.pkl")[0] == 1
    assert run("verify", f"{s3}/cli/none.sle")[0] == 2


@pytest.mark.parametrize(
    ("place", "remote"),
    [("s3://b/x", True), ("memory://x", True), ("https://h/x", True), ("S3://b/x", True), ("file:///x", False),
     ("FILE:///x", False), (r"C:\x", False), ("C:/x", False), ("c://x", False), ("a/b://c", False), ("x:y", False),
     (b"s3://b/x", False), (Path("s3://b/x"), False), (None, False)],
)  # fmt: skip
def test_what_is_a_url(place, remote):
    """A drive letter is no scheme, and only text is a URL."""
    assert is_remote(place) is remote


def test_urls_of_local_files(tmp_path):
    """Decoded, absolute, of this machine; written as a whole like any path."""
    path = tmp_path / "a b#%.pkl"
    safeload.dump([1], path.as_uri())
    assert safeload.load(path) == safeload.load(path.as_uri()) == [1]
    assert local_path("plain") == "plain"
    for bad in ("file://elsewhere/x", "file:///x?y", "file:///x#y"):
        with pytest.raises(ValueError, match="file:///absolute/path"):
            safeload.load(bad)


@pytest.mark.parametrize(
    "bad", ["nothing://x", "zip://a::memory://b", "simplecache::memory://b", "memory://a::zip://b"]
)
def test_urls_that_are_not_opened(bad):
    """A mistyped scheme, and chains, which would unpack archives outside of every limit."""
    for call in (safeload.load, safeload.scan, lambda url: safeload.dump([1], url)):
        with pytest.raises((ValueError, FileNotFoundError)):
            call(bad)


def test_without_fsspec_the_extra_is_named(monkeypatch):
    """The message is what to type."""
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ModuleNotFoundError, match=r"safeload\[fsspec\]"):
        safeload.load("memory://x")


class Server(http.server.BaseHTTPRequestHandler):
    """Serves a pickle that another one takes the place of every now and then, and a file without end."""

    requests = 0
    hostile = b""

    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        type(self).requests += 1
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            if self.path == "/swap":
                self.wfile.write(self.hostile if type(self).requests % 3 == 0 else pickle.dumps([1]))
            while self.path == "/endless":
                self.wfile.write(b"\x80" * 65_536)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """The URL of a hostile server on the loopback interface."""
    pytest.importorskip("aiohttp")
    Server.requests = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


class Touches:
    """Leaves a file behind if it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_what_was_judged_is_what_is_loaded(server, tmp_path):
    """A server that answers differently now and then: each load sees one answer, and judges that one."""
    Server.hostile = pickle.dumps(Touches(str(tmp_path / "fired")))
    seen = set()
    for _ in range(6):
        try:
            seen.add(str(safeload.load(f"{server}/swap")))
        except safeload.PolicyError:
            seen.add("refused")
    assert seen == {"[1]", "refused"}
    assert not (tmp_path / "fired").exists()


def test_an_answer_without_end_is_cut_off(server):
    """By the limit, whatever the server announces."""
    limits = Limits(max_artifact_bytes=1 << 20)
    with pytest.raises(safeload.LimitExceededError):
        safeload.load(f"{server}/endless", limits=limits)
    assert safeload.scan(f"{server}/endless", limits=limits).verdict is not Verdict.CLEAN


def test_a_store_that_cannot_be_written(server):
    """Said as an OSError, and nothing is left in the directory for temporary files."""
    before = set(Path(tempfile.gettempdir()).glob("safeload-*"))
    with pytest.raises(OSError, match="cannot be written"):
        safeload.dump([1], f"{server}/x")
    assert set(Path(tempfile.gettempdir()).glob("safeload-*")) == before


def test_a_store_without_whole_uploads_gets_a_move(tmp_path, monkeypatch):
    """What breaks off stays beside the target and is removed; the target is the old one."""
    monkeypatch.setattr("safeload.source.locations._WHOLE", frozenset())
    system = fsspec.filesystem("memory")
    safeload.dump([1], "memory://moved/a")
    assert safeload.load("memory://moved/a") == [1]
    assert names("memory://moved") == ["a"]
    put = type(system).pipe_file

    def breaks(self, path, data):
        put(self, path, data[:3])
        raise ConnectionError("gone")

    monkeypatch.setattr(type(system), "pipe_file", breaks)
    with pytest.raises(ConnectionError):
        safeload.dump([2], "memory://moved/a")
    assert safeload.load("memory://moved/a") == [1]
    assert names("memory://moved") == ["a"]
    system.rm("/moved", recursive=True)


def test_secrets_in_errors(monkeypatch):
    """A client's text can quote a signed URL; what is raised names its class only."""

    class SignedError(Exception):
        pass

    def leaks(*_args, **_kwargs):
        raise SignedError("https://store/x?signature=0123")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "open", leaks)
    with pytest.raises(OSError, match="SignedError") as caught:
        safeload.load("memory://x")
    assert "0123" not in str(caught.value)


def test_a_remote_file_that_is_not_committed(tmp_path):
    """Leaves the store as it was."""
    with RemoteFile(f"memory://{tmp_path.name}/a") as file:
        file.write(b"half")
    assert names("memory://") == [] or "a" not in names("memory://")
