"""The workloads of judges: problems with tests or cases, each with a right solution."""

from __future__ import annotations

import ast
import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from selftaught.sandbox import FunctionTask, Limits, StdioTask
from tests.benchmarks.other_judges import output
from tests.benchmarks.workloads import given

SECONDS = 5.0
"""Time limit of a task, or of each case of a program."""
CASES = 20
_LIMITS = Limits(cpu_seconds=SECONDS)
_LEFT_OUT = {
    123: "takes 3 s",
    367: "its setup uses a class of the solution: only one process for both can judge it",
    927: "the same",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A function with tests, or a program with cases, and a right solution.

    `prelude` is loaded before the solution, `tests` after it. `cases` are standard input and expected output.
    """

    id: str
    sol: str
    entry_point: str = ""
    tests: str = ""
    prelude: str = ""
    cases: tuple[tuple[str, str], ...] = ()

    def task(self, answer: str) -> FunctionTask | StdioTask:
        """Return the task to judge this solution with a line at its end that no other has."""
        sol = f"{self.sol}\n# {answer}\n"
        if self.cases:
            return StdioTask(self.id, sol, self.cases, limits=_LIMITS)
        return FunctionTask(self.id, sol, self.entry_point, tests=self.tests, prelude=self.prelude, limits=_LIMITS)


@dataclass(frozen=True, slots=True)
class Load:
    problems: list[Problem]
    about: str


def humaneval() -> Load:
    """Raises FileNotFoundError with what to do about it."""
    problems = [
        Problem(one["task_id"], one["prompt"] + one["canonical_solution"], one["entry_point"], one["test"])
        for one in _lines("humaneval")
    ]
    return Load(problems, "HumanEval's canonical solutions with its tests, one check(candidate) each")


def mbpp() -> Load:
    """Raises FileNotFoundError with what to do about it."""
    problems = [
        Problem(
            str(one["task_id"]),
            one["code"],
            _tested(one["code"], one["test_list"]),
            "\n".join(one["test_list"]),
            one["test_setup_code"],
        )
        for one in _lines("mbpp")
        if one["task_id"] not in _LEFT_OUT
    ]
    left_out = "; ".join(f"{number} {reason}" for number, reason in _LEFT_OUT.items())
    return Load(problems, f"MBPP's solutions with the assert statements of its test_list; left out: {left_out}")


def _lines(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(given(name), "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _tested(code: str, tests: list[str]) -> str:
    """Return the name of the function that the tests call."""
    tree = ast.parse(code.replace("\r\n", "\n"))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names = (node.id for test in tests for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name))
    return next(name for name in names if name in defined)


def stdio() -> Load:
    problems = [
        _program(f"{name}-{constant}", source.replace("CONSTANT", str(constant)), make, constant)
        for name, (source, make) in _PROGRAMS.items()
        for constant in (7, 11, 13, 17, 19)
    ]
    return Load(problems, f"programs that read {CASES} inputs, about a millisecond of CPU time each")


def stdio_small() -> Load:
    source = "a, b = map(int, input().split())\nprint(a * CONSTANT + b)\n"

    def make(chance: random.Random) -> str:
        return f"{chance.randrange(1000)} {chance.randrange(1000)}\n"

    problems = [_program(f"sum-{n}", source.replace("CONSTANT", str(n)), make, n) for n in range(40)]
    return Load(problems, f"programs that add two numbers, {CASES} inputs each: this measures the judge itself")


def warm_up(like: Problem) -> Problem:
    """Return a trivial problem of the same kind."""
    if like.cases:
        return Problem("warm-up", "print(input())", cases=(("1\n", "1\n"),) * 2)
    return Problem("warm-up", "def f(x):\n    return x", "f", "def check(candidate):\n    assert candidate(1) == 1")


def _program(name: str, source: str, make: Callable[[random.Random], str], seed: int) -> Problem:
    chance = random.Random(seed)
    inputs = [make(chance) for _ in range(CASES)]
    return Problem(name, source, cases=tuple((each, output(source, each)) for each in inputs))


_SUM = """n = int(input())
total = 0
for i in range(n):
    total += i * i % CONSTANT
print(total)
"""
_PRIMES = """n = int(input())
prime = [True] * (n + 1)
for i in range(2, n + 1):
    if prime[i]:
        for j in range(i * i, n + 1, i):
            prime[j] = False
print(sum(i % CONSTANT for i in range(2, n + 1) if prime[i]))
"""
_COINS = """n = int(input())
coins = list(map(int, input().split()))
ways = [1] + [0] * n
for coin in coins:
    for i in range(coin, n + 1):
        ways[i] = (ways[i] + ways[i - coin]) % 1000000007
print(ways[n] + CONSTANT)
"""
_SUBSEQUENCE = """a = input()
b = input()
best = [0] * (len(b) + 1)
for x in a:
    before = 0
    for j, y in enumerate(b, 1):
        before, best[j] = best[j], before + 1 if x == y else max(best[j], best[j - 1])
print(best[-1] * CONSTANT)
"""
_WORDS = """import sys
counts = {}
for line in sys.stdin:
    for word in line.split():
        counts[word] = counts.get(word, 0) + CONSTANT
for word, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:50]:
    print(word, count)
"""
_GRID = """from collections import deque
h, w = map(int, input().split())
grid = [input() for _ in range(h)]
far = {(0, 0): 0}
queue = deque(far)
while queue:
    y, x = queue.popleft()
    for v, u in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
        if 0 <= v < h and 0 <= u < w and grid[v][u] == "." and (v, u) not in far:
            far[v, u] = far[y, x] + 1
            queue.append((v, u))
print(max(far.values()) * CONSTANT)
"""


def _letters(chance: random.Random, count: int, alphabet: str) -> str:
    return "".join(chance.choice(alphabet) for _ in range(count))


_PROGRAMS: dict[str, tuple[str, Callable[[random.Random], str]]] = {
    "sum": (_SUM, lambda chance: f"{chance.randrange(15_000, 18_000)}\n"),
    "primes": (_PRIMES, lambda chance: f"{chance.randrange(10_000, 12_000)}\n"),
    "coins": (_COINS, lambda chance: f"{chance.randrange(1800, 2000)}\n1 2 5 10 20 50 100\n"),
    "subsequence": (
        _SUBSEQUENCE,
        lambda chance: f"{_letters(chance, 100, 'abcd')}\n{_letters(chance, 100, 'abcd')}\n",
    ),
    "words": (
        _WORDS,
        lambda chance: "".join(" ".join(_letters(chance, 2, "abcdefgh") for _ in range(20)) + "\n" for _ in range(250)),
    ),
    "grid": (
        _GRID,
        lambda chance: "40 40\n" + "".join("." + _letters(chance, 39, "....#") + "\n" for _ in range(40)),
    ),
}

LOADS: dict[str, Callable[[], Load]] = {
    "humaneval": humaneval,
    "mbpp": mbpp,
    "stdio": stdio,
    "stdio-small": stdio_small,
}
"""How each is made. They raise FileNotFoundError where the file they need is not given."""
