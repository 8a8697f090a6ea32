"""A MemoryError at the limit is `memory_limit` in each phase, whatever refers to the memory while it is reported."""

from __future__ import annotations

import textwrap
from dataclasses import replace

import pytest

from selftaught.sandbox import Limits, Task
from tests.conftest import ENGINES, open_verifier

LIMITS = Limits(cpu_seconds=10, wall_seconds=60, memory_bytes=64 << 20)
LITTLE = {"snapshot": LIMITS, "fork": replace(LIMITS, memory_bytes=24 << 20)}
"""The smallest limit of the engine: each test fills it a hundred times."""
FILL = "while True: kept.append([0])"
FILL_AND_CATCH = f"try:\n    {FILL}\nexcept MemoryError as error:\n    "
TO_THE_LAST_BYTE = (
    "for size in (1 << 20, 1 << 16, 4096, 512, 100, 0):\n    try:\n        while True: kept.append(bytes(size))\n"
    "    except MemoryError: pass\n"
)
FILLERS = {
    "a list in a frame": "kept = []\n" + FILL,
    "a list in the globals": FILL,
    "lists that contain themselves": "while True:\n    one = []\n    one.append(one)\n    kept.append(one)",
    "dicts that contain themselves": "while True:\n    one = {}\n    one['me'] = one\n    kept.append(one)",
    "cycles that nobody collects": "import gc\ngc.disable()\nwhile True:\n    one = []\n    one.append(one)",
    "objects that refer to each other": "import gc\ngc.disable()\nclass A: pass\nwhile True:\n    a, b = A(), A()\n"
        "    a.b, b.a = b, a",
    "objects that would be finalized": "import gc\ngc.disable()\nclass A:\n    def __del__(self): kept.append(self)\n"
        "while True:\n    a = A()\n    a.me = a",
    "a finalizer that goes on": f"class A:\n    def __del__(self):\n        {FILL}\na = A()\n{FILL}",
    "contexts": "error = None\nwhile True:\n    one = ValueError()\n    one.__context__, error = error, one",
    "causes": "error = None\nwhile True:\n    one = ValueError()\n    one.__cause__, error = error, one",
    "the context of the error itself": FILL_AND_CATCH + "raise error from ValueError(kept)",
    "contexts that are referred to while it is raised": "error = None\ntry:\n    while True:\n"
        "        one = KeyError('x' * 50)\n        one.__context__, error = error, one\n"
    "except MemoryError:\n    kept.append(error)\n    raise",
    "the arguments of the error": FILL_AND_CATCH + "error.args = (kept,)\n    raise",
    "its traceback": FILL_AND_CATCH + "kept.append(error.__traceback__)\n    raise",
    "a frame that is kept": f"import sys\nkept.append(sys._getframe())\n{FILL}",
    "groups": "while True: kept.append(ExceptionGroup('', [kept[-1] if kept else ValueError()]))",
    "a group with the error in it": f"try:\n    {FILL}\nexcept* MemoryError: raise",
    "generators": "def g():\n    x = [0] * 20\n    yield\nwhile True:\n    one = g()\n    next(one)\n"
        "    kept.append(one)",
    "coroutines": "async def one(): pass\nwhile True: kept.append(one())",
    "frames of a recursion": "import sys\nsys.setrecursionlimit(10**8)\ndef f(n):\n    x = [n] * 50\n"
        "    return f(n + 1)\nf(0)",
    "a thread's own": "import _thread\nlocal = _thread._local()\nlocal.kept = kept\nwhile True: local.kept.append([0])",
    "classes": "while True: kept.append(type('A', (), {}))",
    "modules": "import types\nwhile True: kept.append(types.ModuleType('x'))",
    "weak references": "import weakref\nclass A: pass\nwhile True:\n    one = A()\n"
        "    kept.append((one, weakref.ref(one)))",
    "a cache": "import functools\n@functools.cache\ndef f(n): return [n]\nn = 0\nwhile True:\n    n += 1\n    f(n)",
    "builtins": "import builtins\nbuiltins.kept = kept\nwhile True: builtins.kept.append([0])",
    "what collections call": "import gc\ngc.callbacks.append(lambda *a: kept.append([0] * 1000))\n" + FILL,
    "code that was compiled": "while True: kept.append(compile('x = 1', 'f', 'exec'))",
    "all to the last byte": TO_THE_LAST_BYTE + FILL,
    "all to the last byte, and a chain": TO_THE_LAST_BYTE + "chain = None\nwhile True:\n    chain = (chain,)\n"
        "    kept[0] = chain",
    "an error whose text takes more":
        f"class E(MemoryError):\n    def __str__(self):\n        {FILL}\n" + FILL_AND_CATCH + "raise E",
    "an error that is raised anew": FILL_AND_CATCH + "pass\nraise MemoryError",
}  # fmt: skip


def tasks(name: str, code: str, limits: Limits) -> list[tuple[Task, str]]:
    """Return tasks that fill the memory in both phases and while the puzzle loads, and the phase where each ends."""
    body = ":\n" + textwrap.indent(code, "    ") + "\n    return True\n"
    puzzle = "def sat(x): return True"
    return [
        (Task(f"{name}, in sol", puzzle, "kept = []\ndef sol()" + body, limits), "sol"),
        (Task(f"{name}, in sat", "kept = []\ndef sat(x)" + body, "1", limits), "sat"),
        (
            Task(
                f"{name}, at the top of the puzzle", "kept = []\ndef fill()" + body + "fill()\n" + puzzle, "1", limits
            ),
            "sol",
        ),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_full_memory_is_reported_whatever_refers_to_it(engine: str) -> None:
    expected = [
        one
        for name, code in FILLERS.items()
        for one in tasks(name, code, LITTLE[engine])[: 2 if engine == "snapshot" else None]
    ]
    with open_verifier("restricted", workers=2, engine=engine) as verifier:
        verdicts = list(verifier.verify_many([task for task, _ in expected]))
    wrong = [
        f"{verdict}"
        for (_, phase), verdict in zip(expected, verdicts, strict=True)
        if (verdict.status, verdict.phase) != ("memory_limit", phase)
    ]
    assert not wrong, "\n".join(wrong)


OURS = {
    "to encode the answer": (
        "def sat(x): return True",
        "kept = bytearray(34 << 20)\ndef sol():\n    x = 'x' * (1 << 20)\n    return [x] * 31",
    ),
    "to compile the solution": ("def sat(x): return True", "def sol(): return [" + "[1]," * 400_000 + "]"),
    "to compile the puzzle": ("def sat(x): return x == [" + "[1]," * 400_000 + "]", "1"),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("what", OURS)
def test_memory_that_is_missing_for_work_of_ours_is_reported_too(engine: str, what: str) -> None:
    sat, sol = OURS[what]
    with open_verifier("restricted", engine=engine) as verifier:
        verdict = verifier.verify(Task(what, sat, sol, LIMITS))
    assert (verdict.status, verdict.phase) == ("memory_limit", "sol"), verdict


@pytest.mark.parametrize("engine", ENGINES)
def test_a_crash_with_the_memory_full_is_for_want_of_it_and_another_is_not(engine: str) -> None:
    """The interpreter has crashes of its own where there is no memory for a MemoryError."""
    crash = "    import ctypes\n    ctypes.string_at(0)"
    full = f"import ctypes\nkept = []\ndef sol():\n    try:\n        {FILL}\n    except MemoryError: pass\n" + crash
    with open_verifier("restricted", engine=engine) as verifier:
        verdicts = [
            verifier.verify(Task("crash", "def sat(x): return True", sol, LIMITS))
            for sol in (full, "def sol():\n" + crash)
        ]
    assert [verdict.status for verdict in verdicts] == ["memory_limit", "crashed"], verdicts


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("error", ["MemoryError", "SystemError", "ExceptionGroup('', [MemoryError()])"])
def test_such_an_error_with_no_memory_used_is_the_solutions_own(engine: str, error: str) -> None:
    with open_verifier("restricted", engine=engine) as verifier:
        verdict = verifier.verify(Task("raises", "def sat(x): return True", f"def sol():\n    raise {error}", LIMITS))
    assert verdict.status == "solution_error" and error.partition("(")[0] in verdict.message, verdict
