"""`selftaught loop` with a pretrained model: settings in a file, a server between trainings, and their launcher."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("datasketch")  # these are imported here, as they change filters of warnings
pytest.importorskip("matplotlib.pyplot")
pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("selftaught.trainer.pretrained")

from selftaught.sandbox import Verifier
from selftaught.sandbox.cli import main
from selftaught.trainer import presets
from selftaught.trainer.loop import Loop
from tests.trainer.small import examples, save_base
from tests.trainer.stub import HELD_OUT
from tests.trainer.test_serving import FAKE, ROOT, gone, worker

pytestmark = pytest.mark.filterwarnings("ignore")  # the trainers' own, about settings that a processor has no use for

SETTINGS = """
[loop]
puzzles_per_iteration = 40
seeds = ""
bare = true
cpu_seconds = 0.5

[model]
name = "{base}"

[training]
num_train_epochs = 1
max_length = 256

[recipe]
prompts_per_wave = 1
samples_per_prompt = 20
max_attempts = 4
attempts_per_round = 4
max_per_template = 0
max_per_cluster = 0
held_out_similarity = 1.0
verify_repeats = 1
keep_trivial_share = 0.0
hindsight_attempts = 0

[exam]
puzzles = "{exam}"
attempts = 4
temperatures = [1.0]
max_new_tokens = 50

[serve]
command = "{command}"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(ROOT)
    base = save_base(tmp_path / "base")
    exam = tmp_path / "exam.jsonl"
    exam.write_text("".join(json.dumps({"id": f"p{n}", "sat": one.sat}) + "\n" for n, one in enumerate(HELD_OUT)))
    path = tmp_path / "mine.toml"
    path.write_text(SETTINGS.format(base=base, exam=exam, command=FAKE))
    yield path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_model_is_served_trained_and_served_again_and_an_interrupted_run_continues(
    config: Path, verifier: Verifier, tmp_path: Path
) -> None:
    run = tmp_path / "run"

    def interrupt(line: str) -> None:
        if line.startswith("1-evaluate"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Loop(presets.from_file(config), 1, run, verifier, on_message=interrupt).run()
    first, trained = run / "iterations/0/server.log", run / "iterations/1/model/model.safetensors"
    assert gone(worker(first)), "the server was stopped before the training"
    assert first.read_text().count("serve ") == 1, "one server evaluated and wrote"
    before = trained.stat().st_mtime_ns

    arguments = ["loop", "--config", str(config), "--iterations", "1", "--out", str(run), "--require", "restricted"]
    done = CliRunner().invoke(main, [*arguments, "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert trained.stat().st_mtime_ns == before and first.read_text().count("serve ") == 1
    second = run / "iterations/1/server.log"
    assert re.search(r"serves \S*iterations/1/model,", second.read_text()) and gone(worker(second))
    figures = lines(run / "log.jsonl")
    assert [line["iteration"] for line in figures] == [0, 1]
    assert figures[1]["pass_at_1"] > figures[0]["pass_at_1"] and figures[1]["examples"] > 0
    steps = lines(run / "iterations/1/model/log.jsonl")
    assert (steps[-1]["step"] >= 1 and "loss" in steps[-1]) or "train_loss" in steps[-1]


def test_a_launcher_trains_the_same_model(config: Path, tmp_path: Path) -> None:
    from selftaught.generator.models.transformers import Transformers

    changes = ["serve.command=", "training.bf16=false", "training.num_train_epochs=2"]
    launcher = f"loop.launcher={sys.executable} -m"
    digests = set()
    for name, more in (("here", []), ("launched", [launcher])):
        learner = presets.from_file(config, settings=[*changes, *more]).learner
        learner.make_base(tmp_path / name / "base", 0)
        counts = learner.train(tmp_path / name / "base", examples(20), tmp_path / name / "model", 3)
        assert counts["steps"] > 1 and counts["loss"] > 0
        digests.add(Transformers.from_name(str(tmp_path / name / "model")).digest)
    assert (tmp_path / "launched" / "model" / "training.log").exists()
    assert len(digests) == 1


def test_processes_that_sample_end_before_a_training_and_with_the_loop(config: Path, tmp_path: Path) -> None:
    learner: Any = presets.from_file(config, settings=["serve.command=", "model.processes=2"]).learner
    learner.make_base(tmp_path / "base", 0)
    model = learner.load(tmp_path / "base")
    assert learner.load(tmp_path / "base") is model, "one set of processes writes and is examined"
    pids = [one.pid for one in model._processes]
    learner.train(tmp_path / "base", examples(3), tmp_path / "model", 0)
    assert all(map(gone, pids))
    later = learner.load(tmp_path / "model")
    assert later.digest != model.digest
    pids = [one.pid for one in later._processes]
    learner.close()
    assert all(map(gone, pids))


def test_a_training_that_fails_is_told_with_its_log(config: Path, tmp_path: Path) -> None:
    from selftaught.generator.models import ModelFailed

    learner = presets.from_file(config, settings=["training.load_in_4bit=true"]).learner
    learner.make_base(tmp_path / "base", 0)
    with pytest.raises(ModelFailed, match=r"exit code 2: .*training.log"):
        learner.train(tmp_path / "base", examples(1), tmp_path / "model", 0)
    assert "lora_r=16" in (tmp_path / "model" / "training.log").read_text()
