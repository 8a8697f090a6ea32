"""Suspended jobs: they go on where they were, learn nothing of what ran in between, and show nothing to it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from selftaught.sandbox import Limits, Task, codec
from selftaught.sandbox.job import Job, Turn
from selftaught.sandbox.outcome import Phase
from selftaught.sandbox.worker.phases import steps_of
from selftaught.sandbox.worker.snapshot import suspended
from selftaught.sandbox.worker.snapshot.suspended import SuspendedJob, SuspendedTasks
from tests.conftest import open_verifier
from tests.sandbox.worker.programs import programs
from tests.sandbox.worker.test_snapshot import CHANGES, LOOK, PUZZLE, run

NAP = (Phase.SOL, PUZZLE, b"import time\ndef sol():\n    time.sleep(0.3)\n    return 6")
# The clock that interrupts ticks every few milliseconds: each takes so long that it is not about to report by then.
LONG = {
    "integers": "def sol():\n    x = 1\n    for i in range(1, 2_000_000): x = x * i % (1 << 4000)\n    return x",
    "floats": "import math\ndef sol():\n    x = 0.5\n    for i in range(1_000_000): x = math.sin(x) + i * 1e-9\n"
    "    return x",
    "objects": "def sol():\n    d = {}\n    for i in range(100_000): d[i % 3000] = [str(i), d.get(i % 7)]; d[i % "
    "3000][1] = i\n    return sorted(d.items())[:50]",
    "a generator": "def sol():\n    def g():\n        for i in range(600_000): yield i * i\n    return sum(g())",
    "recursion": "def sol():\n    def f(n): return n if n < 2 else f(n - 1) + f(n - 2)\n    return f(27)",
    "chance": "import random\ndef sol():\n    return [random.random() for _ in range(200_000)][-1]",
    "sorting": "def sol():\n    x = [i * 7919 % 100_003 for i in range(60_000)]\n    x.sort(key=lambda i: -i)\n"
    "    return x[:9]",
    "an exception": "def sol():\n    try:\n        for i in range(3_000_000): 1 / (2_999_999 - i)\n"
    "    except ZeroDivisionError as error:\n        return f'{error} {i}'",
    "its own end": "def sol():\n    for i in range(3_000_000): pass\n    raise KeyError(i)",
    "what it changed": "import builtins, math\ndef sol():\n    math.pi = 3\n    builtins.len = lambda x: 7\n"
    "    for i in range(3_000_000): pass\n    return [math.pi, len([])]",
    "rounding": "import ctypes\ndef sol():\n    ctypes.pythonapi.fesetround(0x800)\n"
    "    for i in range(3_000_000): pass\n    return (ctypes.c_double(i - i + 1).value / 3).hex()",
    "a text": "def sol():\n    for i in range(100_000): print(i)\n    return 6",
    "a wrong answer": "def sol():\n    for i in range(3_000_000): pass\n    return object()",
}


def interrupted(job: tuple[Any, ...], between: list[tuple[Any, ...]], seconds: float) -> list[tuple[Any, ...]]:
    """The job for so many CPU seconds, then others, then the job again."""
    return [(*job, seconds, True), *between, job]


def test_a_job_that_is_run_again_goes_on_where_it_was() -> None:
    clock = (
        "import time\ndef sol():\n    began = time.monotonic()\n    for i in range(2_000_000): pass\n"
        "    return time.monotonic() - began"
    )
    found = run("snapshot", interrupted((Phase.SOL, PUZZLE, clock.encode()), [NAP, NAP], 0.01))
    first, *_, last = found["outcomes"]
    assert first["end"] == "CPU" and last["end"] == "ANSWER"
    assert found["suspended"] == [1, 1, 1, 0]
    assert codec.decode(bytes.fromhex(last["payload"])) > 0.6, "it began before the others"
    assert found["times"][-1] > found["times"][0] > 0.009, "it is charged for both parts"


def test_what_was_interrupted_comes_out_as_if_it_had_not_been() -> None:
    look, jobs = (Phase.SOL, PUZZLE, LOOK.encode()), []
    for solution in LONG.values():
        job = (Phase.SOL, PUZZLE, solution.encode())
        jobs += [look, job, *interrupted(job, [look], 0.003)]
    found = run("snapshot", jobs, compared=True)
    count = 0
    for place, name in enumerate(LONG):
        seen, whole, first, between, again = found["outcomes"][5 * place : 5 * place + 5]
        assert again == whole and whole["end"] != "CPU", name
        assert between == seen, f"{name} was seen"
        assert first["end"] in ("CPU", whole["end"]), name
        count += found["suspended"][5 * place + 2]
    assert count >= len(LONG) - 2, "most were long enough to be interrupted"
    assert not found["counters"]["mismatches"]


def test_many_are_suspended_together_and_each_goes_on_as_itself() -> None:
    jobs = [
        (
            Phase.SOL,
            PUZZLE,
            f"def sol():\n    x = 0\n    for i in range({2_000_000 + n}): x += i\n    return x".encode(),
        )
        for n in range(6)
    ]
    changes = [
        (Phase.SOL, PUZZLE, change.encode())
        for name, change in CHANGES.items()
        if name not in ("much memory", "a loop", "a crash")
    ]
    found = run("snapshot", [*((*job, 0.002, True) for job in jobs), *changes, *reversed(jobs)], compared=True)
    assert found["suspended"][5] == 6 and found["suspended"][-1] == 0
    answers = [codec.decode(bytes.fromhex(outcome["payload"])) for outcome in found["outcomes"][:-7:-1]]
    assert answers == [sum(range(2_000_000 + n)) for n in range(6)]
    assert not found["counters"]["mismatches"]


def test_generated_programs_come_out_the_same_wherever_they_are_interrupted() -> None:
    dice, jobs = random.Random(5), []
    for sat, sol in programs(seed=7, count=250):
        job = (Phase.SOL, sat, sol.encode())
        jobs += [job, *interrupted(job, [(Phase.SOL, PUZZLE, b"6")], dice.uniform(0.00001, 0.0001))]
    found = run("snapshot", jobs, compared=True)
    for number in range(0, len(jobs), 4):
        assert found["outcomes"][number] == found["outcomes"][number + 3], jobs[number]
    assert sum(found["suspended"][1::4]) > 20, "few were interrupted"
    assert not found["counters"]["mismatches"]


def test_the_puzzles_phase_is_suspended_as_the_solutions_is() -> None:
    puzzle = "def sat(x):\n    for i in range(3_000_000): pass\n    return x == 6"
    for answer, end in ((6, "ACCEPTED"), (7, "REJECTED")):
        found = run("snapshot", interrupted((Phase.SAT, puzzle, codec.encode(answer, 100)), [NAP], 0.002))
        assert found["suspended"] == [1, 1, 0] and found["outcomes"][-1]["end"] == end


def test_limits_are_for_both_parts_together() -> None:
    loop = (Phase.SOL, PUZZLE, b"def sol():\n    while True: pass")
    found = run("snapshot", interrupted(loop, [NAP], 0.2), cpu_seconds=0.3)
    assert [found["outcomes"][place]["end"] for place in (0, 2)] == ["CPU", "CPU"]
    assert 0.3 <= found["times"][2] < 0.4
    text = (
        "def sol():\n    for i in range(2):\n        print('-' * 600_000)\n        for j in range(1_000_000): pass\n"
        "    return 6"
    )
    found = run("snapshot", interrupted((Phase.SOL, PUZZLE, text.encode()), [], 0.005))
    assert found["suspended"] == [1, 0] and found["outcomes"][-1]["end"] == "OUTPUT"


def test_what_can_not_go_on_is_begun_anew() -> None:
    grown = "def sol():\n    x = [0] * 5_000_000\n    for i in range(300_000): pass\n    return len(x)"
    reporting = "import os, time\ndef sol():\n    os.write(3, b'A')\n    for i in range(2_000_000): pass\n    return 6"
    found = run("snapshot", [(Phase.SOL, PUZZLE, text.encode(), 0.02, True) for text in (grown, reporting)])
    assert found["suspended"] == [0, 0]
    long = (Phase.SOL, PUZZLE, LONG["integers"].encode())
    found = run("worn", [long, *interrupted(long, [(Phase.SOL, PUZZLE, b"6")], 0.005)])
    assert found["suspended"][2:] == [0, 0], "what a process could resume goes with it"
    assert found["outcomes"][0] == found["outcomes"][-1]
    found = run("snapshot", [long, *interrupted(long, [(Phase.SOL, PUZZLE, grown.encode())], 0.005)])
    assert found["suspended"] == [0, 1, 1, 0], "but one that needs memory leaves the process to the others"
    assert found["outcomes"][0] == found["outcomes"][-1]
    asleep = run("snapshot", [(Phase.SOL, PUZZLE, b"import time\ndef sol(): time.sleep(9)", 0.01, True)])
    assert asleep["suspended"] == [0] and asleep["outcomes"][0]["end"] == "WALL"


def test_a_task_that_comes_twice_is_not_mixed_with_itself() -> None:
    """The second has begun, as tasks in a batch do, when the first turns out to be suspended."""
    slow = Phase.SOL, PUZZLE, b"def sol():\n    for i in range(40_000_000): pass\n    return 6"
    found = run("snapshot", [(*slow, 10.0, True), (*slow, 10.0, True), (*slow, 10.0, False)], whole=True)
    assert [one["end"] for one in found["outcomes"]] == ["UNFINISHED", "UNFINISHED", "ANSWER", "ACCEPTED"]
    assert {one["engine"] for one in found["outcomes"]} == {"snapshot"}
    assert not found["counters"]["replaced"] and not found["counters"]["mismatches"]


def test_what_comes_after_a_suspended_task_is_not_taken_for_it() -> None:
    slow = Phase.SOL, PUZZLE, b"def sol():\n    for i in range(40_000_000): pass\n    return 6"
    large = Phase.SOL, PUZZLE, b"def sol(): return 6\n" + b"#" * (5 << 20)
    program = Phase.RUN, "print(1)", b""
    jobs = [(*slow, 10.0, True), *[(*one, 10.0, False) for one in (program, large, program, large)]]
    found = run("snapshot", jobs, whole=True)
    ends = [one["end"] for one in found["outcomes"]]
    assert ends == ["UNFINISHED", "EXITED", "ANSWER", "ACCEPTED", "EXITED", "ANSWER", "ACCEPTED"]


def test_a_suspended_check_that_is_left_to_the_fork_engine_starts_over_there_without_the_solution() -> None:
    puzzle = "def sat(x):\n    for i in range(40_000_000): pass\n    import html.parser\n    return x == 6"
    solution = b"def sol():\n    for i in range(500_000): pass\n    return 6"
    found = run("snapshot", [(Phase.SOL, puzzle, solution, 20.0, sliced) for sliced in (True, False)], whole=True)
    assert [one["end"] for one in found["outcomes"]] == ["UNFINISHED", "ANSWER", "ACCEPTED"]
    assert found["outcomes"][-1]["engine"] == "fork"


def test_nothing_is_kept_once_there_is_nothing_to_do() -> None:
    long = (Phase.SOL, PUZZLE, LONG["integers"].encode())
    found = run("snapshot", [(*long, 0.005, True), (Phase.SOL, PUZZLE, b"6"), long], resting=True)
    assert found["suspended"] == [1, 0, 0] and found["outcomes"][-1]["end"] == "ANSWER"


def state(size: int, seconds: float = 0.0) -> SuspendedJob:
    return SuspendedJob([(4096, bytes(size))], (), b"", 0, (seconds, 0.0))


def job(**changes: Any) -> Job:
    return Job(**{"sat": b"p", "sol": b"s", "limits": Limits(cpu_seconds=0.01), "seed": 3, **changes})


def test_only_the_same_task_goes_on_whatever_time_it_may_take() -> None:
    kept, one, steps = SuspendedTasks(), state(4096), steps_of(job())
    kept.add(job(), steps, next(steps), one)
    for other in (
        {"sat": b"q"}, {"sol": b"t"}, {"seed": 4},
        *({"limits": Limits(**{name: 5})} for name in ("memory_bytes", "answer_bytes", "output_bytes")),
    ):  # fmt: skip
        assert kept.take(job(**other)) is None
    assert kept.take(job(limits=Limits(cpu_seconds=9.0), turn=Turn.LAST)) == (steps, (Phase.SOL, b"s"), one)
    assert kept.take(job()) is None and not kept


def test_for_want_of_memory_those_are_dropped_that_have_had_the_least_time_for_their_size() -> None:
    kept, third, steps = SuspendedTasks(), suspended.CAPACITY_BYTES // 3, steps_of(job())
    for seed, seconds in enumerate((0.2, 0.1, 0.3, 0.4)):
        kept.add(job(seed=seed), steps, (Phase.SOL, b""), state(third, seconds))
    kept.add(job(seed=4), steps, (Phase.SOL, b""), state(third // 100, 0.01))
    assert [kept.take(job(seed=seed)) is None for seed in range(5)] == [True, True, False, False, False]
    kept.add(job(), steps, (Phase.SOL, b""), state(suspended.CAPACITY_BYTES + 1, 9.0))
    assert not kept


@pytest.mark.parametrize("slow", ["sol", "sat"])
def test_a_long_task_of_a_stream_goes_on_after_the_others(slow: str) -> None:
    burn = "    began = time.monotonic()\n    for i in range(3_000_000): pass\n    elapsed = time.monotonic() - began\n"
    sat, sol = "import time\ndef sat(x: float): return x > 0.6", f"import time\ndef sol():\n{burn}    return elapsed"
    if slow == "sat":
        sat, sol = f"import time\ndef sat(x: float):\n{burn}    return elapsed > x", "def sol(): return 0.6"
    naps = [
        Task(f"{i}", f"def sat(x): return x == {i}", f"import time\ndef sol():\n    time.sleep(0.03)\n    return {i}")
        for i in range(40)
    ]
    with open_verifier("restricted", workers=1, engine="snapshot") as verifier:
        warm = [Task("", f"def sat(x): return x == {i}", f"{i}") for i in range(500)]
        assert all(verdict.accepted for verdict in verifier.verify_many(warm))
        verdicts = list(verifier.verify_many([Task("slow", sat, sol), *naps], ordered=False))
        counters = verifier.counters
    assert all(verdict.accepted for verdict in verdicts), verdicts[-1]
    assert verdicts[-1].id == "slow" and not counters.mismatches
