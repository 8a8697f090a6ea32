"""What C and Python share: the state of a snapshot process, the layout of messages, and numbers. Described only here.

``python -m selftaught.sandbox.worker.native.shared`` prints it as a C header, which is `shared.h`. Its digest is
compiled into the library, so that a library built from another description is refused
(`selftaught.sandbox.worker.native.library`).
"""

from __future__ import annotations

import ctypes
import mmap
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from selftaught.sandbox import wire
from selftaught.sandbox.outcome import NO_CASE, End, Phase

MAX_COMPILED = 64
"""Puzzles that one job compiles at most."""
MAX_REGIONS = 128
"""Regions that one scan returns at most: the kernel allocates memory for as many each time."""
RELAYED_CASES = 64
"""Cases that may end before the supervisor charges them."""
NO_FAULTS_SEEN = (1 << 64) - 1
"""`State.faults_seen` after the supervisor has written to the process's memory: no fault of it is counted then."""


class Stop(IntEnum):
    """Why a snapshot process does not run, or why a call of the library has returned."""

    TIMEOUT = 0
    """It still runs: nothing happened in time."""
    CALL = 1
    """It is about to make a system call that has no `Action`."""
    SIGNAL = 2
    """A signal is about to be delivered."""
    INTERRUPT = 3
    """Its tracer has interrupted it."""
    DEAD = 4
    REPORT = 5
    """It is about to write to the report's descriptor. What it writes has been read."""
    FAILED = 6
    """It can't be started, watched or put back: it must be replaced."""
    DONE = 7
    """It has reported, and has been put back."""
    UNFIT = 8
    """Nothing was started: the library can't run the next task."""
    MORE = 9
    """The library may be able to run more tasks."""


class Action(IntEnum):
    """What the library does about a system call of a job."""

    ASK = 0
    """The tracer decides: `Stop.CALL`."""
    PASS = 1
    """It takes place."""
    WRITE = 2
    """A write. To descriptors 1 and 2 it is counted up to the limit, or kept if the job is a program, and does not take
    place; to the report's: `Stop.REPORT`.
    """
    READ = 3
    """A read. From descriptor 0 of a program it gets the next part of its standard input; else as `ASK`."""
    IOCTL = 4
    """An ioctl. On descriptor 0, and on 1 and 2 of a program, it fails as on what is no terminal; else as `ASK`."""


class Kind(IntEnum):
    """What is known of a page's content at the snapshot."""

    ZERO = 0
    """It has none."""
    PRISTINE = 1
    """It has content, which is in the pristine mapping."""
    COPIED = 2
    """It has content, of which the supervisor has a copy."""
    HOT = 3
    """It is copied, and put back after every job."""
    KEPT = 4
    """It had none. A job has written it, and it has kept its memory since."""


class Area(ctypes.Structure):
    """Writable memory of the process.

    Attributes:
        start, end: its addresses.
        low, high: the part that is protected, where the kernel lists written pages. The rest has never been touched:
            the
            file has no data there.
        offset: where it begins in the copies and in the shared file.
    """

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("start", "end", "low", "high", "offset"))


class Run(ctypes.Structure):
    """Adjacent hot pages.

    Attributes:
        start, size: their address and bytes.
        offset: where they begin in the copies and in the shared file.
    """

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("start", "size", "offset"))


class Piece(ctypes.Structure):
    """Part of the pristine mapping.

    Attributes:
        start: its address at the snapshot.
        pristine: its address in the process now.
    """

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("start", "pristine"))


class Compiled(ctypes.Structure):
    """A puzzle and its compiled code.

    Attributes:
        sat, sat_size: its source.
        code, code_size: its code; size 0 if it was not compiled.
        cpu_ns: CPU time that compiling took.
    """

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
    """A snapshot process as the library knows it.

    Attributes:
        pid: process id.
        pagemap, memory: /proc/PID/pagemap and /proc/PID/mem.
        memfd: the file that has its memory.
        uffd: its userfaultfd.
        report_fd: the descriptor number that means the report.
        ready, now: registers at the snapshot and at the last stop.
        extended: extended registers at the snapshot.
        max_pages: if a job writes more pages the process is replaced.
        areas, hot, pieces: arrays of `Area`, `Run` and `Piece` (by address).
        kinds: a `Kind` for each page of all areas.
        copies, shared: start of the copies and of the shared file.
        actions: an `Action` for each number of a system call.
        job_offset, job_capacity, job_size: the job buffer in the file, and bytes of the last job.
        print_limit, printed: bytes that the last job may print, and has.
        is_program: nonzero if the last job is a program, which has standard streams.
        stdin, stdin_size, stdin_at: its standard input, and how much of it was read.
        outputs, output_limit: buffers of its standard output and standard error, and bytes that are kept of each.
        output_sizes: bytes that it has written to each; what exceeds the limit is dropped.
        report, report_capacity, report_size: buffer of the last report.
        pages: pages that the last job wrote, without hot ones.
        kept: pages of `Kind.KEPT`, and perhaps some that are hot by now.
        written, written_count, written_capacity: addresses of pages written since the count was last set to 0.
        faults, faults_seen: page faults of the process at its last stop, and when it was last put back.
        cpu_seen_ns: its CPU time at its last stop.
        cpu_ns, wall_ns: clocks at the start of the last job; once it is `Stop.DONE`, the time it took.
        min_memory: smallest memory limit that a task may have.
        resident: resident bytes at the snapshot.
        ticks: nonzero if a timer interrupts every wait, so that it needs none of its own.
        executed, consumed: tasks done, and bytes of their frames.
        results, results_capacity, results_size: buffer of frames of outcomes.
        answer, answer_capacity, answer_size: buffer of the answer between the phases.
        phase: the phase that is running or over when `process_execute` returns, or 0.
        suspect: nonzero if a job was given up, so that memory should be compared.
        sources, codes: buffers of the sources and of the code of all listed puzzles.
        precompile_failed: so many of the next tasks are not precompiled, since the job that compiled them failed.
        compiled, compiled_count, compiled_next: listed puzzles, and the first that no task has asked for.
        regions: result of a scan.
    """

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("pid", "pagemap", "memory", "memfd", "uffd", "report_fd")),
        ("ready", ctypes.c_uint64 * 27),
        ("now", ctypes.c_uint64 * 27),
        ("extended", Range),
        *((name, ctypes.c_uint64) for name in ("areas_count", "hot_count", "pieces_count", "max_pages")),
        *((name, ctypes.c_void_p) for name in ("areas", "hot", "pieces", "kinds", "copies", "shared", "actions")),
        *((name, ctypes.c_uint64) for name in ("job_offset", "job_capacity", "job_size")),
        *((name, ctypes.c_uint64) for name in ("print_limit", "printed", "is_program", "stdin_size", "stdin_at")),
        ("stdin", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p * 2),
        *((name, ctypes.c_uint64) for name in ("output_limit",)),
        ("output_sizes", ctypes.c_uint64 * 2),
        *((name, ctypes.c_uint64) for name in ("report_capacity", "report_size")),
        ("report", ctypes.c_void_p),
        *((name, ctypes.c_uint64) for name in ("pages", "kept", "written_count", "written_capacity")),
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


class Relayed(ctypes.Structure):
    """Calls that were passed on between two processes, that of tests first.

    Attributes:
        number: the current case.
        most, most_cases: largest message in bytes, and number of cases.
        is_solution: 1 if the solution's process has stopped last, 0 if the tests' has.
        cases: how many cases ended.
        ran_ns: for how long each process had the turn.
        charged_cpu_ns, charged_wall_ns: of that, what cases are charged for that ended.
        numbers, cpu_ns, wall_ns: those cases, and what both processes used in each.
    """

    _fields_ = (
        *((name, ctypes.c_uint64) for name in ("number", "most", "most_cases", "is_solution", "cases")),
        *((name, ctypes.c_int64 * 2) for name in ("ran_ns", "charged_cpu_ns", "charged_wall_ns")),
        ("numbers", ctypes.c_uint64 * RELAYED_CASES),
        *((name, ctypes.c_int64 * RELAYED_CASES) for name in ("cpu_ns", "wall_ns")),
    )


STRUCTURES = (Area, Run, Piece, Compiled, Range, State, Relayed)
_ENUMERATIONS = (Stop, Action, Kind, End, Phase)
_NUMBERS = {
    "PAGE": mmap.PAGESIZE,
    "MAX_COMPILED": MAX_COMPILED,
    "MAX_REGIONS": MAX_REGIONS,
    "RELAYED_CASES": RELAYED_CASES,
    "ENGINE_SNAPSHOT": wire.ENGINES.index("snapshot"),
    "TEXT_BYTES": wire.TEXT_BYTES,
    "DIGEST_BYTES": wire.DIGEST_BYTES,
    "REPORT_HEAD": wire.REPORT.size,
    "NO_CASE": NO_CASE,
    "NO_FAULTS_SEEN": f"{NO_FAULTS_SEEN}u",
}
_PACKED = {
    "task": (
        wire.JOB,
        "sol_size kind turn slice_seconds cpu_seconds wall_seconds memory_bytes answer_bytes output_bytes seed "
        "sat_size",
    ),
    "phase_head": (wire.PHASE, "which space cpu_seconds answer_bytes seed sat_size payload_size"),
    "outcome": (
        wire.OUTCOME,
        "end engine phase case_index observed cpu_seconds wall_seconds peak_memory_bytes detail_size payload_size",
    ),
}
"""What `selftaught.sandbox.wire` packs, with names for the fields."""
_C_OF_FORMAT = {"B": "uint8_t", "?": "uint8_t", "H": "uint16_t", "I": "uint32_t", "Q": "uint64_t", "d": "double"}
_C_OF_TYPE = {
    ctypes.c_int32: "int32_t",
    ctypes.c_int64: "int64_t",
    ctypes.c_uint64: "uint64_t",
    ctypes.c_void_p: "void *",
}


def _body() -> Iterator[str]:
    """Yield the lines of the header, but for the digest."""
    for name, number in _NUMBERS.items():
        yield f"#define {name} {number}"
    for enumeration in _ENUMERATIONS:
        prefix = enumeration.__name__.upper()
        yield "enum {"
        yield from (f"    {prefix}_{member.name} = {member.value}," for member in enumeration)
        yield "};"
    for name, (packed, parts) in _PACKED.items():
        types = [_C_OF_FORMAT[letter] for letter in packed.format[1:]]
        yield f"struct __attribute__((packed)) {name} {{"
        yield from (f"    {kind} {part};" for kind, part in zip(types, parts.split(), strict=True))
        yield "};"
        yield f'_Static_assert(sizeof(struct {name}) == {packed.size}, "{name}");'
    for structure in STRUCTURES:
        tag = structure.__name__.lower()
        yield f"struct {tag} {{"
        for member, kind in list(structure._fields_):  # type: ignore[misc]  # none has a bit width
            yield f"    {_declare(member, kind)};"
        yield "};"
        yield f'_Static_assert(sizeof(struct {tag}) == {ctypes.sizeof(structure)}, "{tag}");'


def _declare(name: str, kind: Any) -> str:
    """Return the declaration of a member in C."""
    sizes = ""
    while issubclass(kind, ctypes.Array):
        sizes, kind = f"{sizes}[{kind._length_}]", kind._type_
    if issubclass(kind, ctypes.Structure):
        return f"struct {kind.__name__.lower()} {name}{sizes}"
    return f"{_C_OF_TYPE[kind]} {name}{sizes}".replace("* ", "*")


def digest() -> int:
    """Return a number that identifies this description."""
    return zlib.crc32("\n".join(_body()).encode())


def header() -> str:
    """Return the text of `shared.h`."""
    return "\n".join(
        (
            "/* Generated by `python -m selftaught.sandbox.worker.native.shared`: see that module. */",
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
