"""A runner that waits at its snapshot: given a job, watched while it runs, put back.

`Rollback` does it in Python. `Accelerated` is the same with its inner loop in C (rollback.h), where that could be built.
"""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Mapping
from enum import IntEnum

from sandbox import wire
from sandbox.task import Limits
from sandbox.worker import accelerator, runner, tracee
from sandbox.worker.birth import Born
from sandbox.worker.engine import Judged, Phase
from sandbox.worker.memory import PAGE, Memory, Unrestorable
from sandbox.worker.phase import SAT, SOL
from sandbox.worker.tracee import ARGUMENTS, ORIG_RAX, Stop

MOST_PAGES = 2048
"""If a job has written more pages, its process is replaced: that is quicker, and gives the memory back."""
_CALLS = 512
_LEAST_MEMORY = 2 * runner.RESERVE_BYTES


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
    return len(job) <= runner.JOB_BYTES and limits.memory_bytes >= _LEAST_MEMORY


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


_MOST_PLAIN = 4096
_TOLD_ROOM = 64 << 10


class _State(ctypes.Structure):
    """struct state (rollback.h)."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("pid", "pagemap", "memory", "uffd", "report_fd", "loads_extended")),
        ("job", ctypes.c_uint64 * 4),
        ("ready", ctypes.c_uint64 * 27),
        ("now", ctypes.c_uint64 * 27),
        ("extended", tracee.Range),
        *(
            (name, ctypes.c_uint64)
            for name in ("steps_count", "protected_count", "hot_count", "attic_count", "most_pages")
        ),
        *((name, ctypes.c_void_p) for name in ("steps", "protected", "hot_spans", "attic", "kinds", "copies", "actions")),
        ("print_room", ctypes.c_uint64),
        ("printed", ctypes.c_uint64),
        ("report", ctypes.c_void_p),
        ("report_room", ctypes.c_uint64),
        ("report_size", ctypes.c_uint64),
        *((name, ctypes.c_uint64) for name in ("cold_count", "cold_kept")),
        ("cold", ctypes.c_void_p),
        ("marked_count", ctypes.c_uint64),
        ("marked_hot", ctypes.c_uint64),
        ("marked", ctypes.c_void_p),
        ("unmarked", ctypes.c_void_p),
        *((name, ctypes.c_uint64) for name in ("faults", "faults_seen")),
        *((name, ctypes.c_int64) for name in ("cpu_seen_ns", "cpu_ns", "wall_ns")),
        *((name, ctypes.c_uint64) for name in ("job_room", "least_memory", "engine", "resident", "ticks", "judged", "taken")),
        *((name, ctypes.c_uint64) for name in ("told_size", "told_room", "first_size", "answer_size")),
        *((name, ctypes.c_void_p) for name in ("told", "answer")),
        *((name, ctypes.c_uint64) for name in ("is_astray", "plain_tasks", "ahead_count", "ahead_next", "ahead_tasks")),
        *((name, ctypes.c_void_p) for name in ("ahead_sats", "ahead_codes")),
        ("ahead", ctypes.c_uint64 * 5 * 64),
        ("regions", ctypes.c_uint64 * 3 * 128),
    )


_STOPS = (None, Stop.CALL, Stop.SIGNAL, Stop.INTERRUPT, Stop.DEAD, Stop.REPORT, None, Stop.DONE)
_MOST_MARKED = 2 * MOST_PAGES
_FAILED, _UNFIT, _MORE, _NOT_RESTORED, _LEFT_TO_PYTHON = 6, 8, 9, -1, -2


class Accelerated(Rollback):
    """`Rollback` with its inner loop in C. Raises OSError also if the library was not built."""

    def __init__(self, born: Born, report_fd: int, report_room: int, actions: Mapping[int, Action]) -> None:
        self._library, self._state = load(), _State(report_fd=report_fd, loads_extended=born.loads_extended)
        self._at = ctypes.addressof(self._state)
        super().__init__(born, report_fd, report_room, actions)
        self._reports, self._told = mmap.mmap(-1, report_room), mmap.mmap(-1, _TOLD_ROOM + _MOST_PLAIN)
        self._cold = (ctypes.c_uint64 * (3 * MOST_PAGES))()  # of many jobs, and of two more
        self._table = (ctypes.c_uint8 * _CALLS)(*(actions.get(number, Action.ASK) for number in range(_CALLS)))
        state, memory = self._state, self.memory
        state.pid, state.pagemap, state.memory, state.uffd = memory.pid, memory.pagemap, memory.descriptor, memory.uffd
        attic = [number for piece in memory.attic for number in piece]
        self._attic = (ctypes.c_uint64 * len(attic))(*attic)
        state.attic, state.attic_count = ctypes.addressof(self._attic), len(memory.attic)
        self._kinds = (ctypes.c_uint8 * len(memory.kinds)).from_buffer(memory.kinds)
        state.kinds, state.copies = ctypes.addressof(self._kinds), memory.place_of_copies
        state.report, state.report_room = ctypes.addressof(ctypes.c_char.from_buffer(self._reports)), report_room
        state.told, state.told_room = ctypes.addressof(ctypes.c_char.from_buffer(self._told)), _TOLD_ROOM
        state.answer = state.told + _TOLD_ROOM
        self._ahead = mmap.mmap(-1, runner.JOB_BYTES + report_room)
        state.ahead_sats = ctypes.addressof(ctypes.c_char.from_buffer(self._ahead))
        state.ahead_codes = state.ahead_sats + runner.JOB_BYTES
        state.job_room, state.least_memory, state.resident = runner.JOB_BYTES, _LEAST_MEMORY, self.resident
        state.engine = wire.ENGINES.index("snapshot")
        job = self._job_at, self._job_at + runner.JOB_BYTES
        memory.fetch(job)
        state.job[:] = job[0], 0, memory.place(job), memory.shared(job)
        state.cold, state.most_pages = ctypes.addressof(self._cold), MOST_PAGES
        state.actions = ctypes.addressof(self._table)
        self._marked = (ctypes.c_uint64 * (4 * _MOST_MARKED))()
        self._unmarked_copies = mmap.mmap(-1, _MOST_MARKED * PAGE)
        state.marked = ctypes.addressof(self._marked)
        state.unmarked = ctypes.addressof(ctypes.c_char.from_buffer(self._unmarked_copies))
        self._marked_in_python = self._is_done = False
        state.cpu_seen_ns = int(self.tracee.cpu_seconds() * 1e9)
        self._describe_memory()

    def _take_registers(self, general: tuple[int, ...], extended: bytes) -> None:
        super()._take_registers(general, extended)
        self._state.ready[:], self._state.extended = general, self.vector

    def _describe_memory(self) -> None:
        """Tell the library what is protected, what is hot, and how to scan."""
        memory, state = self.memory, self._state
        steps = [number for step in memory.steps for number in step]
        self._steps = (ctypes.c_uint64 * len(steps))(*steps)
        spans = [number for span in memory.protected for number in (*span, memory.place(span), memory.shared(span))]
        self._spans = (ctypes.c_uint64 * len(spans))(*spans)
        state.steps, state.steps_count = ctypes.addressof(self._steps), len(memory.steps)
        state.protected, state.protected_count = ctypes.addressof(self._spans), len(memory.protected)
        hot = [(span[0], span[1] - span[0], memory.place(span), memory.shared(span)) for span in memory.hot_spans]
        self._hot_spans = (ctypes.c_uint64 * (4 * len(hot)))(*(number for span in hot for number in span))
        state.hot_spans, state.hot_count = ctypes.addressof(self._hot_spans), len(hot)

    def judge(self, frames: bytes, counters: bytes, most: int, moment_seconds: float, together_seconds: float) -> Judged:
        state, times = self._state, (int(moment_seconds * 1e9), int(together_seconds * 1e9))
        result = self._library.rollback_judge(self._at, frames, len(frames), counters, len(counters), most, *times)
        self._is_done, self.memory.written = False, self._cold[: state.cold_count]
        begun = result not in (_MORE, _UNFIT)
        judged = Judged(state.judged, self._told[: state.told_size], state.taken, result == _MORE, begun)
        self.astray = state.ahead_tasks if state.is_astray else 0
        if self.astray:
            judged.more, judged.begun, self.begun = True, False, (b"", self._take_stop(result))
        elif begun:
            self._begin(next(wire.cut(frames[judged.taken :])), self._take_stop(result), len(counters))
        return judged

    def leave(self, tasks: int) -> None:
        self._state.plain_tasks = tasks

    def _begin(self, task: bytes, stop: Stop | None, counters_size: int) -> None:
        """Note that a phase of this task has been run, or started."""
        state, job = self._state, wire.unpack_job(task)
        start = state.told_size + wire.frame_size(counters_size)
        self.first, phase, payload = self._told[start : start + state.first_size], SOL, job.sol
        if self.first:
            start = state.told_room
            self.answer = payload = self._told[start : start + state.answer_size]
            phase = SAT
        self.begun = pack(phase, job.sat, payload, job.limits, job.seed), stop

    def run(self, job: bytes, print_room: int, timeout_seconds: float) -> Stop | None:
        begun, self.begun = self.begun, None
        if begun:
            if begun[0] != job:
                raise OSError("another job was begun")
            return begun[1]
        self._is_done, self._state.print_room = False, print_room
        return self._take_stop(self._library.rollback_run(self._at, job, len(job), int(timeout_seconds * 1e9)))

    def wait(self, timeout_seconds: float) -> Stop | None:
        return self._take_stop(self._library.rollback_wait(self._at, int(timeout_seconds * 1e9)))

    def _take_stop(self, result: int) -> Stop | None:
        state = self._state
        if result == _FAILED:
            raise OSError("the runner can't be started or watched")
        stop = _STOPS[result]
        if stop is Stop.DONE:
            self._is_done = True
            self.report = self._reports[: state.report_size]
            self.memory.written = self._cold[: state.cold_count] if state.cold_count else []
        elif stop is Stop.REPORT:
            self.report = self._reports[: state.report_size]
        elif stop is Stop.CALL:
            self.now = tuple(state.now)
        elif stop is Stop.DEAD:
            self.tracee.dead = True
        self.printed = state.printed
        return stop

    def used(self) -> tuple[float, float]:
        cpu, wall = self._state.cpu_ns * 1e-9, self._state.wall_ns * 1e-9
        if self._is_done:
            return cpu, wall
        return self.tracee.cpu_seconds() - cpu, time.monotonic() - wall

    def take_report(self) -> None:
        if self._library.rollback_report_taken(self._at) == _FAILED:
            raise OSError("the runner can't be resumed")

    def restore(self) -> None:
        result = self._library.rollback_restore(self._at)
        if result == _NOT_RESTORED:
            raise Unrestorable("the memory can't be put back")
        if result == _LEFT_TO_PYTHON:
            super().restore()
            self._describe_memory()
        else:
            self.memory.written = self._cold[: self._state.cold_count]

    def _mark_memory(self) -> None:
        result = self._library.rollback_mark(self._at)
        if result == _NOT_RESTORED:
            raise Unrestorable("the memory can't be marked")
        self._marked_in_python = result == _LEFT_TO_PYTHON
        if self._marked_in_python:
            size = self._state.job[1]
            self.tracee.write(self._job_at, self.tracee.read(self._job_at, size))  # as if it came from there: so a search finds it
            self._state.job[1] = 0
            super()._mark_memory()
            self._describe_memory()

    def _unmark_memory(self) -> None:
        if self._marked_in_python:
            super()._unmark_memory()
        elif self._library.rollback_unmark(self._at) == _NOT_RESTORED:
            raise Unrestorable("the memory can't be unmarked")

    def set_hot(self, pages: frozenset[int]) -> None:
        super().set_hot(pages)
        self._describe_memory()


def load() -> ctypes.PyDLL:
    """The accelerator, its functions described. Raises OSError if there is none that fits."""
    library = accelerator.load()
    ours = [ctypes.sizeof(_State), wire.JOB.size, wire.PHASE.size, wire.OUTCOME.size]
    if list((ctypes.c_uint64 * len(ours)).in_dll(library, "rollback_sizes")) != ours:
        raise OSError("the accelerator belongs to another version: install again")
    library.rollback_run.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_int64)
    library.rollback_wait.argtypes = (ctypes.c_void_p, ctypes.c_int64)
    library.rollback_judge.argtypes = (*library.rollback_run.argtypes[:3], ctypes.c_char_p, *[ctypes.c_uint64] * 2, *[ctypes.c_int64] * 2)
    for name in ("report_taken", "restore", "mark", "unmark"):
        getattr(library, f"rollback_{name}").argtypes = (ctypes.c_void_p,)
    return library
