"""The trainer's commands as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from selftaught.generator.settings import changed
from selftaught.sandbox.cli import main
from selftaught.trainer import evaluation, presets
from selftaught.trainer.evaluation import Result
from selftaught.trainer.sft import PAPER, Settings
from tests.trainer.stub import StubLearner, preset


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, arguments)
    return done.exit_code, done.output


def test_a_loop_ends_with_the_picture_and_one_sentence_of_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "make", lambda *_: preset(StubLearner()))
    out = str(tmp_path / "run")
    command = (
        "loop",
        "--preset",
        "stub",
        "--iterations",
        "1",
        "--require",
        "restricted",
        "--workers",
        "1",
        "--out",
        out,
    )
    code, output = invoke(*command)
    assert code == 0, output
    picture, sentence = output.splitlines()[-2:]
    assert picture.endswith("pass_at_k.png") and Path(picture.split()[-1]).exists()
    assert "Pass@1 from " in sentence and "Pass@10 from " in sentence and sentence.count("[") >= 4
    code, again = invoke(*command)
    assert code == 0 and again.splitlines()[-1] == sentence, "a finished run is reported, not repeated"
    code, output = invoke(*command, "--seed", "5")
    assert code == 2 and "belongs to another run: seed was 0, is 5" in output


def test_an_unknown_preset_or_switch_is_refused_with_the_choices(tmp_path: Path) -> None:
    code, output = invoke("loop", "--preset", "huge", "--out", str(tmp_path / "x"))
    assert code == 2 and "choose from pretrained, smollm2, tiny" in output
    code, output = invoke("loop", "--set", "hindsite=0", "--out", str(tmp_path / "x"))
    assert code == 2 and "hindsight" in output
    assert not (tmp_path / "x").exists()


def results(path: Path, right: int) -> str:
    made = []
    for number in range(20):
        one = Result(f"p{number}", "", False, 0.8)
        one.statuses = Counter(accepted=right, rejected=20 - right)
        made.append(one)
    evaluation.write(made, path)
    return str(path)


def test_two_results_are_compared_problem_by_problem(tmp_path: Path) -> None:
    code, output = invoke("compare", results(tmp_path / "a.jsonl", 2), results(tmp_path / "b.jsonl", 6))
    assert code == 0 and "Pass@1 on 20 problems" in output
    assert "difference 20.0% [20.0%, 20.0%]; 3.00 [3.00, 3.00] times" in output
    code, output = invoke("compare", results(tmp_path / "a.jsonl", 2), str(tmp_path / "none.jsonl"))
    assert code == 2 and "none.jsonl" in output


def test_a_model_that_cannot_be_loaded_is_an_error_with_its_name(tmp_path: Path) -> None:
    code, output = invoke("evaluate", f"tiny:{tmp_path}", "-o", str(tmp_path / "x.jsonl"), "--require", "restricted")
    assert code == 2 and str(tmp_path) in output and "no tiny model" in output


def test_settings_are_changed_by_name_and_keep_their_type() -> None:
    assert changed(
        Settings(), ["lora_r=16", "learning_rate=1e-4", "completion_only_loss=yes", "lr_scheduler_type=cosine"]
    ) == Settings(lora_r=16, learning_rate=1e-4, completion_only_loss=True, lr_scheduler_type="cosine")
    for wrong in ("lora_r", "ranks=3", "lora_r=many", "completion_only_loss=maybe"):
        with pytest.raises(ValueError, match=wrong.partition("=")[0]):
            changed(Settings(), [wrong])


@pytest.mark.parametrize("preset_name", ["tiny"])
def test_a_presets_settings_are_plain_data_and_the_papers_recipe_keeps_its_sizes(preset_name: str) -> None:
    mine, paper = presets.make(preset_name), presets.make(preset_name, "paper", ["max_solutions=4"])
    assert json.loads(json.dumps(mine.to_dict()))["recipe"]["name"] == preset_name
    assert paper.recipe.name == "paper" and paper.recipe.max_solutions == 4 and paper.recipe.hindsight_attempts == 0
    assert (
        paper.recipe.max_attempts == mine.recipe.max_attempts
        and paper.recipe.samples_per_prompt == mine.recipe.samples_per_prompt
    )


def test_the_papers_recipe_trains_a_pretrained_model_as_the_paper_does() -> None:
    mine, paper = (
        presets.make("pretrained", name, ["model.name=somewhere"]).learner.to_dict() for name in ("preset", "paper")
    )
    assert paper == {**mine, "settings": asdict(PAPER)} != mine


def test_the_quota_of_a_template_grows_with_the_iterations() -> None:
    tiny = presets.make("tiny")
    assert tiny.for_iteration(3).max_per_template == 3 * tiny.for_iteration(1).max_per_template


def test_importing_the_trainer_does_not_import_torch() -> None:
    modules = ", ".join(f"selftaught.trainer.{name}" for name in ("cli", "loop", "presets", "evaluation"))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
