"""The snapshot engine: what a job does is gone before the next, and its results are those of the fork engine."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psutil
import pytest

from selftaught.sandbox import Limits, Task, Verifier, codec
from selftaught.sandbox.outcome import Phase
from tests.conftest import DEMANDED_ENGINES, open_verifier
from tests.sandbox.worker.programs import programs

PUZZLE = "def sat(x): return x == 6"


def run(variant: str, jobs: Sequence[tuple[Any, ...]], cpu_seconds: float = 1.0, **how: bool) -> dict[str, Any]:
    """Run `tests.sandbox.worker.supervisor` and return what it prints.

    Args:
        variant: what is run.
        jobs: phase, puzzle and payload, and for some also CPU seconds and whether they are resumable.
        cpu_seconds: limit of jobs without one.
        how: options of the supervisor.

    Returns:
        outcomes, times, peaks: of each job. counters: after the last. compiled: puzzles precompiled. suspended: jobs
        suspended after each job. processes: snapshot processes after each job. left: processes left at the end.
    """
    text = json.dumps(
        [[phase, sat, payload.hex(), *(more or (cpu_seconds, False))] for phase, sat, payload, *more in jobs]
    )
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "int_max_str_digits=0",
            "-m",
            "tests.sandbox.worker.supervisor",
            variant,
            *(name for name in how if how[name]),
        ],
        env=os.environ | {"PYTHONHASHSEED": "0", "GLIBC_TUNABLES": "glibc.pthread.rseq=0"},
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode and variant != "fork" and "snapshot" not in DEMANDED_ENGINES:
        pytest.skip(f"this host can't take snapshots: {done.stderr.splitlines()[-1:]}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_right_and_wrong_are_distinguished_without_the_fork_engine() -> None:
    answers = [codec.encode(number, 100) for number in (6, 7)]
    found = run(
        "snapshot", [(Phase.SOL, PUZZLE, b"def sol(): return 6"), *((Phase.SAT, PUZZLE, answer) for answer in answers)]
    )
    assert [outcome["end"] for outcome in found["outcomes"]] == ["ANSWER", "ACCEPTED", "REJECTED"]
    assert {outcome["engine"] for outcome in found["outcomes"]} == {"snapshot"}


def test_jobs_of_every_size_leave_nothing_of_themselves() -> None:
    """Also where a long one finds all memory warm that it needs, so that nothing but the job itself is new."""
    warm = (
        Phase.SOL,
        PUZZLE,
        b"def sol():\n    for size in range(20_000, 100_000, 7_000): x = bytes([1]) * size; x.decode(); y = x * 2\n"
        b"    return 6",
    )
    sizes = [*range(0, 20_000, 500), 200_000, *range(20_000, 0, -1_000)]
    jobs = [warm] * 300 + [(Phase.SOL, PUZZLE, b"def sol(): return 6\n" + b"#" * size) for size in sizes]
    found = run("snapshot", jobs, compared=True)
    assert {outcome["engine"] for outcome in found["outcomes"]} == {"snapshot"}
    assert found["counters"]["checked"] == len(jobs) and not found["counters"]["mismatches"]


def test_a_large_answer_needs_no_fork_engine() -> None:
    puzzle, size = "def sat(x): return len(x) == 1_048_000", 1_048_000
    jobs = [
        (Phase.SOL, puzzle, b"'a' * %d" % size),
        (Phase.SAT, puzzle, codec.encode("a" * size, 1 << 20)),
        (Phase.SAT, puzzle, codec.encode("a", 9)),
    ]
    found = run("snapshot", jobs * 2, compared=True)
    assert [(one["end"], one["engine"]) for one in found["outcomes"]] == [
        (end, "snapshot") for end in ("ANSWER", "ACCEPTED", "REJECTED")
    ] * 2
    assert not found["counters"]["mismatches"]


CHANGES = {
    "builtins": "import builtins\ndef sol():\n    builtins.len = lambda x: 7\n    builtins.left = 1\n    return 6",
    "small integers": "import ctypes\ndef sol():\n    ctypes.memset(id(5) + 24, 77, 1)\n    return [6]",
    "modules": "import math, random\ndef sol():\n    math.pi = 3\n    random.seed(5)\n    return 6",
    "rounding": "import ctypes\ndef sol():\n    ctypes.CDLL(None).fesetround(0x800)\n    return 6",
    "much memory": "def sol():\n    x = [0] * 500_000\n    return 6",
    "the stack": "def sol():\n    x = '[' * 90 + ']' * 90\n    return len(eval(x))",
    "garbage": "import gc\ndef sol():\n    gc.disable()\n    gc.set_threshold(1)\n    return 6",
    "the recursion limit": "import sys\ndef sol():\n    sys.setrecursionlimit(50_000)\n    return 6",
    "a loop": "def sol():\n    global n\n    n = 0\n    while True: n += 1",
    "an exception": "import decimal\ndef sol():\n    decimal.getcontext().prec = 3\n    raise KeyError(decimal)",
    "a forbidden call": "import os\ndef sol():\n    os.environ['LEFT'] = '1'\n    os.kill(1, 9)",
    "a crash": "import ctypes\ndef sol():\n    ctypes.string_at(0)",
}
LOOK = """
import builtins, ctypes, decimal, gc, math, os, random, sys
def sol():
    third = ctypes.c_double(1.0).value / 3
    return [
        len([1, 2]), hasattr(builtins, "left"), 2 + 3, math.pi, random.random(), third.hex(),
        gc.isenabled(), gc.get_threshold()[0],
        sys.getrecursionlimit(), decimal.getcontext().prec, dict(os.environ), sorted(sys.modules)[:5], "n" in globals(),
    ]
"""


def test_nothing_of_a_job_is_left_for_the_next() -> None:
    look = (Phase.SOL, PUZZLE, LOOK.encode())
    jobs = [look]
    for change in CHANGES.values():
        jobs += [(Phase.SOL, PUZZLE, change.encode()), look]
    found = run("snapshot", jobs, cpu_seconds=0.3)
    seen = found["outcomes"][::2]
    assert seen[0]["end"] == "ANSWER", seen[0]
    for name, outcome in zip(CHANGES, seen[1:], strict=True):
        assert outcome == seen[0], f"after {name}: {outcome}"
    assert found["counters"]["mismatches"] == 0
    assert found["counters"]["checked"] > 0


COUNT = """
import array, collections, datetime, decimal, sys
TYPES = datetime.date, datetime.timezone, decimal.Decimal, collections.deque, array.array, int
def sol(): return [sys.getrefcount(one) for one in TYPES]
"""
REFER = (
    COUNT.replace("def sol()", "import ctypes\ndef count()")
    + """
def sol(which=0):
    for one in (TYPES[which:] + TYPES)[:which % 3 + 1]:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one))
    return 6
"""
)


def test_what_few_jobs_write_is_put_back_however_little_else_is_written() -> None:
    """Some of these types are in the data of a library of their own, which is searched late."""
    look = (Phase.SOL, PUZZLE, COUNT.encode())
    jobs = [look]
    for which in range(6):
        jobs += [(Phase.SOL, PUZZLE, REFER.replace("which=0", f"which={which}").encode()), look]
    found = run("snapshot", jobs, compared=True)
    assert {one["payload"] for one in found["outcomes"][::2]} == {found["outcomes"][0]["payload"]}
    assert {(one["end"], one["engine"]) for one in found["outcomes"]} == {("ANSWER", "snapshot")}
    assert not found["counters"]["mismatches"]


def test_whole_tasks_come_out_as_they_do_phase_by_phase_and_leave_nothing() -> None:
    """Answers of every kind, plain or not, in time or not, and puzzles that say this and that."""
    puzzle = (
        "import os, struct\ndef sat(x):\n    if x == 7: print('seven')\n    if x == 8: os.kill(1, 9)\n"
        "    if x == 9: raise KeyError(x)\n"
    )
    puzzle += (
        "    if x == 10:\n        while True: pass\n    if x == 11: return 'ä'\n"
        "    if x == 12: print('-' * 2_000_000)\n"
    )
    puzzle += "    if x == 13: os.write(3, b'F' + bytes(8))\n    return x == 6"
    answers = (
        "6 7 8 9 10 11 12 13 None True 1.5 -129 2**70 'a' 'ä' '' [] (1,) [[5],(6,'b')] {5} {1:2} 'a'*300 [0]*5000 "
        "object"
    ).split()
    answers += ["[" * 70 + "]" * 70, "1/0", "print(5) or 6", "print('-' * 2_000_000) or 6", "[300, -1, [-70000, 2.5]]"]
    solutions = [*answers, *CHANGES.values(), "def sol():\n    for i in range(3_000_000): pass\n    return 6", LOOK]
    jobs = [(Phase.SOL, f"{puzzle}# {number}", solution.encode()) for solution in solutions for number in range(3)]
    jobs += [
        (Phase.SOL, f"{puzzle}# {number // 8}", solution.encode()) for number, solution in enumerate(solutions)
    ]  # a few to a puzzle
    jobs += [
        (Phase.SOL, puzzle, solution.encode()) for solution in solutions
    ]  # so many that it is loaded once for them
    variants = (("fork", False), ("snapshot", False), ("snapshot", True))
    fork, *others = (
        run(variant, jobs, cpu_seconds=0.3, whole=True, compared=compared) for variant, compared in variants
    )
    for found in others:
        for ours, theirs in zip(found["outcomes"], fork["outcomes"], strict=True):
            assert {**ours, "engine": ""} == {**theirs, "engine": ""}
        assert not found["counters"]["mismatches"]
    assert others[1]["counters"]["checked"] > len(jobs)


PUZZLES = {
    "raises": "def sat(x): return x == 6\n1 / 0",
    "is no Python": "def sat(x) return x",
    "defines nothing": "x = 5",
    "loops": "while True: pass",
    "prints": "print('a')\ndef sat(x): return x == 6",
    "prints too much": "print('a' * 2_000_000)\ndef sat(x): return x == 6",
    "takes memory": "kept = [0] * 10_000_000\ndef sat(x): return x == 6",
    "takes too much memory": "kept = [0] * 200_000_000\ndef sat(x): return x == 6",
    "calls what is forbidden": "import os\ndef sat(x): return x == 6\nos.kill(1, 9)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "imports": "import html.parser\ndef sat(x): return x == 6",
    "ends": "raise SystemExit(0)",
    "begins a report": "import os\ndef sat(x): return x == 6\nos.write(3, b'abc')",
    "claims to be loaded": "import os\ndef sat(x): return x == 6\nos.write(3, b'P')",
}


def test_a_flood_is_over_when_too_much_was_printed_and_not_when_its_time_is() -> None:
    began = time.monotonic()
    found = run("snapshot", [(Phase.SOL, PUZZLE, b"def sol():\n    while True: print('hello')")], cpu_seconds=60)
    assert [outcome["end"] for outcome in found["outcomes"]] == ["OUTPUT"]
    assert time.monotonic() - began < 30


def test_a_loop_ends_at_its_limit_also_where_the_caller_has_blocked_the_signal_of_alarms() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGALRM,))
    try:
        with open_verifier("restricted", workers=1, engine="snapshot", limits=Limits(cpu_seconds=0.3)) as verifier:
            verdict = verifier.verify(Task("loop", PUZZLE, "def sol():\n    while True: pass"))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    assert verdict.status == "time_limit" and verdict.usage.wall_seconds < 2


def test_a_solution_can_not_know_what_chance_gave_the_puzzle_in_its_own_phase() -> None:
    puzzle = (
        "import random\nsecret = random.SystemRandom().random()\ndef sat(x: float): return x == secret\n" + "#" * 400
    )
    tasks = [Task(f"{i}", puzzle, f"def sol(): return secret + {i} * 0") for i in range(300)]
    with open_verifier("restricted", engine="snapshot") as verifier:
        assert {verdict.status for verdict in verifier.verify_many(tasks)} == {"rejected"}


def test_only_what_it_can_observe_is_left_to_it_without_the_fork_engine() -> None:
    observed = ["a loop", "an exception", "builtins", "modules", "much memory", "garbage"]
    left_to_fork = ["a forbidden call", "a crash"]
    found = run(
        "snapshot", [(Phase.SOL, PUZZLE, CHANGES[name].encode()) for name in observed + left_to_fork], cpu_seconds=0.3
    )
    engines = [outcome["engine"] for outcome in found["outcomes"]]
    assert engines == ["snapshot"] * len(observed) + ["fork"] * len(left_to_fork)
    ends = [outcome["end"] for outcome in found["outcomes"]]
    assert ends[-2:] == ["FORBIDDEN", "DIED"]
    assert "kill" in found["outcomes"][-2]["detail"]


def test_a_job_that_needs_more_memory_than_is_in_reserve_is_left_to_fork_and_costs_no_process() -> None:
    for more in ("bytearray(100 << 20)", "[0] * 5_000_000", "__import__('mmap').mmap(-1, 1 << 20)"):
        code = f"import ctypes\ndef sol():\n    x = {more}\n    ctypes.string_at(0)"
        found = run("snapshot", [(Phase.SOL, PUZZLE, code.encode()), (Phase.SOL, PUZZLE, b"6")], compared=True)
        assert [(one["end"], one["engine"]) for one in found["outcomes"]] == [("DIED", "fork"), ("ANSWER", "snapshot")]
        assert (found["counters"]["replaced"], found["counters"]["mismatches"]) == (0, 0)


def test_a_solution_can_not_blame_the_puzzle_and_a_puzzle_that_does_not_load_needs_no_fork_engine() -> None:
    forged = b"import os, struct\ndef sol():\n    os.write(3, struct.pack('<cQ', b'p', 4) + b'oops')\n    return 6"
    broken = PUZZLES["raises"]
    jobs = [
        (Phase.SOL, PUZZLE, forged),
        (Phase.SOL, PUZZLE, forged),
        (Phase.SOL, broken, b"6"),
        (Phase.SOL, broken, forged),
    ]
    seen = [(one["end"], one["detail"], one["engine"]) for one in run("snapshot", jobs)["outcomes"]]
    assert seen[:2] == [("SOLUTION_ERROR", "oops", "fork")] * 2
    assert seen[2:] == [("PUZZLE_ERROR", "ZeroDivisionError: division by zero (line 2 of the puzzle)", "snapshot")] * 2


def test_a_rollback_that_forgets_a_page_is_noticed_and_its_phase_runs_again() -> None:
    loop = (Phase.SOL, PUZZLE, b"def sol():\n    while True: pass")
    honest = (Phase.SOL, PUZZLE, b"def sol(): return 6")
    found = run("broken", [loop, honest], cpu_seconds=0.1)
    assert found["counters"]["mismatches"] >= 1
    assert found["outcomes"][0] == {"end": "CPU", "detail": "", "payload": "", "engine": "fork"}
    assert found["outcomes"][1]["end"] == "ANSWER"


def test_a_process_that_has_to_go_is_replaced_when_there_is_time() -> None:
    jobs = [(Phase.SOL, PUZZLE, LOOK.encode())] * 6
    hurried, found = run("worn", jobs), run("worn", jobs, resting=True)
    assert found["outcomes"] == hurried["outcomes"] and found["counters"]["replaced"] == 3
    changes = [one != other for one, other in itertools.pairwise(found["processes"])]
    assert changes == [True, False, True, False, True]
    assert not found["left"]


def test_nothing_runs_on_when_the_verifier_goes_while_the_engine_is_being_proven() -> None:
    if "snapshot" not in DEMANDED_ENGINES:
        run("snapshot", [])  # skips where there is none
    command = [sys.executable, "-X", "int_max_str_digits=0", "-m", "tests.sandbox.worker.supervisor", "orphan"]
    variables = os.environ | {"PYTHONHASHSEED": "0", "GLIBC_TUNABLES": "glibc.pthread.rseq=0"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.splitlines() == ["ClientGone", "[]"], done.stderr


def test_the_engines_agree_on_generated_programs() -> None:
    tasks = [Task(str(number), sat, sol) for number, (sat, sol) in enumerate(programs(seed=1, count=3000))]
    verdicts = {}
    for engine in ("fork", "snapshot"):
        try:
            verifier = Verifier(workers=2, require="restricted", engine=engine)
        except RuntimeError as error:
            if engine in DEMANDED_ENGINES:
                raise
            pytest.skip(f"no {engine} engine here: {error}")
        with verifier:
            verdicts[engine] = list(verifier.verify_many(tasks))
            counters = verifier.counters
    by_snapshot = 0
    for task, fork, snapshot in zip(tasks, verdicts["fork"], verdicts["snapshot"], strict=True):
        for name in ("status", "phase", "message", "answer_sha256"):
            assert getattr(fork, name) == getattr(snapshot, name), f"{task}\n{fork}\n{snapshot}"
        by_snapshot += snapshot.verifier.endswith(" snapshot")
    assert counters.mismatches == 0
    assert by_snapshot > len(tasks) * 0.8, "most programs were left to the fork engine: little was compared"
    assert len({verdict.status for verdict in verdicts["fork"]}) >= 6, "the programs are all alike"


def mebibytes(verifier: Verifier) -> float:
    """Return the proportional memory of all workers: what processes share counts once."""
    supervisors = [psutil.Process(pid) for pid in verifier.worker_pids()]
    processes = [
        process for supervisor in supervisors for process in (supervisor, *supervisor.children(recursive=True))
    ]
    sizes = [process.memory_full_info().pss / (1 << 20) for process in processes]
    return float(sum(sizes))


def test_a_worker_takes_less_than_43_mebibytes() -> None:
    """A page that no job has written is not to be there twice. What other processes share with it counts less."""
    tasks = [Task(f"{i}", f"def sat(x: int): return x == {i}", f"{i}") for i in range(2000)]
    most = 43 if sys.version_info < (3, 14) else 55  # that interpreter alone takes some 10 MiB more
    with open_verifier("restricted", workers=2, engine="snapshot") as verifier:
        assert all(verdict.accepted for verdict in verifier.verify_many(tasks))
        assert mebibytes(verifier) < 2 * most


def test_memory_that_jobs_have_needed_goes_back_when_none_needs_it() -> None:
    """Some of it is kept while they come one after another."""
    most, task = [], Task("", "def sat(x: int): return x == 6", "6")
    large = "len([*range(700_000, 900_000)]) - 199_994"
    with open_verifier("restricted", workers=1, engine="snapshot") as verifier:
        for sol in ("6", *[large] * 4):
            verdict = verifier.verify(replace(task, sol=sol))
            assert verdict.accepted and verdict.verifier.endswith(" snapshot")
            most.append(mebibytes(verifier))
        until = time.monotonic() + 20
        while (now := mebibytes(verifier)) > most[0] + 2 and time.monotonic() < until:
            time.sleep(0.02)
    assert most[1] > most[0] + 4 and now < most[0] + 2


def test_a_page_that_is_not_put_back_is_seen_by_the_next_comparison_and_by_none_after_it() -> None:
    where = (Phase.SOL, PUZZLE, b"def sol(): return id(251) + 24")
    spoil = (Phase.SOL, PUZZLE, b"import ctypes\ndef sol():\n    ctypes.memset(id(251) + 24, 77, 1)\n    return 6")
    seen = (Phase.SOL, PUZZLE, b"def sol(n=250): return n + 1")
    loop = (Phase.SOL, PUZZLE, b"def sol():\n    while True: pass")
    found = run("forgetful", [where, seen, spoil, seen, seen, loop, seen], cpu_seconds=0.1)
    assert [codec.decode(bytes.fromhex(found["outcomes"][place]["payload"])) for place in (1, 3, 4, 6)] == [
        251,
        77,
        77,
        251,
    ]
    assert found["counters"]["mismatches"] == 1
    assert found["outcomes"][5]["engine"] == "fork", "the phase runs again"


SECRET = "def sol():\n    kept = bytes([0x53]) * (6 << 20)\n    while True: pass"
SEARCH = """
import ctypes
def sol():
    short = bytes([1]) * (1 << 20)
    return ctypes.string_at(id(short) + (2 << 20), 3 << 20).count(bytes([0x53]) * 64)
"""
"""Looks where the secret lay, beyond what it takes itself."""


@pytest.mark.parametrize("again", [1, 2], ids=["never touched before", "touched before"])
def test_what_the_kernel_has_reclaimed_is_put_back_and_compared_like_all_other_memory(again: int) -> None:
    jobs = [
        (Phase.SOL, PUZZLE, SEARCH.encode()),
        *[(Phase.SOL, PUZZLE, SECRET.encode()), (Phase.SOL, PUZZLE, SEARCH.encode())] * again,
    ]
    found = run("reclaimed", jobs, cpu_seconds=0.3, compared=True)
    assert found["reclaimed"] > 4 << 20, "nothing was reclaimed"
    assert {codec.decode(bytes.fromhex(one["payload"])) for one in found["outcomes"][::2]} == {0}
    assert found["counters"]["checked"] >= again and not found["counters"]["mismatches"]
    assert {one["engine"] for one in found["outcomes"]} == {"snapshot"}


def test_a_comparison_sees_the_flags_of_the_processor() -> None:
    loop = (Phase.SOL, PUZZLE, b"def sol():\n    while True: pass")
    assert run("snapshot", [loop], cpu_seconds=0.1)["counters"]["mismatches"] == 0
    assert run("flagged", [loop], cpu_seconds=0.1)["counters"]["mismatches"] == 1


def test_the_peak_of_memory_is_measured_for_each_job_alone() -> None:
    sizes = [0, 4, 24, 100, 0]
    jobs = [(Phase.SOL, PUZZLE, f"def sol(): return len(bytes(b'x' * ({size} << 20)))".encode()) for size in sizes]
    found = run("snapshot", jobs)
    assert [one["engine"] for one in found["outcomes"]] == ["snapshot"] * 3 + ["fork", "snapshot"]
    first, *others = (peak / (1 << 20) for peak in found["peaks"])
    assert 5 < first < 40
    for size, peak in zip(sizes[1:], others, strict=True):
        assert first + size - 4 < peak < first + size * 1.2 + 4, (size, peak, first)


GROWTH = {
    "brk": "    for _ in range(20): at = libc.sbrk(32 << 20); at + 1 and ctypes.memset(at, 1, 32 << 20)",
    "mmap": "    kept = [bytes(b'x' * (32 << 20)) for _ in range(20)]",
    "both": "    kept = []\n    for _ in range(12): at = libc.sbrk(32 << 20); kept.append(bytes(b'x' * (32 << 20))); "
    "at + 1 and ctypes.memset(at, 1, 32 << 20)",
}


@pytest.mark.parametrize("way", GROWTH)
def test_however_a_job_grows_it_gets_no_more_than_its_limit(way: str) -> None:
    head = (
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.sbrk.restype, libc.sbrk.argtypes = ctypes.c_long, "
        "(ctypes.c_long,)\n"
    )
    grow = f"{head}def sol():\n    start = libc.sbrk(0)\n{GROWTH[way]}\n    return libc.sbrk(0) - start"
    for variant in ("snapshot", "fork"):
        (peak,) = run(variant, [(Phase.SOL, PUZZLE, grow.encode())], cpu_seconds=5)["peaks"]
        assert peak < 600 << 20, variant
