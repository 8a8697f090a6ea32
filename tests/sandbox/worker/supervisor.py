"""A supervisor with a chosen engine: ``python -m tests.sandbox.worker.supervisor VARIANT [resting] [compared] [whole]
[lagging]``.

Reads a JSON list of jobs ``[phase, puzzle, payload in hex, CPU seconds, resumable]``, runs them one after another at
level ``restricted``, and prints the outcomes and the counters.

Variants:

* ``fork``, ``snapshot``: the engine as it is.
* ``broken``: does not put memory back after a time-out.
* ``forgetful``: from its second job on leaves out the page whose address the first one answers.
* ``reclaimed``: the kernel takes all pages of a job out of its page table before they are put back.
* ``flagged``: its snapshot has another flag of the processor than the process.
* ``worn``: its snapshot process is replaced after two jobs.
* ``orphan``: its verifier goes while the engine is being proven. Prints what came of that, and then its children.

Options:

* ``resting``: the engine is idle after every job; prints the id of the snapshot process.
* ``compared``: everything is compared after every job.
* ``whole``: each payload is a solution, and all tasks run as one batch, resumable ones with a time slice. Also prints
  how many of the listed puzzles have compiled code.
* ``lagging``: the kernel reports less CPU time of the snapshot process than the clock did at its spawn.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
import tempfile
from typing import Any

import psutil

from selftaught.sandbox import codec, packages, wire
from selftaught.sandbox.jail import scratch, seccomp
from selftaught.sandbox.job import Job, Turn
from selftaught.sandbox.job import Kind as JobKind
from selftaught.sandbox.outcome import Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.engine import ClientGone
from selftaught.sandbox.worker.fork.engine import ForkEngine
from selftaught.sandbox.worker.inside import zygote
from selftaught.sandbox.worker.jailed import JailedProcesses
from selftaught.sandbox.worker.native.shared import Kind
from selftaught.sandbox.worker.snapshot import upkeep
from selftaught.sandbox.worker.snapshot.engine import SnapshotEngine
from selftaught.sandbox.worker.snapshot.memory import PAGE
from selftaught.sandbox.worker.snapshot.process import SnapshotProcess
from selftaught.sandbox.worker.supervisor import prove

Engine = ForkEngine | SnapshotEngine


def fork_engine(client: int) -> ForkEngine:
    seccomp._ARGUMENTS["madvise"] = (
        2,
        seccomp._LOW,
        (*seccomp._ARGUMENTS["madvise"][2], 21),
    )  # MADV_PAGEOUT, for `reclaim`
    filters = seccomp.compile_filter(seccomp.nested()), seccomp.compile_filter(seccomp.nested(), traced=True)
    jailed = JailedProcesses(full=False)
    if jailed.entry:
        zygote.enter(jailed.entry)()
    folder = scratch.prepare("restricted", tempfile.gettempdir())
    jailed.enter(*filters, seccomp.names(), lambda pid: None, {}, packages.NONE, folder)
    return ForkEngine(jailed, client, lambda: 0)


def orphan() -> None:
    ours, theirs = socket.socketpair()
    fork = fork_engine(theirs.fileno())
    engine = SnapshotEngine(fork, theirs.fileno())
    ours.close()
    try:
        prove(engine)
    except ClientGone:
        print("ClientGone", flush=True)
    fork.close()
    print(psutil.Process().children())


def rest(engine: Engine) -> int | None:
    while engine.idle():
        pass
    return engine._main.process.tracee.pid if isinstance(engine, SnapshotEngine) and engine._main.process else None


most_compiled = [0]


def whole(engine: Engine, jobs: list[tuple[int, str, str, float, bool]]) -> list[Outcome]:
    tasks = [
        Job(
            wire.to_bytes(sat),
            bytes.fromhex(sol),
            Limits(cpu_seconds=cpu),
            kind=JobKind(phase == Phase.RUN),
            turn=Turn.SLICE if sliced else Turn.WHOLE,
        )
        for phase, sat, sol, cpu, sliced in jobs
    ]
    frames, outcomes = b"".join(wire.frame(wire.pack_job(task)) for task in tasks), []
    for results in engine.execute(frames):
        outcomes += [outcome for each in wire.cut(results) for outcome in wire.unpack_results(each)[0]]
        most_compiled[0] = max(most_compiled[0], count_compiled(engine))
    return outcomes


def one(engine: Engine, phase: Phase, sat: bytes, payload: bytes, limits: Limits, resumable: bool) -> Outcome:
    """Run a phase, or resume it if it was suspended."""
    if isinstance(engine, ForkEngine):
        return engine.run(phase, sat, payload, limits, 0)
    job, step = Job(sat, payload, limits, turn=Turn.SLICE if resumable else Turn.WHOLE), (phase, payload)
    kept = None if resumable else engine._suspended.take(job)
    if kept:
        return engine._finish(engine._attempt(limits, suspended=kept[-1]), engine._request(job, step, limits), kept[-1])
    outcome = engine.run(phase, sat, payload, limits, 0, job.turn)
    if engine._suspended_now:
        engine._suspended.add(job, None, *engine._suspended_now)  # type: ignore[arg-type]
    return outcome


def count_compiled(engine: Engine) -> int:
    process = engine._main.process if isinstance(engine, SnapshotEngine) else None
    state: Any = process._state if process else None
    return sum(one.code_size > 0 for one in state.compiled[: state.compiled_count]) if state else 0


def forget(engine: SnapshotEngine, address: int) -> None:
    memory = engine._main.ready().memory
    memory._kinds[memory.offset(address) // PAGE] = Kind.HOT  # but not among those that are put back


most_reclaimed = [0]


def reclaim() -> None:
    """Have the kernel reclaim what it can before memory is restored and before it is compared (MADV_PAGEOUT)."""
    restore, number, pageout = SnapshotProcess.restore, 28, 21

    def page_out(process: SnapshotProcess) -> None:
        for start, end in process.memory._spans:
            process.tracee.inject(tuple(process._state.ready), number, start, end - start, pageout)

    def present(process: SnapshotProcess) -> int:
        return sum(end - start for span in process.memory._spans for start, end in process.memory._find_present(*span))

    def reclaimed(self: SnapshotProcess) -> None:
        before = present(self)
        page_out(self)
        most_reclaimed[0] = max(most_reclaimed[0], before - present(self))
        restore(self)
        page_out(self)

    SnapshotProcess.restore = reclaimed  # type: ignore[method-assign]


def main(variant: str, resting: bool) -> None:
    jobs = json.load(sys.stdin)
    ours, theirs = socket.socketpair()
    fork = fork_engine(theirs.fileno())
    engine: Engine = fork if variant == "fork" else SnapshotEngine(fork, theirs.fileno())
    if variant == "broken":
        SnapshotProcess.restore = lambda self: None  # type: ignore[method-assign]
    if variant == "reclaimed":
        reclaim()
    if variant == "flagged" and isinstance(engine, SnapshotEngine):
        engine._main.ready()._state.ready[18] ^= 1 << 21  # eflags, ID: the kernel does not set it
    upkeep.RECYCLE_EVERY = 2 if variant == "worn" else upkeep.RECYCLE_EVERY
    upkeep.CHECK_EVERY = 1 if "compared" in sys.argv else upkeep.CHECK_EVERY
    upkeep._LEARN_AT = (0, 25)
    outcomes, compiled, processes, suspended = [], 0, [], []
    if "lagging" in sys.argv and isinstance(engine, SnapshotEngine):
        engine._main.ready()._state.cpu_seen_ns += 1_000_000_000
    if "whole" in sys.argv:
        outcomes, jobs = whole(engine, jobs), []
        compiled = most_compiled[0]
    for phase, sat, payload, cpu_seconds, resumable in jobs:
        outcomes.append(
            one(engine, Phase(phase), sat.encode(), bytes.fromhex(payload), Limits(cpu_seconds=cpu_seconds), resumable)
        )
        if variant == "forgetful" and len(outcomes) == 1 and isinstance(engine, SnapshotEngine):
            forget(engine, codec.decode(outcomes[0].payload))  # type: ignore[arg-type]
        suspended.append(len(getattr(engine, "_suspended", ())))
        processes += [rest(engine)] if resting else []
    engine.close()
    left = [child.name() for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    ours.close()
    reported = [
        {"end": each.end.name, "detail": each.detail, "payload": each.payload.hex(), "engine": each.engine}
        for each in outcomes
    ]
    measured = {
        "times": [each.cpu_seconds for each in outcomes],
        "peaks": [each.peak_memory_bytes for each in outcomes],
    }
    found = {"outcomes": reported, "counters": dataclasses.asdict(engine.counters), **measured}
    print(
        json.dumps(
            {
                **found,
                "compiled": compiled,
                "suspended": suspended,
                "processes": processes,
                "left": left,
                "reclaimed": most_reclaimed[0],
            }
        )
    )


if __name__ == "__main__":
    orphan() if sys.argv[1] == "orphan" else main(sys.argv[1], "resting" in sys.argv)
