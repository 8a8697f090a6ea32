"""`Rollback` with its inner loop in C (rollback.h)."""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Mapping

from sandbox import wire
from sandbox.worker.engine import Judged
from sandbox.worker.inside import runner
from sandbox.worker.inside.phase import SAT, SOL
from sandbox.worker.native import library as accelerator
from sandbox.worker.snapshot.birth import Born
from sandbox.worker.snapshot.memory import PAGE, Unrestorable
from sandbox.worker.snapshot.process import LEAST_MEMORY, MOST_PAGES, Action, Rollback, pack
from sandbox.worker.snapshot.suspended import Held
from sandbox.worker.snapshot.tracee import Range, Stop

_MOST_PLAIN = 4096
_CALLS = 512
_TOLD_ROOM = 64 << 10


class _State(ctypes.Structure):
    """struct state (rollback.h)."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("pid", "pagemap", "memory", "uffd", "report_fd", "loads_extended")),
        ("job", ctypes.c_uint64 * 4),
        ("ready", ctypes.c_uint64 * 27),
        ("now", ctypes.c_uint64 * 27),
        ("extended", Range),
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
_MOST = (1 << 64) - 1
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
        state.job_room, state.least_memory, state.resident = runner.JOB_BYTES, LEAST_MEMORY, self.resident
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

    def hold(self, used: tuple[float, float]) -> Held:
        held = super().hold(used)
        held.pages.append((self._job_at, self.tracee.read(self._job_at, self._state.job[1])))  # it came where no search finds it
        return held

    def take_up(self, held: Held, print_room: int, timeout_seconds: float) -> Stop | None:
        state, self._is_done = self._state, False
        state.printed, state.print_room, state.report_size = held.printed, print_room, 0
        state.cpu_ns, state.wall_ns = int(self.tracee.cpu_seconds() * 1e9), time.monotonic_ns()
        state.job[1] = state.cold_kept = 0
        state.faults_seen = _MOST  # there were none, but there is something to be found
        return super().take_up(held, print_room, timeout_seconds)

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
