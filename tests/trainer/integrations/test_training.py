"""Trainings with packages that they can use: 4 bits with bitsandbytes, on a processor, and figures in TensorBoard."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from selftaught.generator import example  # noqa: E402
from tests.trainer.integrations import released  # noqa: E402
from tests.trainer.small import examples, save_base  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def train(package: str, folder: Path, *settings: str) -> None:
    save_base(folder / "base")
    with open(folder / "pairs.jsonl", "wb") as out:
        for one in examples(40):
            example.write(one, out)
    words = ["train", str(folder / "pairs.jsonl"), "--model", str(folder / "base"), "-o", str(folder / "model")]
    for setting in settings:
        words += ["--set", setting]
    command = f"from selftaught.trainer.cli import main\nmain({words!r}, standalone_mode=False)\nprint(0)"
    assert released.run(package, command, folder=folder) == 0


@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_adapters_beside_a_base_of_4_bits_are_merged_into_the_whole_base(checkpointing: str, tmp_path: Path) -> None:
    train(
        "bitsandbytes",
        tmp_path,
        "load_in_4bit=true",
        "lora_r=4",
        "learning_rate=1e-3",
        f"gradient_checkpointing={checkpointing}",
    )
    before, after = (
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("base", "model")
    )
    assert {one.dtype for one in after.values()} == {torch.float32}
    moved = {name: float((before[name] - after[name]).abs().max()) for name in before}
    assert all((distance > 0) == ("_proj" in name) for name, distance in moved.items())
    assert max(moved.values()) < 0.1, "what 4 bits round is not in the saved model"


def test_figures_of_a_training_and_of_a_loop_arrive_in_tensorboard(tmp_path: Path) -> None:
    train("tensorboardX", tmp_path, "report_to=tensorboard", "logging_steps=1")
    assert list((tmp_path / "model").rglob("events.out.tfevents.*"))
    program = (
        "from pathlib import Path\nfrom selftaught.trainer.tracking import Trackers\n"
        f"made = Trackers('tensorboard', Path({str(tmp_path / 'run')!r}), {{'preset': 'tiny'}})\n"
        "made.log(1, {'pass_at_1': 0.25})\nmade.close()\nprint(0)"
    )
    assert released.run("tensorboardX", program, folder=tmp_path) == 0
    events = (tmp_path / "run" / "trackers").rglob("events.out.tfevents.*")
    assert any(b"pass_at_1" in path.read_bytes() for path in events)
