"""Start the jailed processes of a worker (init and zygote), and keep the supervisor's ends of their pipes."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import root, seccomp
from selftaught.sandbox.worker.inside import zygote

if TYPE_CHECKING:
    from selftaught.sandbox.jail.scratch import Folder
    from selftaught.sandbox.packages import Chosen

MAIN = "main.py"
"""The file of a program in its scratch folder."""
_FIRST_THREAD = 1000
_SETUP_SECONDS, _PACKAGES_SECONDS = 20.0, 55.0


class JailedProcesses:
    """Init and zygote of a worker, and the pipes and the listener between them and the supervisor.

    Construction forks the zygote, which inherits this process's memory: it must not have received anything by then. In
    the zygote the object has an `entry` for `zygote.enter` and serves no other purpose.

    Attributes:
        zygote, pidfd: process id and pidfd of the zygote.
        listener: where system calls that the filter does not allow wait.
        job: pipe to the children, for jobs.
        children: process ids of living children.
        namespaces: the zygote's namespaces by kind.
        base_bytes: address space of the zygote.
        has_packages: True if tasks may import packages.
        scratch: the scratch folder.
    """

    scratch: Folder

    def __init__(self, full: bool) -> None:
        """Fork init, if there is one, and the zygote.

        Args:
            full: True at level ``full``, where the zygote has namespaces of its own and init is their process 1.
        """
        self.children: set[int] = set()
        self._scratch: Folder | None = None
        gc.collect()
        gc.freeze()  # a garbage collection writes to every object, after which the processes share little memory
        self._init = _fork_init() if full else 0
        null = os.open("/dev/null", os.O_RDONLY)
        self._output, output = os.pipe()  # of the zygote itself, which prints nothing; its children have others
        job, self.job = os.pipe()
        go, self._go = os.pipe()
        self._control, theirs = socket.socketpair()
        self._closed_at_end = [self.job, self._go]
        self.entry: zygote.Entry | None = None
        self.zygote = os.fork()
        if self.zygote == 0:
            self._control.close()
            self.entry = full, (null, output, job, go), theirs
            return
        for descriptor in (null, output, job, go):
            os.close(descriptor)
        theirs.close()
        self.pidfd = os.pidfd_open(self.zygote)
        os.set_blocking(self.job, False)

    def enter(
        self,
        program: bytes,
        traced_program: bytes,
        syscalls: dict[int, str],
        confine: Callable[[int], None],
        shared: dict[str, str],
        packages: Chosen,
        folder: Folder | None,
    ) -> None:
        """Make the zygote enter the jail.

        Args:
            program: seccomp filter of the zygote and its children.
            traced_program: seccomp filter of snapshot processes.
            syscalls: names of system calls by number.
            confine: moves a process into its control group.
            shared: shared libraries (`libraries.needed`).
            packages: what tasks may import besides (`selftaught.sandbox.packages.choose`).
            folder: the scratch folder (`scratch.prepare`), which `close` closes; None for one that the zygote mounts.

        Raises:
            CannotConfine: the jail can't be entered; the text says why.
        """
        self._scratch = folder
        self.has_packages = bool(packages["modules"])
        self._names = syscalls
        self._numbers = {name: number for number, name in syscalls.items()}
        confine(self.zygote)
        with self._control as control:
            control.settimeout(_SETUP_SECONDS + _PACKAGES_SECONDS * self.has_packages)
            try:
                place = (folder.path, folder.file_bytes) if folder else ("", root.SCRATCH_BYTES)
                zygote.send_setup(control, program, traced_program, shared, packages, place)
                text, descriptors, _, _ = socket.recv_fds(control, 1001, 1 if folder else 3)
            except TimeoutError:
                text, descriptors = b"-the jail was not entered in time", []
            except OSError:
                text, descriptors = b"", []
        if not descriptors:
            raise CannotConfine(text[1:].decode("utf-8", "replace") or "the zygote died while entering the jail")
        self._closed_at_end.append(descriptors[0])
        self.listener = seccomp.Listener(descriptors[0])
        if folder is None:
            from selftaught.sandbox.jail.scratch import Folder  # after the fork: the zygote must not have it in memory

            self._scratch = folder = Folder(root.scratch(), descriptors[1], descriptors[2], is_mounted=True)
        self.scratch = folder
        folder.empty()  # packages may have written to it when they were imported
        self.namespaces: dict[str, str] = json.loads(text[1:])
        self.base_bytes = address_space(self.zygote)

    def number(self, name: str) -> int:
        """Return the number of a system call, or -1 if this machine has none of that name."""
        return self._numbers.get(name, -1)

    def name(self, number: int) -> str:
        """Return the name of a system call."""
        return self._names.get(number, f"number {number}")

    def fork(self, what: bytes) -> None:
        """Make the zygote fork. Returns before the child runs.

        Args:
            what: `zygote.PHASE` or `zygote.SNAPSHOT`.
        """
        os.write(self._go, what)

    def reset_thread_numbers(self) -> None:
        """Have the kernel number the next threads from the same number on as those of every child before.

        The C library has the kernel's numbers in memory: they would tell how many threads and processes there were, by
        which a task could speak to a later one. Only at level ``full`` do the jailed processes have numbers of their
        own. Kernels without checkpoints (CONFIG_CHECKPOINT_RESTORE) can't set them; there the numbers stay.
        """
        if not self._init:
            return
        pid = os.fork()  # into the pid namespace, which is that of this process's children
        if pid == 0:
            try:
                with open("/proc/sys/kernel/ns_last_pid", "w") as file:
                    file.write(f"{_FIRST_THREAD - 1}")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    def is_spawn(self, call: seccomp.Call) -> bool:
        """Return True if the call is the zygote's clone.

        Raises:
            WorkerFailed: it is another call of the zygote.
        """
        if call.pid != self.zygote:
            return False
        if call.number != self.number("clone") or call.args[0] != zygote.CLONE_FLAGS:
            raise WorkerFailed(f"the zygote made an unexpected system call: {self.name(call.number)} {call.args}")
        return True

    def close(self) -> None:
        """Kill and reap every child of this process."""
        for pid in (self.zygote, self._init, *self.children):
            if pid:
                os.kill(pid, signal.SIGKILL)
        for descriptor in self._closed_at_end:  # a child that is not ready yet ends without its job or its call
            os.close(descriptor)
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        if self._scratch is not None:
            self._scratch.close()


def address_space(pid: int) -> int:
    """Return the size of a process's address space in bytes (man 5 proc, statm); 0 if it has died."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0


def status_bytes(pid: int, name: bytes) -> int:
    """Return one of the sizes in /proc/PID/status, in bytes; 0 if the process has died."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(name)), 0)
    except (OSError, IndexError):
        return 0


def _fork_init() -> int:
    """Fork process 1 of the pid namespace and return its id. With it all processes of the namespace die."""
    pid = os.fork()
    if pid == 0:
        _idle()
    return pid


def _idle() -> NoReturn:
    """Be process 1: execute a program that needs little memory if there is one, or wait."""
    from selftaught.sandbox.jail import capabilities, kernel

    try:
        kernel.prctl(zygote.PR_SET_PDEATHSIG, signal.SIGKILL)
        capabilities.drop()
        capabilities.forbid_new()
        os.closerange(0, 4096)
        with contextlib.suppress(OSError):
            os.execve("/bin/sleep", ["sleep", "infinity"], {})
        while True:
            signal.pause()
    finally:
        os._exit(1)
