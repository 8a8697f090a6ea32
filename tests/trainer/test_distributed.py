"""Training in two processes learns what one learns, and saves a model that loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors")
transformers = pytest.importorskip("transformers")

from selftaught.generator import example  # noqa: E402
from selftaught.trainer import sft  # noqa: E402
from tests.trainer.small import examples, save_base  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the trainers' own, about settings that a processor has no use for
ROOT = Path(__file__).parents[2]
SETTINGS = ("num_train_epochs=2", "max_length=256", "learning_rate=1e-3", "bf16=false", "save_steps=2")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    save_base(folder / "base")
    with open(folder / "pairs.jsonl", "wb") as out:
        for one in examples(40):
            example.write(one, out)
    return folder


def train(work: Path, name: str, *launcher: str, **settings: object) -> str:
    """Run the command `train` as a launcher does, and return what it prints."""
    arguments = ["train", str(work / "pairs.jsonl"), "--model", str(work / "base"), "-o", str(work / name)]
    for setting in (*SETTINGS, *(f"{setting}={value}" for setting, value in settings.items())):
        arguments += ["--set", setting]
    done = subprocess.run(
        [sys.executable, *launcher, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def weights(folder: Path) -> dict[str, Any]:
    return dict(transformers.AutoModelForCausalLM.from_pretrained(folder).state_dict())


def farthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def train_alone(work: Path, lora_r: int) -> dict[str, Any]:
    settings = sft.Settings(
        num_train_epochs=2, max_length=256, learning_rate=1e-3, bf16="false", lora_r=lora_r,
        per_device_train_batch_size=2,
    )  # fmt: skip
    sft.train(str(work / "base"), examples(40), work / f"alone-{lora_r}", settings)
    return weights(work / f"alone-{lora_r}")


TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
CONFIG = "examples/training/fsdp.yaml"
SHARDED = ("-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", CONFIG, "--num_processes=2",
           "-m", "tests.trainer.sharded")  # fmt: skip


@pytest.fixture(scope="module")
def whole(work: Path) -> Path:
    """All weights, trained in shards."""
    assert train(work, "sharded", *SHARDED).count("parameters are of type DTensor") == 2
    return work / "sharded"


def test_two_processes_whole_or_in_shards_train_the_model_of_one(work: Path, whole: Path) -> None:
    alone = train_alone(work, 0)
    said = train(work, "together", *TWO, "-m", "selftaught.trainer.cli")
    assert said.count("examples 40") == 1, "one process speaks for both"
    assert farthest(weights(work / "base"), alone) > 1e-3
    assert farthest(alone, weights(work / "together")) < 1e-5 and farthest(alone, weights(whole)) < 1e-5
    with safetensors.safe_open(whole / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys(), "tied weights are saved once"  # noqa: SIM118  # no container


def test_adapters_beside_a_base_in_shards_are_merged(work: Path) -> None:
    train(work, "adapters", *SHARDED, lora_r=4)
    alone = train_alone(work, 4)
    assert farthest(weights(work / "base"), alone) > 1e-3
    assert farthest(alone, weights(work / "adapters")) < 1e-5


def test_shards_go_on_from_their_checkpoint(work: Path, whole: Path) -> None:
    trained = weights(whole)
    checkpoints = sorted((whole / "checkpoints").iterdir(), key=lambda path: int(path.name.partition("-")[2]))
    assert len(checkpoints) == 2
    checkpoints[-1].rename(work / "unused")
    (whole / "model.safetensors").unlink()
    train(work, "sharded", *SHARDED)
    assert farthest(trained, weights(whole)) < 1e-6
