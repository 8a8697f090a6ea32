"""A runner that waits at its snapshot: given a job, watched while it runs, put back.

In Python; `sandbox.worker.snapshot.accelerated` is the same with its inner loop in C, where that could be built.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from enum import IntEnum

from sandbox import wire
from sandbox.task import Limits
from sandbox.worker.engine import Judged, Phase
from sandbox.worker.inside import runner
from sandbox.worker.snapshot import tracee
from sandbox.worker.snapshot.birth import Born
from sandbox.worker.snapshot.memory import PAGE, Memory, Unrestorable
from sandbox.worker.snapshot.suspended import Held
from sandbox.worker.snapshot.tracee import ARGUMENTS, NOT_A_CALL, ORIG_RAX, Stop

MOST_PAGES = 2048
"""If a job has written more pages, its process is replaced: that is quicker, and gives the memory back."""
LEAST_MEMORY = 2 * runner.RESERVE_BYTES


class Action(IntEnum):
    """What becomes of a system call of a job."""

    ASK = 0
    """`wait` returns `Stop.CALL`."""
    PASS = 1
    """It takes place."""
    WRITE = 2
    """To descriptors 1 and 2: it is counted, as far as the limit goes, and does not take place. To the report's: `wait` returns `Stop.REPORT`."""


def pack(phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int) -> bytes:
    """What a runner reads, who needs to know little of the limits."""
    return wire.PHASE.pack(phase, 0, 0.0, limits.answer_bytes, seed, len(sat), len(payload)) + sat + payload


def fits(job: bytes, limits: Limits) -> bool:
    """Whether a runner can do this job."""
    return len(job) <= runner.JOB_BYTES and limits.memory_bytes >= LEAST_MEMORY


class Rollback:
    """A stopped tracee with its snapshot, taken when this is made. Raises OSError where the kernel does not allow that.

    job_at: where it reads jobs. report_fd: the descriptor that means the report. actions: by number of the system call.
    printed: bytes that the last job wrote to descriptors 1 and 2. report: what was last written to the report. After a `wait`
    that returned `Stop.CALL`, `now` are the registers. resident: bytes, to be told of outcomes. first, answer, astray: see `judge`.
    """

    def __init__(self, born: Born, report_fd: int, report_room: int, actions: Mapping[int, Action]) -> None:
        self.tracee, self._job_at, self._announce = born.tracee, born.job_at, born.announce
        self._report_fd, self._report_room, self._actions = report_fd, report_room, actions
        self.now = self.tracee.registers()
        self._take_registers(self.now, self.tracee.extended_state())
        self.memory = Memory(self.tracee, born.uffd, born.memfd, runner.MEMFD)
        self.printed, self.report, self.first, self.answer = 0, b"", b"", b""
        self.begun: tuple[bytes, Stop | None] | None = None
        self.astray = 0
        with open(f"/proc/{self.tracee.pid}/statm") as file:
            self.resident = int(file.read().split()[1]) * PAGE

    def run(self, job: bytes, print_room: int, timeout_seconds: float) -> Stop | None:
        """Let it run with this job, which may print so many bytes, and `wait`; or all that and `restore`: `Stop.DONE`.
        Raises OSError if it is dead."""
        self.printed, self._print_room = 0, print_room
        self._began = self.tracee.cpu_seconds(), time.monotonic()
        self.tracee.write(self._job_at, job)
        self.tracee.resume_with(self.ready, len(job))
        return self.wait(timeout_seconds)

    def judge(self, frames: bytes, counters: bytes, most: int, moment_seconds: float, together_seconds: float) -> Judged:
        """Run both phases of tasks, at most so many and for so long together, no phase for more than a moment, and `restore` after each: see
        `Engine.judge`. counters: packed, to be told with each.

        Of a task that went otherwise less may be done: `first` is the packed outcome of its first phase, if that has answered, and `answer` that answer.
        A phase that is under way or just over is `begun`, and has to be taken on by `run` with its job. If the puzzles of so many tasks as are `astray`
        could not be compiled together, that is an empty job, and belongs to no task. Raises OSError if the process is dead.
        """
        return Judged()

    def leave(self, tasks: int) -> None:
        """Compile nothing before the next so many tasks."""

    def used(self) -> tuple[float, float]:
        """CPU time and elapsed time in seconds since `run`; until it was put back, if it is `Stop.DONE`."""
        cpu, wall = self._began
        return self.tracee.cpu_seconds() - cpu, time.monotonic() - wall

    def wait(self, timeout_seconds: float) -> Stop | None:
        """Wait until it stops for something that is not dealt with by `actions`; None if that does not happen in time."""
        while (stop := self.tracee.wait(timeout_seconds)) is Stop.CALL:
            self.now = self.tracee.registers()
            action = self._actions.get(self.now[ORIG_RAX], Action.ASK)
            if action is Action.PASS:
                self.tracee.resume()
                continue
            if action is Action.ASK:
                return stop
            descriptor, address, size = (self.now[place] for place in ARGUMENTS[:3])
            if descriptor in (1, 2) and size <= self._print_room - self.printed:
                self.printed += size
                self.proceed_with(size)
            elif descriptor != self._report_fd or size > self._report_room:
                return stop
            else:
                self.report = self.tracee.read(address, size)
                return Stop.REPORT
        return stop

    def asks_for_job(self) -> bool:
        """After a stop at a call: whether it is the runner's, which has loaded a puzzle and waits for the phase's own job.

        A puzzle that forges this call gets what else it would have been given: the jobs of its own answers.
        """
        descriptor, address = (self.now[place] for place in ARGUMENTS[:2])
        return (self.now[ORIG_RAX], descriptor, address) == (self._announce, runner.UFFD, self._job_at)

    def proceed_with(self, result: int) -> None:
        """After a stop at a call: let it run on as if the call had returned `result`. Raises OSError if it is dead."""
        self.tracee.resume_with(self.now, result)

    def take_report(self) -> None:
        """After `Stop.REPORT`: let it run on."""
        self.proceed_with(len(self.report))

    def restore(self) -> None:
        """Put back its memory and what `run` does not set. Raises Unrestorable or OSError: then it must go."""
        self.memory.restore(MOST_PAGES)
        self.tracee.set_extended_state(self.vector)

    def hold(self, used: tuple[float, float]) -> Held:
        """The job that was interrupted, as it stands: `take_up` lets it go on after others. used: see `Held`. Raises Unrestorable or OSError."""
        registers = self.tracee.registers()
        if registers[ORIG_RAX] != NOT_A_CALL:
            raise Unrestorable("it waits in a system call")
        return Held(self.memory.changed(MOST_PAGES), registers, self.tracee.extended_state(), self.printed, used)

    def take_up(self, held: Held, print_room: int, timeout_seconds: float) -> Stop | None:
        """`run` for a job that was interrupted: let it go on where it was. Raises OSError if the process is dead."""
        self.printed, self._print_room = held.printed, print_room
        self._began = self.tracee.cpu_seconds(), time.monotonic()
        for start, content in held.pages:
            self.tracee.write(start, content)  # so that a search finds it
        extended = ctypes.create_string_buffer(held.extended, len(held.extended))
        self.tracee.set_extended_state(tracee.Range(ctypes.addressof(extended), len(extended)))
        self.tracee.resume_from(held.registers)
        return self.wait(timeout_seconds)

    def set_hot(self, pages: frozenset[int]) -> None:
        """See `Memory.set_hot`."""
        self.memory.set_hot(pages)

    def mark(self) -> None:
        """Let `run` and `restore` come back to where it is stopped now, until `unmark`. Raises Unrestorable or OSError: then it must go."""
        self._mark_memory()
        self._unmarked = (self.ready, self._extended)
        self._take_registers(self.now, self.tracee.extended_state())

    def unmark(self) -> None:
        """After a `restore`: back to the snapshot. Raises Unrestorable or OSError: then it must go."""
        self._unmark_memory()
        ready, extended = self._unmarked
        self._take_registers(ready, extended)
        self.tracee.set_extended_state(self.vector)

    def _mark_memory(self) -> None:
        self.memory.mark(MOST_PAGES)

    def _unmark_memory(self) -> None:
        self.memory.unmark()

    def _take_registers(self, general: tuple[int, ...], extended: bytes) -> None:
        """These are to be put back."""
        self.ready, self._extended = general, extended
        self._extended_buffer = ctypes.create_string_buffer(extended, len(extended))
        self.vector = tracee.Range(ctypes.addressof(self._extended_buffer), len(extended))

    def differences(self) -> list[str]:
        """What is not as it was at the snapshot, after a `restore`: of memory, mappings, and registers that it does not set."""
        found = self.memory.differences()
        if self.tracee.extended_state() != self._extended:
            found.append("the extended registers differ")
        return found

    def end(self) -> None:
        """Kill it, and release what tracks it."""
        self.tracee.kill()
        self.memory.close()
