"""Evidence -> verdict: a pure function. When several things happened in a phase, `End` is already in order of precedence."""

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
    End.EXITED: Status.CRASHED,  # how a program ends, and no phase of a judgement
    End.UNFINISHED: Status.INTERNAL_ERROR,  # it should have been tried again
}
_FORGED_IN_SOL, _FORGED_IN_SAT = {End.ANSWER, End.ACCEPTED, End.REJECTED}, {End.ANSWER}
"""What ends a judgement only if a report was forged: a solution's honest answer is never the last outcome."""
_LIMIT = {
    End.CPU: ("cpu_seconds", "more than {:g} s of CPU time"),
    End.WALL: ("wall_seconds", "more than {:g} s of elapsed time"),
    End.MEMORY: ("memory_bytes", "more than {:,} bytes of memory"),
    End.OUTPUT: ("output_bytes", "more than {:,} bytes printed"),
    End.TOO_LARGE: ("answer_bytes", "an answer of more than {:,} bytes"),
}


def judge(ident: str, outcomes: list[Outcome], limits: Limits, level: str, verifier: str) -> Verdict:
    """The verdict on a task whose phases ended like this: ``sol``, then ``sat`` if there was an answer.

    verifier: program and interpreter; the engines of the phases are added.
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
        status, message = Status.CRASHED, "it reported what only the other phase does"
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
    """What a program did: no judgement, whatever it printed and returned."""
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
    """The message of an outcome, and the limit that ended it, if one did."""
    if outcome.end not in _LIMIT:
        return outcome.detail, None
    name, text = _LIMIT[outcome.end]
    configured = getattr(limits, name)
    message = text.format(configured) + (f": {outcome.detail}" if outcome.detail else "")
    return message, LimitHit(name, configured, outcome.observed)


def combine(verdicts: list[Verdict]) -> Verdict:
    """One verdict from repeats of a judgement: the first, or ``unstable`` if they differ."""
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
