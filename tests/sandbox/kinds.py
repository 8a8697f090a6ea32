"""One right and one wrong task of each kind, which fake workers (`fake_worker`) judge as real ones do."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox import FunctionTask, StdioTask, Task

CASES: Any = [([1], {}, 2), ((), {"n": (1, 2)}, [{"a": {3}}])]
TABLE = "def f(n): return 2 if n == 1 else [{'a': {3}}]"

MIXED = (
    Task("puzzle", "def sat(x: int): return x == 1", "1"),
    Task("puzzle, wrong", "def sat(x: int): return x == 1", "2"),
    FunctionTask("tests", "def f(n): return n + 1", "f", tests="def check(candidate): assert candidate(1) == 2"),
    FunctionTask("tests, wrong", "def f(n): return n", "f", tests="def check(candidate): assert candidate(1) == 2"),
    FunctionTask("cases", TABLE, "f", cases=CASES),
    FunctionTask("cases, wrong", "def f(n): return 2", "f", cases=CASES),
    FunctionTask("method", "class A:\n    def f(self, n): return n", "A().f", cases=[([1], {}, 1)]),
    FunctionTask("checker", "def f(n): return -n", "f", cases=[([2], {}, 2)],
                 checker="def check(input, output, expected): return abs(output) == expected"),
    StdioTask("program", "print(int(input()) + 1)", [("1\n", "2\n"), ("2\n", "3\n")]),
    StdioTask("program, wrong", "print(2)", [("1\n", "2\n"), ("2\n", "3\n")]),
)  # fmt: skip
EXPECTED = [(task.id, "rejected" if "wrong" in task.id else "accepted") for task in MIXED]
