"""Pure functions from outcomes to a Verdict or Run.

Where several things happened in a phase, its outcome names the first in order of precedence
(`selftaught.sandbox.wire.End`).
"""

from __future__ import annotations

import signal

from selftaught.sandbox import wire
from selftaught.sandbox.program import Ending, Run
from selftaught.sandbox.task import Limits
from selftaught.sandbox.verdict import LimitHit, Status, Usage, Verdict, printable
from selftaught.sandbox.wire import End, Outcome

_STATUS = {
    End.FORBIDDEN: Status.FORBIDDEN,
    End.CPU: Status.TIME_LIMIT,
    End.WALL: Status.TIME_LIMIT,
    End.MEMORY: Status.MEMORY_LIMIT,
    End.OUTPUT: Status.OUTPUT_LIMIT,
    End.DIED: Status.CRASHED,
    End.TOO_LARGE: Status.OUTPUT_LIMIT,
    End.WRONG_TYPE: Status.WRONG_TYPE,
    End.SOLUTION_ERROR: Status.SOLUTION_ERROR,
    End.PUZZLE_ERROR: Status.PUZZLE_ERROR,
    End.ACCEPTED: Status.ACCEPTED,
    End.REJECTED: Status.REJECTED,
    End.EXITED: Status.CRASHED,  # only programs end so, never a phase of a task
    End.UNFINISHED: Status.INTERNAL_ERROR,  # the pool runs it again and never decides on it
}
_FORGED_IN_SOL, _FORGED_IN_SAT = {End.ANSWER, End.ACCEPTED, End.REJECTED}, {End.ANSWER}
"""Ends that only a forged report can give to the last outcome: an honest answer is followed by phase `sat`."""
_LIMIT = {
    End.CPU: ("cpu_seconds", "more than {:g} s of CPU time"),
    End.WALL: ("wall_seconds", "more than {:g} s of elapsed time"),
    End.MEMORY: ("memory_bytes", "more than {:,} bytes of memory"),
    End.OUTPUT: ("output_bytes", "more than {:,} bytes printed"),
    End.TOO_LARGE: ("answer_bytes", "an answer of more than {:,} bytes"),
}


def decide(ident: str, outcomes: list[Outcome], limits: Limits, level: str, verifier: str) -> Verdict:
    """Return the verdict on a task.

    Args:
        ident: The task's id.
        outcomes: The outcome of phase `sol`, then that of phase `sat` if there was an answer.
        limits: The limits of each phase.
        level: The confinement level.
        verifier: Program, version and interpreter; the engines of the phases are added.
    """
    first, last = outcomes[0], outcomes[-1]
    phase, forged, engines = "sol", _FORGED_IN_SOL, first.engine
    cpu, wall, peak = first.cpu_seconds, first.wall_seconds, first.peak_memory_bytes
    if len(outcomes) == 2:
        phase, forged = "sat", _FORGED_IN_SAT
        cpu, wall, peak = cpu + last.cpu_seconds, wall + last.wall_seconds, max(peak, last.peak_memory_bytes)
        if last.engine != engines:
            engines += f"+{last.engine}"
    message, hit = _limit_hit(last, limits)
    if last.end in forged:
        status, message = Status.CRASHED, "it reported what only the other phase can report"
    else:
        status = _STATUS[last.end]
    return Verdict(
        id=ident,
        status=status,
        phase=phase,
        message=printable(message),
        limit=hit,
        usage=Usage(cpu, wall, peak),
        answer_sha256=first.payload.hex() if phase == "sat" else None,
        level=level,
        verifier=f"{verifier} {engines}",
    )


_ENDING = {
    End.FORBIDDEN: (Ending.FORBIDDEN, -signal.SIGSYS),
    End.CPU: (Ending.TIME_LIMIT, None),
    End.WALL: (Ending.TIME_LIMIT, None),
    End.MEMORY: (Ending.MEMORY_LIMIT, -signal.SIGKILL),
}


def describe(ident: str, outcomes: list[Outcome], limits: Limits, level: str, verifier: str) -> Run:
    """Return the run of a program from its one outcome; the arguments are those of `decide`."""
    (outcome,) = outcomes
    ending, code = _ENDING.get(outcome.end, (Ending.EXITED, int(outcome.observed)))
    stdout, stderr, cut = wire.unpack_output(outcome.payload)
    message, hit = _limit_hit(outcome, limits)
    return Run(
        id=ident,
        ending=ending,
        return_code=code,
        stdout=stdout.decode("utf-8", "replace"),
        stderr=stderr.decode("utf-8", "replace"),
        cut=cut,
        message=printable(message),
        limit=hit,
        usage=Usage(outcome.cpu_seconds, outcome.wall_seconds, outcome.peak_memory_bytes),
        level=level,
        verifier=verifier,
    )


def _limit_hit(outcome: Outcome, limits: Limits) -> tuple[str, LimitHit | None]:
    """Return the message of an outcome, and the limit that ended it, if one did."""
    if outcome.end not in _LIMIT:
        return outcome.detail, None
    name, text = _LIMIT[outcome.end]
    configured = getattr(limits, name)
    message = text.format(configured) + (f": {outcome.detail}" if outcome.detail else "")
    return message, LimitHit(name, configured, outcome.observed)


def combine(verdicts: list[Verdict]) -> Verdict:
    """Return one verdict for repeats of a judgement.

    It is the first that is not a judgement, or else the first if all have the same status, or else `unstable`.
    """
    for verdict in verdicts:
        if not verdict.judged:
            return verdict
    first = verdicts[0]
    seen = list(dict.fromkeys(verdict.status.value for verdict in verdicts))
    if len(seen) == 1:
        return first
    return Verdict(
        id=first.id,
        status=Status.UNSTABLE,
        phase=first.phase,
        message=f"{len(verdicts)} repeats: {', '.join(seen)}",
        usage=first.usage,
        level=first.level,
        verifier=first.verifier,
    )
