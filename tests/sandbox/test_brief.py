"""How long a task is tried before the others get their turn: as briefly as few long tasks allow."""

from __future__ import annotations

from sandbox import Limits, brief


def test_the_time_grows_while_many_tasks_are_long_and_shrinks_again_within_its_bounds() -> None:
    time = brief.BriefTime()
    assert time.seconds == brief.SHORTEST_SECONDS
    for _ in range(50):
        time.was_too_short()
    assert time.seconds == brief.LONGEST_SECONDS
    for _ in range(500):
        time.was_enough()
    assert time.seconds == brief.SHORTEST_SECONDS


def test_one_long_task_in_twenty_leaves_it_short_and_one_in_three_does_not() -> None:
    for every, longest in ((20, 2 * brief.SHORTEST_SECONDS), (3, brief.LONGEST_SECONDS)):
        time, seen = brief.BriefTime(), []
        for number in range(1000):
            time.was_too_short() if number % every == 0 else time.was_enough()
            seen.append(time.seconds)
        assert (max(seen[500:]) < longest) is (every == 20), (every, max(seen[500:]))


def test_a_brief_limit_is_never_above_the_own_one_and_changes_nothing_else() -> None:
    own = Limits(cpu_seconds=1.0, wall_seconds=0.3, memory_bytes=1 << 28)
    assert brief.within(own, 0.05) == Limits(cpu_seconds=0.05, wall_seconds=0.3, memory_bytes=1 << 28)
    assert brief.within(own, 0.02) == Limits(cpu_seconds=0.02, wall_seconds=0.2, memory_bytes=1 << 28)
    assert brief.within(Limits(cpu_seconds=0.01), 0.05).cpu_seconds == 0.01
