"""Judge a function by tests and by cases, and a program by what it prints: python examples/judge_tests.py

The wrong function returns an object that is equal to everything. It fools tests that run in its own process, and here
it is `wrong_type`: only plain data crosses to the tests.
"""

from selftaught import FunctionTask, StdioTask, Verifier

TESTS = """
def check(candidate):
    assert candidate(3, 4) == 5
    assert candidate(5, 12) == 13
"""
RIGHT = "def hypotenuse(a, b): return (a * a + b * b) ** 0.5"
CHEAT = """
class Equal:
    def __eq__(self, other): return True

def hypotenuse(a, b): return Equal()
"""
ROOTS = "def check(input, output, expected): return float(output) ** 2 == float(input)"  # both roots are right

tasks = [
    FunctionTask("tests", RIGHT, "hypotenuse", tests=TESTS),
    FunctionTask("tests, cheated", CHEAT, "hypotenuse", tests=TESTS),
    FunctionTask("cases", RIGHT, "hypotenuse", cases=[((3, 4), {}, 5.0), ((), {"a": 8, "b": 6}, 10.0)]),
    FunctionTask(
        "cases, in part", "def f(n): return n % 3", "f", cases=[((n,), {}, n) for n in range(4)], all_cases=True
    ),
    StdioTask("program", "print(int(input()) * 2)", cases=[("21\n", "42\n")]),
    StdioTask("program, by a checker", "print(-int(input()) // 3)", cases=[("9", "")], checker=ROOTS),
]
with Verifier(require="restricted", require_isolation="process") as verifier:
    for verdict in verifier.verify_many(tasks):
        print(f"{verdict.id:22} {verdict.status:12} {verdict.passed} of {verdict.total}, score {verdict.score:.2f}")
