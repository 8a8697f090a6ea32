"""A snapshot process: runs a job, is watched while it runs, and is put back. The work for every job is in process.h."""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Mapping
from dataclasses import dataclass

from selftaught.sandbox import wire
from selftaught.sandbox.outcome import Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.inside import snapshot
from selftaught.sandbox.worker.native.library import load_checked
from selftaught.sandbox.worker.native.shared import NO_FAULTS_SEEN, Action, Range, Relayed, State, Stop
from selftaught.sandbox.worker.snapshot.memory import PAGE, Memory, Unrestorable
from selftaught.sandbox.worker.snapshot.spawn import Spawned
from selftaught.sandbox.worker.snapshot.suspended import SuspendedJob
from selftaught.sandbox.worker.snapshot.tracee import NOT_A_CALL, ORIG_RAX

MIN_MEMORY = 2 * snapshot.RESERVE_BYTES
_MAX_PAGES = (snapshot.RESERVE_BYTES + (16 << 20)) // PAGE
"""If a job has written more pages the process is replaced."""
_LISTED_PAGES = 4096
_FEW_PAGES = 32
"""So few pages of memory that jobs have needed are not returned to the kernel."""
_CALLS = 512
_REPORT_CAPACITY = snapshot.JOB_BYTES
_RESULTS_CAPACITY, _ANSWER_CAPACITY = 64 << 10, 64 << 10
"""For outcomes of many tasks, and for an answer on its way between phases in the C code."""
_CHECK_SECONDS = 5.0
_SIZE_BYTES = 8
_STOPS = {stop.value: stop for stop in Stop}
"""Faster than the constructor of an enumeration."""
OUTPUT_BYTES = 4 << 20
"""A program may have a limit of so many bytes of output here."""


def fits(job: bytes, limits: Limits) -> bool:
    """Return True if the job fits a snapshot process's size and memory limits."""
    return len(job) <= snapshot.JOB_BYTES and limits.memory_bytes >= MIN_MEMORY


@dataclass(slots=True)
class Batch:
    """What the C code has made of a batch of tasks.

    Attributes:
        tasks: how many tasks are done.
        results: frames of their outcomes.
        consumed: bytes of their frames.
        stop: `Stop.MORE` or `Stop.UNFIT` if no phase of the next task was started; else what came of its `phase`.
        phase: the phase of the next task that was started, or None.
        first: frame of the outcome of the phase before that; b"" if there was none.
        answer: the answer of that phase.
    """

    tasks: int
    results: bytes
    consumed: int
    stop: Stop
    phase: Phase | None
    first: bytes
    answer: bytes


class SnapshotProcess:
    """A stopped process with its snapshot, taken at construction.

    Every method raises OSError if the process has died, or can't be watched or put back: it must be replaced then.

    Attributes:
        tracee: the traced process.
        memory: its memory.
        job_at: address where it reads jobs.
    """

    def __init__(
        self, spawned: Spawned, report_fd: int, actions: Mapping[int, Action], has_packages: bool = False
    ) -> None:
        """Take the snapshot.

        Args:
            spawned: the process, waiting for its first job.
            report_fd: the descriptor number that means the report.
            actions: what the C code does about a system call, by its number.
            has_packages: the process has packages.

        Raises:
            OSError: the kernel does not allow it.
        """
        self.tracee, self._library = spawned.tracee, load_checked()
        state = self._state = State(report_fd=report_fd, max_pages=_MAX_PAGES, min_memory=MIN_MEMORY)
        self._at = ctypes.addressof(state)
        state.ready[:] = self.tracee.registers()
        self.job_at = spawned.job_at
        self._extended = self.tracee.extended_state()
        self._buffers = [ctypes.create_string_buffer(self._extended, len(self._extended))]
        state.extended = Range(ctypes.addressof(self._buffers[0]), len(self._extended))
        with open(f"/proc/{self.tracee.pid}/statm") as file:
            state.resident = int(file.read().split()[1]) * PAGE
        files = spawned.uffd, spawned.memfd, snapshot.MEMFD
        self.memory = Memory(self.tracee, state, self._library, *files, has_packages)
        state.job_offset, state.job_capacity = self.memory.offset(spawned.job_at), snapshot.JOB_BYTES
        if any(self.memory.read(spawned.job_at, snapshot.JOB_BYTES)):
            raise OSError("the job buffer is not empty")
        state.report, state.report_capacity = self._allocate(_REPORT_CAPACITY), _REPORT_CAPACITY
        state.results, state.results_capacity = self._allocate(_RESULTS_CAPACITY), _RESULTS_CAPACITY
        state.answer, state.answer_capacity = self._allocate(_ANSWER_CAPACITY), _ANSWER_CAPACITY
        state.outputs[:] = self._allocate(OUTPUT_BYTES), self._allocate(OUTPUT_BYTES)
        self._stdin = b""
        state.sources, state.codes = self._allocate(snapshot.JOB_BYTES), self._allocate(_REPORT_CAPACITY)
        state.written, state.written_capacity = self._allocate(8 * _LISTED_PAGES), _LISTED_PAGES
        self._actions = (ctypes.c_uint8 * _CALLS)(*(actions.get(number, Action.ASK) for number in range(_CALLS)))
        state.actions = ctypes.addressof(self._actions)
        state.cpu_seen_ns = int(self.tracee.cpu_seconds() * 1e9)
        self._is_done = self._is_at_report = False

    def _allocate(self, size: int) -> int:
        """Return the address of a buffer that takes memory only as far as it is used."""
        self._buffers.append(ctypes.c_char.from_buffer(mmap.mmap(-1, size)))  # type: ignore[arg-type]
        return ctypes.addressof(self._buffers[-1])

    def execute(self, frames: bytes, counters: bytes, most: int, timeout_seconds: float, batch_seconds: float) -> Batch:
        """Run both phases of tasks, and put the process back after each.

        Args:
            frames: whole frames of jobs.
            counters: packed counters, put in front of each task's outcomes.
            most: largest number of tasks.
            timeout_seconds: a phase that takes longer ends the batch.
            batch_seconds: the time after which no further task starts.

        Returns:
            The tasks that went the usual way, and the next one's phase that did not, running or over.
        """
        state, times = self._state, (int(timeout_seconds * 1e9), int(batch_seconds * 1e9))
        stop = self._stopped(
            self._library.process_execute(self._at, frames, len(frames), counters, len(counters), most, *times)
        )
        results, first, at = ctypes.string_at(state.results, state.results_size), b"", state.results_size
        answer = ctypes.string_at(state.answer, state.answer_size) if state.phase == Phase.SAT else b""
        if answer:
            at = wire.end_of_first(results, number=state.executed)
            first = results[at:]
        phase = Phase(state.phase) if state.phase else None
        return Batch(state.executed, results[:at], state.consumed, stop, phase, first, answer)

    def run(self, job: bytes, print_limit: int, timeout_seconds: float) -> Stop:
        """Run a job and wait. If it reports at once the process is put back: `Stop.DONE`.

        Args:
            job: the job's bytes (`pack`).
            print_limit: bytes that it may print.
            timeout_seconds: how long to wait.

        Returns:
            What came of it.
        """
        self._state.print_limit = print_limit
        return self._stopped(self._library.process_run(self._at, job, len(job), int(timeout_seconds * 1e9)))

    def set_streams(self, stdin: bytes | None, output_limit: int, suspended: SuspendedJob | None = None) -> None:
        """Give the next job the standard streams of a program; None: it is no program, and its input is at its end.

        Args:
            stdin: standard input.
            output_limit: bytes that are kept of each output, at most `OUTPUT_BYTES`.
            suspended: the program that is to be resumed, whose streams stand where it was.
        """
        state, self._stdin = self._state, stdin or b""
        state.is_program, state.output_limit = stdin is not None, output_limit
        state.stdin = ctypes.cast(ctypes.c_char_p(self._stdin), ctypes.c_void_p).value
        state.stdin_size, state.stdin_at = len(self._stdin), 0
        state.output_sizes[:] = 0, 0
        if suspended is not None and suspended.streams is not None:
            state.stdin_at, outputs = suspended.streams
            for at, (kept, _) in zip(state.outputs, outputs, strict=True):
                ctypes.memmove(at, kept, len(kept))
            state.output_sizes[:] = [size for _, size in outputs]

    @property
    def stdin_position(self) -> tuple[int, int] | None:
        """How much of a program's standard input was read, and its size; None if the job is no program."""
        return (self._state.stdin_at, self._state.stdin_size) if self._state.is_program else None

    def write(self, address: int, data: bytes) -> None:
        """Write to its memory while a job runs, for a call that is answered. Raises OSError if that fails."""
        self.tracee.write(address, data)
        self._state.faults_seen = NO_FAULTS_SEEN

    def output(self) -> bytes:
        """Return what the program has written, as `wire.pack_output` does."""
        (stdout, _), (stderr, _) = self._outputs()
        return wire.pack_output(stdout, stderr, self.is_output_cut)

    @property
    def is_output_cut(self) -> bool:
        """Return True if a program has written more than is kept."""
        return bool(max(self._state.output_sizes) > self._state.output_limit)

    def _outputs(self) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
        """Return what is kept of each output of a program, and how much it has written."""
        state = self._state
        out, err = (
            (ctypes.string_at(at, min(size, state.output_limit)), size)
            for at, size in zip(state.outputs, state.output_sizes, strict=True)
        )
        return out, err

    def can_take(self, message: bytes) -> bool:
        """Return True if a message fits where the process reads it."""
        return len(message) <= snapshot.JOB_BYTES - _SIZE_BYTES

    def answer(self, message: bytes, timeout_seconds: float) -> Stop:
        """After `Stop.REPORT` with a message: answer it, and wait as `wait` does."""
        return self._stopped(self._library.process_answer(self._at, message, len(message), int(timeout_seconds * 1e9)))

    def relay(self, solution: SnapshotProcess, calls: Relayed, timeout_seconds: float) -> Stop:
        """After `Stop.REPORT` with a request of tests: pass calls on to a solution's process, and wait.

        Args:
            solution: the process that waits for a message.
            calls: what is known of them before; what came of them.
            timeout_seconds: how long to do that.

        Returns:
            `Stop.UNFIT` if that request must be looked at; else what came of the process that `calls` tells.
        """
        stop = self._library.process_relay(self._at, solution._at, ctypes.addressof(calls), int(timeout_seconds * 1e9))
        return (solution if calls.is_solution else self)._stopped(stop)

    def wait(self, timeout_seconds: float) -> Stop:
        """Wait until the process stops for something that `actions` does not cover; `Stop.TIMEOUT` if it does not."""
        return self._stopped(self._library.process_wait(self._at, int(timeout_seconds * 1e9)))

    def _stopped(self, result: int) -> Stop:
        stop = _STOPS[result]
        self._is_done, self._is_at_report = stop is Stop.DONE, stop is Stop.REPORT
        if stop is Stop.FAILED:
            raise OSError("the process can't be started, watched or put back")
        self.tracee.dead |= stop is Stop.DEAD
        return stop

    @property
    def now(self) -> tuple[int, ...]:
        """Return the registers at the last stop."""
        return tuple(self._state.now)

    @property
    def call(self) -> int:
        """Return the number of the system call at the last stop."""
        return int(self._state.now[ORIG_RAX])

    @property
    def report(self) -> bytes:
        """Return what was last written to the report."""
        return ctypes.string_at(self._state.report, self._state.report_size)

    @property
    def peak_memory_bytes(self) -> int:
        """Return the peak of the last job, which was put back: resident at the snapshot, and the pages it wrote."""
        return int(self._state.resident + self._state.pages * PAGE)

    @property
    def suspect(self) -> bool:
        """Return True if the C code has given up a job of its own, so that memory should be compared."""
        return bool(self._state.suspect)

    def used(self, now: float) -> tuple[float, float]:
        """Return CPU time and elapsed time in seconds of the last job: until now, or until it was put back at once.

        Args:
            now: the monotonic clock.
        """
        cpu, wall = self._state.cpu_ns * 1e-9, self._state.wall_ns * 1e-9
        if self._is_done:
            return cpu, wall
        return self.tracee.cpu_seconds() - cpu, now - wall

    def proceed_with(self, result: int) -> None:
        """After a stop at a call: resume as if the call had returned `result`."""
        self._stopped(self._library.process_proceed(self._at, result))

    def take_report(self) -> None:
        """After `Stop.REPORT`: resume."""
        self.proceed_with(self._state.report_size)

    def restore(self) -> None:
        """Put back memory, and extended registers unless the process loads them anyway, as after a report."""
        self._stopped(self._library.process_restore(self._at, self._is_at_report))

    def release(self) -> bool:
        """Return to the kernel the memory that jobs have needed, if it is much. Return True if it was."""
        if self._state.kept < _FEW_PAGES:
            return False
        self._stopped(self._library.process_release(self._at))
        return True

    def suspend(self, used: tuple[float, float]) -> SuspendedJob:
        """Return the state of an interrupted job, for `resume`.

        Args:
            used: CPU time and elapsed time in seconds so far.

        Raises:
            Unrestorable: it waits in a system call, or has written too much.
        """
        registers, state = self.tracee.registers(), self._state
        if registers[ORIG_RAX] != NOT_A_CALL:
            raise Unrestorable("it waits in a system call")
        job = self.job_at, self.memory.read(self.job_at, state.job_size)  # the supervisor wrote it: no scan finds it
        pages, extended = [*self.memory.changed(), job], self.tracee.extended_state()
        streams = (state.stdin_at, self._outputs()) if state.is_program else None
        return SuspendedJob(pages, registers, extended, state.printed, used, streams)

    def resume(self, job: SuspendedJob, print_limit: int, timeout_seconds: float) -> Stop:
        """Resume a suspended job, and wait as `run` does."""
        state = self._state
        state.printed, state.print_limit, state.report_size = job.printed, print_limit, 0
        state.cpu_ns, state.wall_ns = int(self.tracee.cpu_seconds() * 1e9), time.monotonic_ns()
        state.job_size = state.written_count = 0
        state.faults_seen = NO_FAULTS_SEEN
        for start, content in job.pages:
            self.tracee.write(start, content)  # as the process's own write: a scan finds it
        extended = ctypes.create_string_buffer(job.extended, len(job.extended))
        self.tracee.set_extended_state(Range(ctypes.addressof(extended), len(extended)))
        self.tracee.resume_from(job.registers)
        return self.wait(timeout_seconds)

    def differences(self) -> list[str]:
        """Compare memory, mappings and registers with the snapshot, after they were put back.

        For the registers the process runs an empty job: it comes back to where it waits, with the registers that the
        next job would find.

        Returns:
            A description of each difference.
        """
        self.tracee.resume_with(tuple(self._state.ready), 0)
        stop = self.tracee.wait(_CHECK_SECONDS)
        if stop is Stop.INTERRUPT:  # requested in the last job, which stopped by itself first
            self.tracee.resume()
            stop = self.tracee.wait(_CHECK_SECONDS)
        if stop is not Stop.CALL:
            return ["it does not come back to where it waits"]
        found = self.memory.differences()
        if self.tracee.registers() != tuple(self._state.ready):
            found.append("the registers differ")
        if self.tracee.extended_state() != self._extended:
            found.append("the extended registers differ")
        return found

    def end(self) -> None:
        """Kill the process and close its descriptors."""
        self.tracee.kill()
        self.memory.close()
