"""What travels between the verifier and a worker, and between a warden and a child: lengths and bytes, never objects."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from sandbox.task import Limits


class End(IntEnum):
    """How a phase ended, as the warden saw it (up to `DIED`) or as the child reported it."""

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


@dataclass(slots=True)
class Outcome:
    """The evidence of one phase.

    detail: text for the message. observed: of the limit that tripped, in its unit; of a program that ended by itself, its return code.
    payload: the answer's bytes in the warden, its digest on the wire; what a program has printed (`unpack_output`).
    """

    end: End
    detail: str = ""
    observed: float = 0.0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_bytes: int = 0
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Job:
    """A task on its way to a worker. `seed` sets the `random` module's state in both phases.

    program: not to be judged but to be run: `sat` is the program and `sol` its standard input.
    """

    sat: bytes
    sol: bytes
    limits: Limits
    seed: int = 0
    program: bool = False


_LENGTH = struct.Struct("<I")
_JOB = struct.Struct("<ddQQQIII?")
_OUTCOME = struct.Struct("<BdddQHI")
_OUTPUT = struct.Struct("<?Q")
PHASE = struct.Struct("<BQdQIIQ")
"""Head of what a child reads: phase, address space, CPU seconds, answer bytes, seed, and the lengths of puzzle and payload."""

REPORT = struct.Struct("<cQ")
"""Head of what a child reports: a code and the length of what follows."""

TEXT_BYTES = 2000
"""No message is longer."""


def to_bytes(source: str) -> bytes:
    """A source as bytes; lone surrogates survive, so that the child finds the error in them and not we."""
    return source.encode("utf-8", "surrogatepass")


def frame(body: bytes) -> bytes:
    """A message with its length in front."""
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""
        buffer = self._buffer
        buffer += data
        messages, at = [], 0
        while len(buffer) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(buffer, at)[0]
            if end > len(buffer):
                break
            messages.append(bytes(buffer[at + _LENGTH.size : end]))
            at = end
        del buffer[:at]
        return messages


def pack_job(job: Job) -> bytes:
    """The bytes of a job. Raises ValueError if a source is larger than a message may be."""
    limits = job.limits
    if len(job.sat) + len(job.sol) > 1 << 30:
        raise ValueError("the sources are larger than 1 GiB")
    head = _JOB.pack(
        limits.cpu_seconds,
        limits.wall_seconds,
        limits.memory_bytes,
        limits.answer_bytes,
        limits.output_bytes,
        job.seed,
        len(job.sat),
        len(job.sol),
        job.program,
    )
    return head + job.sat + job.sol


def unpack_job(data: bytes) -> Job:
    """The job in these bytes."""
    cpu, wall, memory, answer, output, seed, sat, sol, program = _JOB.unpack_from(data)
    at = _JOB.size
    limits = Limits(cpu, wall, memory, answer, output)
    return Job(data[at : at + sat], data[at + sat : at + sat + sol], limits, seed, program)


def pack_outcomes(outcomes: list[Outcome]) -> bytes:
    """The bytes of the outcomes of a task's phases, one or two."""
    parts = []
    for outcome in outcomes:
        detail = outcome.detail.encode("utf-8", "backslashreplace")[:TEXT_BYTES]
        head = _OUTCOME.pack(
            outcome.end,
            outcome.observed,
            outcome.cpu_seconds,
            outcome.wall_seconds,
            outcome.peak_memory_bytes,
            len(detail),
            len(outcome.payload),
        )
        parts += [head, detail, outcome.payload]
    return b"".join(parts)


def pack_output(stdout: bytes, stderr: bytes, cut: bool) -> bytes:
    """What a program has printed; cut: and there was more."""
    return _OUTPUT.pack(cut, len(stdout)) + stdout + stderr


def unpack_output(data: bytes) -> tuple[bytes, bytes, bool]:
    """Standard output, standard error, and whether there was more."""
    cut, size = _OUTPUT.unpack_from(data)
    return data[_OUTPUT.size : _OUTPUT.size + size], data[_OUTPUT.size + size :], cut


def unpack_outcomes(data: bytes) -> list[Outcome]:
    """The outcomes in these bytes."""
    outcomes, at = [], 0
    while at < len(data):
        end, observed, cpu, wall, peak, detail, payload = _OUTCOME.unpack_from(data, at)
        at += _OUTCOME.size
        text = data[at : at + detail].decode("utf-8", "replace")
        at += detail
        outcomes.append(Outcome(End(end), text, observed, cpu, wall, peak, data[at : at + payload]))
        at += payload
    return outcomes
