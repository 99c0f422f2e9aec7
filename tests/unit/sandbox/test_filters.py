"""The filters decide as they say, on both architectures: executed here instruction by instruction, not by this kernel."""

from __future__ import annotations

import errno

import pytest
from sandbox_parts import Machine

from safeload.errors import SandboxUnavailableError
from safeload.sandbox.kernel.bpf import ALLOW, KILL, NOTIFY, fails
from safeload.sandbox.kernel.filters import CHANNEL, importing_filter, listener_filter, sealed_filter, watched_filter
from safeload.sandbox.kernel.machine import machine_named
from safeload.sandbox.kernel.syscalls import numbers

PID = 4242
BOTH = pytest.mark.parametrize("name", ["x86_64", "aarch64"])
REFUSED = fails(errno.EPERM)


def deciding(program, name):
    machine, ran = machine_named(name), Machine(program)

    def decide(call, *arguments):
        return ran.decide(machine.audit_arch, machine.calls[call], *arguments)

    return decide


@BOTH
def test_the_sealed_filter_lets_memory_and_open_descriptors_be_used_and_nothing_else(name) -> None:
    """If a name in the list of allowed calls had a wrong number, another call would be allowed."""
    machine, ran = machine_named(name), Machine(sealed_filter(machine_named(name), PID))
    allowed = {call for call, number in machine.calls.items() if ran.decide(machine.audit_arch, number) == ALLOW}
    assert allowed == {
        "brk", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "exit", "exit_group", "fstat", "futex", "getcwd",
        "getpid", "getrandom", "getrusage", "gettid", "gettimeofday", "getuid", "lseek", "madvise", "mmap", "mprotect", "mremap",
        "munmap", "nanosleep", "pread64", "preadv", "preadv2", "pwrite64", "read", "readv", "restart_syscall", "rseq",
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list", "sigaltstack",
        "times", "write", "writev",
    } | ({"time"} if name == "x86_64" else set())  # fmt: skip


@BOTH
def test_every_number_that_has_no_name_is_refused(name) -> None:
    """Kernels gain calls: a filter that lists what is forbidden would allow the next one."""
    machine = machine_named(name)
    for program in (sealed_filter(machine, PID), importing_filter(machine, PID)):
        ran = Machine(program)
        unknown = set(range(600)) - set(machine.calls.values())
        assert {ran.decide(machine.audit_arch, number) for number in unknown} == {REFUSED}


@BOTH
def test_another_architecture_kills(name) -> None:
    """The numbers of 32-bit calls and of x32 are other calls; without the check, 32-bit code walks through."""
    machine = machine_named(name)
    foreign = (0x40000003, 0x40000028, 0xC000003E if name == "aarch64" else 0xC00000B7)
    for program in (sealed_filter(machine, PID), importing_filter(machine, PID), watched_filter(machine, 5)):
        for arch in foreign:
            assert Machine(program).decide(arch, machine.calls["read"]) == KILL
    if name == "x86_64":
        ran = Machine(sealed_filter(machine, PID))
        assert {ran.decide(machine.audit_arch, 0x40000000 | number) for number in range(500)} == {KILL}


@BOTH
def test_hostile_calls_kill(name) -> None:
    """Processes, sockets, signals, other processes' memory, kernel interfaces: no library makes them while it loads."""
    decide = deciding(sealed_filter(machine_named(name), PID), name)
    for call in (
        "execve", "execveat", "clone", "socket", "connect", "bind", "ptrace", "process_vm_writev", "kill", "tkill",
        "io_uring_setup", "bpf", "userfaultfd", "unshare", "setns", "mount", "keyctl", "open_by_handle_at", "clock_settime",
        "pidfd_open", "perf_event_open", "shmget", "setresuid", "memfd_secret",
    ):  # fmt: skip
        assert decide(call, 0) == KILL, call


@BOTH
def test_arguments_are_looked_at(name) -> None:
    """Code cannot be mapped, only the process itself gets a signal, and futexes only wait and wake."""
    decide = deciding(sealed_filter(machine_named(name), PID), name)
    assert decide("mmap", 0, 4096, 3) == ALLOW
    assert decide("mmap", 0, 4096, 5) == decide("mprotect", 0, 4096, 4) == decide("mmap", 0, 1, 7 | 1 << 40) == KILL
    assert decide("tgkill", PID, PID, 6) == ALLOW
    assert decide("tgkill", PID + 1, PID, 6) == KILL
    assert [decide("futex", 0, operation) for operation in (0, 1, 128, 129, 9 | 256, 10)] == [ALLOW] * 6
    assert [decide("futex", 0, operation) for operation in (3, 4, 5, 6, 7, 11, 12, 13)] == [REFUSED] * 8
    assert [decide("fcntl", 0, command) for command in (1, 3)] == [ALLOW] * 2
    assert [decide("fcntl", 0, command) for command in (0, 2, 4, 8, 10, 1030, 1033)] == [REFUSED] * 7


@BOTH
def test_only_a_served_object_receives_and_only_on_its_channel(name) -> None:
    """Descriptors that somebody else sends would be a way out."""
    machine = machine_named(name)
    assert deciding(sealed_filter(machine, PID), name)("recvmsg", CHANNEL) == REFUSED
    decide = deciding(sealed_filter(machine, PID, serves=True), name)
    assert decide("recvmsg", CHANNEL) == ALLOW
    assert decide("recvmsg", CHANNEL + 1) == KILL


@BOTH
def test_the_importing_filter_opens_files_for_reading_only(name) -> None:
    """Libraries are read and mapped; nothing is written, and the calls that would be the artifact's still kill."""
    decide = deciding(importing_filter(machine_named(name), PID), name)
    assert decide("openat", 0, 0, 0o2000000) == ALLOW
    for flags in (1, 2, 0o100, 0o1000, 0o2000, 0o20200000):
        assert decide("openat", 0, 0, flags) == fails(errno.EROFS)
    assert decide("mmap", 0, 4096, 5) == decide("seccomp", 1) == ALLOW
    assert decide("execve") == decide("socket") == decide("kill") == KILL


@BOTH
def test_the_watched_filter_asks_about_everything_that_is_not_sealed(name) -> None:
    """A call that detonation allows instead of asking would be done in earnest."""
    machine = machine_named(name)
    watched, sealed = Machine(watched_filter(machine, 5)), Machine(sealed_filter(machine, PID))
    for call, number in machine.calls.items():
        action = watched.decide(machine.audit_arch, number)
        if action == ALLOW:
            assert call == "seccomp" or sealed.decide(machine.audit_arch, number) == ALLOW, call
    assert watched.decide(machine.audit_arch, machine.calls["execve"]) == NOTIFY
    after = Machine(listener_filter(machine))
    assert {after.decide(machine.audit_arch, machine.calls[call]) for call in ("seccomp", "sendmsg")} == {REFUSED}


def test_machines_without_a_table_are_refused() -> None:
    """Numbers of another machine would be other calls."""
    for name in ("riscv64", "i686", "ppc64le", ""):
        with pytest.raises(SandboxUnavailableError, match="x86_64 or aarch64"):
            machine_named(name)


def test_tables_are_those_of_the_kernel_headers() -> None:
    """A wrong number in the table is a wrong filter; compared where the headers are installed."""
    import re
    from pathlib import Path

    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("the kernel's headers for x86_64 are not installed")
    there = {name: int(value) for name, value in re.findall(r"#define __NR_(\w+) (\d+)", header.read_text())}
    table = numbers("x86_64")
    assert {name: table[name] for name in table if name in there} == {
        name: there[name] for name in table if name in there
    }
