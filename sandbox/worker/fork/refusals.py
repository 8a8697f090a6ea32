"""What a system call that ends a phase was for, in words."""

from __future__ import annotations

_REASONS = {
    "no process can be started: not by fork, subprocess or multiprocessing": (
        "clone fork vfork execve execveat wait4 waitid"
    ),
    "there is no network, and no socket but a pair of connected ones (socket.socketpair)": (
        "socket connect bind listen accept accept4 setsockopt sendmmsg recvmmsg"
    ),
    "between the ends of a socket pair pass plain bytes alone": "socketpair sendto sendmsg recvfrom recvmsg getsockopt",
    "only a program may send a signal, and only to itself": (
        "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal"
    ),
    "other processes are out of reach": (
        "ptrace process_vm_readv process_vm_writev process_madvise pidfd_open pidfd_getfd kcmp getpriority setpriority "
        "getpgid getsid setpgid setsid get_robust_list sched_getaffinity sched_setaffinity sched_setscheduler"
    ),
    "no memory can be both written and executed, and code comes from the library's files alone": "mmap mprotect",
    "no memory can be shared": "memfd_create shmget shmat shmctl semget semop semctl msgget msgsnd msgrcv mq_open",
    "limits can't be changed": "setrlimit prlimit64",
    "files can't be changed": (
        "creat truncate ftruncate fallocate rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat "
        "mkdir mkdirat rmdir mknod mknodat chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes "
        "utimensat futimesat setxattr lsetxattr fsetxattr flock fsync fdatasync sync pwrite64 pwritev"
    ),
    "a process can't change its rights, its clock or what it sees of the system": (
        "prctl seccomp capset setuid setgid setreuid setregid setresuid setresgid setgroups unshare setns mount "
        "umount2 pivot_root chroot clock_settime settimeofday adjtimex reboot personality"
    ),
    "it would show what others do": "sysinfo mincore statfs fstatfs syslog perf_event_open",
}
_REASON_OF = {name: reason for reason, names in _REASONS.items() for name in names.split()}


def refusal(name: str) -> str:
    """Return the message for a system call that is forbidden.

    Args:
        name: its name, or ``number`` and its number.
    """
    reason = _REASON_OF.get(name)
    return f"system call {name}" + (f": {reason}" if reason else "")
