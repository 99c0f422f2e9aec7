"""Gadgets: callables that were on nobody's denylist.

Each row is a public advisory, CVE or paper. None has a rule of its own: what the policy does not name is refused, however
the stream spells it. Payloads create a marker file; those that work with plain ``pickle`` on this machine are proven to.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pickle_parts as parts
import pytest
from pickle_parts import SPELLINGS, STOP, Raw, call, glob, proto

if TYPE_CHECKING:
    from pathlib import Path


class Gadget(NamedTuple):
    """A callable that runs what it is given; ``args`` may name the marker (``M``) or hold code that creates it."""

    source: str
    module: str
    name: str
    args: tuple[Any, ...] = ()


M = "@MARKER@"
SHELL = f"touch {M}"
CODE = f"open({M!r}, 'w').close()"
TOUCH = ["touch", M]

GADGETS = [
    Gadget("plain", "os", "system", (SHELL,)),
    Gadget("plain", "posix", "system", (SHELL,)),
    Gadget("plain", "subprocess", "call", (TOUCH,)),
    Gadget("plain", "subprocess", "Popen", (TOUCH,)),
    Gadget("plain", "subprocess", "getoutput", (SHELL,)),
    Gadget("plain", "builtins", "eval", (CODE,)),
    Gadget("plain", "builtins", "exec", (CODE,)),
    Gadget("plain", "__builtin__", "execfile", (M,)),
    Gadget("plain", "builtins", "open", (M, "w")),
    Gadget("plain", "io", "FileIO", (M, "w")),
    Gadget("plain", "_io", "open", (M, "w")),
    Gadget("plain", "codecs", "open", (M, "w")),
    Gadget("plain", "os", "mkdir", (M,)),
    Gadget("plain", "os", "popen", (SHELL,)),
    Gadget("plain", "nt", "system", (SHELL,)),
    Gadget("plain", "commands", "getoutput", (SHELL,)),
    Gadget("CVE-2025-1716", "pip", "main", (["--version"],)),
    Gadget("CVE-2025-1716", "pip._internal", "main", (["--version"],)),
    Gadget("CVE-2025-10157", "asyncio.unix_events", "_UnixSubprocessTransport._start", (SHELL,)),
    Gadget("CVE-2025-10157", "asyncio", "create_subprocess_shell", (SHELL,)),
    Gadget("CVE-2025-10157", "asyncio.base_subprocess", "BaseSubprocessTransport", (SHELL,)),
    Gadget("GHSA-vvpj-8cmc-gx39", "pkgutil", "resolve_name", ("os:system",)),
    Gadget("GHSA-955r-x9j8-7rhh", "operator", "methodcaller", ("system", SHELL)),
    Gadget("GHSA-46h3-79wf-xr6c", "_operator", "methodcaller", ("system", SHELL)),
    Gadget("GHSA-46h3-79wf-xr6c", "_operator", "attrgetter", ("system",)),
    Gadget("GHSA-955r-x9j8-7rhh", "operator", "attrgetter", ("system",)),
    Gadget("GHSA-955r-x9j8-7rhh", "operator", "itemgetter", ("system",)),
    Gadget("GHSA-84r2-jw7c-4r5q", "pydoc", "locate", ("os.system",)),
    Gadget("GHSA-5hvc-6wx8-mvv4", "pydoc", "pipepager", ("", SHELL)),
    Gadget("GHSA-m273-6v24-x4m4", "distutils.file_util", "write_file", (M, ["x"])),
    Gadget("GHSA-r8g5-cgf2-4m4m", "numpy.f2py.crackfortran", "getlincoef", (CODE, [])),
    Gadget("GHSA-r8g5-cgf2-4m4m", "numpy.f2py.crackfortran", "myeval", (CODE,)),
    Gadget("denylist gap", "numpy.testing._private.utils", "runstring", (CODE, {})),
    Gadget("denylist gap", "numpy.testing", "runstring", (CODE, {})),
    Gadget("GHSA-4675-36f9-wf6r", "ctypes", "CDLL", ("libc.so.6",)),
    Gadget("GHSA-4675-36f9-wf6r", "ctypes", "cdll.LoadLibrary", ("libc.so.6",)),
    Gadget("GHSA-vqmv-47xg-9wpr", "pty", "spawn", (TOUCH,)),
    Gadget("GHSA-r7v6-mfhq-g3m2", "pty", "spawn", (TOUCH,)),
    Gadget("denylist gap", "cProfile", "run", (CODE,)),
    Gadget("denylist gap", "cProfile", "runctx", (CODE, {}, {})),
    Gadget("denylist gap", "profile", "run", (CODE,)),
    Gadget("denylist gap", "profile", "Profile.run", (CODE,)),
    Gadget("denylist gap", "trace", "Trace.run", (CODE,)),
    Gadget("denylist gap", "doctest", "debug_script", (CODE,)),
    Gadget("denylist gap", "code", "InteractiveInterpreter", ()),
    Gadget("denylist gap", "code", "interact", ()),
    Gadget("denylist gap", "ensurepip", "_run_pip", (["--version"],)),
    Gadget("denylist gap", "lib2to3.pgen2.pgen", "ParserGenerator", (M,)),
    Gadget("denylist gap", "lib2to3.pgen2.grammar", "Grammar.loads", (b"N.",)),
    Gadget("denylist gap", "idlelib.autocomplete", "AutoComplete.get_entity", (CODE,)),
    Gadget("denylist gap", "idlelib.calltip", "get_entity", (CODE,)),
    Gadget("denylist gap", "idlelib.pyshell", "ModifiedInterpreter.runcode", (CODE,)),
    Gadget("denylist gap", "idlelib.debugobj", "ObjectTreeItem.SetText", (CODE,)),
    Gadget("denylist gap", "timeit", "timeit", (CODE,)),
    Gadget("denylist gap", "timeit", "main", (["-n1", "-r1", CODE],)),
    Gadget("GHSA-wfq2-52f7-7qvj", "runpy", "run_path", (M,)),
    Gadget("GHSA-wfq2-52f7-7qvj", "runpy", "_run_code", (CODE, {})),
    Gadget("denylist gap", "uuid", "_get_command_stdout", ("touch", M)),
    Gadget("denylist gap", "imaplib", "IMAP4_stream", (SHELL,)),
    Gadget("denylist gap", "_pyrepl.pager", "pipe_pager", ("", SHELL)),
    Gadget("denylist gap", "test.support.script_helper", "assert_python_ok", ("-c", CODE)),
    Gadget("denylist gap", "test.support", "run_code", (CODE,)),
    Gadget("denylist gap", "_osx_support", "_read_output", (SHELL,)),
    Gadget("denylist gap", "_osx_support", "_find_build_tool", (f"x; {SHELL}",)),
    Gadget("GHSA-5hwf-rc88-82xm", "_aix_support", "_read_cmd_output", (SHELL,)),
    Gadget("denylist gap", "imp", "load_source", ("x", M)),
    Gadget("GHSA-6ggj-6f2q-f7mx", "_interpreters", "run_string", (0, CODE)),
    Gadget("GHSA-6ggj-6f2q-f7mx", "_xxsubinterpreters", "run_string", (0, CODE)),
    Gadget("GHSA-565g-hwwr-4pp3", "marshal", "loads", (b"N",)),
    Gadget("GHSA-565g-hwwr-4pp3", "types", "FunctionType", ()),
    Gadget("GHSA-565g-hwwr-4pp3", "types", "CodeType", ()),
    Gadget("denylist gap", "importlib", "import_module", ("antigravity",)),
    Gadget("denylist gap", "importlib._bootstrap", "_gcd_import", ("antigravity",)),
    Gadget("denylist gap", "builtins", "__import__", ("antigravity",)),
    Gadget("denylist gap", "multiprocessing.util", "spawnv_passfds", (b"/bin/sh", ["sh", "-c", SHELL], ())),
    Gadget("denylist gap", "multiprocessing.popen_spawn_posix", "Popen", (M,)),
    Gadget("denylist gap", "torch.utils.bottleneck.__main__", "run_cprofile", (CODE, {})),
    Gadget("denylist gap", "torch._dynamo.guards", "GuardBuilder.get", (CODE,)),
    Gadget("denylist gap", "torch.utils.collect_env", "run", (SHELL,)),
    Gadget("denylist gap", "torch.jit.unsupported_tensor_ops", "execWrapper", (CODE, {}, {})),
    Gadget("denylist gap", "torch.hub", "load", (M,)),
    Gadget("code by value", "dill._dill", "_create_function", ()),
    Gadget("code by value", "dill._dill", "_import_module", ("os",)),
    Gadget("code by value", "cloudpickle.cloudpickle", "_make_function", ()),
    Gadget("code by value", "cloudpickle", "_make_function", ()),
    Gadget("CVE-2025-54412", "skops.io._sklearn", "OperatorFuncNode", ("os",)),
    Gadget("CVE-2025-54413", "skops.io._general", "MethodNode", ("os.system",)),
    Gadget("arXiv 2508.19774", "logging.config", "_resolve", ("os.system",)),
    Gadget("arXiv 2508.19774", "logging", "FileHandler", (M,)),
    Gadget("arXiv 2508.19774", "site", "addpackage", (M, "x.pth", None)),
    Gadget("arXiv 2508.19774", "bdb", "Bdb.run", (CODE,)),
    Gadget("arXiv 2508.19774", "pdb", "run", (CODE,)),
    Gadget("arXiv 2508.19774", "cgitb", "lookup", (CODE,)),
    Gadget("arXiv 2508.19774", "collections", "namedtuple", ("x", "y")),
    Gadget("arXiv 2508.19774", "functools", "reduce", ()),
    Gadget("arXiv 2508.19774", "functools", "partial", ()),
    Gadget("arXiv 2508.19774", "builtins", "map", ()),
    Gadget("arXiv 2508.19774", "builtins", "filter", ()),
    Gadget("arXiv 2508.19774", "builtins", "getattr", ()),
    Gadget("arXiv 2508.19774", "builtins", "setattr", ()),
    Gadget("arXiv 2508.19774", "builtins", "compile", (CODE, "x", "exec")),
    Gadget("arXiv 2508.19774", "builtins", "print", (1,)),
    Gadget("arXiv 2508.19774", "typing", "ForwardRef._evaluate", (CODE,)),
    Gadget("arXiv 2508.19774", "typing", "get_type_hints", ()),
    Gadget("arXiv 2508.19774", "pickle", "loads", (b"N.",)),
    Gadget("arXiv 2508.19774", "_pickle", "loads", (b"N.",)),
    Gadget("arXiv 2508.19774", "pickle", "Unpickler", ()),
    Gadget("arXiv 2508.19774", "copyreg", "add_extension", ("os", "system", 1)),
    Gadget("arXiv 2508.19774", "copyreg", "pickle", ()),
    Gadget("arXiv 2508.19774", "sqlite3", "connect", (M,)),
    Gadget("arXiv 2508.19774", "gzip", "open", (M, "wb")),
    Gadget("arXiv 2508.19774", "bz2", "open", (M, "wb")),
    Gadget("arXiv 2508.19774", "lzma", "open", (M, "wb")),
    Gadget("arXiv 2508.19774", "zipfile", "ZipFile", (M, "w")),
    Gadget("arXiv 2508.19774", "tarfile", "open", (M, "w")),
    Gadget("arXiv 2508.19774", "shelve", "open", (M,)),
    Gadget("arXiv 2508.19774", "dbm.dumb", "open", (M,)),
    Gadget("arXiv 2508.19774", "tempfile", "NamedTemporaryFile", ()),
    Gadget("arXiv 2508.19774", "shutil", "copyfile", ("/etc/hostname", M)),
    Gadget("arXiv 2508.19774", "pathlib", "Path.write_text", (M, "x")),
    Gadget("arXiv 2508.19774", "pathlib", "Path.touch", (M,)),
    Gadget("arXiv 2508.19774", "webbrowser", "open", ("http://127.0.0.1:9",)),
    Gadget("arXiv 2508.19774", "antigravity", "geohash", ()),
    Gadget("arXiv 2508.19774", "socket", "create_connection", (("127.0.0.1", 9),)),
    Gadget("arXiv 2508.19774", "urllib.request", "urlretrieve", ("file:///etc/hostname", M)),
    Gadget("arXiv 2508.19774", "atexit", "register", ()),
    Gadget("arXiv 2508.19774", "weakref", "finalize", ()),
    Gadget("arXiv 2508.19774", "threading", "Thread", ()),
    Gadget("arXiv 2508.19774", "signal", "signal", ()),
    Gadget("arXiv 2508.19774", "signal", "raise_signal", (15,)),
    Gadget("arXiv 2508.19774", "sys", "exit", (0,)),
    Gadget("arXiv 2508.19774", "os", "_exit", (0,)),
    Gadget("arXiv 2508.19774", "gc", "get_objects", ()),
    Gadget("arXiv 2508.19774", "sys", "_getframe", ()),
    Gadget("arXiv 2508.19774", "faulthandler", "_sigsegv", ()),
    Gadget("arXiv 2508.19774", "ctypes", "string_at", (0,)),
    Gadget("arXiv 2508.19774", "zipimport", "zipimporter", (M,)),
    Gadget("arXiv 2508.19774", "py_compile", "compile", (M,)),
    Gadget("arXiv 2508.19774", "unittest.mock", "_importer", ("antigravity",)),
    Gadget("arXiv 2508.19774", "unittest.loader", "TestLoader.discover", (M,)),
    Gadget("arXiv 2508.19774", "xmlrpc.client", "ServerProxy", ("http://127.0.0.1:9",)),
    Gadget("arXiv 2508.19774", "string", "Formatter.format", ("{0.__class__}", 1)),
    Gadget("arXiv 2508.19774", "warnings", "simplefilter", ("ignore",)),
    Gadget("numpy", "numpy", "load", (M,)),
    Gadget("numpy", "numpy", "fromfile", ("/etc/hostname",)),
    Gadget("numpy", "numpy", "genfromtxt", ("/etc/hostname",)),
    Gadget("numpy", "numpy", "save", (M, [1])),
    Gadget("numpy", "numpy", "savetxt", (M, [1])),
    Gadget("numpy", "numpy", "memmap", (M, "u1", "w+", 0, 8)),
    Gadget("numpy", "numpy", "vectorize", ()),
    Gadget("numpy", "numpy", "frompyfunc", ()),
    Gadget("numpy", "numpy", "piecewise", ()),
    Gadget("numpy", "numpy", "zeros", (1,)),
    Gadget("numpy", "numpy", "ndarray", (1,)),
    Gadget("numpy", "numpy.lib.npyio", "DataSource", (M,)),
    Gadget("numpy", "numpy.ma.core", "MaskedArray.tofile", (M,)),
    Gadget("pandas", "pandas", "read_pickle", (M,)),
    Gadget("pandas", "pandas", "eval", (CODE,)),
    Gadget("pandas", "pandas.core.frame", "DataFrame.to_pickle", (M,)),
    Gadget("pandas", "pandas.core.frame", "DataFrame.query", (CODE,)),
    Gadget("joblib", "joblib", "load", (M,)),
    Gadget("joblib", "joblib.numpy_pickle", "load", (M,)),
    Gadget("joblib", "joblib.parallel", "BatchedCalls.__call__", ()),
    Gadget("scipy", "scipy.io", "loadmat", (M,)),
    Gadget("scipy", "scipy.io", "savemat", (M, {})),
    Gadget("sklearn", "sklearn.datasets", "load_files", (M,)),
    Gadget("sklearn", "sklearn.utils._testing", "assert_run_python_script_without_output", (CODE,)),
]

# Gadgets that are expected to fire under plain pickle on any Linux with CPython 3.11 and newer.
FIRING = {
    "os.system", "posix.system", "subprocess.call", "subprocess.Popen", "subprocess.getoutput", "builtins.eval",
    "builtins.exec", "builtins.open", "io.FileIO", "os.mkdir", "cProfile.run", "profile.run", "timeit.timeit",
    "uuid._get_command_stdout", "pty.spawn", "_osx_support._read_output",
}  # fmt: skip


def filled(value: Any, marker: Path) -> Any:
    """``value`` with the marker's path in the place of :data:`M`."""
    if isinstance(value, str):
        return value.replace(M, str(marker))
    if isinstance(value, (list, tuple)):
        return type(value)(filled(item, marker) for item in value)
    return value


def ident(gadget: Gadget) -> str:
    return f"{gadget.module}.{gadget.name}"


def stream(gadget: Gadget, marker: Path, spelling: str = "STACK_GLOBAL") -> bytes:
    args = tuple(filled(arg, marker) for arg in gadget.args)
    return SPELLINGS[spelling](gadget.module, gadget.name, *args)


@pytest.mark.parametrize("gadget", GADGETS, ids=ident)
def test_gadget_is_refused(gadget: Gadget, marker: Path, refused: Any) -> None:
    """No gadget is imported or called, in the two spellings that every tool writes; under every pack too."""
    import safeload
    from safeload.policy.packs import pack_names

    for spelling in ("protocol 2", "STACK_GLOBAL"):
        refused(stream(gadget, marker, spelling), module=gadget.module)
    with pytest.raises(safeload.SafeloadError):
        safeload.loads(stream(gadget, marker), policy=list(pack_names()))
    assert not marker.exists()


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "gadget",
    [gadget for gadget in GADGETS if ident(gadget) in ("posix.system", "pty.spawn", "builtins.eval")],
    ids=ident,
)
def test_gadget_in_every_spelling(gadget: Gadget, spelling: str, marker: Path, refused: Any) -> None:
    """The same call through every opcode that can make it, hidden, popped, repeated and behind broken data."""
    refused(stream(gadget, marker, spelling), module=gadget.module, stream=int(spelling == "second pickle"))


# Array classes and getattr are named by honest pickles; the policy lets them be referenced, but not called at will.
REFERENCED = {"builtins.getattr", "numpy.memmap", "numpy.ndarray"}


@pytest.mark.parametrize("gadget", [gadget for gadget in GADGETS if ident(gadget) not in REFERENCED], ids=ident)
def test_gadget_as_data(gadget: Gadget, marker: Path, refused: Any) -> None:
    """An import alone runs a module's code, so a name that is not called is refused too."""
    refused(proto(2) + glob(gadget.module, gadget.name) + STOP, module=gadget.module)
    refused(proto(2) + b"](" + glob(gadget.module, gadget.name) + b"0Ne" + STOP, module=gadget.module)


CHAINS = {
    "pkgutil.resolve_name, GHSA-vvpj-8cmc-gx39": lambda m: call(call(glob("pkgutil", "resolve_name"), "os:system"), f"touch {m}"),
    "pydoc.locate, GHSA-84r2-jw7c-4r5q": lambda m: call(call(glob("pydoc", "locate"), "os.system"), f"touch {m}"),
    "methodcaller, GHSA-955r-x9j8-7rhh": lambda m: call(
        call(glob("operator", "methodcaller"), "system", f"touch {m}"), Raw(call(glob("importlib", "import_module"), "os"))
    ),
    "attrgetter, GHSA-46h3-79wf-xr6c": lambda m: call(
        call(call(glob("_operator", "attrgetter"), "system"), Raw(call(glob("importlib", "import_module"), "os"))), f"touch {m}"
    ),
    "marshal and FunctionType, GHSA-565g-hwwr-4pp3": lambda m: call(
        call(
            glob("types", "FunctionType"),
            Raw(call(glob("builtins", "compile"), f"open({str(m)!r}, 'w')", "x", "exec")),
            Raw(call(glob("builtins", "globals"))),
        )
    ),
    "getattr of a module": lambda m: call(
        call(glob("builtins", "getattr"), Raw(call(glob("builtins", "__import__"), "os")), "system"), f"touch {m}"
    ),
    "partial": lambda m: call(call(glob("functools", "partial"), Raw(glob("os", "system")), f"touch {m}")),
    "map and list": lambda m: call(
        glob("builtins", "list"), Raw(call(glob("builtins", "map"), Raw(glob("os", "system")), [f"touch {m}"]))
    ),
    "filter and tuple": lambda m: call(
        glob("builtins", "tuple"), Raw(call(glob("builtins", "filter"), Raw(glob("os", "system")), [f"touch {m}"]))
    ),
    "dict.fromkeys through a dotted name": lambda m: call(glob("builtins", "any"), Raw(
        call(glob("builtins", "map"), Raw(glob("builtins", "eval")), [f"open({str(m)!r}, 'w')"]))),
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS)
def test_chain_of_calls(chain: str, marker: Path, refused: Any) -> None:
    """Gadgets that make the callable first: each import is refused, and so is calling what a call returned."""
    refused(proto(2) + CHAINS[chain](marker) + STOP)


_PLAIN = """
import os, pickle, sys, warnings
warnings.simplefilter("ignore")
for line in sys.stdin:
    name, marker, data = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        try:
            result = pickle.loads(bytes.fromhex(data))
            if hasattr(result, "wait"):
                result.wait()
        except BaseException:
            pass
        os._exit(0)
    os.waitpid(child, 0)
    if os.path.exists(marker):
        print(name, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each payload runs in a fork")
def test_payloads_are_real(tmp_path: Path) -> None:
    """Under plain ``pickle`` the payloads fire: what the tests above refuse is not harmless by a mistake in them."""
    lines = []
    for index, gadget in enumerate(GADGETS):
        if ident(gadget) in FIRING:
            marker = tmp_path / f"gadget{index}"
            lines.append(f"{ident(gadget)}\t{marker}\t{stream(gadget, marker).hex()}")
    for index, (name, chain) in enumerate(CHAINS.items()):
        marker = tmp_path / f"chain{index}"
        lines.append(f"{name}\t{marker}\t{(proto(2) + chain(marker) + STOP).hex()}")
    for index, spelling in enumerate(SPELLINGS):
        marker = tmp_path / f"spelling{index}"
        data = SPELLINGS[spelling]("posix", "system", f"touch {marker}")
        lines.append(f"{spelling}\t{marker}\t{data.hex()}")
    done = subprocess.run(
        [sys.executable, "-c", _PLAIN],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    fired = set(done.stdout.splitlines())
    assert fired >= FIRING
    assert fired >= set(CHAINS)
    # These are refused by plain pickle too, or only arm a trap, or need another load to fire.
    silent = {"NEWOBJ", "NEWOBJ_EX", "through __newobj__", "through _reconstructor", "as a default factory",
              "second pickle", "frame too long", "frame cuts an opcode"}  # fmt: skip
    assert set(SPELLINGS) - fired <= silent


def test_exceptions_as_gadgets(marker: Path, refused: Any) -> None:
    """Exception-Oriented Programming, arXiv 2508.19774: the payload runs, then an exception hides it from a tracer."""
    payload = call(glob("posix", "system"), f"touch {marker}")
    for end in (
        b"0}b.",
        b"0Nb.",
        b"0" + parts.get(999) + STOP,
        b"0\x82\x01.",
        b"0\x97.",
        b"0\x81.",
        b"0R.",
        b"0]N\x93.",
        b"0Pid\n.",
    ):
        refused(proto(2) + payload + end, module="no module")


def test_protocol_5_of_a_real_reduce(marker: Path, refused: Any) -> None:
    """The textbook attack, as ``pickle.dumps`` itself writes it, in every protocol."""

    class Exploit:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {marker}",)

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        error = refused(pickle.dumps(Exploit(), protocol))
        assert error.report.verdict == "malicious"
        assert "posix.system" in error.report.globals
