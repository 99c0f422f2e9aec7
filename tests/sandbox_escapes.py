"""Attempts to get out of the jail, and the program that makes them: ``python sandbox_escapes.py LEVEL`` prints what came of each.

A payload that achieves something sets ``result`` to a text that begins with ``ESCAPED``. Every payload runs as code of a hostile pickle,
past the judgement that would have refused it; what it does on the machine is at most a marker file, on the network loopback.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
import sys
import tempfile
from pathlib import Path

KILLED, DENIED, LIMIT, TIME, CRASH, CHANNEL = "violation", "raised", "limit", "timeout", "ended", "violation"

HEAD = """
import os, sys, ctypes, errno
C = ctypes.CDLL(None, use_errno=True); C.syscall.restype = ctypes.c_long
def call(name, *arguments):
    got = C.syscall(ctypes.c_long(N[name]), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if got < 0: raise OSError(ctypes.get_errno(), name)
    return 'ESCAPED %s gave %d' % (name, got)
"""

# name: (code, what has to come of it)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    # files
    "read a file": ("open('/etc/passwd').read(); result = 'ESCAPED'", (DENIED,)),
    "write a file": ("open(MARK, 'w').write('x'); result = 'ESCAPED'", (DENIED,)),
    "list a directory": ("result = 'ESCAPED %r' % os.listdir('/')", (DENIED,)),
    "look at a path": ("result = 'ESCAPED %r' % os.stat('/etc/shadow')", (DENIED,)),
    "make a directory": ("os.mkdir(MARK); result = 'ESCAPED'", (DENIED,)),
    "change a mode": ("os.chmod('/tmp', 0o777); result = 'ESCAPED'", (DENIED,)),
    "remove a file": ("os.unlink(KEPT); result = 'ESCAPED'", (DENIED,)),
    "rename a file": ("os.rename(KEPT, MARK); result = 'ESCAPED'", (DENIED,)),
    "make a link": ("os.symlink('/', MARK); result = 'ESCAPED'", (DENIED,)),
    "truncate a file": ("os.truncate(KEPT, 0); result = 'ESCAPED'", (DENIED,)),
    "open by handle": ("result = call('open_by_handle_at', -100, ctypes.create_string_buffer(64), 0)", (KILLED,)),
    "openat2": ("result = call('openat2', -100, b'/etc/passwd', ctypes.create_string_buffer(24), 24)", (DENIED,)),
    "change the directory": ("os.chdir('/'); result = 'ESCAPED'", (DENIED,)),
    "chroot": ("os.chroot('/'); result = 'ESCAPED'", (KILLED,)),
    "a memory file": ("result = 'ESCAPED %d' % os.memfd_create('x')", (DENIED,)),
    "load a library": ("ctypes.CDLL('libresolv.so.2'); result = 'ESCAPED'", (DENIED,)),
    "import a module": ("import this; result = 'ESCAPED'", (DENIED,)),
    # /proc
    "its environment": ("open('/proc/self/environ').read(); result = 'ESCAPED'", (DENIED,)),
    "memory of the program": ("open('/proc/%d/mem' % PROGRAM, 'r+b'); result = 'ESCAPED'", (DENIED,)),
    "descriptors of the program": ("os.open('/proc/%d/fd/0' % PROGRAM, os.O_RDONLY); result = 'ESCAPED'", (DENIED,)),
    "secrets in its own memory": ("result = 'ESCAPED' if os.environ.get('SECRET') or C.getenv(b'SECRET') else 'nothing'", ("data",)),
    "secrets among its objects": ("import gc; found = [o for o in gc.get_objects() if type(o) is dict and 'SECRET' in o]; result = 'ESCAPED' if found else 'nothing'", ("data",)),
    # network
    "tcp": ("import socket; socket.create_connection(('127.0.0.1', PORT), 2); result = 'ESCAPED'", (KILLED,)),
    "udp": ("import socket; socket.socket(2, 2).sendto(b'x', ('127.0.0.1', PORT)); result = 'ESCAPED'", (KILLED,)),
    "an abstract socket": ("import socket; socket.socket(1).connect(ABSTRACT); result = 'ESCAPED'", (KILLED,)),
    "a pair of sockets": ("import socket; socket.socketpair(); result = 'ESCAPED'", (KILLED,)),
    "descriptors by its channel": ("import socket; socket.send_fds(socket.socket(fileno=3), [b'x'], [0]); result = 'ESCAPED'", (DENIED, KILLED)),
    "netlink": ("result = call('socket', 16, 3, 0)", (KILLED,)),
    # processes
    "system": ("result = 'ESCAPED %d' % os.system('touch ' + MARK)", (KILLED, DENIED)),
    "subprocess": ("import subprocess; subprocess.run(['/bin/true']); result = 'ESCAPED'", (KILLED, DENIED)),
    "fork": ("result = 'ESCAPED %d' % os.fork()", (KILLED,)),
    "vfork": ("result = call('vfork') if 'vfork' in N else call('fork')", (KILLED, DENIED)),
    "clone3": ("result = call('clone3', ctypes.create_string_buffer(88), 88)", (DENIED,)),
    "a thread": ("import threading; t = threading.Thread(target=print); t.start(); t.join(); result = 'ESCAPED'", (KILLED, DENIED)),
    "execve": ("result = call('execve', b'/bin/true', 0, 0)", (KILLED,)),
    "execveat": ("result = call('execveat', 3, b'', 0, 0, 0x1000)", (KILLED,)),
    # signals
    "kill the program": ("os.kill(PROGRAM, 9); result = 'ESCAPED'", (KILLED,)),
    "kill all": ("os.kill(-1, 9); result = 'ESCAPED'", (KILLED,)),
    "tgkill the program": ("result = call('tgkill', PROGRAM, PROGRAM, 9)", (KILLED,)),
    "tkill": ("result = call('tkill', PROGRAM, 9)", (KILLED,)),
    "a queued signal": ("result = call('rt_sigqueueinfo', PROGRAM, 9, ctypes.create_string_buffer(128))", (KILLED,)),
    "a signal by pidfd": ("result = call('pidfd_open', PROGRAM, 0)", (KILLED,)),
    "a signal by F_SETOWN": ("import fcntl; fcntl.fcntl(3, 8, PROGRAM); result = 'ESCAPED'", (DENIED,)),
    "a signal by a timer": ("import signal; signal.setitimer(signal.ITIMER_REAL, 0.001); result = 'ESCAPED'", (DENIED,)),
    # other processes' memory
    "ptrace": ("result = call('ptrace', 16, PROGRAM, 0, 0)", (KILLED,)),
    "process_vm_readv": ("result = call('process_vm_readv', PROGRAM, 0, 0, 0, 0, 0)", (KILLED,)),
    "process_vm_writev": ("result = call('process_vm_writev', PROGRAM, 0, 0, 0, 0, 0)", (KILLED,)),
    "pidfd_getfd": ("result = call('pidfd_getfd', 3, 0, 0)", (KILLED,)),
    "kcmp": ("result = call('kcmp', PROGRAM, PROGRAM, 0, 0, 0)", (KILLED,)),
    # shared memory
    "System V memory": ("result = call('shmget', 0, 4096, 0o1600)", (KILLED,)),
    "System V messages": ("result = call('msgget', 0, 0o1600)", (KILLED,)),
    "POSIX memory": ("import mmap; f = os.open('/dev/shm/safeload', os.O_RDWR | os.O_CREAT); result = 'ESCAPED'", (DENIED,)),
    "a message queue": ("result = call('mq_open', b'x', 0o102, 0o600, 0)", (KILLED,)),
    # the kernel's larger doors
    "io_uring": ("result = call('io_uring_setup', 8, ctypes.create_string_buffer(256))", (KILLED,)),
    "bpf": ("result = call('bpf', 0, 0, 0)", (KILLED,)),
    "userfaultfd": ("result = call('userfaultfd', 1)", (KILLED,)),
    "perf": ("result = call('perf_event_open', ctypes.create_string_buffer(128), 0, -1, -1, 0)", (KILLED,)),
    "keyring": ("result = call('keyctl', 0, -3, 1)", (KILLED,)),
    "add a key": ("result = call('add_key', b'user', b'x', b'y', 1, -3)", (KILLED,)),
    "a user namespace": ("result = call('unshare', 0x10000000)", (KILLED,)),
    "clone into namespaces": ("result = call('clone', 0x10000000 | 17, 0, 0, 0, 0)", (KILLED,)),
    "enter a namespace": ("result = call('setns', 3, 0)", (KILLED,)),
    "mount": ("result = call('mount', b'x', b'/tmp', b'tmpfs', 0, 0)", (KILLED,)),
    "a mount's descriptor": ("result = call('fsopen', b'tmpfs', 0)", (KILLED,)),
    "a module": ("result = call('init_module', 0, 0, b'')", (KILLED,)),
    "kexec": ("result = call('kexec_load', 0, 0, 0, 0)", (KILLED,)),
    "personality": ("result = call('personality', 0x40000)", (KILLED,)),
    "inotify": ("result = call('inotify_init1', 0)", (DENIED,)),
    "eventfd": ("result = call('eventfd2', 0, 0)", (DENIED,)),
    # its own bounds
    "code in memory": ("import mmap; mmap.mmap(-1, 4096, prot=7); result = 'ESCAPED'", (KILLED,)),
    "memory made code": ("result = call('mprotect', ctypes.addressof(ctypes.create_string_buffer(8192)) & ~4095, 4096, 5)", (KILLED,)),
    "its limits": ("import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); result = 'ESCAPED'", (DENIED,)),
    "its user": ("os.setuid(0); result = 'ESCAPED'", (KILLED,)),
    "who it is": ("result = 'ESCAPED' if os.getuid() == 0 else 'nobody'", ("data",)),
    "its dumpability": ("result = call('prctl', 4, 1, 0, 0, 0)", (DENIED,)),
    "its filter": ("result = call('prctl', 22, 0, 0, 0, 0)", (DENIED,)),
    "another filter": ("result = call('seccomp', 1, 0, ctypes.create_string_buffer(16))", (DENIED,)),
    "another ruleset": ("result = call('landlock_create_ruleset', 0, 0, 1)", (DENIED,)),
    "a foreign architecture": ("result = call('personality', 8)", (KILLED,)),
    "x32": ("got = C.syscall(ctypes.c_long(0x40000000 | 39)); result = 'ESCAPED' if got > 0 else 1/0", (KILLED, DENIED)),
    "its priority": ("os.setpriority(0, 0, -5); result = 'ESCAPED'", (DENIED,)),
    # clocks
    "set the clock": ("import time; time.clock_settime(0, 0); result = 'ESCAPED'", (KILLED,)),
    "set the time of day": ("result = call('settimeofday', ctypes.create_string_buffer(16), 0)", (KILLED,)),
    "adjust the clock": ("result = call('adjtimex', ctypes.create_string_buffer(256))", (KILLED,)),
    # memory and time
    "much memory": ("result = 'ESCAPED %d' % len(bytearray(20 << 30))", (LIMIT,)),
    "memory bit by bit": ("x = []\nwhile True: x.append(bytearray(1 << 25))", (LIMIT,)),
    "shared memory": ("import mmap; m = mmap.mmap(-1, 20 << 30); result = 'ESCAPED'", (DENIED, LIMIT)),
    "time": ("while True: pass", (TIME,)),
    "time without signals": ("import signal\nfor n in range(1, 65):\n  try: signal.signal(n, signal.SIG_IGN)\n  except (OSError, ValueError): pass\nwhile True: pass", (TIME,)),
    "sleep": ("import time; time.sleep(1000)", (TIME,)),
    # its end
    "crash": ("ctypes.string_at(0)", (CRASH,)),
    "abort": ("os.abort()", (CRASH,)),
    "silence": ("os._exit(0)", (CRASH,)),
    # its channel and its result
    "a lie about the size": ("import json; os.write(3, json.dumps({'number': 0, 'size': 1 << 40}).encode()); os._exit(0)", (CHANNEL,)),
    "a size and no data": ("import json; os.write(3, json.dumps({'number': 0, 'size': 64}).encode()); os._exit(0)", (CHANNEL,)),
    "another number": ("import json; os.write(3, json.dumps({'number': 1, 'size': 64}).encode()); os._exit(0)", (CHANNEL,)),
    "no JSON": ("os.write(3, b'[' * 60000); os._exit(0)", (CHANNEL,)),
    "no object": ("os.write(3, b'[1]'); os._exit(0)", (CHANNEL,)),
    "floods its channel": ("while True: os.write(3, b'{}')", (CHANNEL, TIME)),
    "closes its channel and stays": ("os.close(3)\nwhile True: pass", (CHANNEL,)),
    "garbage as a result": ("import json\nfor f in range(4, 8):\n  try: os.pwrite(f, os.urandom(4096), 0)\n  except OSError: continue\n  os.write(3, json.dumps({'number': 0, 'size': 4096}).encode()); os._exit(0)", (CHANNEL,)),
    "a result that it keeps mapped": ("""
import mmap, json, time
C.mmap.restype = ctypes.c_void_p
for f in range(4, 8):
    try: os.pwrite(f, bytes(8192), 0)
    except OSError: continue
    if C.mmap(None, ctypes.c_size_t(8192), 3, 1, f, ctypes.c_long(0)) not in (None, 2**64 - 1): break
os.write(3, json.dumps({'number': 0, 'size': 8192}).encode())
time.sleep(5)""", (CHANNEL,)),
    "an endless result": ("o = 0\nfor f in range(4, 8):\n  try:\n    while True: o += os.pwrite(f, bytes(1 << 24), o)\n  except OSError: pass\nresult = o", ("data",)),
    "a result of many parts": ("x = [0] * 10\nfor _ in range(40): x = [x, x, x, x]\nresult = x", (LIMIT, TIME)),
    "a deep result": ("x = []\nfor _ in range(10**5): x = [x]\nresult = x", (LIMIT,)),
    "a result in itself": ("x = []; x.append(x); result = x", (DENIED,)),
    "a seal on its result": ("import fcntl\nfor f in range(4, 8):\n  try: fcntl.fcntl(f, 1033, 1)\n  except OSError as e: last = e\nraise last", (DENIED,)),
}  # fmt: skip


def main() -> None:
    """Run every case and print the outcomes as JSON."""
    from sandbox_parts import jailed, running

    from safeload.errors import (
        LimitExceededError,
        LoadError,
        SandboxError,
        SandboxTimeoutError,
        SandboxViolationError,
    )
    from safeload.limits import Limits
    from safeload.sandbox import attest
    from safeload.sandbox.kernel.syscalls import numbers

    if sys.argv[1] == "seccomp-only":
        _without_landlock()
    level = attest().level
    folder = tempfile.mkdtemp()
    mark, kept = Path(folder) / "mark", Path(folder) / "kept"
    kept.write_text("kept")
    os.environ["SECRET"] = "a secret of the program"
    tcp, udp, local = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
    tcp.bind(("127.0.0.1", 0))
    tcp.listen()
    udp.bind(tcp.getsockname())
    abstract = f"\0safeload-{os.getpid()}"
    local.bind(abstract)
    local.listen()
    known = {
        "PORT": tcp.getsockname()[1],
        "ABSTRACT": abstract,
        "MARK": str(mark),
        "KEPT": str(kept),
        "PROGRAM": os.getpid(),
    }
    values = "".join(f"{name} = {value!r}\n" for name, value in known.items())
    head = f"N = {dict(numbers(platform.machine()))!r}\n{values}{HEAD}"
    limits = Limits(max_sandbox_seconds=60, max_sandbox_memory=1 << 28, max_sandbox_result=1 << 24)
    brief = Limits(max_sandbox_seconds=1, max_sandbox_memory=1 << 28, max_sandbox_result=1 << 24)
    modules = ("ctypes", "socket", "subprocess", "threading", "fcntl", "mmap", "resource", "array")
    kinds = (
        (SandboxTimeoutError, TIME), (SandboxViolationError, KILLED), (LimitExceededError, LIMIT), (LoadError, DENIED), (SandboxError, CRASH),
    )  # fmt: skip
    found = {}
    for name, (code, expected) in CASES.items():
        try:
            value = jailed(running(head + code), brief if TIME in expected else limits, sys.argv[1], modules=modules)
            found[name] = ["data", str(value)[:200]]
        except Exception as error:
            found[name] = [
                next((word for kind, word in kinds if isinstance(error, kind)), type(error).__name__),
                str(error)[:200],
            ]
        if mark.exists() or kept.read_text() != "kept":
            found[name] = ["ESCAPED", "a file was made or changed"]
            break
    heard = []
    for each in (tcp, udp, local):
        each.setblocking(False)
        try:
            each.recv(1) if each is udp else each.accept()
            heard.append(str(each))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK):
                heard.append(str(error))
    healthy = jailed(running("result = 42"), limits, sys.argv[1])
    print(json.dumps({"level": level, "found": found, "heard": heard, "healthy": healthy, "uid": os.getuid()}))


def _without_landlock() -> None:
    """This kernel as one without Landlock: its system calls do not exist."""
    from safeload.sandbox.kernel.bpf import ALLOW, Filter, fails
    from safeload.sandbox.kernel.jail import give_up_gains, install
    from safeload.sandbox.kernel.machine import machine

    kernel = Filter(machine(), ALLOW)
    kernel.act(fails(errno.ENOSYS), ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"])
    give_up_gains()
    install(kernel.program())


if __name__ == "__main__":
    main()
