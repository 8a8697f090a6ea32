"""`RayVerifier` on a cluster of three nodes: the same verdicts, and none lost or told twice whatever ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from selftaught.sandbox import CannotConfine, Limits, Program, Status, Task, Verifier, cases, records
from tests.sandbox.cluster.conftest import add_node

P3 = Path(__file__).parents[4] / "shared" / "p3" / "puzzles.json"
SAT = "def sat(x: int, n={n}):\n    return x == n + 1"
WORK = "def sol(n={n}):\n    for _ in range(30_000): pass\n    return n + 1"


def numbered(count: int, first: int = 0) -> Iterator[Task]:
    """Distinct tasks of about a millisecond each."""
    for number in range(first, first + count):
        yield Task(str(number), SAT.format(n=number), WORK.format(n=number))


@pytest.fixture
def verifier(cluster: Any) -> Iterator[Any]:
    from selftaught.ray import RayVerifier

    with RayVerifier(workers=1, min_nodes=3) as opened:
        yield opened


def kill_a_node(cluster: Any) -> None:
    """End all processes of a node with SIGKILL, and start another."""
    node = cluster.worker_nodes and next(iter(cluster.worker_nodes))
    cluster.remove_node(node, allow_graceful=False)


def told_once(verdicts: list[Any], count: int) -> bool:
    """Return True if each task has one verdict, in order, and all are right."""
    return [verdict.id for verdict in verdicts] == [str(number) for number in range(count)] and all(
        verdict.accepted for verdict in verdicts
    )


def test_every_node_judges_and_the_verifier_says_what_they_reach(verifier: Any) -> None:
    assert len(verifier.nodes) == verifier.workers == 3
    with Verifier(workers=1) as local:
        assert (verifier.level, verifier.engine, verifier.name) == (local.level, local.engine, local.name)
        assert [sorted(one) for one in verifier.proof] == [sorted(one) for one in local.proof]
    assert told_once(list(verifier.verify_many(numbered(300))), 300)
    assert verifier.counters.mismatches == 0


def test_its_verdicts_on_the_cases_are_those_of_a_local_verifier(verifier: Any) -> None:
    tasks = [
        step.task
        for case in cases.load()
        if len(case.steps) == 1 and verifier.level in case.levels and verifier.engine in case.engines
        for step in case.steps
    ]
    assert len(tasks) > 250
    with Verifier(workers=2) as local:
        assert [one.status for one in verifier.verify_many(tasks)] == [one.status for one in local.verify_many(tasks)]


def test_its_verdicts_on_p3_are_those_of_a_local_verifier(verifier: Any) -> None:
    if not P3.exists():
        pytest.skip(f"{P3} is not there: P3's puzzles are data that is not part of the project")
    tasks = [record.task for record in itertools.islice(records.read(str(P3)), 600) if record.task]
    with Verifier(workers=2) as local:
        assert [one.status for one in verifier.verify_many(tasks)] == [one.status for one in local.verify_many(tasks)]


def test_a_program_runs_and_what_is_no_task_is_invalid(verifier: Any) -> None:
    assert verifier.run(Program("p", "print(input() * 2)", "ab")).stdout == "abab\n"
    assert verifier.verify("no task").status is Status.INVALID
    assert asyncio.run(verifier.averify(next(numbered(1)))).accepted

    async def stream() -> list[str]:
        return [verdict.id async for verdict in verifier.averify_many(numbered(50))]

    assert asyncio.run(stream()) == [str(number) for number in range(50)]


def test_identical_tasks_are_judged_once(verifier: Any) -> None:
    sol = "import random\ndef sol():\n    return random.SystemRandom().getrandbits(60)"
    verdicts = list(verifier.verify_many(Task(str(n), "def sat(x: int):\n    return x >= 0", sol) for n in range(50)))
    assert len({verdict.answer_sha256 for verdict in verdicts}) == 1


def test_repeats_find_what_is_unstable(verifier: Any) -> None:
    sol = "import random\ndef sol():\n    return random.random() < 0.5"
    (verdict,) = verifier.verify_many([Task("1", "def sat(x: bool):\n    return x", sol)], repeat=12)
    assert verdict.status is Status.UNSTABLE


def test_a_node_that_is_killed_loses_nothing(cluster: Any, verifier: Any) -> None:
    found = []
    for verdict in verifier.verify_many(numbered(6000)):
        found.append(verdict)
        if len(found) == 300:
            kill_a_node(cluster)
    add_node(cluster)
    assert told_once(found, 6000)


def test_a_node_that_joins_gets_work(cluster: Any, verifier: Any) -> None:
    deadline = time.monotonic() + 60
    while len(verifier.nodes) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    before = set(verifier.nodes)
    add_node(cluster)
    while not (joined := set(verifier.nodes) - before) and time.monotonic() < deadline:
        list(verifier.verify_many(numbered(200)))
    assert len(joined) == 1
    kill_a_node(cluster)


def test_an_actor_that_is_killed_loses_nothing(verifier: Any) -> None:
    import ray

    found = []
    for verdict in verifier.verify_many(numbered(3000)):
        found.append(verdict)
        if len(found) == 300:
            ray.kill(verifier._dispatcher.nodes.ready[0].actor, no_restart=False)
    assert told_once(found, 3000)


def test_a_task_whose_nodes_always_fail_is_not_judged(verifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from selftaught.sandbox.cluster import dispatcher

    returned = dispatcher.Dispatcher._returned

    def fail(self: Any, node: Any, chunk: Any, results: Any) -> None:
        returned(self, node, chunk, RuntimeError("it was lost"))

    monkeypatch.setattr(dispatcher.Dispatcher, "_returned", fail)
    verdict = verifier.verify(next(numbered(1)))
    assert (verdict.status, verdict.retryable) == (Status.INTERNAL_ERROR, True)
    assert "3 times" in verdict.message and "it was lost" in verdict.message


def test_leaving_a_stream_cancels_it_on_the_nodes(verifier: Any) -> None:
    loops = (
        Task(str(n), f"def sat(x: int): return x == {n}", "def sol():\n    while True: pass", Limits(cpu_seconds=2.0))
        for n in range(30)
    )
    stream = verifier.verify_many(loops)
    next(stream)
    stream.close()
    began = time.monotonic()
    assert verifier.verify(next(numbered(1))).accepted
    assert time.monotonic() - began < 30


def test_memory_stays_flat_over_a_hundred_thousand_tasks(verifier: Any) -> None:
    process, trivial = psutil.Process(), "def sat(x: int): return x == {n}"
    sizes = []
    stream = verifier.verify_many(Task(str(n), trivial.format(n=n), str(n)) for n in range(100_000))
    for number, verdict in enumerate(stream):
        assert verdict.accepted
        if number % 20_000 == 19_999:
            sizes.append(process.memory_info().rss)
    assert sizes[-1] - sizes[1] < 40 << 20, sizes


DRIVER = """
import json, ray
from selftaught.ray import RayVerifier
from tests.sandbox.cluster.test_cluster import numbered
ray.init(address={address!r}, log_to_driver=False, logging_level=30)
with RayVerifier(workers=1, min_nodes=3) as verifier:
    print(json.dumps([one.id for one in verifier.verify_many(numbered({count})) if one.accepted]), flush=True)
    {last}
"""


def test_two_drivers_share_the_nodes(cluster: Any, verifier: Any) -> None:
    script = DRIVER.format(address=cluster.address, count=400, last="pass")
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    stream = iter(numbered(1 << 20))
    found = []
    for verdict in verifier.verify_many(stream):
        found.append(verdict)
        if other.poll() is not None:
            break
    assert told_once(found, len(found))
    output, _ = other.communicate(timeout=120)
    assert json.loads(output.splitlines()[-1]) == [str(number) for number in range(400)]
    assert verifier.verify(next(numbered(1))).accepted  # the other one has left, and these actors live


def test_actors_end_with_their_last_driver_also_if_it_is_killed(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.util import list_named_actors

    from selftaught.ray import RayVerifier

    def alive() -> int:
        return sum(one["name"].startswith("selftaught-") for one in list_named_actors(all_namespaces=True))

    with RayVerifier(workers=1, min_nodes=3):
        assert alive() == 3
    deadline = time.monotonic() + 30
    while alive() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert alive() == 0
    script = DRIVER.format(address=cluster.address, count=1, last="import os, time; time.sleep(600)")
    script = "from selftaught.sandbox.cluster import nodes\nnodes.FORGOTTEN_SECONDS = 4.0\n" + script
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline()
        assert alive() == 3
        other.kill()
    deadline = time.monotonic() + 60
    while alive() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert alive() == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data sets its own deprecated settings
def test_a_dataset_is_judged_in_place(cluster: Any) -> None:
    import ray

    from selftaught.ray import Judge

    rows = [{"id": str(n), "sat": SAT.format(n=n), "sol": WORK.format(n=n)} for n in range(100)]
    rows.append({"id": "x", "sat": "def sat(x: int): return x == 0", "sol": "1"})
    rows.append({"id": "y", "sat": None, "sol": "1"})
    judged = ray.data.from_items(rows).map_batches(
        Judge, fn_constructor_kwargs={"workers": 1}, num_cpus=1, concurrency=1, batch_size=32
    )
    assert Counter(row["status"] for row in judged.take_all()) == {"accepted": 100, "rejected": 1, "invalid": 1}


def test_a_node_that_can_t_judge_gets_no_work_and_is_named(cluster: Any) -> None:
    from selftaught.ray import RayVerifier

    with pytest.raises(CannotConfine, match=r"0 of 1 nodes are ready.*no-such-package"):
        RayVerifier(workers=1, packages=["no-such-package"])


def test_the_command_judges_on_a_cluster(cluster: Any, tmp_path: Path) -> None:
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "verdicts.jsonl"
    rows = [{"id": task.id, "sat": task.sat, "sol": task.sol} for task in numbered(50)]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "verify", str(tasks), "-o", str(out)]
    done = subprocess.run(
        [*command, "--ray", cluster.address], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["status"] for line in out.read_text().splitlines()] == ["accepted"] * 50


def test_the_example_runs(cluster: Any) -> None:
    example = Path(__file__).parents[3] / "examples" / "ray_nodes.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 nodes judge" in done.stdout and "6,000 of 6,000 accepted" in done.stdout


def test_a_closed_verifier_says_so(cluster: Any) -> None:
    from selftaught.ray import RayVerifier

    verifier = RayVerifier(workers=1, max_nodes=1)
    verifier.close()
    with pytest.raises(ValueError, match="closed"):
        verifier.verify(next(numbered(1)))
