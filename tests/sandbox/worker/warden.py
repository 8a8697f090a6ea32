"""A warden with the engine of one's choice, for tests: ``python -m tests.sandbox.worker.warden VARIANT [grouped] [resting] [compared] [whole] [lagging]``.

Reads a JSON list of jobs ``[phase, puzzle, payload in hex, CPU seconds, resumable]``, runs them one after the other at level ``restricted``, and
prints the outcomes and the counters. Variants: ``fork``; ``snapshot``, with the inner loop in C; ``python``, with its twin; and
``broken``, which does not put memory back; ``forgetful``, which from its second job on leaves out the page whose address the first one
answers; and ``orphan``, whose verifier goes while its snapshot engine is being proven: it prints what came
of that, and then its children. Grouped: the puzzle of jobs in a row is loaded once, where the engine can. Resting: there is time after
every job, and the runner and the spare one are told by their process ids. Whole: each payload is a solution, and all tasks are
judged as a warden does that gets them together, those that are resumable briefly; then it also says of how many of the puzzles that it listed last it has the compiled code. Lagging: the kernel
tells less of the CPU time that the runner has used than the clock said at its birth.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import sys
from itertools import groupby

import psutil

from sandbox import codec, wire
from sandbox.jail import seccomp
from sandbox.task import Limits
from sandbox.wire import Job, Outcome
from sandbox.worker.__main__ import prove
from sandbox.worker.cell import Cell
from sandbox.worker.engine import Engine, SupervisorGone
from sandbox.worker.fork.engine import ForkEngine
from sandbox.worker.snapshot import engine as snapshot
from sandbox.worker.snapshot.engine import SnapshotEngine
from sandbox.worker.snapshot.memory import PAGE, Memory
from sandbox.worker.trials import Trials


def fork_engine(supervisor: int) -> ForkEngine:
    filters = seccomp.compile_filter(seccomp.nested()), seccomp.compile_filter(seccomp.nested(), traced=True)
    return ForkEngine(Cell(False, *filters, seccomp.names(), lambda pid: None), supervisor, lambda: 0)


def orphan() -> None:
    ours, theirs = socket.socketpair()
    fork = fork_engine(theirs.fileno())
    engine = SnapshotEngine(fork, theirs.fileno())
    ours.close()
    try:
        prove(engine)
    except SupervisorGone:
        print("SupervisorGone", flush=True)
    fork.close()
    print(psutil.Process().children())


def rest(engine: Engine) -> list[int | None]:
    while engine.rest():
        pass
    return [one and one.tracee.pid for one in (engine._runner, engine._spare)] if isinstance(engine, SnapshotEngine) else []


def whole(engine: Engine, jobs: list[tuple[int, str, str, float, bool]]) -> list[Outcome]:
    tasks = [Job(wire.to_bytes(sat), bytes.fromhex(sol), Limits(cpu_seconds=cpu), brief=brief) for _, sat, sol, cpu, brief in jobs]
    frames = [wire.frame(wire.pack_job(task)) for task in tasks]
    return [outcome for told in Trials(engine).hold(b"".join(frames)) for each in wire.cut(told) for outcome in wire.unpack_told(each)[0]]


def count_compiled(engine: Engine) -> int:
    state = getattr(getattr(engine, "_runner", None), "_state", None)
    return sum(code_size > 0 for *_, code_size, _ in state.ahead[: state.ahead_count]) if state else 0


def forget(address: int) -> None:
    put_back, page = Memory._put_back, address - address % PAGE

    def all_but_one(self: Memory, spans: list[tuple[int, int]]) -> None:
        parts = [part for start, end in spans for part in ((start, min(end, page)), (max(start, page + PAGE), end))]
        put_back(self, [part for part in parts if part[0] < part[1]])

    Memory._put_back = all_but_one  # type: ignore[method-assign]


def main(variant: str, grouped: bool, resting: bool) -> None:
    jobs = json.load(sys.stdin)
    ours, theirs = socket.socketpair()
    fork = fork_engine(theirs.fileno())
    engine: Engine = fork
    if variant != "fork":
        engine = SnapshotEngine(fork, theirs.fileno(), accelerated=variant == "snapshot")
    if variant == "broken":
        Memory._put_back = lambda self, spans: None  # type: ignore[method-assign]
    snapshot.CHECK_EVERY = 1 if "compared" in sys.argv else snapshot.CHECK_EVERY
    snapshot._WORTH_BYTES, snapshot._LEARN_AT = 0, (0, 25)  # every group is worth it, from the first on
    outcomes, loaded, compiled, runners, held = [], 0, 0, [], []
    if "lagging" in sys.argv and isinstance(engine, SnapshotEngine):
        engine._raise()._state.cpu_seen_ns += 1_000_000_000  # type: ignore[attr-defined]
    if "whole" in sys.argv:
        outcomes, jobs = whole(engine, jobs), []
        compiled = count_compiled(engine)
    for (phase, sat, cpu_seconds, resumable), group in groupby(jobs, key=lambda job: (job[0], job[1], *job[3:])):
        limits, payloads = Limits(cpu_seconds=cpu_seconds), [bytes.fromhex(payload) for _, _, payload, *_ in group]
        if grouped:
            engine.prepare(phase, sat.encode(), limits, 0, len(payloads))
            loaded += getattr(engine, "_mark", None) is not None
        for payload in payloads:
            outcomes.append(engine.run(phase, sat.encode(), payload, limits, 0, resumable))
            if variant == "forgetful" and len(outcomes) == 1:
                forget(codec.decode(outcomes[0].payload))
            held.append(len(getattr(engine, "_suspended", ())))
            runners += [rest(engine)] if resting else []
    engine.close()
    left = [child.name() for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    ours.close()
    told = [{"end": each.end.name, "detail": each.detail, "payload": each.payload.hex(), "engine": each.engine} for each in outcomes]
    times = [each.cpu_seconds for each in outcomes]
    found = {"outcomes": told, "counters": dataclasses.asdict(engine.counters), "loaded": loaded, "times": times}
    print(json.dumps({**found, "compiled": compiled, "held": held, "runners": runners, "left": left}))


if __name__ == "__main__":
    orphan() if sys.argv[1] == "orphan" else main(sys.argv[1], "grouped" in sys.argv, "resting" in sys.argv)
