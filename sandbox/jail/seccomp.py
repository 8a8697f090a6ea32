"""The system-call filter: an allow-list; all other calls notify the supervisor (man 2 seccomp, man 2 seccomp_unotify).

libseccomp compiles it, through pyseccomp. Each worker installs it once, and every child inherits it. A call that is not
allowed blocks its caller, and the supervisor receives its number and registers. The supervisor permits the few calls
that `selftaught.sandbox.worker.fork.engine` expects and ends the phase on any other. If the supervisor has ended, the
kernel makes the call fail.

Under an outer filter, as in a container, this one is stricter. A call to which the outer filter returns an error never
reaches the supervisor, and the task could continue after it. So there a call that is not on the list kills its caller,
which takes precedence over an error. The price is that the verdict does not name the call, except those in `_NAMED`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selftaught.sandbox.jail import kernel, rlimits

if TYPE_CHECKING:
    import pyseccomp as libseccomp

BIG_BYTES = 32 << 20
"""A mapping of at least this size notifies the supervisor, which records whether it exceeds the memory limit."""

# What a computation needs: memory, time, its own signals, reading files, what its threads need (the last line but one),
# and pipes, sockets and queues of events of its own for event loops such as asyncio's (the last line). These have no
# name and no owner outside the process, since no process can be started, and end with it. A descriptor of another
# process, or of a later child, is never among those that can be watched or changed
# (`selftaught.sandbox.worker.fork.channel`). Not on the list because they reveal other processes or the past: sysinfo
# (load, memory, number of processes), mincore (what others have read), get_robust_list (which processes exist).
_ALLOWED = """
    read readv pread64 preadv write writev pwrite64 pwritev close close_range fstat stat lstat newfstatat statx lseek
    access faccessat faccessat2
    getdents64 getcwd readlink readlinkat dup dup2 dup3 poll ppoll select pselect6 brk munmap
    rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack rt_sigpending rt_sigtimedwait pause
    alarm setitimer getitimer nanosleep gettimeofday time times getrusage
    getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgrp
    getrandom uname sched_yield getcpu getrlimit restart_syscall exit exit_group
    rseq set_robust_list
    pipe epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 shutdown getsockname getpeername
""".split()

ANSWERED = ("getpid", "gettid")
"""Calls that the supervisor answers: the kernel's answer would reveal how many processes ran before."""

CLOCKS = (0, 1, 4, 5, 6, 7, 11)
"""CLOCK_REALTIME, _MONOTONIC, _MONOTONIC_RAW, the coarse ones, _BOOTTIME, _TAI."""
_OWN_CLOCKS = (2, 3)
"""CPU time of the process and of the thread. Other clocks belong to other processes or devices, or wake the machine."""

_LOW, _ALL = 0xFFFFFFFF, (1 << 64) - 1
"""The bits of an argument of type int that the kernel reads, and those of a pointer."""
_PRIVATE, _REALTIME = 128, 256  # FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
# Without FUTEX_PRIVATE_FLAG two tasks could communicate through a file that both of their workers map.
_SHARED_WAITS = 0, 9
"""FUTEX_WAIT and FUTEX_WAIT_BITSET without that flag, as pthread_join(3) uses them. Nobody ever waits there: the
supervisor says that the value has changed, and the caller looks again."""
_EXECUTE, _WRITE, _ANONYMOUS, _HUGE = 4, 2, 0x20, 0x40000  # PROT_EXEC, PROT_WRITE, MAP_ANONYMOUS, MAP_HUGETLB
_ASYNC = 0x2000
CONTROL_FD = rlimits.DESCRIPTORS
"""The zygote's socket to the supervisor, while it enters the jail."""

_TMPFILE = 0o20000000  # O_TMPFILE without O_DIRECTORY, which is part of it
WRITES = os.O_WRONLY | os.O_RDWR
CREATES = os.O_CREAT | _TMPFILE
OPENS_FOR_WRITING = WRITES | CREATES | os.O_TRUNC
"""Flags of `open`. Opening with one of them notifies the supervisor."""
LOCKS = (6, 7, 37, 38)
"""Commands of `fcntl`: F_SETLK, F_SETLKW, and those of open file descriptions."""
LOCK_QUERIES = (5, 36)
"""F_GETLK, and that of open file descriptions."""
SCRATCH = """
    creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
    truncate ftruncate fallocate chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat
    chown fchown lchown fchownat chdir fchdir umask fsync fdatasync msync fadvise64 sendfile copy_file_range flock
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr setxattr lsetxattr fsetxattr statfs fstatfs
""".split()
"""Calls on files that `selftaught.sandbox.worker.fork.scratch` decides about, besides `open`."""
FICLONE = 0x40049409
"""Of `ioctl`: share the content of another file."""

_ARGUMENTS = {  # call: the argument's position, the bits that are compared, and their allowed values
    "open": (1, OPENS_FOR_WRITING, (0,)),
    "openat": (2, OPENS_FOR_WRITING, (0,)),
    **dict.fromkeys(("clock_gettime", "clock_getres"), (0, _LOW, CLOCKS + _OWN_CLOCKS)),
    "clock_nanosleep": (0, _LOW, CLOCKS),
    # 0 is the caller itself; for any other number the result would reveal whether that process exists.
    **dict.fromkeys(("getpgid", "getsid", "sched_getaffinity"), (0, _LOW, (0,))),
    # Wait and wake; the operations for locks reveal the thread's id.
    "futex": (1, _LOW & ~_REALTIME, tuple(_PRIVATE | operation for operation in (0, 1, 9, 10))),
    "fcntl": (1, _LOW, (0, 1, 2, 3, 1030)),  # F_DUPFD F_GETFD F_SETFD F_GETFL F_DUPFD_CLOEXEC
    # TCGETS TIOCGWINSZ FIOCLEX FIONCLEX FIONREAD FIONBIO; TCGETS2, which isatty(3) uses since glibc 2.42
    "ioctl": (1, _LOW, (0x5401, 0x5413, 0x5451, 0x5450, 0x541B, 0x5421, 0x802C542A)),
    # Hints of use, DONTNEED, FREE, huge pages, guards of stacks; none that evicts, merges or poisons pages.
    "madvise": (2, _LOW, (0, 1, 2, 3, 4, 8, 14, 15, 102, 103)),
    "mprotect": (2, _EXECUTE, (0,)),
    # The zygote passes the listener to the supervisor through a descriptor that no child can have. A child must not
    # pass descriptors: those on their way count against a limit that all processes of the user share.
    "sendmsg": (0, _LOW, (CONTROL_FD,)),
}

_COMBINATIONS = {  # call: for each argument its position, the bits that are compared, and their value
    "pipe2": ((1, _LOW & ~(os.O_CLOEXEC | os.O_NONBLOCK), 0),),
    # AF_UNIX, SOCK_STREAM. Such a pair can't be named, and can't be connected to another.
    "socketpair": ((0, _LOW, 1), (1, _LOW & ~(os.O_CLOEXEC | os.O_NONBLOCK), 1), (2, _LOW, 0)),
    # Without an address, and without urgent data, whose code in the kernel has had holes: MSG_DONTWAIT, MSG_NOSIGNAL.
    "sendto": ((3, _LOW & ~(0x40 | 0x4000), 0), (4, _ALL, 0)),
    "recvfrom": ((3, _LOW & ~(0x2 | 0x20 | 0x40 | 0x100), 0),),  # MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT, MSG_WAITALL
    "fcntl": ((1, _LOW, 4), (2, _ASYNC | os.O_DIRECT | os.O_NOATIME, 0)),  # F_SETFL
}
_OPTIONS = (3, 4, 7, 8, 30, 38, 39)
"""Of a socket, at level SOL_SOCKET: SO_TYPE, _ERROR, _SNDBUF, _RCVBUF, _ACCEPTCONN, _PROTOCOL, _DOMAIN. SO_PEERCRED has
the kernel's number of the process."""

_LIMITS = 16
"""How many limits of a process there are. Its own may be asked for, and set, but that of CPU time (RLIMIT_CPU, 0)."""

_MAPPINGS = {  # mmap: (bits compared, value) of the rights and of the flags; no writable mapping is executable
    "data": ((_EXECUTE, 0), (_HUGE, 0)),  # huge pages come from a pool of the machine and count towards no limit
    "code": ((_EXECUTE | _WRITE, _EXECUTE), (_HUGE | _ANONYMOUS, 0)),
}

_REFUSED = "mbind statfs".split()
"""With packages: calls that fail, as on a kernel that has none of them, and so neither do nor show anything.

OpenBLAS says on which node of the machine a buffer should be, joblib asks what is mounted at /dev/shm. Both go on
without.
"""

_NAMED = "clone fork vfork execve socket prctl capset kill tgkill tkill wait4 memfd_create seccomp".split()
"""Calls that notify the supervisor even under an outer filter: any outer filter under which a worker runs permits them.

A snapshot process needs some of them before it installs its own filter.
"""

USER_MODE_ONLY = 1
"""A flag of userfaultfd, which then needs no privilege."""

_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE = 1 << 3, 1 << 5
_RECV, _SEND, _IS_VALID, _ADD_DESCRIPTOR = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_CONTINUE = 1
_NOTIFICATION = struct.Struct("<QIIiIQ6Q")
_RESPONSE = struct.Struct("<QqiI")
_NEW_DESCRIPTOR = struct.Struct("<QIIII")
_AT_THIS_NUMBER = 1


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def nested() -> bool:
    """Return True if this process already has a seccomp filter (man 5 proc, status)."""
    with open("/proc/self/status") as file:
        return "Seccomp:\t2\n" in file


@functools.cache
def compile_filter(below_another: bool, traced: bool = False, packages: bool = False) -> bytes:
    """Return the filter as BPF instructions for this machine.

    Args:
        below_another: The process already has an outer filter, which makes calls fail with errors.
        traced: The filter is for a process that the supervisor traces, in addition to the other filter. A call that is
            allowed elsewhere stops the process for the tracer's decision. Any other call sends it a signal, which stops
            it too: of two filters, the action of higher precedence is taken.
        packages: Tasks may import packages.

    Raises:
        OSError: libseccomp is missing or too old.
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
        if libseccomp.resolve_syscall(libseccomp.system_arch(), name) >= 0:  # arm64 lacks the older calls
            rules.add_rule(action, name, *conditions)

    for name in _ALLOWED:
        allow(name)
    for name, (place, bits, values) in _ARGUMENTS.items():
        for value in values:
            allow(name, libseccomp.Arg(place, libseccomp.MASKED_EQ, bits, value))
    for name, conditions in _COMBINATIONS.items():
        allow(name, *_masked(conditions))
    for option in _OPTIONS:
        allow("getsockopt", *_masked(((1, _LOW, 1), (2, _LOW, option))))
    # Its flags are in memory, where no filter can look. The C library then uses clone.
    for name in ("clone3", *(_REFUSED if packages else ())):
        if not traced:
            allow(name, action=libseccomp.ERRNO(errno.ENOSYS))
    allow("prlimit64", *_masked(((0, _LOW, 0), (2, _ALL, 0))))
    for limit in range(1, _LIMITS):
        allow("prlimit64", *_masked(((0, _LOW, 0), (1, _LOW, limit))))
    if not traced:  # libseccomp may be too old to know its name; without a ruleset, which no task can make, it fails
        rules.add_rule(libseccomp.ALLOW, kernel.number("landlock_restrict_self"))
    data = _conditions("data")
    allow("mmap", libseccomp.Arg(1, libseccomp.LT, BIG_BYTES), *data)
    allow("mremap", libseccomp.Arg(2, libseccomp.LT, BIG_BYTES))
    if below_another and not traced:
        ask = functools.partial(allow, action=libseccomp.NOTIFY)
        ask("mmap", libseccomp.Arg(1, libseccomp.GE, BIG_BYTES), *data)
        ask("mmap", *_conditions("code"))
        ask("mremap", libseccomp.Arg(2, libseccomp.GE, BIG_BYTES))
        ask("sched_getaffinity", libseccomp.Arg(0, libseccomp.NE, 0))
        ask("prlimit64", *_masked(((0, _LOW, 0), (1, _LOW, 0))), libseccomp.Arg(2, libseccomp.NE, 0))
        for operation in _SHARED_WAITS:
            ask("futex", *_masked(((1, _LOW & ~_REALTIME, operation),)))
        for place, name in ((1, "open"), (2, "openat")):
            for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, _TMPFILE, os.O_TRUNC):
                ask(name, libseccomp.Arg(place, libseccomp.MASKED_EQ, flag, flag))
        for command in (*LOCKS, *LOCK_QUERIES):
            ask("fcntl", libseccomp.Arg(1, libseccomp.MASKED_EQ, _LOW, command))
        ask("ioctl", libseccomp.Arg(1, libseccomp.MASKED_EQ, _LOW, FICLONE))
        for name in (
            *_NAMED,
            *ANSWERED,
            *(name for name in SCRATCH if not (packages and name in _REFUSED)),
            *(["userfaultfd"] if _permits_userfaultfd() else []),
        ):
            ask(name)
    with open(os.memfd_create("filter"), "w+b") as file:  # needs no writable directory
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _conditions(kind: str) -> list[libseccomp.Arg]:
    """Return the conditions on the rights and flags of mmap for this kind of mapping."""
    return _masked((place, bits, value) for place, (bits, value) in enumerate(_MAPPINGS[kind], start=2))


def _masked(conditions: Iterable[tuple[int, int, int]]) -> list[libseccomp.Arg]:
    """Return conditions on arguments: for each its position, the bits that are compared, and their value."""
    import pyseccomp as libseccomp

    return [libseccomp.Arg(place, libseccomp.MASKED_EQ, bits, value) for place, bits, value in conditions]


def maps(kind: str, arguments: tuple[int, ...]) -> bool:
    """Return True if mmap with these arguments creates a mapping of this kind. A mapping of neither kind is forbidden.

    Args:
        kind: ``data`` or ``code``.
        arguments: The six arguments of the call.
    """
    return all(arguments[place] & bits == value for place, (bits, value) in enumerate(_MAPPINGS[kind], start=2))


def limits_cpu_time(arguments: tuple[int, ...]) -> bool:
    """Return True if prlimit64 with these arguments sets the caller's own limit of CPU time."""
    return not arguments[0] & _LOW and not arguments[1] & _LOW


def waits_shared(arguments: tuple[int, ...]) -> bool:
    """Return True if futex with these arguments waits where another process could wake it."""
    return arguments[1] & _LOW & ~_REALTIME in _SHARED_WAITS


def _permits_userfaultfd() -> bool:
    """Return True if the outer filter permits userfaultfd, which the snapshot engine needs; most don't."""
    try:
        os.close(kernel.call("userfaultfd", os.O_CLOEXEC | USER_MODE_ONLY))
        return True
    except OSError:
        return False


@functools.cache
def names() -> dict[int, str]:
    """Return the names of this machine's system calls by number."""
    import pyseccomp as libseccomp

    arch, found = libseccomp.system_arch(), {}
    for call in range(600):
        try:
            found[call] = libseccomp.resolve_syscall(arch, call).decode()
        except (ValueError, OSError):
            continue
    return found


def install(program: bytes, listen: bool = True) -> int:
    """Install the filter for this process and its future children.

    With a listener a caller that waits for the supervisor is not interrupted by signals, from Linux 5.19 on: a signal
    that the supervisor sends before it answers is delivered when the call returns.

    Args:
        program: What `compile_filter` returned.
        listen: Create a listener for calls that notify the supervisor.

    Returns:
        The descriptor of the listener, or 0 without one.

    Raises:
        OSError: The kernel refuses the filter.
    """
    bpf = _Program(len(program) // 8, program)
    if not listen:
        return kernel.call("seccomp", _SET_MODE_FILTER, 0, bpf)
    try:
        return kernel.call("seccomp", _SET_MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, bpf)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return kernel.call("seccomp", _SET_MODE_FILTER, _NEW_LISTENER, bpf)


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that is blocked until the supervisor responds.

    Attributes:
        id: The kernel's number of the notification.
        pid: The caller: a process, or one of its threads.
        number: The number of the system call.
        args: Its six arguments.
    """

    id: int
    pid: int
    number: int
    args: tuple[int, ...]


class Listener:
    """The supervisor's end of the filter: receives blocked calls and responds. Until then the caller stays blocked."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def receive(self) -> Call | None:
        """Wait for the next call and return it, or None if its caller has died."""
        buffer = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self.descriptor, _RECV, buffer)
        except FileNotFoundError:
            return None
        ident, pid, _, number, _, _, *args = _NOTIFICATION.unpack(buffer)
        return Call(ident, pid, number, tuple(args))

    def allow(self, call: Call) -> None:
        """Let the kernel execute the call. Safe only if the decision depends on its number and registers alone."""
        self._send(call, 0, _CONTINUE)

    def answer(self, call: Call, value: int) -> None:
        """Make the call return this value without executing it."""
        self._send(call, value, 0)

    def fail(self, call: Call, error: int) -> None:
        """Make the call fail with this error without executing it."""
        self._send(call, 0, 0, error)

    def is_valid(self, call: Call) -> bool:
        """Return True if the caller still waits. What was found out about it before is true then."""
        try:
            fcntl.ioctl(self.descriptor, _IS_VALID, struct.pack("<Q", call.id))
        except FileNotFoundError:
            return False
        return True

    def _send(self, call: Call, value: int, flags: int, error: int = 0) -> None:
        try:
            fcntl.ioctl(self.descriptor, _SEND, bytearray(_RESPONSE.pack(call.id, value, -error, flags)))
        except FileNotFoundError:
            return  # its caller has died

    def give(self, call: Call, descriptor: int, number: int) -> None:
        """Install a descriptor of this process as the blocked caller's descriptor `number`. Raises OSError."""
        fcntl.ioctl(
            self.descriptor, _ADD_DESCRIPTOR, _NEW_DESCRIPTOR.pack(call.id, _AT_THIS_NUMBER, descriptor, number, 0)
        )

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)
