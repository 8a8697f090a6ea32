"""Whole loops of a learner without a neural network: the folder, the figures, and going on after a kill."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest

from selftaught.generator import example
from selftaught.generator.models import known
from selftaught.generator.models.scripted import Scripted
from selftaught.generator.puzzle import canonical
from selftaught.sandbox import Verifier
from selftaught.sandbox.records import Unreadable
from selftaught.trainer import page
from selftaught.trainer.loop import Loop
from selftaught.trainer.page import PAIRS
from selftaught.trainer.run import Mismatch
from tests.trainer.stub import HELD_OUT, StubLearner, StubModel, preset

ITERATIONS = 2


def files(folder: Path) -> dict[str, bytes]:
    """What a run decides: its data, models and results, without clocks."""
    names = [
        *folder.glob("iterations/*/train.jsonl"),
        *folder.glob("iterations/*/evaluation.jsonl"),
        *folder.glob("iterations/*/model/*"),
    ]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in names}
    return {
        name: _without_clocks(content) if name.endswith("train.jsonl") else content for name, content in found.items()
    }


def _without_clocks(lines: bytes) -> bytes:
    kept = []
    for line in lines.splitlines():
        fields = orjson.loads(line)
        for name in ("cpu_seconds", "wall_seconds", "peak_memory_bytes"):
            fields["judgement"].pop(name)
        kept.append(orjson.dumps(fields))
    return b"\n".join(kept)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, verifier: Verifier) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("loop") / "run"
    return folder, Loop(preset(StubLearner()), ITERATIONS, folder, verifier).run()


def test_metrics_have_the_promised_shape_from_the_base_model_on(done: tuple[Path, dict[str, Any]]) -> None:
    folder, returned = done
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(returned))
    assert [entry["iteration"] for entry in metrics["iterations"]] == [0, 1, 2]
    for entry in metrics["iterations"]:
        for k in ("1", "10"):
            best = entry["pass_at_k"][k]
            assert best["low"] <= best["value"] <= best["high"]
            tried = {t: one["pass_at_k"][k]["value"] for t, one in entry["temperatures"].items()}
            assert set(tried) == {"0.5", "1"} and best["value"] == max(tried.values())
        assert entry["seconds"]["evaluate"] > 0
    assert metrics["iterations"][2]["counts"]["examples"] > metrics["iterations"][1]["counts"]["examples"] > 0


def test_the_learner_is_better_after_than_before_and_the_gain_says_so(done: tuple[Path, dict[str, Any]]) -> None:
    _, metrics = done
    first, last = (metrics["iterations"][place]["pass_at_k"]["1"]["value"] for place in (0, -1))
    assert last > 1.5 * first
    assert metrics["gains"]["1"]["low"] > 1 and metrics["gains"]["1"]["value"] == pytest.approx(last / first)


def test_no_held_out_puzzle_is_trained_on(done: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = done
    forms = {canonical(one.sat) for one in HELD_OUT}
    lines = (folder / "data" / "train.jsonl").read_bytes().splitlines()
    assert lines and not forms & {canonical(orjson.loads(line)["puzzle"]) for line in lines}


def test_the_base_model_may_write_the_puzzles_that_later_models_solve(verifier: Verifier, tmp_path: Path) -> None:
    Loop(replace(preset(StubLearner()), base_writes_puzzles=True), ITERATIONS, tmp_path, verifier).run()
    latest = StubLearner().load(tmp_path / "iterations" / "1" / "model").digest
    for number, solver in ((1, "0.200"), (2, latest)):
        pairs = list(example.read(tmp_path / "iterations" / str(number) / "generation" / "pairs.jsonl"))
        assert {(one.puzzle_sampling.model_digest, one.solution_sampling.model_digest) for one in pairs} == {
            ("0.200", solver)
        }
    assert latest > "0.200"


def test_the_report_names_its_pictures_and_they_exist(done: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = done
    text = (folder / "report.md").read_text()
    for name in ("pass_at_k", "temperatures", "yield", "novelty", "verdicts", "time", "groups"):
        assert f"({name}.png)" in text
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_needs_no_other_file_and_shows_pairs_of_every_iteration(done: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = done
    text = (folder / "report.html").read_text()
    assert text.count('<img src="data:image/png;base64,') == (folder / "report.md").read_text().count(".png)") > 5
    assert "<table>" in text and not re.search(r"(src|href)=\"(?!data:)", text)
    pairs = [orjson.loads(line) for line in (folder / "data" / "train.jsonl").read_bytes().splitlines()]
    for number in range(1, ITERATIONS + 1):
        kept = sum(pair["iteration"] == number for pair in pairs)
        shown = text.partition(f"Iteration {number}: ")[2].partition("</details>")[0]
        assert f"of {kept} pairs" in shown and shown.count("<figure>") == min(kept, PAIRS)
    kinds = {pair["answer_type"] for pair in pairs}
    assert all(f"<figcaption>{kind}, in iteration " in text for kind in kinds)


def test_the_page_says_how_near_a_pair_is_to_the_nearest_seed(
    tmp_path: Path, done: tuple[Path, dict[str, Any]]
) -> None:
    folder, _ = done
    pairs = list(islice(example.read(folder / "iterations" / "1" / "generation" / "pairs.jsonl"), 2))
    (tmp_path / "report.md").write_text("# A run\n")
    page.write(tmp_path, pairs, ["def sat(s: str, t='a'):\n    return s.count(t) == len(s)", pairs[0].puzzle])
    shown = re.findall(r"similarity to the nearest seed (\d\.\d\d)", (tmp_path / "report.html").read_text())
    assert shown[0] == "1.00" and len(shown) == 2


def test_code_in_the_page_is_text_and_no_markup(tmp_path: Path, done: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = done
    (one,) = islice(example.read(folder / "iterations" / "1" / "generation" / "pairs.jsonl"), 1)
    hostile = replace(one, solution="def g():\n    return '</code><script>alert(1)</script>'")
    (tmp_path / "report.md").write_text("# <script>alert(2)</script>\n")
    page.write(tmp_path, [hostile], [])
    assert "<script" not in (tmp_path / "report.html").read_text()


def test_the_dataset_can_be_loaded_and_its_card_says_what_it_is(
    done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    folder, metrics = done
    loaded = datasets.Dataset.from_json(str(folder / "data" / "train.jsonl"), cache_dir=str(tmp_path))
    assert len(loaded) == metrics["iterations"][-1]["counts"]["examples"]
    assert "verified" in (folder / "README.md").read_text()


def test_benchmarks_are_reported_before_and_after_also_of_a_run_that_is_done(
    done: tuple[Path, dict[str, Any]], verifier: Verifier, tmp_path: Path
) -> None:
    folder, benchmark = tmp_path / "run", tmp_path / "Doubling.v1.jsonl"
    shutil.copytree(done[0], folder)
    test = "def check(candidate):\n    assert candidate(2) == 4\n"
    problem = {"task_id": "d", "prompt": "def g(x):\n", "entry_point": "g", "test": test}
    benchmark.write_text(json.dumps(problem))
    asked: list[str] = []

    class Learner(StubLearner):
        def load(self, folder: Path) -> Scripted:  # type: ignore[override]
            skilled = folder.parent.name == str(ITERATIONS)
            asked.append(folder.parent.name)
            return Scripted(lambda prompt, rng: "    return 2 * x" if skilled or rng.random() < 0.5 else "    return x")

    for _ in range(2):
        metrics = Loop(preset(Learner()), ITERATIONS, folder, verifier, benchmarks=[str(benchmark)]).run()
    assert asked == ["0", str(ITERATIONS)], "the rest is done, and a second time all is"
    measured = metrics["benchmarks"]["Doubling"]
    before, after = (measured[number]["pass_at_k"]["1"]["value"] for number in ("0", str(ITERATIONS)))
    assert 0 < before < after == 1
    report = (folder / "report.md").read_text()
    assert f"| Doubling | 1 | base | Pass@1 {before:.1%}" in report and f"| Doubling | 1 | {ITERATIONS} |" in report
    assert metrics["iterations"] == done[1]["iterations"]
    with pytest.raises(Unreadable, match="no such file"):
        Loop(preset(Learner()), ITERATIONS, folder, verifier, benchmarks=[str(tmp_path / "none.jsonl")])
    with pytest.raises(Unreadable, match="two benchmarks are called 'Doubling'"):
        Loop(preset(Learner()), ITERATIONS, folder, verifier, benchmarks=[str(benchmark), str(benchmark)])


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("stage", ["1-generate", "1-train", "2-evaluate"])
def test_a_killed_loop_goes_on_without_repeating_work_and_gives_the_same_data(
    stage: str, done: tuple[Path, dict[str, Any]], verifier: Verifier, tmp_path: Path
) -> None:
    learner = StubLearner()

    def kill(line: str) -> None:
        if line.startswith(stage):
            raise Killed

    with pytest.raises(Killed):
        Loop(preset(learner), ITERATIONS, tmp_path / "run", verifier, on_message=kill).run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "stages").iterdir()}
    Loop(preset(learner), ITERATIONS, tmp_path / "run", verifier).run()
    assert files(tmp_path / "run") == files(done[0])
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a finished stage was done again"
    assert learner.trained == ITERATIONS


def test_a_model_examined_aside_gives_the_same_data(
    done: tuple[Path, dict[str, Any]], verifier: Verifier, tmp_path: Path
) -> None:
    said: list[str] = []
    Loop(
        replace(preset(StubLearner()), evaluate_while_training=True),
        ITERATIONS,
        tmp_path / "run",
        verifier,
        on_message=said.append,
    ).run()
    assert files(tmp_path / "run") == files(done[0])
    assert said.index("1-generate ...") < next(place for place, line in enumerate(said) if line.startswith("  Pass@1"))


def test_a_loop_that_ends_does_not_wait_for_an_examination_aside_and_keeps_nothing_of_it(
    verifier: Verifier, tmp_path: Path
) -> None:
    begun, loaded, answered = threading.Event(), [], []

    class Slow(StubModel):
        def complete(self, prompts: Sequence[str], **settings: Any) -> Iterator[tuple[int, list[str]]]:
            for answer in super().complete(prompts, **known(super(), **settings)):
                begun.set()
                time.sleep(0.5)
                answered.append(answer)
                yield answer

    class SlowLearner(StubLearner):
        def load(self, folder: Path) -> StubModel:
            loaded.append(folder)  # first to write puzzles, then to be examined
            return super().load(folder) if len(loaded) == 1 else Slow(super().load(folder).skill)

    def kill(line: str) -> None:
        if line.startswith("1-train"):
            begun.wait(10)
            raise Killed

    with pytest.raises(Killed):
        Loop(
            replace(preset(SlowLearner()), evaluate_while_training=True),
            ITERATIONS,
            tmp_path / "run",
            verifier,
            on_message=kill,
        ).run()
    assert 0 < len(answered) < len(HELD_OUT)
    assert not (tmp_path / "run" / "stages" / "0-evaluate.json").exists()


def test_more_iterations_continue_a_finished_run(verifier: Verifier, tmp_path: Path) -> None:
    learner = StubLearner()
    Loop(preset(learner), 1, tmp_path / "run", verifier).run()
    metrics = Loop(preset(learner), 2, tmp_path / "run", verifier).run()
    assert len(metrics["iterations"]) == 3 and learner.trained == 2


def test_a_folder_of_other_settings_is_refused_by_name(done: tuple[Path, dict[str, Any]], verifier: Verifier) -> None:
    with pytest.raises(Mismatch, match="seed was 0, is 1"):
        Loop(preset(StubLearner()), ITERATIONS, done[0], verifier, seed=1)


def test_a_folder_with_something_else_is_left_alone(verifier: Verifier, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Mismatch, match="is not the folder of a run"):
        Loop(preset(StubLearner()), 1, tmp_path, verifier)
