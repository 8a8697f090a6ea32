"""What travels between the verifier and a worker, and between a supervisor and a child: lengths and bytes, never objects."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from selftaught.sandbox.task import Limits


class End(IntEnum):
    """How a phase ended, as the supervisor saw it (up to `DIED`) or as the child reported it; or that it was only given a time slice only, and did not end."""

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

    __hash__ = int.__hash__  # that of an Enum is written in Python


class Phase(IntEnum):
    """What a child or a snapshot process is to do."""

    SOL = 1
    """Run the solution, and report its answer."""
    SAT = 2
    """Ask the puzzle about an answer."""
    RUN = 3
    """Be the interpreter of a program, which is not judged."""
    LOAD = 4
    """Load the puzzle alone, and see whether that goes well."""
    COMPILE = 5
    """Compile many puzzles, and run none."""
    COMPILED = 8
    """Added to `SOL` and `SAT` where the puzzle is the code that `COMPILE` has made."""


@dataclass(slots=True)
class Outcome:
    """The evidence of one phase.

    detail: text for the message. observed: of the limit that tripped, in its unit; of a program that ended by itself, its return code.
    payload: the answer's bytes in the supervisor, its digest on the wire; what a program has printed (`unpack_output`).
    engine: which one ran it.
    """

    end: End
    detail: str = ""
    observed: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_bytes: int = 0
    payload: bytes = b""
    engine: str = "fork"


@dataclass(slots=True)
class Counters:
    """What a worker's snapshot engine has done since it started.

    given_up: phases left to the fork engine. replaced: runners. checked: full comparisons. mismatches: those that found a difference.
    """

    given_up: int = 0
    replaced: int = 0
    checked: int = 0
    mismatches: int = 0

    def to_tuple(self) -> tuple[int, ...]:
        """The counts in the order of the fields."""
        return self.given_up, self.replaced, self.checked, self.mismatches

    def __add__(self, other: Counters) -> Counters:
        return Counters(*map(int.__add__, self.to_tuple(), other.to_tuple()))


@dataclass(slots=True)
class Job:
    """A task on its way to a worker. `seed` sets the `random` module's state in both phases.

    program: not to be judged but to be run: `sat` is the program and `sol` its standard input. sliced: a phase that takes long is to be left
    unfinished, since others wait (`selftaught.sandbox.time_slice`).
    """

    sat: bytes
    sol: bytes
    limits: Limits
    seed: int = 0
    program: bool = False
    sliced: bool = False


_LENGTH = struct.Struct("<I")
JOB = struct.Struct("<I??ddQQQII")
"""Head of a job: the length of the solution, whether it is a program, whether it is given a time slice only, its limits, its seed, and the length of the puzzle."""

OUTCOME = struct.Struct("<BBdddQHI")
_OUTPUT = struct.Struct("<?Q")
_COUNTERS = struct.Struct("<4Q")
PHASE = struct.Struct("<BQdQIIQ")
"""Head of what a child reads: phase, address space, CPU seconds, answer bytes, seed, and the lengths of puzzle and payload."""

REPORT = struct.Struct("<cQ")
"""Head of what a child reports: a code and the length of what follows."""

TEXT_BYTES = 2000
"""No message is longer."""

DIGEST_BYTES = 32
"""Of what identifies an answer."""


def _sha256(data: bytes) -> bytes:
    """By the interpreter's own module where there is one, as `random` does it: hashlib's costs every worker 2 MiB for OpenSSL."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found]  # since 3.12
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found]
        except ImportError:
            from hashlib import sha256
    return bytes(sha256(data).digest())


def dialect() -> str:
    """What this module says, as a digest: only a verifier and a worker that have the same one understand each other."""
    return _sha256(Path(__file__).read_bytes()).hex()[:16]


def digest(answer: bytes) -> bytes:
    """What identifies an answer: SHA-256 of its encoding."""
    return _sha256(answer)


def to_bytes(source: str) -> bytes:
    """A source as bytes; lone surrogates survive, so that the child finds the error in them and not we."""
    return source.encode("utf-8", "surrogatepass")


def frame(body: bytes) -> bytes:
    """A message with its length in front."""
    return _LENGTH.pack(len(body)) + body


def size_of_first(frames: bytes, number: int = 1) -> int:
    """How many bytes the first so many of these frames are."""
    at = 0
    for _ in range(number):
        at += _LENGTH.size + _LENGTH.unpack_from(frames, at)[0]
    return at


def cut(frames: bytes) -> Iterator[bytes]:
    """The messages in whole frames."""
    at = 0
    while at < len(frames):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(frames, at)[0]
        yield frames[start:at]


class Frames:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""
        return list(cut(self.whole(data)))

    def whole(self, data: bytes) -> bytes:
        """The messages that `data` completes, in their frames."""
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
    """The bytes of a job. Raises ValueError if a source is larger than a message may be."""
    limits = job.limits
    if len(job.sat) + len(job.sol) > 1 << 30:
        raise ValueError("the sources are larger than 1 GiB")
    head = JOB.pack(
        len(job.sol),
        job.program,
        job.sliced,
        limits.cpu_seconds,
        limits.wall_seconds,
        limits.memory_bytes,
        limits.answer_bytes,
        limits.output_bytes,
        job.seed,
        len(job.sat),
    )
    return head + job.sat + job.sol


_ENDS = {end.value: end for end in End}
_limits = functools.lru_cache(64)(Limits)


def unpack_job(data: bytes) -> Job:
    """The job in these bytes."""
    sol, program, sliced, cpu, wall, memory, answer, output, seed, sat = JOB.unpack_from(data)
    at = JOB.size
    limits = _limits(cpu, wall, memory, answer, output)
    return Job(data[at : at + sat], data[at + sat : at + sat + sol], limits, seed, program, sliced)


ENGINES = ("fork", "snapshot")


def pack_outcomes(outcomes: list[Outcome]) -> bytes:
    """The bytes of the outcomes of a task's phases, one or two."""
    parts = []
    for outcome in outcomes:
        detail = outcome.detail.encode("utf-8", "backslashreplace")[:TEXT_BYTES]
        head = OUTCOME.pack(
            outcome.end,
            ENGINES.index(outcome.engine),
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
    """The bytes of counters, which come before those of outcomes."""
    return _COUNTERS.pack(*counters.to_tuple())


def pack_output(stdout: bytes, stderr: bytes, cut: bool) -> bytes:
    """What a program has printed; cut: and there was more."""
    return _OUTPUT.pack(cut, len(stdout)) + stdout + stderr


def unpack_output(data: bytes) -> tuple[bytes, bytes, bool]:
    """Standard output, standard error, and whether there was more."""
    cut, size = _OUTPUT.unpack_from(data)
    return data[_OUTPUT.size : _OUTPUT.size + size], data[_OUTPUT.size + size :], cut


def unpack_results(data: bytes) -> tuple[list[Outcome], Counters]:
    """The outcomes, and the counters before them, in these bytes. Raises ValueError or struct.error if they are none."""
    return unpack_outcomes(data, _COUNTERS.size), _counters(data[: _COUNTERS.size])


@functools.lru_cache(64)
def _counters(data: bytes) -> Counters:
    """The same object as long as nothing has changed: nearly always, and nobody changes it."""
    return Counters(*_COUNTERS.unpack(data))


def unpack_outcomes(data: bytes, at: int = 0) -> list[Outcome]:
    """The outcomes in these bytes, from the place `at` on. Raises ValueError or struct.error if they are none."""
    outcomes = []
    while at < len(data):
        end, engine, observed, cpu, wall, peak, detail, size = OUTCOME.unpack_from(data, at)
        at += OUTCOME.size
        if end not in _ENDS or engine >= len(ENGINES):
            raise ValueError(f"nothing ends as {end}, or no engine has the number {engine}")
        text, payload = (
            data[at : at + detail].decode("utf-8", "replace") if detail else "",
            data[at + detail : at + detail + size],
        )
        outcomes.append(Outcome(_ENDS[end], text, observed, cpu, wall, peak, payload, ENGINES[engine]))
        at += detail + size
    if not outcomes:
        raise ValueError("no outcome")
    return outcomes
