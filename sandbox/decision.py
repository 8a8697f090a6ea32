"""Pure functions from outcomes to a Verdict or Run.

Where several things happened in a phase, its outcome names the first in order of precedence
(`selftaught.sandbox.outcome.End`).
"""

from __future__ import annotations

import signal

from selftaught.sandbox import wire
from selftaught.sandbox.outcome import NO_CASE, End, Outcome, Phase
from selftaught.sandbox.program import Ending, Run
from selftaught.sandbox.task import Limits
from selftaught.sandbox.verdict import CaseResult, LimitHit, Status, Usage, Verdict, printable

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
    End.TESTS_ERROR: Status.TESTS_ERROR,
}
_PHASE_NAMES = {
    **dict.fromkeys((Phase.SOL, Phase.SERVE, Phase.RUN), "sol"),
    Phase.SAT: "sat",
    Phase.TESTS: "tests",
    Phase.CHECK: "check",
    Phase.SHARED: "shared",
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
        outcomes: Of a puzzle: the outcome of phase `sol`, then that of phase `sat` if there was an answer. Of other
            tasks: the outcomes of the cases, then `End.TOTAL`.
        limits: The limits of each phase.
        level: The confinement level.
        verifier: Program, version and interpreter; the engines of the phases are added.
    """
    first, last = outcomes[0], outcomes[-1]
    if last.end is End.TOTAL:
        return _decide_cases(ident, outcomes[:-1], int(last.observed), limits, level, verifier)
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


def _decide_cases(
    ident: str, outcomes: list[Outcome], total: int, limits: Limits, level: str, verifier: str
) -> Verdict:
    """Return the verdict on a task with cases. The first outcome that is not `End.ACCEPTED` decides it."""
    judged = [outcome for outcome in outcomes if outcome.case != NO_CASE]
    cases = tuple(_case_result(outcome, limits) for outcome in judged)
    passed = sum(case.status is Status.ACCEPTED for case in cases)
    status, message, hit, phase = Status.TESTS_ERROR, "there are no tests", None, Phase.TESTS
    if decisive := next((outcome for outcome in outcomes if outcome.end is not End.ACCEPTED), None):
        status, phase = _status_of(decisive), decisive.phase
        message, hit = _limit_hit(decisive, limits)
    elif outcomes and passed == total:
        status, message, phase = Status.ACCEPTED, "", outcomes[-1].phase
    elif outcomes:
        status, message = Status.CRASHED, f"only {passed} of {total} cases were reported"
    return Verdict(
        id=ident,
        status=status,
        phase=_PHASE_NAMES[phase],
        message=printable(message),
        limit=hit,
        usage=Usage(
            sum(outcome.cpu_seconds for outcome in outcomes),
            sum(outcome.wall_seconds for outcome in outcomes),
            max((outcome.peak_memory_bytes for outcome in outcomes), default=0),
        ),
        level=level,
        verifier=f"{verifier} {'+'.join(dict.fromkeys(outcome.engine for outcome in outcomes))}",
        isolation="shared" if any(outcome.phase is Phase.SHARED for outcome in outcomes) else "process",
        cases=cases,
        passed=passed,
        total=total,
        decided_by=judged.index(decisive) if decisive in judged else None,
    )


def _case_result(outcome: Outcome, limits: Limits) -> CaseResult:
    usage = Usage(outcome.cpu_seconds, outcome.wall_seconds, outcome.peak_memory_bytes)
    if outcome.end is End.ACCEPTED:
        return CaseResult(Status.ACCEPTED, "", usage, 1.0)
    status = _status_of(outcome)
    score = min(max(outcome.observed, 0.0), 1.0) if status is Status.REJECTED else 0.0
    return CaseResult(status, printable(_limit_hit(outcome, limits)[0]), usage, score)


def _status_of(outcome: Outcome) -> Status:
    return _STATUS.get(outcome.end, Status.CRASHED)


_ENDING = {
    End.CPU: (Ending.TIME_LIMIT, None),
    End.WALL: (Ending.TIME_LIMIT, None),
}


def describe(ident: str, outcomes: list[Outcome], limits: Limits, level: str, verifier: str) -> Run:
    """Return the run of a program from its one outcome; the arguments are those of `decide`."""
    (outcome,) = outcomes
    stdout, stderr, cut = wire.unpack_output(outcome.payload)
    code: int | None = int(outcome.observed)
    message, hit = _limit_hit(outcome, limits)
    if outcome.end is End.MEMORY:
        ending, code = Ending.MEMORY_LIMIT, wire.unpack_return_code(outcome.payload)
    elif outcome.end is End.FORBIDDEN:
        ending, code = Ending.FORBIDDEN, code or -signal.SIGSYS
    elif outcome.end in _ENDING:
        ending, code = _ENDING[outcome.end]
    elif cut:
        ending, hit = Ending.OUTPUT_LIMIT, LimitHit("output_bytes", limits.output_bytes, float(limits.output_bytes))
        message = f"more than {limits.output_bytes:,} bytes printed, of which the first are kept"
    else:
        ending = Ending.EXITED
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
        files=wire.unpack_fetched(outcome.payload),
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
        isolation=first.isolation,
    )
