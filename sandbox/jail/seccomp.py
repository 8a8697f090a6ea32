"""The system-call filter: an allow-list; everything else is put before the supervisor (man 2 seccomp, man 2 seccomp_unotify).

It is compiled once, by libseccomp through pyseccomp, and installed once a worker; every child inherits it. A call that is not
allowed stops its caller and reaches the supervisor with its number and registers. The supervisor lets pass the few that
`selftaught.sandbox.worker.fork.engine` expects, and ends the phase on any other. If the supervisor is gone the kernel refuses the call.

Below another filter, as in a container, this one is stricter. A call that the outer filter answers with an error never reaches the supervisor,
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
from typing import TYPE_CHECKING

from selftaught.sandbox.jail import kernel

if TYPE_CHECKING:
    import pyseccomp as libseccomp

BIG_BYTES = 32 << 20
"""A mapping this large is put before the supervisor, who notes whether it goes over the memory limit."""

# What a single-threaded computation needs: memory, time, its own signals, and reading files. Not on the list since they tell of others or of
# the past: sysinfo (load, memory, number of processes), mincore (what others have read), get_robust_list (who exists). Not needed without
# threads: membarrier, rseq, set_robust_list, set_tid_address.
_ALLOWED = """
    read readv pread64 preadv write writev close close_range fstat stat lstat newfstatat statx lseek access faccessat faccessat2
    open openat getdents64 getcwd readlink readlinkat dup dup2 dup3 poll ppoll select pselect6 brk munmap
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack rt_sigpending rt_sigtimedwait pause
    alarm setitimer getitimer nanosleep gettimeofday time times getrusage
    getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
    getrandom uname sched_yield getcpu getrlimit restart_syscall exit exit_group sendmsg
""".split()
# `sendmsg` is for the zygote, which hands the listener over through it. A child has no socket and can make none.

ANSWERED = ("getpid", "gettid")
"""By the supervisor: the kernel's answer tells how many came before."""

CLOCKS = (0, 1, 4, 5, 6, 7, 11)
"""CLOCK_REALTIME, _MONOTONIC, _MONOTONIC_RAW, the coarse ones, _BOOTTIME, _TAI."""
_OWN_CLOCKS = (2, 3)
"""CPU time of the process and of the thread. All others are of other processes or of devices, or wake the machine."""

_LOW = 0xFFFFFFFF
"""What the kernel looks at of an argument that is an int."""
_PRIVATE, _REALTIME = (
    128,
    256,
)  # FUTEX_PRIVATE_FLAG: else tasks could meet at a file that two workers map; FUTEX_CLOCK_REALTIME
_EXECUTE, _WRITE, _ANONYMOUS, _HUGE = 4, 2, 0x20, 0x40000  # PROT_EXEC, PROT_WRITE, MAP_ANONYMOUS, MAP_HUGETLB

_ARGUMENTS = {  # call: which argument, the bits of it that count, and what these may be
    **dict.fromkeys(("clock_gettime", "clock_getres"), (0, _LOW, CLOCKS + _OWN_CLOCKS)),
    "clock_nanosleep": (0, _LOW, CLOCKS),
    **dict.fromkeys(
        ("getpgid", "getsid", "sched_getaffinity", "prlimit64"), (0, _LOW, (0,))
    ),  # 0: its own; of others they tell who exists
    "futex": (
        1,
        _LOW & ~_REALTIME,
        tuple(_PRIVATE | operation for operation in (0, 1, 9, 10)),
    ),  # wait or wake: those for locks tell the thread's id
    "fcntl": (1, _LOW, (0, 1, 2, 3, 1030)),  # F_DUPFD F_GETFD F_SETFD F_GETFL F_DUPFD_CLOEXEC
    # TCGETS TIOCGWINSZ FIOCLEX FIONCLEX FIONREAD; TCGETS2, by which isatty(3) asks since glibc 2.42
    "ioctl": (1, _LOW, (0x5401, 0x5413, 0x5451, 0x5450, 0x541B, 0x802C542A)),
    "madvise": (
        2,
        _LOW,
        (0, 1, 2, 3, 4, 8, 14, 15),
    ),  # how it is used, DONTNEED, FREE, huge pages: not what evicts, merges or poisons pages
    "mprotect": (2, _EXECUTE, (0,)),
}

_MAPPINGS = {  # of mmap: bits of the rights, and of the flags; none that may be written is ever executable
    "data": ((_EXECUTE, 0), (_HUGE, 0)),  # huge pages are the machine's, and count towards no limit
    "code": ((_EXECUTE | _WRITE, _EXECUTE), (_HUGE | _ANONYMOUS, 0)),
}

_NAMED = "clone fork vfork execve socket socketpair prctl capset kill tgkill wait4 memfd_create seccomp".split()
"""What no outer filter refuses that lets the worker itself run. A runner of the snapshot engine needs some of it before its own filter."""

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
    traced: for a process that the supervisor traces. What is allowed elsewhere stops it for the tracer's decision, and
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
    for name, (place, bits, values) in _ARGUMENTS.items():
        for value in values:
            allow(name, libseccomp.Arg(place, libseccomp.MASKED_EQ, bits, value))
    data = _conditions("data")
    allow("mmap", libseccomp.Arg(1, libseccomp.LT, BIG_BYTES), *data)
    allow("mremap", libseccomp.Arg(2, libseccomp.LT, BIG_BYTES))
    if below_another and not traced:
        ask = functools.partial(allow, action=libseccomp.NOTIFY)
        ask("mmap", libseccomp.Arg(1, libseccomp.GE, BIG_BYTES), *data)
        ask("mmap", *_conditions("code"))
        ask("mremap", libseccomp.Arg(2, libseccomp.GE, BIG_BYTES))
        for name in (*_NAMED, *ANSWERED, *(["userfaultfd"] if _gives_userfaultfd() else [])):
            ask(name)
    with open(os.memfd_create("filter"), "w+b") as file:  # no directory needs to be writable
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _conditions(kind: str) -> list[libseccomp.Arg]:
    """That the rights and the flags of mmap are those of this kind of mapping."""
    import pyseccomp as libseccomp

    return [
        libseccomp.Arg(place, libseccomp.MASKED_EQ, bits, value)
        for place, (bits, value) in enumerate(_MAPPINGS[kind], start=2)
    ]


def maps(kind: str, arguments: tuple[int, ...]) -> bool:
    """Whether mmap with these arguments makes a mapping of this kind, ``data`` or ``code``. What is neither is forbidden."""
    return all(arguments[place] & bits == value for place, (bits, value) in enumerate(_MAPPINGS[kind], start=2))


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
    """A system call that waits for the supervisor: who made it, and with what in its registers."""

    id: int
    pid: int
    number: int
    args: tuple[int, ...]


class Listener:
    """The supervisor's end: receives calls and lets them pass. What gets no answer stays stopped until it is killed."""

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
        self._send(call, 0, _CONTINUE)

    def answer(self, call: Call, value: int) -> None:
        """Let the call return this, without taking place."""
        self._send(call, value, 0)

    def _send(self, call: Call, value: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.descriptor, _SEND, bytearray(_RESPONSE.pack(call.id, value, 0, flags)))
        except FileNotFoundError:
            return  # its caller died meanwhile

    def give(self, call: Call, descriptor: int, number: int) -> None:
        """Make a descriptor of ours the caller's `number`, while its call waits. Raises OSError."""
        fcntl.ioctl(
            self.descriptor, _ADD_DESCRIPTOR, _NEW_DESCRIPTOR.pack(call.id, _AT_THIS_NUMBER, descriptor, number, 0)
        )

    def close(self) -> None:
        os.close(self.descriptor)
