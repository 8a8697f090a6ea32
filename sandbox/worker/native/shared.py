"""What C and Python both know: the state of a snapshot process, the layout of what travels, and numbers. Described here, and nowhere else.

``python -m selftaught.sandbox.worker.native.shared`` prints it as a C header, which is `shared.h`. Its digest is compiled into the library, so that
one which was built from another description is refused (`selftaught.sandbox.worker.native.library`).
"""

from __future__ import annotations

import ctypes
import mmap
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from selftaught.sandbox import wire
from selftaught.sandbox.wire import Phase

MAX_COMPILED = 64
"""Puzzles that are compiled together."""
MAX_REGIONS = 128
"""Of a scan: the kernel allocates as much room each time."""


class Stop(IntEnum):
    """Why a snapshot process does not run, or why the library has come back."""

    TIMEOUT = 0
    """It runs: nothing happened in time."""
    CALL = 1
    """It is about to make a system call that has no `Action`."""
    SIGNAL = 2
    """A signal is about to be delivered."""
    INTERRUPT = 3
    """It was interrupted by its tracer."""
    DEAD = 4
    REPORT = 5
    """It is about to write to the report's descriptor; what it writes has been read."""
    FAILED = 6
    """It can't be started or watched, or not be put back: it must go."""
    DONE = 7
    """It has reported, and been put back."""
    UNFIT = 8
    """Nothing was started: the next task is not for the library."""
    MORE = 9
    """There may be more tasks to judge here."""


class Action(IntEnum):
    """What becomes of a system call of a job."""

    ASK = 0
    """The tracer decides: `Stop.CALL`."""
    PASS = 1
    """It takes place."""
    WRITE = 2
    """To descriptors 1 and 2: it is counted, as far as the limit goes, and does not take place. To the report's: `Stop.REPORT`."""


class Kind(IntEnum):
    """What is known of a page as it is at the snapshot."""

    ZERO = 0
    PRISTINE = 1
    """It has content, which is kept in the process itself."""
    COPIED = 2
    """It has content, and a copy of it is here."""
    HOT = 3
    """Copied, and put back after every job."""


class Area(ctypes.Structure):
    """Writable memory from `start` to `end`. place: where its copy begins, and its part of the shared file.

    From `low` to `high` it is protected: the kernel tells what was written. What is outside of that has never been touched: the file has no data there.
    """

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("start", "end", "low", "high", "offset"))


class Run(ctypes.Structure):
    """Hot pages that touch. place: as of an area."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("start", "size", "offset"))


class Piece(ctypes.Structure):
    """Where a piece of memory was, and where in the process it is kept."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("start", "pristine"))


class Compiled(ctypes.Structure):
    """A puzzle; what was compiled of it, nothing if that has no size; and the CPU time of that."""

    _fields_ = (
        ("sat", ctypes.c_void_p),
        ("sat_size", ctypes.c_uint64),
        ("code", ctypes.c_void_p),
        ("code_size", ctypes.c_uint64),
        ("cpu_ns", ctypes.c_int64),
    )


class Range(ctypes.Structure):
    """struct iovec: a part of a process's memory."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_uint64))


class State(ctypes.Structure):
    """A snapshot process, as the library needs to know it.

    memory: its memory in /proc. memfd: the file that its memory is. ready, now: registers at the snapshot, and at the last stop.
    extended: those at the snapshot. hot: runs of hot pages. pieces: of the pristine, by address. kinds: a `Kind` for each page of all areas.
    copies, shared: where copies and the shared file begin. actions: by number of the call. job_size: how much of its room the last job took.
    pages: written by the last job, hot ones apart. written: addresses of such pages, of all jobs since that was last set to none.
    printed: to descriptors 1 and 2 by the last job, which may print `print_limit`. faults: of the process at its last stop; faults_seen: when it
    was last put back. cpu_seen_ns: CPU time that it has used, at its last stop. cpu_ns, wall_ns: clocks at the start of the last job, or what that took
    if it is `DONE`. resident: at the snapshot. ticks: a wait is interrupted without a timer of its own. judged, taken: tasks, and bytes of their frames.
    told: frames of outcomes. phase: the one that is under way when `judge` has come back, or none. answer: of the phase before that.
    suspect: a job was given up, so that memory should be compared. precompile_failed: so many tasks to come are left to their phases. compiled_count, compiled_next:
    puzzles that are listed, and up to which they were asked for. sources, codes: room for those of them all.
    """

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("pid", "pagemap", "memory", "memfd", "uffd", "report_fd")),
        ("ready", ctypes.c_uint64 * 27),
        ("now", ctypes.c_uint64 * 27),
        ("extended", Range),
        *((name, ctypes.c_uint64) for name in ("areas_count", "hot_count", "pieces_count", "max_pages")),
        *((name, ctypes.c_void_p) for name in ("areas", "hot", "pieces", "kinds", "copies", "shared", "actions")),
        *((name, ctypes.c_uint64) for name in ("job_offset", "job_capacity", "job_size")),
        *((name, ctypes.c_uint64) for name in ("print_limit", "printed", "report_capacity", "report_size")),
        ("report", ctypes.c_void_p),
        *((name, ctypes.c_uint64) for name in ("pages", "written_count", "written_capacity")),
        ("written", ctypes.c_void_p),
        *((name, ctypes.c_uint64) for name in ("faults", "faults_seen")),
        *((name, ctypes.c_int64) for name in ("cpu_seen_ns", "cpu_ns", "wall_ns")),
        *((name, ctypes.c_uint64) for name in ("min_memory", "resident", "ticks", "executed", "consumed")),
        *(
            (name, ctypes.c_uint64)
            for name in ("results_size", "results_capacity", "answer_size", "answer_capacity", "phase", "suspect")
        ),
        *((name, ctypes.c_void_p) for name in ("results", "answer", "sources", "codes")),
        *((name, ctypes.c_uint64) for name in ("precompile_failed", "compiled_count", "compiled_next")),
        ("compiled", Compiled * MAX_COMPILED),
        ("regions", ctypes.c_uint64 * 3 * MAX_REGIONS),
    )


STRUCTURES = (Area, Run, Piece, Compiled, Range, State)
_ENUMERATIONS = (Stop, Action, Kind, wire.End, Phase)
_NUMBERS = {
    "PAGE": mmap.PAGESIZE,
    "MAX_COMPILED": MAX_COMPILED,
    "MAX_REGIONS": MAX_REGIONS,
    "ENGINE_SNAPSHOT": wire.ENGINES.index("snapshot"),
    "TEXT_BYTES": wire.TEXT_BYTES,
    "DIGEST_BYTES": wire.DIGEST_BYTES,
    "REPORT_HEAD": wire.REPORT.size,
}
_PACKED = {
    "task": (
        wire.JOB,
        "sol_size program sliced cpu_seconds wall_seconds memory_bytes answer_bytes output_bytes seed sat_size",
    ),
    "phase_head": (wire.PHASE, "which space cpu_seconds answer_bytes seed sat_size payload_size"),
    "outcome": (
        wire.OUTCOME,
        "end engine observed cpu_seconds wall_seconds peak_memory_bytes detail_size payload_size",
    ),
}
"""What is packed (`selftaught.sandbox.wire`), with names for its parts."""
_C_OF_FORMAT = {"B": "uint8_t", "?": "uint8_t", "H": "uint16_t", "I": "uint32_t", "Q": "uint64_t", "d": "double"}
_C_OF_TYPE = {
    ctypes.c_int32: "int32_t",
    ctypes.c_int64: "int64_t",
    ctypes.c_uint64: "uint64_t",
    ctypes.c_void_p: "void *",
}


def _body() -> Iterator[str]:
    """The header's lines, but for the digest of them."""
    for name, number in _NUMBERS.items():
        yield f"#define {name} {number}"
    for enumeration in _ENUMERATIONS:
        prefix = enumeration.__name__.upper()
        yield f"enum {{ {', '.join(f'{prefix}_{member.name} = {member.value}' for member in enumeration)} }};"
    for name, (packed, parts) in _PACKED.items():
        types = [_C_OF_FORMAT[letter] for letter in packed.format[1:]]
        members = " ".join(f"{kind} {part};" for kind, part in zip(types, parts.split(), strict=True))
        yield f"struct __attribute__((packed)) {name} {{ {members} }};"
        yield f'_Static_assert(sizeof(struct {name}) == {packed.size}, "{name}");'
    for structure in STRUCTURES:
        yield f"struct {structure.__name__.lower()} {{"
        for member, kind in list(structure._fields_):  # type: ignore[misc]  # with no widths of bits among them
            yield f"    {_declare(member, kind)};"
        yield "};"
        yield f'_Static_assert(sizeof(struct {structure.__name__.lower()}) == {ctypes.sizeof(structure)}, "{structure.__name__}");'


def _declare(name: str, kind: Any) -> str:
    """A member in C."""
    sizes = ""
    while issubclass(kind, ctypes.Array):
        sizes, kind = f"{sizes}[{kind._length_}]", kind._type_
    if issubclass(kind, ctypes.Structure):
        return f"struct {kind.__name__.lower()} {name}{sizes}"
    return f"{_C_OF_TYPE[kind]} {name}{sizes}".replace("* ", "*")


def digest() -> int:
    """What tells this description from another."""
    return zlib.crc32("\n".join(_body()).encode())


def header() -> str:
    """The text of `shared.h`."""
    return "\n".join(
        (
            "/* Made by `python -m selftaught.sandbox.worker.native.shared`: what that module describes, for C. */",
            "#ifndef SHARED_H",
            "#define SHARED_H",
            "#include <stdint.h>",
            f"#define SHARED_DIGEST {digest()}u",
            *_body(),
            "#endif",
            "",
        )
    )


if __name__ == "__main__":
    print(header(), end="")
