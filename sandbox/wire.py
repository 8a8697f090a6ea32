"""Messages between verifier and worker, and between supervisor and child: lengths and bytes, never objects."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from selftaught.sandbox.job import Job, Kind, Turn
from selftaught.sandbox.outcome import Counters, End, Outcome, Phase
from selftaught.sandbox.task import Limits

_LENGTH = struct.Struct("<I")
JOB = struct.Struct("<IBBdddQQQII")
"""Header of a job: length of the solution, `kind`, `turn`, `slice_seconds`, limits, seed, length of the puzzle. Puzzle,
solution and `files` follow.
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


_DIALECT = _sha256(
    b"".join(Path(__file__).with_name(name).read_bytes() for name in ("wire.py", "job.py", "outcome.py"))
)
"""Read with the module: an upgrade under a running verifier must not make it take the new files for its own."""


def dialect() -> str:
    """Return a digest of the modules that say what travels. Verifier and worker understand each other only if they have
    the same.
    """
    return _DIALECT.hex()[:16]


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


def end_of_first(frames: bytes, at: int = 0, number: int = 1) -> int:
    """Return where the first `number` frames end that begin at this place."""
    for _ in range(number):
        at += _LENGTH.size + _LENGTH.unpack_from(frames, at)[0]
    return at


def kind_and_turn_of_first(frames: bytes, at: int = 0) -> tuple[Kind, Turn]:
    """Return both of the job in the frame that begins at this place."""
    _, kind, turn, *_ = JOB.unpack_from(frames, at + _LENGTH.size)
    return _KINDS[kind], _TURNS[turn]


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
        job.slice_seconds,
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
    sol, kind, turn, slice_seconds, cpu, wall, memory, answer, output, seed, sat = JOB.unpack_from(data)
    second = JOB.size + sat
    files = second + sol
    limits = _limits(cpu, wall, memory, answer, output)
    sources = data[JOB.size : second], data[second:files]
    return Job(*sources, limits, seed, _KINDS[kind], _TURNS[turn], data[files:], slice_seconds)


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
    outcomes, end_of_data, engines = [], len(data), len(ENGINES)
    while at < end_of_data:
        end, engine, phase, case, observed, cpu, wall, peak, detail, size = OUTCOME.unpack_from(data, at)
        if end not in _ENDS or engine >= engines or phase not in _PHASES:
            raise ValueError(f"no end has the number {end}, no engine {engine}, or no phase {phase}")
        at += OUTCOME.size
        text = data[at : at + detail].decode("utf-8", "replace") if detail else ""
        at += detail
        payload = data[at : at + size]
        at += size
        outcomes.append(
            Outcome(_ENDS[end], text, observed, cpu, wall, peak, payload, ENGINES[engine], _PHASES[phase], case)
        )
    if not outcomes:
        raise ValueError("no outcome")
    return outcomes
