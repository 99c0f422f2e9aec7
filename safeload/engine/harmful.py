"""Which globals are evidence of harm: used to *name* what was refused, never to decide what may load.

The policy decides, by allowlist. A refused global that is on this list makes the verdict ``malicious`` instead of
``unknown``, so that a person can tell an attack from a library without a pack. Sources: the public advisories on
pickle scanners and CPython's own list of modules that start processes, open files, or evaluate code. Rule: nothing on
this list may be on the way of an artifact that does load; its absence from the list proves nothing. And a name is on it for what the
name does: data classes and exceptions of a module that opens sockets are saved by people who cache cookies and results of tasks.
"""

from __future__ import annotations

import re

__all__ = ["is_harmful", "leads_to_harm"]

# What a module has is harmful, but for _HARMLESS: functions that start processes, open files and sockets, or evaluate code.
_MODULES = frozenset(
    """
    _aix_support _interpreters _osx_support _posixsubprocess _pyrepl _testcapi _xxsubinterpreters antigravity aiohttp
     bdb cProfile cgi codeop commands compileall distutils doctest ensurepip
    fileinput ftplib http httplib idlelib imaplib imp importlib lib2to3 mailcap marshal
     nntplib nt ntpath os os.path pdb pip pipes pkgutil poplib popen2 posix posixpath pty py_compile pydoc
    requests rlcompleter runpy setuptools shutil signal smtplib socket socketserver
    subprocess sys sysconfig tarfile telnetlib test.support test.libregrtest timeit tracemalloc turtledemo urllib urllib2
    urllib3 venv webbrowser winreg wsgiref xmlrpc zipapp zipfile zipimport
    asyncio ctypes _ctypes numpy.f2py numpy.testing numpy.distutils torch.utils.bottleneck torch.utils.collect_env torch._dynamo torch._inductor torch.hub
    torch.jit.unsupported_tensor_ops torch.utils.cpp_extension cffi pexpect
    torch.distributed.rpc torch.distributed.run torch.distributed.launch torch.distributed.launcher torch.distributed.elastic
    torch.distributed.nn torch.distributed.distributed_c10d torch.distributed.examples torch.distributed.benchmarks torch.distributed.argparse_util
    paramiko fabric invoke sh plumbum
    """.split()
)

_NAMES = frozenset(
    """
    builtins.eval builtins.exec builtins.execfile builtins.compile builtins.open builtins.__import__
    builtins.setattr builtins.delattr builtins.globals builtins.locals builtins.input builtins.breakpoint
     builtins.exit builtins.quit builtins.apply builtins.reduce builtins.file
    builtins.help builtins.__build_class__
      operator.methodcaller operator.call
    _operator.methodcaller _operator.call functools.reduce _functools.reduce

    io.open io.open_code io.FileIO _io.open _io.open_code _io.FileIO codecs.open pathlib.Path.read_text
    uuid._get_command_stdout uuid._popen pickle.loads pickle.load pickle.Unpickler _pickle.loads _pickle.load _pickle.Unpickler dill.loads
    cloudpickle.loads numpy.load pandas.read_pickle torch.load copyreg.add_extension copyreg.__newobj__.__globals__
    logging.config.dictConfig logging.config._resolve logging.config._install_loggers shelve.open dbm.open
    numpy.loadtxt numpy.fromfile numpy.genfromtxt numpy.memmap numpy.savetxt numpy.save
    pandas.eval pandas.core.computation.eval.eval torch.jit.load torch.utils._config_module.ConfigModule.load_config
    pandas.io.pickle.read_pickle torch.serialization.load joblib.load joblib.numpy_pickle.load yaml.load yaml.unsafe_load
    multiprocessing.util.spawnv_passfds ssl.get_server_certificate psutil.Popen site.execsitecustomize site.execusercustomize
    sqlite3.connect _sqlite3.connect _thread.start_new_thread _thread.start_new atexit.register IPython.start_ipython
    numexpr.evaluate sympy.sympify sympy.parsing.sympy_parser.eval_expr torch.utils._config_module.load_config
    linecache.getlines tempfile.mkstemp tempfile.NamedTemporaryFile tempfile.TemporaryFile gzip.open gzip.GzipFile bz2.open bz2.BZ2File
    lzma.open lzma.LZMAFile logging.FileHandler dbm.dumb.open cgitb.lookup weakref.finalize threading.Thread site.addpackage
    multiprocessing.popen_spawn_posix.Popen unittest.mock._importer unittest.loader.TestLoader.discover faulthandler._sigsegv
    pandas.core.frame.DataFrame.query pandas.core.frame.DataFrame.to_pickle numpy.lib.npyio.DataSource numpy.ma.core.MaskedArray.tofile
    sklearn.utils._testing.assert_run_python_script_without_output scipy.io.loadmat scipy.io.savemat sklearn.datasets.load_files
    typing.ForwardRef._evaluate copyreg.pickle types.FunctionType types.CodeType types.LambdaType
    pathlib.Path.write_text pathlib.Path.write_bytes pathlib.Path.read_bytes pathlib.Path.open pathlib.Path.touch pathlib.Path.unlink
    code.interact code.compile_command code.InteractiveInterpreter code.InteractiveConsole
    profile.run profile.runctx profile.Profile trace.Trace trace.main
    torch.distributed.init_process_group torch.distributed.TCPStore torch.distributed.FileStore torch.distributed.HashStore
    torch.distributed.PrefixStore torch.distributed.broadcast_object_list torch.distributed.all_gather_object
    torch.distributed.gather_object torch.distributed.scatter_object_list torch.distributed.recv_object_list
    torch.distributed.send_object_list torch.distributed.checkpoint.load torch.distributed.checkpoint.load_state_dict
    torch.distributed.checkpoint.save torch.distributed.checkpoint.FileSystemReader torch.distributed.checkpoint.FileSystemWriter
    """.split()
)

# Classes all of whose methods are harmful.
_CLASSES = (
    "profile.Profile",
    "trace.Trace",
    "code.InteractiveInterpreter",
    "code.InteractiveConsole",
    "pathlib.Path.open",
)

# Data classes, enumerations and pure functions of the modules above, each with all below it.
_HARMLESS = frozenset(
    """
    http.cookies http.cookiejar http.HTTPStatus http.HTTPMethod http.client.HTTPMessage
    requests.cookies requests.structures requests.exceptions requests.models requests.sessions.Session requests.Session requests.Response
    requests.Request requests.PreparedRequest requests.adapters.HTTPAdapter requests.auth requests.hooks.dispatch_hook
    requests.hooks.default_hooks urllib.error urllib.parse urllib3.exceptions urllib3._collections urllib3.util.retry urllib3.util.timeout
    urllib3.util.url urllib3.fields aiohttp.client_exceptions aiohttp.http_exceptions aiohttp.client_reqrep.RequestInfo
    aiohttp.client_reqrep.ContentDisposition aiohttp.helpers.BasicAuth aiohttp.cookiejar asyncio.exceptions
    subprocess.CalledProcessError subprocess.CompletedProcess subprocess.TimeoutExpired
    signal.Signals signal.Handlers signal.Sigmasks socket.timeout socket.gaierror socket.herror socket.AddressFamily socket.SocketKind
    os.stat_result os.statvfs_result os.terminal_size os.times_result os.uname_result os.sched_param os.PathLike
    posix.stat_result posix.statvfs_result posix.terminal_size posix.times_result posix.uname_result posix.sched_param nt.stat_result
    sys.float_info sys.int_info sys.version_info sys.flags sys.hash_info sys.thread_info
    zipfile.ZipInfo zipfile.BadZipFile tarfile.TarInfo doctest.DocTest doctest.Example
    tracemalloc.Snapshot tracemalloc.Statistic tracemalloc.StatisticDiff tracemalloc.Trace tracemalloc.Traceback tracemalloc.Frame
    tracemalloc._Traces ftplib.error_perm ftplib.error_temp ftplib.error_reply ftplib.error_proto poplib.error_proto
    smtplib.SMTPServerDisconnected smtplib.SMTPRecipientsRefused smtplib.SMTPSenderRefused xmlrpc.client.Fault xmlrpc.client.DateTime
    xmlrpc.client.Binary http.client.IncompleteRead http.client.RemoteDisconnected http.client.BadStatusLine http.client.InvalidURL
    distutils.version wsgiref.headers importlib.machinery.ModuleSpec bdb.BdbQuit
    ctypes.c_bool ctypes.c_byte ctypes.c_char ctypes.c_double ctypes.c_float ctypes.c_int ctypes.c_int8 ctypes.c_int16 ctypes.c_int32
    ctypes.c_int64 ctypes.c_long ctypes.c_longlong ctypes.c_longdouble ctypes.c_short ctypes.c_size_t ctypes.c_ssize_t ctypes.c_ubyte
    ctypes.c_uint ctypes.c_uint8 ctypes.c_uint16 ctypes.c_uint32 ctypes.c_uint64 ctypes.c_ulong ctypes.c_ulonglong ctypes.c_ushort
    ctypes.c_wchar _ctypes._unpickle torch.distributed.distributed_c10d.ProcessGroup torch.distributed.distributed_c10d.ReduceOp
    torch.distributed.distributed_c10d.Backend
    """.split()
)
# Methods of those that open a file or a connection.
_ACTING = frozenset("load save revert send request get post put delete head patch _really_load".split())
_ACTING_ANYWHERE = frozenset(
    "modules execv execve spawnv spawnl fork import_module load_module exec_module __init_subclass__".split()
)
# A class of exceptions, by the name that they have everywhere: made with its arguments, it does nothing.
_EXCEPTION = re.compile(r"_?[A-Z]\w*(?:Error|Exception|Warning)")

# Attributes that are modules or namespaces: through another module's global (numpy.__builtins__, logging.os) they are the same harm.
_NAMESPACES = frozenset(
    """
    __builtins__ __globals__ __loader__ __spec__ __subclasses__ __import__ os sys subprocess posix nt builtins importlib shutil socket
    ctypes runpy pty marshal
    """.split()
)

# Attributes through which any object leads to the interpreter.
_PATHS = frozenset(
    """
    __globals__ __builtins__ __subclasses__ __bases__ __base__ __mro__ __class__ __code__ __closure__ __func__ __self__ __init__
    __import__ __loader__ __spec__ __dict__ __getattribute__ __setattr__ __reduce__ __reduce_ex__ system popen exec eval
    """.split()
)

# Of a name with hundreds of parts, further ones decide nothing.
_MOST_PARTS = max(name.count(".") for name in _MODULES | _HARMLESS) + 1


def is_harmful(name: str) -> bool:
    """Whether the global ``name`` (``module.attr`` or ``module:outer.inner``) is evidence of harm."""
    plain = name.replace(":", ".", 1)
    if plain in _NAMES or (":" in name and any(plain.startswith(f"{known}.") for known in _CLASSES)):
        return True
    module, _, path = name.partition(":") if ":" in name else name.rpartition(".")
    parts = module.split(".", _MOST_PARTS)
    if path.rpartition(".")[2] in _NAMESPACES:
        return True
    if ":" in name and not (_PATHS | _NAMESPACES).isdisjoint(path.split(".")):
        return True
    if not any(".".join(parts[: i + 1]) in _MODULES for i in range(min(len(parts), _MOST_PARTS))):
        return False
    return not _is_data(plain.split("."))


def _is_data(parts: list[str]) -> bool:
    if any(".".join(parts[: i + 1]) in _HARMLESS for i in range(min(len(parts), _MOST_PARTS))):
        return parts[-1] not in _ACTING
    return _EXCEPTION.fullmatch(parts[-1]) is not None


def leads_to_harm(name: str, attribute: str) -> bool:
    """Whether ``attribute`` of the global ``name`` (``""``: of what a call returned) is evidence of harm."""
    if attribute in _PATHS or attribute in _NAMESPACES or attribute in _ACTING_ANYWHERE:
        return True
    return bool(name) and is_harmful(f"{name}.{attribute}")
