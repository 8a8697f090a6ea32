"""Which daemon gets the next task, as a pure function of what is outstanding."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.sandbox.client.balance import Load, Pace, choose, share

LOADS = st.lists(st.builds(Load, st.integers(0, 40), st.integers(1, 30), st.booleans(), st.booleans()), max_size=8)


@given(LOADS, st.integers(0, 7), st.sets(st.integers(0, 7)), st.booleans())
def test_the_chosen_one_is_ready_has_room_and_no_better_one_is_passed_over(
    loads: list[Load], first: int, avoid: set[int], limited: bool
) -> None:
    able = {n: load for n, load in enumerate(loads) if load.ready and (load.outstanding < load.room or not limited)}
    chosen = choose(loads, first, avoid, limited)
    if chosen is None:
        assert not able
        return
    load = able[chosen]
    for number, other in able.items():
        better = (other.busy, number in avoid, other.outstanding / other.room)
        assert not better < (load.busy, chosen in avoid, load.outstanding / load.room), (number, chosen)


@given(st.integers(1, 8), st.integers(0, 100))
def test_clients_that_begin_at_the_same_time_do_not_all_take_the_same(count: int, first: int) -> None:
    loads = [Load(0, 5)] * count
    assert choose(loads, first) == first % count
    assert {choose(loads, start) for start in range(count)} == set(range(count))


@given(st.lists(st.integers(1, 64), min_size=1, max_size=6), st.integers(1, 500))
def test_tasks_that_are_not_answered_are_shared_in_proportion_to_the_room(rooms: list[int], tasks: int) -> None:
    outstanding = [0] * len(rooms)
    for _ in range(min(tasks, sum(rooms))):
        number = choose([Load(*each) for each in zip(outstanding, rooms, strict=True)])
        assert number is not None, "a task waits though a daemon has room"
        outstanding[number] += 1
    assert all(had <= room for had, room in zip(outstanding, rooms, strict=True))
    filled = [had / room for had, room in zip(outstanding, rooms, strict=True)]
    for one, room in zip(filled, rooms, strict=True):
        assert one - 1 / room <= min(filled) + 1e-9, (outstanding, rooms)


@given(st.integers(0, 40), st.integers(1, 30), st.integers(1, 100))
def test_a_share_is_at_least_one_task_and_never_more_than_there_are(had: int, room: int, waiting: int) -> None:
    assert 1 <= share(Load(min(had, room - 1), room), waiting) <= max(1, min(waiting, room - min(had, room - 1)))


@given(
    st.lists(st.tuples(st.integers(0, 500), st.floats(0, 100)), max_size=30), st.integers(1, 64), st.integers(1, 512)
)
def test_the_room_of_a_daemon_stays_within_its_bounds(events: list[tuple[int, float]], least: int, most: int) -> None:
    pace, now = Pace(least, most), 0.0
    pace.began(now)
    for count, elapsed in events:
        now += elapsed
        pace.received(count, now)
        assert min(least, most) <= pace.room <= most


@pytest.mark.parametrize("slower", [1, 10, 100])
def test_a_slow_daemon_has_as_much_less_as_it_is_slower_so_that_it_is_not_waited_for(slower: int) -> None:
    """A simulation: two daemons of two workers each judge a stream; one takes longer for each task."""
    seconds, tasks = [0.002, 0.002 * slower], 4000
    paces, outstanding, judged = [Pace(4, 256), Pace(4, 256)], [0, 0], [0, 0]
    free = [[0.0, 0.0], [0.0, 0.0]]
    events: list[tuple[float, int]] = []
    now, left = 0.0, tasks
    while left or events:
        while left:
            number = choose([Load(had, pace.room) for had, pace in zip(outstanding, paces, strict=True)])
            if number is None:
                break
            if not outstanding[number]:
                paces[number].began(now)
            outstanding[number] += 1
            left -= 1
            end = max(now, heapq.heappop(free[number])) + seconds[number]
            heapq.heappush(free[number], end)
            heapq.heappush(events, (end, number))
        now, number = heapq.heappop(events)
        outstanding[number] -= 1
        judged[number] += 1
        paces[number].received(1, now)
    perfect = tasks / sum(2 / each for each in seconds)
    assert sum(judged) == tasks
    assert now < 1.1 * perfect + 8 * seconds[1], (now, perfect, judged)
