"""The system-call filter: an allow-list; everything else is put before the warden (man 2 seccomp, man 2 seccomp_unotify).

It is compiled once, by libseccomp through pyseccomp, and installed once a worker; every child inherits it. A call that is not
allowed stops its caller and reaches the warden with its number and registers. The warden lets pass the few that
`sandbox.worker.fork.engine` expects, and ends the phase on any other. If the warden is gone the kernel refuses the call.

Below another filter, as in a container, this one is stricter. A call that the outer filter answers with an error never reaches the warden,
and a task could go on after it, so what is not on the list kills its caller there, for the kernel ranks that above an error. The
price is that the call has no name in the verdict, but for `_NAMED`.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import struct
from dataclasses import dataclass

from sandbox.jail import kernel

BIG_BYTES = 32 << 20
"""A mapping this large is put before the warden, who notes whether it goes over the memory limit."""

# What a single-threaded computation needs: memory, time, its own signals, and reading files.
_ALLOWED = """
    read readv pread64 preadv write writev close close_range fstat stat lstat newfstatat statx lseek access faccessat faccessat2
    open openat getdents64 getcwd readlink readlinkat dup dup2 dup3 poll ppoll select pselect6
    brk munmap mprotect madvise mincore membarrier
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack rt_sigpending rt_sigtimedwait pause
    alarm setitimer getitimer nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getrusage
    getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp getpgid getsid
    getrandom uname sysinfo sched_yield sched_getaffinity getcpu getrlimit
    futex set_robust_list get_robust_list set_tid_address rseq restart_syscall exit exit_group sendmsg
""".split()
# `sendmsg` is for the zygote, which hands the listener over through it. A child has no socket and can make none.

_NAMED = "clone fork vfork execve socket socketpair prctl capset kill tgkill wait4 memfd_create seccomp".split()
"""What no outer filter refuses that lets the worker itself run. A runner of the snapshot engine needs some of it before its own filter."""

_TERMINAL_QUERIES = (0x5401, 0x5413, 0x5451, 0x5450, 0x541B)  # TCGETS TIOCGWINSZ FIOCLEX FIONCLEX FIONREAD
_DESCRIPTOR_QUERIES = (0, 1, 2, 3, 1030)  # F_DUPFD F_GETFD F_SETFD F_GETFL F_DUPFD_CLOEXEC

USER_MODE_ONLY = 1
"""A flag of userfaultfd; with it no privilege is needed."""

_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3
_RECV, _SEND, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40182103
_CONTINUE = 1
_NOTIFICATION = struct.Struct("<QIIiIQ6Q")
_RESPONSE = struct.Struct("<QqiI")
_NEW_DESCRIPTOR = struct.Struct("<QIIII")
_AT_THIS_NUMBER = 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def nested() -> bool:
    """Whether this process is below a filter already (man 5 proc, status)."""
    with open("/proc/self/status") as file:
        return "Seccomp:\t2\n" in file


@functools.cache
def compile_filter(below_another: bool, traced: bool = False) -> bytes:
    """The filter as BPF instructions for this machine. Raises OSError if libseccomp is missing or too old.

    below_another: whether the processes that it holds are below a filter that answers calls with errors.
    traced: for a process that the warden traces. What is allowed elsewhere stops it for the tracer's decision, and
    anything else sends it a signal, which stops it too: of two filters, the action of higher precedence holds.
    """
    try:
        import pyseccomp as libseccomp
    except RuntimeError as error:
        raise OSError(f"{error}: install libseccomp (Debian, Ubuntu: apt-get install libseccomp2)") from None
    otherwise = libseccomp.TRAP if traced else libseccomp.KILL_PROCESS if below_another else libseccomp.NOTIFY
    rules = libseccomp.SyscallFilter(otherwise)
    rules.set_attr(2, libseccomp.KILL_PROCESS)  # SCMP_FLTATR_ACT_BADARCH: 32-bit and x32 calls

    allowed = libseccomp.TRACE(0) if traced else libseccomp.ALLOW

    def allow(name: str, *conditions: libseccomp.Arg, action: int = allowed) -> None:
        if libseccomp.resolve_syscall(libseccomp.system_arch(), name) >= 0:  # arm64 lacks the old ones
            rules.add_rule(action, name, *conditions)

    for name in _ALLOWED:
        allow(name)
    for request in _TERMINAL_QUERIES:
        allow("ioctl", libseccomp.Arg(1, libseccomp.EQ, request))
    for command in _DESCRIPTOR_QUERIES:
        allow("fcntl", libseccomp.Arg(1, libseccomp.EQ, command))
    allow("prlimit64", libseccomp.Arg(0, libseccomp.EQ, 0))
    for name, size in (("mmap", 1), ("mremap", 2)):
        allow(name, libseccomp.Arg(size, libseccomp.LT, BIG_BYTES))
        if below_another and not traced:
            allow(name, libseccomp.Arg(size, libseccomp.GE, BIG_BYTES), action=libseccomp.NOTIFY)
    if below_another and not traced:
        for name in (*_NAMED, *(["userfaultfd"] if _gives_userfaultfd() else [])):
            allow(name, action=libseccomp.NOTIFY)
    with open(os.memfd_create("filter"), "w+b") as file:  # no directory needs to be writable
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _gives_userfaultfd() -> bool:
    """Whether an outer filter lets the call pass that a runner needs besides: most container engines' does not."""
    try:
        os.close(kernel.call("userfaultfd", os.O_CLOEXEC | USER_MODE_ONLY))
        return True
    except OSError:
        return False


@functools.cache
def names() -> dict[int, str]:
    """The names of this machine's system calls by number."""
    import pyseccomp as libseccomp

    arch, found = libseccomp.system_arch(), {}
    for call in range(600):
        try:
            found[call] = libseccomp.resolve_syscall(arch, call).decode()
        except (ValueError, OSError):
            continue
    return found


def install(program: bytes, listen: bool = True) -> int:
    """Put the filter in force for this process and its children; returns the listener, if there is one. Raises OSError."""
    bpf = _Program(len(program) // 8, program)
    return kernel.call("seccomp", _SET_MODE_FILTER, _NEW_LISTENER if listen else 0, bpf)


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that waits for the warden: who made it, and with what in its registers."""

    id: int
    pid: int
    number: int
    args: tuple[int, ...]


class Listener:
    """The warden's end: receives calls and lets them pass. What gets no answer stays stopped until it is killed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def receive(self) -> Call | None:
        """The next call, or None if its caller died meanwhile. Blocks if there is none."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.descriptor, _RECV, buffer)
        except FileNotFoundError:
            return None
        ident, pid, _, number, _, _, *args = _NOTIFICATION.unpack(buffer)
        return Call(ident, pid, number, tuple(args))

    def allow(self, call: Call) -> None:
        """Let the call take place as it stands: sound only for decisions on numbers and registers."""
        try:
            fcntl.ioctl(self.descriptor, _SEND, bytearray(_RESPONSE.pack(call.id, 0, 0, _CONTINUE)))
        except FileNotFoundError:
            return  # its caller died meanwhile

    def give(self, call: Call, descriptor: int, number: int) -> None:
        """Make a descriptor of ours the caller's `number`, while its call waits. Raises OSError."""
        fcntl.ioctl(self.descriptor, _ADD_DESCRIPTOR, _NEW_DESCRIPTOR.pack(call.id, _AT_THIS_NUMBER, descriptor, number, 0))

    def close(self) -> None:
        os.close(self.descriptor)
