"""Length of time slices: as short as few long tasks allow."""

from __future__ import annotations

import textwrap
import time
from dataclasses import replace
from queue import SimpleQueue

import pytest

from selftaught.sandbox import FunctionTask, Limits, StdioTask, Task, Verdict, Verifier, time_slice
from selftaught.sandbox.job import Job, Turn


def job(turn: Turn = Turn.SLICE) -> Job:
    return Job(b"", b"", Limits(), turn=turn)


def test_the_time_doubles_while_it_is_too_short_and_shrinks_again_within_its_bounds() -> None:
    slice_ = time_slice.TimeSlice()
    assert slice_.limits(job()).cpu_seconds == time_slice.LONGEST_SECONDS
    for _ in range(500):
        slice_.phase_ended(0.0001)
    assert slice_.limits(job()).cpu_seconds == time_slice.SHORTEST_SECONDS
    slice_.phase_expired()
    assert slice_.limits(job()).cpu_seconds == 2 * time_slice.SHORTEST_SECONDS
    for _ in range(50):
        slice_.phase_expired()
    assert slice_.seconds == time_slice.LONGEST_SECONDS


def test_it_leaves_room_for_twice_what_was_needed_of_late() -> None:
    slice_ = time_slice.TimeSlice()
    for _ in range(500):
        slice_.phase_ended(0.03)
    assert slice_.seconds == 0.06
    slice_.phase_ended(0.001)
    assert 0.03 < slice_.seconds < 0.06


def test_one_long_task_in_twenty_leaves_it_short_and_one_in_three_does_not() -> None:
    for every, longest in ((20, 3 * time_slice.SHORTEST_SECONDS), (3, time_slice.LONGEST_SECONDS)):
        slice_, seen = time_slice.TimeSlice(), []
        for number in range(1000):
            slice_.phase_expired() if number % every == 0 else slice_.phase_ended(0.001)
            seen.append(slice_.seconds)
        assert (max(seen[500:]) < longest) is (every == 20), (every, max(seen[500:]))


def test_what_nobody_waits_behind_gets_all_its_time() -> None:
    assert time_slice.TimeSlice().limits(job(Turn.WHOLE)) == Limits()


def test_a_limit_of_a_slice_is_never_above_the_own_one_and_changes_nothing_else() -> None:
    own = Limits(cpu_seconds=1.0, wall_seconds=0.3, memory_bytes=1 << 28)
    assert time_slice.within(own, 0.05) == Limits(cpu_seconds=0.05, wall_seconds=0.3, memory_bytes=1 << 28)
    assert time_slice.within(own, 0.02) == Limits(cpu_seconds=0.02, wall_seconds=0.2, memory_bytes=1 << 28)
    assert time_slice.within(Limits(cpu_seconds=0.01), 0.05).cpu_seconds == 0.01


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
