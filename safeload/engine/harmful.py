"""Which globals are evidence of harm: used to *name* what was refused, never to decide what may load.

The policy decides, by allowlist. A refused global that is on this list makes the verdict ``malicious`` instead of
``unknown``, so that a person can tell an attack from a library without a pack. Sources: the public advisories on
pickle scanners and CPython's own list of modules that start processes, open files, or evaluate code. Rule: nothing on
this list may be on the way of an artifact that does load; its absence from the list proves nothing.
"""

from __future__ import annotations

__all__ = ["is_harmful"]

# Every use of the module is harmful: there is no reason for data to name it.
_MODULES = frozenset(
    """
    _aix_support _interpreters _osx_support _posixsubprocess _pyrepl _testcapi _xxsubinterpreters antigravity aiohttp
     bdb cProfile cgi code codeop commands compileall distutils doctest ensurepip
    fileinput ftplib http httplib idlelib imaplib imp importlib lib2to3 mailcap marshal
     nntplib nt ntpath os os.path pdb pip pipes pkgutil poplib popen2 posix posixpath profile pty py_compile pydoc
    requests rlcompleter runpy setuptools shutil signal smtplib socket socketserver
    subprocess sys sysconfig tarfile telnetlib test timeit tracemalloc turtledemo urllib urllib2
    urllib3 venv webbrowser winreg wsgiref xmlrpc zipapp zipfile zipimport
    asyncio ctypes _ctypes trace numpy.f2py numpy.testing numpy.distutils torch.utils.bottleneck torch.utils.collect_env torch._dynamo torch._inductor torch.hub
    torch.jit.unsupported_tensor_ops torch.utils.cpp_extension torch.distributed cffi pexpect paramiko fabric invoke sh plumbum
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
    linecache.getlines tempfile.mkstemp
    """.split()
)

# Attributes through which any object leads to the interpreter.
_PATHS = frozenset(
    """
    __globals__ __builtins__ __subclasses__ __bases__ __base__ __mro__ __class__ __code__ __closure__ __func__ __self__ __init__
    __import__ __loader__ __spec__ __dict__ __getattribute__ __setattr__ __reduce__ __reduce_ex__ system popen exec eval
    """.split()
)


def is_harmful(name: str) -> bool:
    """Whether the global ``name`` (``module.attr`` or ``module:outer.inner``) is evidence of harm."""
    plain = name.replace(":", ".", 1)
    if plain in _NAMES:
        return True
    module, _, path = name.partition(":") if ":" in name else name.rpartition(".")
    parts = module.split(".")
    if any(".".join(parts[: i + 1]) in _MODULES for i in range(len(parts))):
        return True
    return ":" in name and not _PATHS.isdisjoint(path.split("."))
