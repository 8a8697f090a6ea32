"""Packages in the jail: what is named can be imported at every level, on both engines, and nothing else is looser."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from selftaught.sandbox import CannotConfine, Limits, Status, Task, Verdict, Verifier, cases
from selftaught.sandbox.attacks import run_case
from selftaught.sandbox.backends import LEVELS, WorkerConfig
from selftaught.sandbox.options import worker_config
from selftaught.sandbox.server.command import serve
from selftaught.sandbox.task import FunctionTask, StdioTask
from tests.conftest import ENGINES, footprint, unreached

PACKAGES = ("numpy", "pandas", "scipy", "sortedcontainers", "sympy")
PLACES = [f"{level}-{engine}" for level in LEVELS["local"] for engine in ENGINES]
INT = "def sat(x: int, n={n}):\n    return x == n"


def opened(place: str, packages: tuple[str, ...] = PACKAGES, site: str | None = None) -> Verifier:
    """Return a verifier with packages; skip, or fail, where the host can't."""
    level, engine = place.split("-")
    try:
        return Verifier(workers=1, level=level, engine=engine, packages=packages, site=site)
    except CannotConfine as error:
        unreached(level, engine, error)


@pytest.fixture(scope="module", params=PLACES)
def equipped(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    """A verifier with all these packages, at each level with each engine."""
    with opened(request.param) as made:
        yield made


def solve(verifier: Verifier, sol: str, sat: str = INT.format(n=1)) -> Verdict:
    return verifier.verify(Task("1", sat, sol, Limits(cpu_seconds=10.0)))


PUZZLES = {
    "numpy": (
        "import numpy as np\ndef sat(x: List[float]):\n"
        "    return bool(np.allclose(np.array([[3.0, 1.0], [1.0, 2.0]]) @ np.array(x), [9, 8]))",
        "import numpy as np\ndef sol():\n    return np.linalg.solve([[3.0, 1.0], [1.0, 2.0]], [9.0, 8.0]).tolist()",
    ),
    "numpy's random numbers": (
        "import numpy as np\ndef sat(x: List[int]): return x == np.random.RandomState(0).permutation(9).tolist()",
        "import numpy as np\ndef sol(): return np.random.permutation(9).tolist()",
    ),
    "a large product": (
        "def sat(x: float): return x == 600.0",
        "import numpy as np\ndef sol(): return float((np.ones((600, 600)) @ np.ones((600, 600)))[5, 7])",
    ),
    "scipy": (
        "from scipy.optimize import root_scalar\n"
        "def sat(x: float): return abs(x - root_scalar(lambda v: v**3 - 2, bracket=(0, 2)).root) < 1e-6",
        "from scipy.optimize import brentq\ndef sol(): return brentq(lambda v: v**3 - 2, 0, 2)",
    ),
    "a linear program": (
        "def sat(x: List[float]): return abs(sum(x) - 2) < 1e-6 and min(x) > 1 - 1e-6",
        "from scipy.optimize import linprog\n"
        "def sol(): return linprog([1, 1], A_ub=[[-1, 0], [0, -1]], b_ub=[-1, -1]).x.tolist()",
    ),
    "pandas": (
        "def sat(x: Dict[str, int]): return x == {'a': 3, 'b': 3}",
        "import pandas as pd\ndef sol():\n    frame = pd.DataFrame({'k': ['a', 'a', 'b'], 'v': [1, 2, 3]})\n"
        "    return {key: int(value) for key, value in frame.groupby('k')['v'].sum().items()}",
    ),
    "a time zone": (
        "def sat(x: str): return x == '2020-07-01 14:00:00+02:00'",
        "import pandas as pd\ndef sol():\n    return str(pd.Timestamp('2020-07-01 12:00', tz='UTC')"
        ".tz_convert('Europe/Paris'))",
    ),
    "sympy": (
        "import sympy\ndef sat(x: str): return sympy.expand(sympy.sympify(x)) == sympy.sympify('x**2 - 1')",
        "from sympy import symbols, factor\ndef sol():\n    x = symbols('x')\n    return str(factor(x**2 - 1))",
    ),
    "sortedcontainers": (
        "from sortedcontainers import SortedList\ndef sat(x: List[int]): return list(SortedList(x)) == x == [1, 2, 3]",
        "from sortedcontainers import SortedList\ndef sol(): return list(SortedList([3, 1, 2]))",
    ),
    "versions": (
        "def sat(x: str): import numpy; return x == numpy.__version__",
        "import importlib.metadata\ndef sol(): return importlib.metadata.version('numpy')",
    ),
}


@pytest.mark.parametrize("name", PUZZLES)
def test_a_puzzle_and_its_solution_use_a_package(equipped: Verifier, name: str) -> None:
    sat, sol = PUZZLES[name]
    verdict = solve(equipped, sol, sat)
    assert verdict.accepted, verdict


def test_a_program_uses_a_package(equipped: Verifier) -> None:
    sol = "import numpy as np\nprint(np.array(input().split(), int).sum())"
    verdict = equipped.verify(StdioTask("1", sol, cases=[("1 2", "3"), ("4 5", "9")]))
    assert verdict.accepted, verdict


@pytest.mark.parametrize("kind", ["channels", "files", "kernel"])
def test_attacks_end_as_they_do_without_packages(equipped: Verifier, kind: str) -> None:
    chosen = [case for case in cases.load() if case.kind == kind and case.applies_to(equipped.level, equipped.engine)]
    failures = [failure for case in chosen if (failure := run_case(equipped, case))]
    assert chosen and not failures, failures


def test_a_wrong_answer_is_rejected(equipped: Verifier) -> None:
    sat, _ = PUZZLES["numpy"]
    assert solve(equipped, "[2.0, 3.5]", sat).status is Status.REJECTED


@pytest.mark.parametrize(
    ("attempt", "call"),
    [
        ("import os; os.fork()", "clone"),
        ("import socket; socket.socket()", "socket"),
        ("import subprocess; subprocess.run(['/bin/true'])", "no process can be started"),
        ("import mmap; mmap.mmap(-1, 4096, prot=7)", "mmap"),
        ("import os; os.kill(1, 0)", "kill"),
    ],
)
def test_what_is_forbidden_stays_so(equipped: Verifier, attempt: str, call: str) -> None:
    verdict = solve(equipped, f"import numpy\ndef sol():\n    {attempt}\n    return 1")
    assert (verdict.status, call in verdict.message) == (Status.FORBIDDEN, True), verdict


def test_threads_use_packages(equipped: Verifier) -> None:
    code = """
import numpy
from concurrent.futures import ThreadPoolExecutor
def sol():
    with ThreadPoolExecutor(4) as pool:
        return int(sum(pool.map(lambda n: (numpy.eye(100) @ numpy.eye(100)).sum() / 100, range(8))))
"""
    assert solve(equipped, code, "def sat(x: int): return x == 8").accepted


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/maps", "/proc/self/environ", __file__, sys.executable])
def test_no_other_file_can_be_read(equipped: Verifier, path: str) -> None:
    verdict = solve(equipped, f"import numpy\ndef sol(): return len(numpy.fromfile({path!r}, dtype='u1'))")
    assert verdict.status is Status.SOLUTION_ERROR, verdict
    assert "PermissionError" in verdict.message or "FileNotFoundError" in verdict.message


def test_a_package_that_was_not_named_is_not_there_however_installed(equipped: Verifier) -> None:
    verdict = solve(equipped, "import importlib.metadata, pytest\ndef sol(): return 1")
    assert "No module named 'pytest'" in verdict.message
    found = solve(
        equipped,
        "import os, numpy, sys\ndef sol():\n    beside = os.path.dirname(os.path.dirname(numpy.__file__))\n"
        "    try: return int('pytest' in os.listdir(beside)) + 1\n    except PermissionError: return 1",
    )
    assert found.accepted, found


def test_nothing_can_be_written_beside_a_package(equipped: Verifier) -> None:
    verdict = solve(equipped, "import numpy\ndef sol(): return open(numpy.__file__, 'ab').write(b'x')")
    assert verdict.status is Status.SOLUTION_ERROR, verdict


@pytest.mark.parametrize("engine", ENGINES)
def test_in_a_root_of_its_own_no_path_of_the_host_shows(engine: str) -> None:
    home = sys.prefix
    look = f"""import gc, os, sys, sysconfig, types, numpy
def sol():
    found = [os.environ.get(name) for name in os.environ]
    for module in list(sys.modules.values()):
        found += [getattr(module, '__file__', ''), *getattr(module, '__path__', ())]
    found += [one.__code__.co_filename for one in gc.get_objects() if isinstance(one, types.FunctionType)]
    found += [str(finder.__dict__) for finder in sys.meta_path if hasattr(finder, '__dict__')]
    return [text for text in found if text and {home!r} in text][:3]"""
    with opened(f"full-{engine}") as verifier:
        assert solve(verifier, look, "def sat(x: List[str]): return not x").accepted


def test_changes_to_a_package_do_not_reach_the_next_task(equipped: Verifier) -> None:
    spoil = "import numpy as np\ndef sol():\n    np.add = None; np.random.seed(5); np.seterr(all='raise')\n    return 1"
    look = """import numpy as np
def sol():
    assert np.add(1, 1) == 2 and np.geterr()['divide'] == 'warn'
    return int(np.random.get_state()[1][0] != 5)"""
    assert solve(equipped, spoil).accepted
    assert solve(equipped, look).accepted


def test_a_task_leaves_nothing_behind(equipped: Verifier) -> None:
    assert solve(equipped, "1").accepted
    before = footprint(equipped)
    for sat, sol in PUZZLES.values():
        assert solve(equipped, sol, sat).accepted
    assert footprint(equipped) == before


def test_tests_and_a_solution_use_a_package_in_a_process_each(equipped: Verifier) -> None:
    tests = "import numpy as np\ndef check(candidate): assert np.allclose(candidate([1.0, 2.5]), np.mean([1.0, 2.5]))"
    right, wrong = (
        FunctionTask("1", f"import numpy as np\ndef mean(xs): return float(np.{name}(xs))", "mean", tests)
        for name in ("mean", "max")
    )
    assert [equipped.verify(task).status for task in (right, wrong)] == [Status.ACCEPTED, Status.REJECTED]


def test_both_engines_give_the_same_verdicts_and_comparisons_find_no_difference() -> None:
    made: list[Callable[[int], tuple[str, str]]] = [
        lambda i: (INT.format(n=i), f"import numpy as np\ndef sol(): return int(np.arange({i} + 1)[-1])"),
        lambda i: (INT.format(n=i), f"import numpy as np\ndef sol(): return int(np.random.randint({i + 1}))"),
        lambda i: (INT.format(n=i), f"import numpy as np\ndef sol(): return np.zeros({i})[{i}]"),
        lambda i: (INT.format(n=i), f"import numpy as np\ndef sol(): return np.int64({i})"),
        lambda i: (INT.format(n=2), f"import numpy as np\ndef sol(): return int(np.linalg.matrix_rank(np.eye(2)*{i}))"),
        lambda i: (INT.format(n=i), f"import pandas as pd\ndef sol(): return int(pd.Series([{i}, 0]).max())"),
        lambda i: (INT.format(n=i), f"import sympy\ndef sol(): return int(sympy.sqrt({i * i}))"),
        lambda i: (INT.format(n=i), f"import scipy.special as s\ndef sol(): return int(round(s.gamma(2) * {i}))"),
    ]
    tasks = [Task(f"{i}", *made[i % len(made)](i)) for i in range(3000)]
    found: dict[str, list[Verdict]] = {}
    for engine, judged in (("snapshot", tasks), ("fork", tasks[:240])):
        with opened(f"restricted-{engine}") as verifier:
            found[engine] = list(verifier.verify_many(judged))
            counters = verifier.counters
            assert counters.mismatches == 0
            assert engine == "fork" or (counters.checked > 4 and counters.given_up < len(tasks) // 20), counters
    for snapshot, fork in zip(found["snapshot"], found["fork"], strict=False):
        for field in ("status", "phase", "message", "answer_sha256"):
            assert getattr(snapshot, field) == getattr(fork, field), f"{snapshot}\n{fork}"
    assert len({verdict.status for verdict in found["fork"]}) >= 3


@pytest.mark.parametrize("place", PLACES)
def test_numpys_generator_is_seeded_by_the_repeat(place: str) -> None:
    puzzle = """import numpy as np
def sat(x: float):
    number = np.random.random()
    return any(np.random.RandomState(seed).random() == number for seed in range({n}))"""
    first_alone, any_of_twelve = (Task("1", puzzle.format(n=n), "1.0") for n in (1, 12))
    with opened(place, ("numpy",)) as verifier:
        statuses = [verdict.status for verdict in verifier.verify_many([first_alone, any_of_twelve], repeat=12)]
    assert statuses == [Status.UNSTABLE, Status.ACCEPTED]


def test_verifiers_with_different_packages_work_side_by_side() -> None:
    sol = "import {name}\ndef sol(): return 1"
    with opened("restricted-fork", ("numpy",)) as one, opened("restricted-fork", ("sympy",)) as other:
        assert [one.packages.keys(), other.packages.keys()] == [{"numpy"}, {"sympy", "mpmath"}]
        for verifier, there, not_there in ((one, "numpy", "sympy"), (other, "sympy", "numpy")):
            assert solve(verifier, sol.format(name=there)).accepted
            assert f"No module named '{not_there}'" in solve(verifier, sol.format(name=not_there)).message


def test_without_packages_there_are_none(verifier: Verifier) -> None:
    assert verifier.packages == {}
    assert "No module named 'numpy'" in solve(verifier, "import numpy\ndef sol(): return 1").message
    finders = "import sys\ndef sol(): return len(sys.meta_path)"
    assert solve(verifier, finders, INT.format(n=4)).accepted  # Python's three, and that of multiprocessing_standin


def test_the_environment_names_packages_where_the_program_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_PACKAGES", "sympy, Sorted_Containers")
    assert WorkerConfig().packages == ("sorted-containers", "sympy")
    assert WorkerConfig(packages=[]).packages == ()
    assert WorkerConfig(packages=["numpy"]).packages == ("numpy",)
    named = serve.make_context("serve", ["--packages", "numpy,sympy"]).params
    assert worker_config(named).packages == ("numpy", "sympy")
    assert worker_config(serve.make_context("serve", []).params).packages == ("sorted-containers", "sympy")
