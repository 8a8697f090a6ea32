"""Puzzles that are precompiled together: each gives the same results as compiled in its own phases."""

from __future__ import annotations

from typing import Any

import pytest

from selftaught.sandbox.outcome import Phase
from tests.sandbox.worker.sources import puzzles
from tests.sandbox.worker.test_snapshot import PUZZLE, run

Tasks = list[tuple[int, str, bytes]]


def task(puzzle: str, solution: str = "def sol(): return 6") -> tuple[int, str, bytes]:
    return Phase.SOL, puzzle, solution.encode()


def good(number: int) -> tuple[int, str, bytes]:
    return task(f"def sat(x: int, a={number}, b=42): return x + a == {number} + 6 and b == 42")


def run_on_both(tasks: Tasks, **how: bool) -> dict[str, Any]:
    """Run tasks on both engines, which must agree. Return what the snapshot engine printed."""
    fork, found = (run(variant, tasks, whole=True, **how) for variant in ("fork", "snapshot"))
    assert [{**one, "engine": ""} for one in found["outcomes"]] == [{**one, "engine": ""} for one in fork["outcomes"]]
    assert not found["counters"]["mismatches"]
    return found


def run_compiled(tasks: Tasks) -> dict[str, Any]:
    """Run tasks until their puzzles were compiled together: on a busy machine that job may be out of time."""
    for _ in range(9):
        found = run("snapshot", tasks, whole=True)
        if found["compiled"]:
            return found
    raise AssertionError("the puzzles were never compiled together")


def test_puzzles_of_many_tasks_are_compiled_before_them() -> None:
    found = run_on_both([good(number) for number in range(20)])
    assert found["compiled"] == 20
    assert {one["engine"] for one in found["outcomes"]} == {"snapshot"}
    assert [one["end"] for one in found["outcomes"]] == ["ANSWER", "ACCEPTED"] * 20


def test_one_short_puzzle_is_not_worth_it_and_a_long_one_is() -> None:
    assert run_on_both([good(1)])["compiled"] == 0
    assert run_on_both([task(good(1)[1] + "  # " + "long" * 150)])["compiled"] == 1


def test_tasks_beyond_those_that_are_listed_have_theirs_compiled_in_turn() -> None:
    found = run_on_both([good(number) for number in range(150)], compared=True)
    assert found["compiled"] > 0
    assert [one["end"] for one in found["outcomes"]] == ["ANSWER", "ACCEPTED"] * 150


def test_a_puzzle_that_comes_again_and_others_between_keep_to_their_own_code() -> None:
    yes, no = "def sat(x): return x == 6  # {}", "def sat(x): return x == 7  # {}"
    puzzles = [text.format("-" * 30 * (number % 3)) for number in range(12) for text in (yes, no, no, yes)]
    found = run_on_both([task(puzzle) for puzzle in puzzles])
    ends = [one["end"] for one in found["outcomes"][1::2]]
    assert ends == ["ACCEPTED" if "== 6" in puzzle else "REJECTED" for puzzle in puzzles]


STRANGE = {
    "no Python": "def sat(x) return x",
    "null bytes": "def sat(x): return x == 6\0",
    "a lone surrogate": "def sat(x): return x == '\udc80'",
    "a byte order mark": "\ufeffdef sat(x): return x == 6",
    "a warning": "def sat(x): return x is 6",
    "a deprecated escape": "def sat(x): return x == 6 and '\\d'",
    "a call to compile it": "def sat(x): return x == 6 and '\\N{BULLET}'",
    "too much nesting": "def sat(x): return x == 6" + " + 0" * 2000,
    "no function": "x = 5",
    "nothing": "",
    "a stolen name": "import marshal\nmarshal.loads = compile = exec = None\ndef sat(x): return x == 6",
    "much code": "def sat(x): return x == 6\n" + "def f(): pass\n" * 900,
    "a large constant": "def sat(x): return x == 6 and ('a' * 4000, 'b' * 4000, b'c' * 4000)\n" * 20,
    "a set and a number": "def sat(x): return x in {1, 6, -0.0, 1e400, 2 ** 70} and (0.0, -0.0) == (0, 0)",
    "the future": "from __future__ import annotations\ndef sat(x: int): return x == 6",
    "its own name": "def sat(x): return __name__ == '__puzzle__' and sat.__code__.co_filename == '<puzzle>'",
    "a place": "def sat(x):\n\n    return 1 / 0",
    "a frame": "import sys\ndepth = 0\nf = sys._getframe()\nwhile f := f.f_back: depth += 1\n"
    "def sat(x): return x == 6 and depth < 5",
}


@pytest.mark.parametrize("puzzle", STRANGE.values(), ids=STRANGE)
def test_a_strange_puzzle_comes_out_as_alone_and_its_neighbours_are_not_touched(puzzle: str) -> None:
    solution = "def sol(): return 6"
    tasks = [
        good(0),
        good(1),
        task(puzzle),
        *(good(number) for number in range(2, 12)),
        task(puzzle, "1 / 0"),
        good(12),
    ]
    found = run_on_both([(phase, sat, sol) for phase, sat, sol in tasks if solution])
    assert sum(one["end"] == "ACCEPTED" for one in found["outcomes"]) >= 13


BOMBS = {"folding": "x = " + " + ".join(["'a' * 4096"] * 120) + "\n", "nesting": "x = " + "lambda: " * 240 + "0\n"}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_puzzles_that_take_long_to_compile_cost_their_neighbours_no_verdict(bomb: str) -> None:
    tasks = [
        good(0),
        *[task(f"{bomb * 7}def sat(x): return x == {number}") for number in (5, 6)],
        *map(good, range(1, 10)),
    ]
    found = run("snapshot", tasks, cpu_seconds=10, whole=True)
    ends = [one["end"] for one in found["outcomes"]]
    assert ends == ["ANSWER", "ACCEPTED", "ANSWER", "REJECTED", *["ANSWER", "ACCEPTED"] * 10]
    assert not found["counters"]["mismatches"]


def test_a_clock_that_lags_when_puzzles_are_compiled_costs_nobody_a_verdict() -> None:
    found = run("snapshot", [good(number) for number in range(20)], whole=True, lagging=True)
    assert [one["end"] for one in found["outcomes"]] == ["ANSWER", "ACCEPTED"] * 20
    assert min(found["times"]) >= 0


def test_what_compiling_took_is_charged_to_the_tasks() -> None:
    long = "def sat(x): return x == 6\n" + "def f(): pass\n" * 900
    found = run_compiled([task(long), *map(good, range(20))])
    assert found["times"][0] > 5 * max(found["times"][4:])


def test_it_is_charged_also_to_a_phase_that_goes_on_for_longer() -> None:
    long, short, slow = (
        "def sat(x): return x == 6\n" + "def f(): pass\n" * 300,
        PUZZLE,
        "def sol():\n    for i in range(300_000): pass\n    return 6",
    )
    found = run("snapshot", [task(puzzle, slow) for puzzle in (long, short, long, short)], whole=True)
    with_long, with_short = found["times"][0] + found["times"][4], found["times"][2] + found["times"][6]
    assert with_long > with_short


def nested(levels: int) -> str:
    """Return code that is never run, and that takes twice as long to compile with every level.

    A finally clause is compiled once for each way out.
    """
    lines, indent = ["if 0:"], "    "
    for _ in range(levels):
        lines += [f"{indent}try: pass", f"{indent}finally:"]
        indent += "    "
    return "\n".join([*lines, f"{indent}pass", "def sat(x): return x == 6"])


COSTLY = {
    "constants": "x = ("
    + "(1,)*256+" * 80
    + "())[0]\ndef sat(x): return x == 6",  # large ones of few bytes, which are freed
    "nested finally": nested(11),
}


@pytest.mark.parametrize("costly", COSTLY.values(), ids=COSTLY)
def test_what_takes_long_to_compile_for_its_size_is_charged_for_it_and_its_neighbours_are_not(costly: str) -> None:
    tasks = [*map(good, range(6)), task(costly), *map(good, range(6, 12))]
    runs = [run_compiled(tasks)["times"] for _ in range(3)]
    least = [min(times) for times in zip(*runs, strict=True)]  # the kernel now and then adds a tick of its clock to one
    times = [sum(least[place : place + 2]) for place in range(0, 26, 2)]
    assert times.pop(6) > 4 * max(times)


@pytest.mark.parametrize("levels", [13, 16])
def test_a_puzzle_that_compiles_for_longer_than_its_limit_ends_there_and_its_neighbours_are_accepted(
    levels: int,
) -> None:
    tasks = [*map(good, range(6)), task(nested(levels)), *map(good, range(6, 12))]
    for whole in (True, False):
        found = run("snapshot", tasks, cpu_seconds=0.006, whole=whole)
        ends = [one["end"] for one in found["outcomes"]]
        place = 12 if whole else 6
        assert ends.pop(place) == "CPU"
        assert set(ends) == ({"ANSWER", "ACCEPTED"} if whole else {"ANSWER"})


@pytest.mark.parametrize("grouped", [True, False], ids=["together", "alone"])
def test_the_code_that_runs_is_the_code_that_was_sent(grouped: bool) -> None:
    """Precompiled code has the same constants, order, identities, names and lines as code compiled in its phase."""
    tasks = [task(source if grouped else source + "# long" * 80) for source in puzzles(seed=3, count=1500)]
    compiled = run_on_both(tasks)["compiled"]
    assert compiled, "nothing was compiled before"


def test_a_frozen_set_is_iterated_over_in_the_order_that_its_source_gives_it() -> None:
    puzzle = "def sat(li): return li == [x for x in {8, 0}]  # " + "long" * 120
    found = run_on_both([task(puzzle, "[x for x in {8, 0}]")])
    assert found["outcomes"][-1]["end"] == "ACCEPTED"
