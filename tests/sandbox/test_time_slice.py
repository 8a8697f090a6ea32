"""Length of time slices: as short as few long tasks allow."""

from __future__ import annotations

import textwrap
import time
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest

from selftaught.sandbox import FunctionTask, Limits, Status, StdioTask, Task, Verdict, Verifier, time_slice
from selftaught.sandbox.job import Job, Turn
from selftaught.sandbox.outcome import End, Outcome
from selftaught.sandbox.pool import Pool


def job(turn: Turn = Turn.SLICE) -> Job:
    return Job(b"", b"", Limits(), turn=turn)


def test_the_time_doubles_while_it_is_too_short_and_is_short_again_when_that_was_of_no_use() -> None:
    slice_ = time_slice.TimeSlice()
    assert slice_.limits(job()).cpu_seconds == time_slice.LONGEST_SECONDS
    for _ in range(500):
        slice_.phase_ended(0.0001)
    assert slice_.limits(job()).cpu_seconds == time_slice.SHORTEST_SECONDS
    seen = []
    for _ in range(4):
        slice_.phase_expired()
        seen.append(slice_.seconds)
    assert seen == [0.02, 0.04, 0.08, time_slice.SHORTEST_SECONDS]


def test_it_leaves_room_for_twice_what_was_needed_of_late() -> None:
    slice_ = time_slice.TimeSlice()
    for _ in range(500):
        slice_.phase_ended(0.03)
    assert slice_.seconds == 0.06
    slice_.phase_ended(0.001)
    assert 0.03 < slice_.seconds < 0.06


LOOP = 9.0


def slices(needs: list[float]) -> list[float]:
    """Return the slice that each of these jobs got, in CPU seconds, by what each needs to end."""
    slice_, seen = time_slice.TimeSlice(), []
    for seconds in needs:
        seen.append(slice_.seconds)
        slice_.phase_ended(seconds) if seconds <= slice_.seconds else slice_.phase_expired()
    return seen


@pytest.mark.parametrize("before", [[], [0.001] * 50, [0.008] * 50], ids=["new", "of late 1 ms", "of late 8 ms"])
@pytest.mark.parametrize("loops", [14, 28])
def test_endless_loops_that_come_together_take_little_time_before_what_came_after_them(
    before: list[float], loops: int
) -> None:
    assert sum(slices([*before, *[LOOP] * loops])[len(before) :]) < 0.05 * loops


def test_endless_loops_leave_it_short_however_many_they_are_among_short_jobs() -> None:
    for every in (20, 3, 2):
        seen = slices([LOOP if number % every == 0 else 0.001 for number in range(1000)])[500:]
        assert sum(seen) / len(seen) < 3 * time_slice.SHORTEST_SECONDS, every


def test_it_grows_again_after_many_endless_loops_when_jobs_need_it() -> None:
    needs = [*[LOOP] * 100, *[0.04] * 200]
    ended = [need <= given for need, given in zip(needs, slices(needs), strict=True)]
    assert all(ended[-100:])


def test_a_job_that_no_slice_is_long_enough_for_makes_none_longer_when_it_ends_at_last() -> None:
    slice_ = time_slice.TimeSlice()
    for _ in range(500):
        slice_.phase_ended(0.001)
    slice_.phase_ended(LOOP)
    assert slice_.seconds == time_slice.SHORTEST_SECONDS


def test_jobs_that_sleep_make_the_elapsed_time_short_and_others_make_it_long_again() -> None:
    slice_ = time_slice.TimeSlice()
    longest = slice_.limits(job()).wall_seconds
    waited = 0.0
    for _ in range(14):
        waited += slice_.limits(job()).wall_seconds
        slice_.phase_expired(waited=True)
    assert waited < 5 * longest
    for _ in range(20):
        slice_.phase_ended(0.02)
    assert slice_.limits(job()).wall_seconds == longest


def test_demoted_jobs_are_owed_as_much_time_as_others_have_while_they_wait() -> None:
    share, turn = time_slice.DemotedShare(), time_slice.LONGER_SECONDS[0]
    for _ in range(1000):
        share.count(0.01, demoted=False, others_wait=False)
    assert not share.is_due
    had = 0.0
    while not share.is_due:
        share.count(0.01, demoted=False, others_wait=True)
        had += 0.01
    assert had == pytest.approx(turn, abs=0.02)
    share.count(turn / 2, demoted=True, others_wait=True)
    assert share.owed_seconds == pytest.approx(turn / 2) and not share.is_due


def test_a_job_that_has_to_start_over_gets_further_each_time_within_bounds() -> None:
    share, lost, turns = time_slice.DemotedShare(), 0.0, []
    for _ in range(5):
        share.count(9.0, demoted=False, others_wait=True)
        turns.append(share.turn_seconds(lost))
        lost += turns[-1]
        share.settle()
    assert turns == pytest.approx([0.4, 0.8, 1.6, 2.4, 2.4])


def test_what_nobody_waits_behind_gets_all_its_time() -> None:
    assert time_slice.TimeSlice().limits(job(Turn.WHOLE)) == Limits()


def test_a_limit_of_a_slice_is_never_above_the_own_one_and_changes_nothing_else() -> None:
    own = Limits(cpu_seconds=1.0, wall_seconds=0.3, memory_bytes=1 << 28)
    assert time_slice.within(own, 0.05) == Limits(cpu_seconds=0.05, wall_seconds=0.3, memory_bytes=1 << 28)
    assert time_slice.within(own, 0.02) == Limits(cpu_seconds=0.02, wall_seconds=0.2, memory_bytes=1 << 28)
    assert time_slice.within(Limits(cpu_seconds=0.01), 0.05).cpu_seconds == 0.01


def test_a_longer_slice_leaves_the_limit_of_elapsed_time_as_it_is_where_that_is_less() -> None:
    late = {end: Outcome(end) for end in (End.CPU, End.WALL)}
    for wall_seconds, final in ((1.0, [End.WALL]), (4.0, []), (100.0, [])):
        limits = time_slice.longer_limits(Limits(10.0, wall_seconds), 1)
        job = Job(b"", b"", limits, turn=Turn.LONGER)
        assert [end for end, outcome in late.items() if not job.is_expired(outcome)] == final, wall_seconds
        assert all(Job(b"", b"", limits, turn=Turn.SLICE).is_expired(outcome) for outcome in late.values())


BUSY = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
LONG = {
    "puzzle": Task(
        "long", "def sat(x: int): return x == 1", "def sol():\n" + textwrap.indent(f"{BUSY}return 1", "    ")
    ),
    "tests": FunctionTask("long", f"{BUSY}def f(): return 1", "f", tests="assert f() == 1"),
    "tests in one process": FunctionTask(
        "long", f"{BUSY}def f(): return 1", "f", tests="assert f() == 1", isolation="shared"
    ),
    "cases": FunctionTask("long", f"{BUSY}def f(): return 1", "f", cases=[((), {}, 1)]),
    "program": StdioTask("long", f"{BUSY}print(1)", cases=[("", "1")]),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_long_task_of_every_kind_ends_right_though_others_come_between(verifier: Verifier, kind: str) -> None:
    found: SimpleQueue[Verdict] = SimpleQueue()
    verifier.submit(replace(LONG[kind], limits=Limits(cpu_seconds=10.0)), found.put)
    for number in range(20):
        time.sleep(0.05)
        assert verifier.verify(Task("", f"def sat(x: int): return x == {number}", str(number))).accepted
    verdict = found.get(timeout=60)
    assert verdict.accepted, verdict


@pytest.fixture
def demoted(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The tickets whose turns ended before they did, as they come."""
    tickets: list[object] = []
    pool: Any = verifier._pool
    monkeypatch.setattr(
        pool, "demote", lambda ticket, preempted: (tickets.append(ticket), Pool.demote(pool, ticket, preempted))
    )
    return tickets


@pytest.mark.parametrize("kind", ["puzzle", "tests", "cases", "program"])
def test_a_job_that_sleeps_starts_over_once_and_is_at_its_limit_then(
    verifier: Verifier, kind: str, demoted: list[object]
) -> None:
    task = replace(LONG[kind], limits=Limits(10.0, 0.6))
    asleep = task.sol.replace("while time.process_time() < end: pass", "time.sleep(9)")
    verdict = verifier.verify(replace(task, sol=asleep))
    assert (verdict.status, verdict.limit and verdict.limit.name) == (Status.TIME_LIMIT, "wall_seconds")
    assert len(demoted) == 1


@pytest.mark.parametrize("kind", LONG)
def test_what_judged_a_long_solution_before_gives_the_next_ones_the_time_for_it(
    verifier: Verifier, demoted: list[object], kind: str
) -> None:
    long = replace(LONG[kind], limits=Limits(cpu_seconds=10.0))
    seconds = "0.05" if kind == "puzzle" else "0.2"
    for number in range(3):
        short = [Task("", f"def sat(x: int): return x == {one + 100 * number}", "0") for one in range(60)]
        assert len(list(verifier.verify_many(short))) == 60  # the slice is short again
        demoted.clear()
        assert verifier.verify(replace(long, sol=long.sol.replace("0.5", seconds) + f"\n# {number}")).accepted
        assert not (number and demoted)


def needed_before(*outcomes: Outcome, sat: bytes = b"") -> float:
    """Return the slice for a puzzle's next answer after one with these outcomes."""
    needed = time_slice.Needed()
    needed.note(Job(b"another", b"", Limits()), [Outcome(End.ACCEPTED, cpu_seconds=0.03)])
    needed.note(Job(sat, b"", Limits()), [Outcome(End.ACCEPTED, cpu_seconds=0.2)])
    needed.note(Job(b"", b"", Limits()), [*outcomes])
    return needed.slice_seconds(Job(b"", b"", Limits()))


def test_answers_to_a_puzzle_get_a_slice_for_twice_the_longest_phase_of_the_last() -> None:
    first, second = Outcome(End.ANSWER, cpu_seconds=0.03), Outcome(End.ACCEPTED, cpu_seconds=0.04)
    assert needed_before(first, second) == needed_before(second, first) == pytest.approx(0.08)
    assert needed_before(Outcome(End.ANSWER, cpu_seconds=0.09)) == time_slice.LONGEST_SECONDS
    assert needed_before(Outcome(End.ANSWER, cpu_seconds=0.11)) == 0.0  # it goes on where it was, and delays others
    assert needed_before(Outcome(End.ANSWER, cpu_seconds=0.001)) == 0.0
    assert needed_before(Outcome(End.ANSWER, cpu_seconds=0.001), sat=b"other") == 0.0


@pytest.mark.parametrize("end", [End.UNFINISHED, End.CPU, End.WALL])
def test_what_has_not_ended_in_its_time_gives_no_other_more(end: End) -> None:
    assert needed_before(Outcome(End.ANSWER, cpu_seconds=0.03), Outcome(end, cpu_seconds=1.0)) == 0.0


def test_only_so_much_is_remembered() -> None:
    needed = time_slice.Needed()
    for number in range(10_000):
        needed.note(Job(b"%d" % number, b"", Limits()), [Outcome(End.ANSWER, cpu_seconds=0.1)])
    known = [needed.slice_seconds(Job(b"%d" % number, b"", Limits())) > 0 for number in range(10_000)]
    assert known == [False] * (10_000 - sum(known)) + [True] * sum(known) and 1000 < sum(known) < 10_000
