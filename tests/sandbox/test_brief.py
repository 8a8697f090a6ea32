"""How long a task is tried before the others get their turn: as briefly as few long tasks allow."""

from __future__ import annotations

from selftaught.sandbox import Limits, brief
from selftaught.sandbox.wire import Job


def job(brief: bool) -> Job:
    return Job(b"", b"", Limits(), brief=brief)


def test_the_time_doubles_while_it_is_too_short_and_shrinks_again_within_its_bounds() -> None:
    time = brief.BriefTime()
    assert time.limits(job(brief=True)).cpu_seconds == brief.LONGEST_SECONDS
    for _ in range(500):
        time.was_enough(0.0001)
    assert time.limits(job(brief=True)).cpu_seconds == brief.SHORTEST_SECONDS
    time.was_too_short()
    assert time.limits(job(brief=True)).cpu_seconds == 2 * brief.SHORTEST_SECONDS
    for _ in range(50):
        time.was_too_short()
    assert time.seconds == brief.LONGEST_SECONDS


def test_it_leaves_room_for_twice_what_was_needed_of_late() -> None:
    time = brief.BriefTime()
    for _ in range(500):
        time.was_enough(0.03)
    assert time.seconds == 0.06
    time.was_enough(0.001)
    assert 0.03 < time.seconds < 0.06


def test_one_long_task_in_twenty_leaves_it_short_and_one_in_three_does_not() -> None:
    for every, longest in ((20, 3 * brief.SHORTEST_SECONDS), (3, brief.LONGEST_SECONDS)):
        time, seen = brief.BriefTime(), []
        for number in range(1000):
            time.was_too_short() if number % every == 0 else time.was_enough(0.001)
            seen.append(time.seconds)
        assert (max(seen[500:]) < longest) is (every == 20), (every, max(seen[500:]))


def test_what_nobody_waits_behind_gets_all_its_time() -> None:
    assert brief.BriefTime().limits(job(brief=False)) == Limits()


def test_a_brief_limit_is_never_above_the_own_one_and_changes_nothing_else() -> None:
    own = Limits(cpu_seconds=1.0, wall_seconds=0.3, memory_bytes=1 << 28)
    assert brief.within(own, 0.05) == Limits(cpu_seconds=0.05, wall_seconds=0.3, memory_bytes=1 << 28)
    assert brief.within(own, 0.02) == Limits(cpu_seconds=0.02, wall_seconds=0.2, memory_bytes=1 << 28)
    assert brief.within(Limits(cpu_seconds=0.01), 0.05).cpu_seconds == 0.01
