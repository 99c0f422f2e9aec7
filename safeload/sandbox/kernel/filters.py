"""Which system calls a jailed process has left.

Three filters, from the strictest on:

* ``sealed``: while bytes of the artifact are handled. Memory, the clock, and reading and writing of descriptors that are
  open already. No name can be opened, no process made, no signal sent to another, no code mapped.
* ``importing``: before the first byte, while libraries are imported: reads files too (Landlock says which) and maps code.
* ``watched``: for detonation. What ``sealed`` allows is allowed; the rest is asked of a supervisor, which does nothing of it.

Rule: a list of what is allowed, never of what is forbidden: the kernel gains system calls with each release. Calls that no
innocent library makes kill the process, so that the attempt is seen; the others fail as they would on a poorer system.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from safeload.sandbox.kernel.bpf import ALLOW, KILL, NOTIFY, Filter, Instruction, fails

if TYPE_CHECKING:
    from safeload.sandbox.kernel.machine import Machine

__all__ = ["importing_filter", "listener_filter", "sealed_filter", "watched_filter"]

# Measured with strace on children that load models of scikit-learn, pandas, xgboost and numpy.
_SEALED = (
    "read", "write", "pread64", "pwrite64", "preadv", "preadv2", "readv", "writev", "lseek", "close", "brk", "munmap", "mremap", "madvise",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "getrandom", "clock_gettime", "clock_getres",
    "gettimeofday", "time", "clock_nanosleep", "nanosleep", "sched_yield", "getpid", "gettid", "exit", "exit_group",
    "restart_syscall", "fstat", "getcwd", "rseq", "set_robust_list", "getuid", "sched_getaffinity", "getrusage", "times",
)  # fmt: skip
_READING = (
    "newfstatat", "stat", "lstat", "statx", "readlink", "readlinkat", "getdents64", "access", "faccessat", "faccessat2",
    "uname", "sysinfo", "geteuid", "getgid", "getegid", "landlock_create_ruleset", "landlock_restrict_self", "seccomp",
)  # fmt: skip
# What becoming nobody needs, which comes after the imports.
_CHANGING_USER = ("prctl", "capset", "setgroups", "setresgid", "setresuid", "getppid", "prlimit64")
# What libraries try and can do without: they must get an ordinary answer.
_QUIET = {
    "ioctl": errno.ENOTTY, "openat": errno.EACCES, "open": errno.EACCES, "newfstatat": errno.ENOENT, "stat": errno.ENOENT,
    "lstat": errno.ENOENT, "statx": errno.ENOSYS, "clone3": errno.ENOSYS, "readlink": errno.ENOENT, "readlinkat": errno.ENOENT,
    "access": errno.ENOENT, "faccessat": errno.ENOENT, "faccessat2": errno.ENOSYS, "membarrier": errno.ENOSYS,
}  # fmt: skip
_HOSTILE = (
    "execve", "execveat", "fork", "vfork", "clone", "socket", "socketpair", "connect", "bind", "sendto", "ptrace",
    "process_vm_readv", "process_vm_writev", "kill", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "io_uring_setup",
    "io_uring_enter", "bpf", "perf_event_open", "userfaultfd", "unshare", "setns", "mount", "umount2", "move_mount",
    "fsopen", "open_tree", "keyctl", "add_key", "request_key", "kexec_load", "kexec_file_load", "init_module",
    "finit_module", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "open_by_handle_at", "personality", "memfd_secret",
    "process_madvise", "kcmp", "clock_settime", "settimeofday", "adjtimex", "clock_adjtime", "shmget", "shmat", "msgget",
    "semget", "mq_open", "chroot", "pivot_root", "modify_ldt", "iopl", "ioperm", "setuid", "setreuid", "setresuid",
)  # fmt: skip

_PROT_EXEC = 4
_FUTEX_COMMAND = 0x7F  # without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
_FUTEX_WAITS_AND_WAKES = (0, 1, 9, 10)  # no requeueing, no priority inheritance: both had kernel holes
_F_GETFD, _F_GETFL = 1, 3  # F_SETOWN and F_SETSIG would send signals
_WRITES = 0x1 | 0x2 | 0o100 | 0o1000 | 0o2000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE
CHANNEL = 3  # the descriptor on which a jailed process talks to its user


def _basic(machine: Machine, otherwise: int, hostile: int, pid: int) -> Filter:
    made = Filter(machine, otherwise)
    made.act(ALLOW, _SEALED)
    made.only("futex", 1, _FUTEX_WAITS_AND_WAKES, fails(errno.EPERM), mask=_FUTEX_COMMAND)
    made.only("fcntl", 1, (_F_GETFD, _F_GETFL), fails(errno.EPERM))
    made.only("tgkill", 0, (pid,), hostile)  # abort() of this process itself
    return made


def sealed_filter(machine: Machine, pid: int, *, serves: bool = False) -> list[Instruction]:
    """The filter of process ``pid`` while it handles bytes of an artifact; ``serves``: it takes requests on its channel."""
    made = _basic(machine, fails(errno.EPERM), KILL, pid)
    made.without("mmap", 2, _PROT_EXEC, KILL)
    made.without("mprotect", 2, _PROT_EXEC, KILL)
    if serves:
        made.only("recvmsg", 0, (CHANNEL,), KILL)
    for name, code in _QUIET.items():
        made.act(fails(code), [name])
    made.act(KILL, _HOSTILE)
    return made.program()


def importing_filter(machine: Machine, pid: int) -> list[Instruction]:
    """The filter while libraries are imported; the sealed one comes on top of it, and the stricter answer counts."""
    made = _basic(machine, fails(errno.EPERM), KILL, pid)
    made.act(ALLOW, ("mmap", "mprotect", *_READING, *_CHANGING_USER))
    made.without("openat", 2, _WRITES, fails(errno.EROFS))
    made.without("open", 1, _WRITES, fails(errno.EROFS))
    made.only("recvmsg", 0, (CHANNEL,), KILL)
    for name, code in _QUIET.items():
        made.act(fails(code), [name])
    made.act(KILL, [name for name in _HOSTILE if name not in ("clone", *_CHANGING_USER)])
    return made.program()


def watched_filter(machine: Machine, channel: int) -> list[Instruction]:
    """The filter of a detonation: what is not harmless is asked of the supervisor, which listens.

    ``channel`` is the descriptor on which the listener is handed over, the last thing before the artifact is loaded.
    """
    made = Filter(machine, NOTIFY)
    made.act(ALLOW, _SEALED)
    made.only("futex", 1, _FUTEX_WAITS_AND_WAKES, fails(errno.EPERM), mask=_FUTEX_COMMAND)
    made.only("fcntl", 1, (_F_GETFD, _F_GETFL), NOTIFY)
    made.without("mmap", 2, _PROT_EXEC, NOTIFY)
    made.without("mprotect", 2, _PROT_EXEC, NOTIFY)
    made.only("sendmsg", 0, (channel,), NOTIFY)
    made.act(ALLOW, ["seccomp"])
    made.act(fails(errno.ENOSYS), ["clone3"])
    return made.program()


def listener_filter(machine: Machine) -> list[Instruction]:
    """What closes the two calls that :func:`watched_filter` leaves for handing over the listener."""
    made = Filter(machine, ALLOW)
    made.act(fails(errno.EPERM), ("seccomp", "sendmsg"))
    return made.program()
