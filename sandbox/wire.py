"""Messages between verifier and worker, and between supervisor and child: lengths and bytes, never objects."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from selftaught.sandbox.task import Limits


class End(IntEnum):
    """How a phase ended: as the supervisor saw it (up to `DIED`), or as the child reported it.

    `UNFINISHED`: the phase did not end within its time slice, or was preempted; `Outcome.observed` is 1 if it can go on
    where it was. `TOTAL` ends no phase: it follows the outcomes of cases, and says as `Outcome.observed` how many there
    are.
    """

    FORBIDDEN = 1
    CPU = 2
    WALL = 3
    MEMORY = 4
    OUTPUT = 5
    DIED = 6
    ANSWER = 7
    TOO_LARGE = 8
    WRONG_TYPE = 9
    SOLUTION_ERROR = 10
    PUZZLE_ERROR = 11
    ACCEPTED = 12
    REJECTED = 13
    EXITED = 14
    UNFINISHED = 15
    TESTS_ERROR = 16
    TOTAL = 17

    __hash__ = int.__hash__  # Enum's own is slow: it is written in Python


class Phase(IntEnum):
    """What a child or a snapshot process is to do."""

    SOL = 1
    """Run the solution and report its answer."""
    SAT = 2
    """Call the puzzle with an answer and report what it says."""
    RUN = 3
    """Run a program, without a report."""
    LOAD = 4
    """Load the puzzle alone, and report whether it loads."""
    COMPILE = 5
    """Compile sources, run none, and report their code."""
    SERVE = 6
    """Load a solution and answer calls of it."""
    TESTS = 7
    """Run tests, whose calls of the solution are relayed."""
    COMPILED = 8
    """Added to another phase if its first source is code by `COMPILE`."""
    CHECK = 16
    """Judge outputs by a comparison or a checker."""
    SHARED = 17
    """Load a solution and run tests in the same process."""


class Kind(IntEnum):
    """What a job judges, or that it only runs a program."""

    __hash__ = int.__hash__

    PUZZLE = 0
    PROGRAM = 1
    TESTS = 2
    """A function by tests."""
    CASES = 3
    """A function by cases."""
    STDIO = 4
    """A program by cases."""
    SHARED = 5
    """A function by tests in the same process."""


class Turn(IntEnum):
    """How long a job may run before others get their turn (`selftaught.sandbox.time_slice`).

    A job that is preemptible is left unfinished when the next job reaches its worker.
    """

    __hash__ = int.__hash__

    WHOLE = 0
    """Until it has ended or is at its limits."""
    SLICE = 1
    """Unfinished after the time slice of its engine."""
    LONGER = 2
    """Unfinished at its time limits, which are those of a longer slice; preemptible."""
    LAST = 3
    """Until it has ended or is at its limits; preemptible."""

    @property
    def is_slice(self) -> bool:
        """True if a phase that is out of time leaves the job unfinished."""
        return self in (Turn.SLICE, Turn.LONGER)

    @property
    def is_preemptible(self) -> bool:
        """True if the next job leaves this one unfinished."""
        return self in (Turn.LONGER, Turn.LAST)


NO_CASE = (1 << 32) - 1
"""As `Outcome.case`: the outcome belongs to no case."""


@dataclass(slots=True)
class Outcome:
    """The evidence of one phase.

    Attributes:
        end: how it ended.
        detail: text for the verdict's message.
        observed: value of the limit that was hit, in its unit; return code of a program that ended by itself.
        cpu_seconds, wall_seconds: CPU time and elapsed time.
        peak_memory_bytes: largest resident size.
        payload: the answer's encoding in the supervisor, its digest on the wire; output of a program (`unpack_output`).
        engine: name of the engine that ran it.
        phase: the phase that ended so.
        case: the index of the case that it belongs to, or `NO_CASE`.
    """

    end: End
    detail: str = ""
    observed: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_bytes: int = 0
    payload: bytes = b""
    engine: str = "fork"
    phase: Phase = Phase.SOL
    case: int = NO_CASE


@dataclass(slots=True)
class Counters:
    """What a worker's snapshot engine has done since it started.

    Attributes:
        given_up: phases left to the fork engine.
        replaced: snapshot processes replaced.
        checked: comparisons with the snapshot.
        mismatches: comparisons that found a difference.
    """

    given_up: int = 0
    replaced: int = 0
    checked: int = 0
    mismatches: int = 0

    def to_tuple(self) -> tuple[int, ...]:
        """Return the counts in the order of the fields."""
        return self.given_up, self.replaced, self.checked, self.mismatches

    def __add__(self, other: Counters) -> Counters:
        return Counters(*map(int.__add__, self.to_tuple(), other.to_tuple()))


@dataclass(slots=True)
class Job:
    """A task on its way to a worker.

    Attributes:
        sat, sol: sources of puzzle and solution; a program and its standard input; or of other kinds what judges, as
            `selftaught.sandbox.judging` packs it, and the source of the solution.
        limits: limits of each phase.
        seed: seed of the `random` module in all phases but those of tests and checkers; 0 for the fixed one.
        kind: what it judges.
        turn: how long it may run before others get their turn.
        files: of a program, its files and those to fetch (`pack_files`); empty if there are none.
    """

    sat: bytes
    sol: bytes
    limits: Limits
    seed: int = 0
    kind: Kind = Kind.PUZZLE
    turn: Turn = Turn.WHOLE
    files: bytes = b""

    @property
    def has_steps(self) -> bool:
        """True if its phases follow one another: it is a puzzle or a program."""
        return self.kind in (Kind.PUZZLE, Kind.PROGRAM)

    def is_expired(self, outcome: Outcome) -> bool:
        """Return True if this outcome leaves the job unfinished: a phase was out of time, and has a slice only."""
        return self.turn.is_slice and outcome.end in (End.CPU, End.WALL)

    @property
    def program(self) -> bool:
        """True if the job only runs a program, and judges nothing."""
        return self.kind is Kind.PROGRAM


_LENGTH = struct.Struct("<I")
JOB = struct.Struct("<IBBddQQQII")
"""Header of a job: length of the solution, `kind`, `turn`, limits, seed, length of the puzzle. Puzzle, solution and
`files` follow.
"""

OUTCOME = struct.Struct("<BBBIdddQHI")
_OUTPUT = struct.Struct("<?iQQ")
_COUNTERS = struct.Struct("<4Q")
PHASE = struct.Struct("<BQdQIIQ")
"""Header of what a child reads: phase, address space, CPU seconds, answer bytes, seed, lengths of puzzle and
payload.
"""

REPORT = struct.Struct("<cQ")
"""Header of a child's report: a code, and the length of what follows."""

REPORT_FD, JOB_FD, GO_FD = 3, 4, 5
"""Descriptors of a child: where it reports, and whence it reads its job, or messages; and the zygote's for orders."""

TEXT_BYTES = 2000
"""Largest size of a message."""

DIGEST_BYTES = 32
"""Size of an answer's digest."""


def _sha256(data: bytes) -> bytes:
    """Return SHA-256 by the interpreter's own module if there is one: hashlib's OpenSSL costs every worker 2 MiB."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # since 3.12
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found]
        except ImportError:
            from hashlib import sha256
    return bytes(sha256(data).digest())


_DIALECT = _sha256(Path(__file__).read_bytes()).hex()[:16]
"""Read with the module: an upgrade under a running verifier must not make it take the new file for its own."""


def dialect() -> str:
    """Return a digest of this module. Verifier and worker understand each other only if they have the same."""
    return _DIALECT


def digest(answer: bytes) -> bytes:
    """Return what identifies an answer: SHA-256 of its encoding."""
    return _sha256(answer)


TEXT = "utf-8", "surrogatepass"
"""How text is encoded. Lone surrogates survive, so that compiling a source in the jail finds the error."""


def to_bytes(source: str) -> bytes:
    """Return a source as bytes."""
    return source.encode(*TEXT)


def frame(body: bytes) -> bytes:
    """Return a message with its length in front."""
    return _LENGTH.pack(len(body)) + body


def size_of_first(frames: bytes, number: int = 1) -> int:
    """Return the size in bytes of the first `number` frames."""
    at = 0
    for _ in range(number):
        at += _LENGTH.size + _LENGTH.unpack_from(frames, at)[0]
    return at


def kind_of_first(frames: bytes) -> Kind:
    """Return the kind of the job in the first frame."""
    return _KINDS[JOB.unpack_from(frames, _LENGTH.size)[1]]


def turn_of_first(frames: bytes) -> Turn:
    """Return the turn of the job in the first frame."""
    return _TURNS[JOB.unpack_from(frames, _LENGTH.size)[2]]


def cut(frames: bytes) -> Iterator[bytes]:
    """Yield the messages in whole frames."""
    at = 0
    while at < len(frames):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(frames, at)[0]
        yield frames[start:at]


class Frames:
    """Splits a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that `data` completes."""
        return list(cut(self.whole(data)))

    def whole(self, data: bytes) -> bytes:
        """Return the frames that `data` completes."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(buffer, at)[0]
            if end > len(buffer):
                break
            at = end
        frames = bytes(buffer[:at])
        del buffer[:at]
        return frames


def pack_job(job: Job) -> bytes:
    """Return a job as bytes.

    Raises:
        ValueError: the sources are larger than a message may be.
    """
    limits = job.limits
    if len(job.sat) + len(job.sol) > 1 << 30:
        raise ValueError("the sources are larger than 1 GiB")
    head = JOB.pack(
        len(job.sol),
        job.kind,
        job.turn,
        limits.cpu_seconds,
        limits.wall_seconds,
        limits.memory_bytes,
        limits.answer_bytes,
        limits.output_bytes,
        job.seed,
        len(job.sat),
    )
    return head + job.sat + job.sol + job.files


_ENDS, _PHASES = {end.value: end for end in End}, {phase.value: phase for phase in Phase}
_KINDS = {kind.value: kind for kind in Kind}
_TURNS = {turn.value: turn for turn in Turn}
_limits = functools.lru_cache(64)(Limits)


def unpack_job(data: bytes) -> Job:
    """Return the job in these bytes."""
    sol, kind, turn, cpu, wall, memory, answer, output, seed, sat = JOB.unpack_from(data)
    second = JOB.size + sat
    files = second + sol
    limits = _limits(cpu, wall, memory, answer, output)
    return Job(data[JOB.size : second], data[second:files], limits, seed, _KINDS[kind], _TURNS[turn], data[files:])


ENGINES = ("fork", "snapshot")


def pack_outcomes(outcomes: list[Outcome]) -> bytes:
    """Return the outcomes of a task's phases as bytes."""
    parts = []
    for outcome in outcomes:
        detail = outcome.detail.encode("utf-8", "backslashreplace")[:TEXT_BYTES]
        head = OUTCOME.pack(
            outcome.end,
            ENGINES.index(outcome.engine),
            outcome.phase,
            outcome.case,
            outcome.observed,
            outcome.cpu_seconds,
            outcome.wall_seconds,
            outcome.peak_memory_bytes,
            len(detail),
            len(outcome.payload),
        )
        parts += [head, detail, outcome.payload]
    return b"".join(parts)


def pack_counters(counters: Counters) -> bytes:
    """Return counters as bytes, which precede those of outcomes."""
    return _COUNTERS.pack(*counters.to_tuple())


def pack_files(files: Mapping[str, bytes], fetch: Sequence[str] = ()) -> bytes:
    """Return files, content by path, and paths of files to fetch as bytes: none if there are neither."""
    if not files and not fetch:
        return b""
    parts = [part for path, content in files.items() for part in (to_bytes(path), content)]
    return b"".join(map(frame, (b"\0".join(map(to_bytes, fetch)), *parts)))


def unpack_files(data: bytes) -> tuple[dict[str, bytes], list[str]]:
    """Return the files, and the paths of those to fetch."""
    fetch, *parts = cut(data) if data else (b"",)
    names = [path.decode(*TEXT) for path in parts[::2]]
    return dict(zip(names, parts[1::2], strict=True)), [path.decode(*TEXT) for path in fetch.split(b"\0") if path]


def pack_output(
    stdout: bytes, stderr: bytes, cut: bool, files: Mapping[str, bytes] | None = None, return_code: int = 0
) -> bytes:
    """Return a program's output and files as bytes.

    Args:
        stdout, stderr: what is kept of its output.
        cut: True if there was more output.
        files: what was fetched, content by path.
        return_code: its exit code, or minus the number of the signal that ended it, if `Outcome.observed` has another
            meaning.
    """
    return _OUTPUT.pack(cut, return_code, len(stdout), len(stderr)) + stdout + stderr + pack_files(files or {})


def unpack_output(data: bytes) -> tuple[bytes, bytes, bool]:
    """Return standard output, standard error, and whether there was more."""
    cut, _, out, err = _OUTPUT.unpack_from(data)
    middle = _OUTPUT.size + out
    return data[_OUTPUT.size : middle], data[middle : middle + err], cut


def unpack_return_code(data: bytes) -> int:
    """Return the return code in a program's output."""
    code: int = _OUTPUT.unpack_from(data)[1]
    return code


def unpack_fetched(data: bytes) -> dict[str, bytes]:
    """Return the files in a program's output, content by path."""
    _, _, out, err = _OUTPUT.unpack_from(data)
    return unpack_files(data[_OUTPUT.size + out + err :])[0]


def unpack_results(data: bytes) -> tuple[list[Outcome], Counters]:
    """Return the outcomes of a task and the counters before them.

    Raises:
        ValueError, struct.error: the data is malformed.
    """
    return unpack_outcomes(data, _COUNTERS.size), _counters(data[: _COUNTERS.size])


@functools.lru_cache(64)
def _counters(data: bytes) -> Counters:
    """Return the same object while nothing has changed, which is nearly always; nobody modifies it."""
    return Counters(*_COUNTERS.unpack(data))


def unpack_outcomes(data: bytes, at: int = 0) -> list[Outcome]:
    """Return the outcomes in these bytes.

    Args:
        data: the message.
        at: where the outcomes begin.

    Raises:
        ValueError, struct.error: the data is malformed.
    """
    outcomes = []
    while at < len(data):
        end, engine, phase, case, observed, cpu, wall, peak, detail, size = OUTCOME.unpack_from(data, at)
        at += OUTCOME.size
        if end not in _ENDS or engine >= len(ENGINES) or phase not in _PHASES:
            raise ValueError(f"no end has the number {end}, no engine {engine}, or no phase {phase}")
        text, payload = (
            data[at : at + detail].decode("utf-8", "replace") if detail else "",
            data[at + detail : at + detail + size],
        )
        outcomes.append(
            Outcome(_ENDS[end], text, observed, cpu, wall, peak, payload, ENGINES[engine], _PHASES[phase], case)
        )
        at += detail + size
    if not outcomes:
        raise ValueError("no outcome")
    return outcomes
