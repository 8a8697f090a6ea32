"""Supervised fine-tuning and GRPO on a model of a few thousand weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from selftaught.generator.models.transformers import Transformers  # noqa: E402
from selftaught.trainer import packing, sft, tracking, weights  # noqa: E402
from selftaught.trainer.cli import train  # noqa: E402
from selftaught.trainer.packing import Tokens  # noqa: E402
from selftaught.trainer.sft import Settings  # noqa: E402
from selftaught.trainer.tiny import tokenizer  # noqa: E402
from tests.trainer.small import examples, save_base  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the trainers' own, about settings that a processor has no use for


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_base(tmp_path_factory.mktemp("base"))


def test_nothing_attends_across_packed_examples(base: str) -> None:
    loaded = weights.load(base)
    tokens = [packing.tokenize(loaded.tokenizer, one) for one in examples(4)]
    batch = packing.collate([tokens], 0)
    with torch.no_grad():
        packed = loaded.model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[
            0
        ]
        start = 0
        for one in tokens:
            alone = loaded.model(input_ids=torch.tensor([one.ids])).logits[0]
            assert torch.allclose(packed[start : start + len(one.ids)], alone, atol=1e-4)
            start += len(one.ids)


def test_an_end_token_closes_every_example_and_carries_loss_but_no_example_predicts_the_next(base: str) -> None:
    loaded = weights.load(base)
    tokens = [packing.tokenize(loaded.tokenizer, one) for one in examples(3)]
    batch = packing.collate([tokens], 0)
    ends = [place for place, token in enumerate(batch["input_ids"][0].tolist()) if token == tokenizer.END]
    assert len(ends) == 3 and all(batch["labels"][0, place] == tokenizer.END for place in ends)
    assert all(batch["labels"][0, place + 1] == -100 for place in ends[:-1])


def test_loss_can_be_on_the_solution_alone(base: str) -> None:
    loaded = weights.load(base)
    (one,) = examples(1)
    found = packing.tokenize(loaded.tokenizer, one, completion_only_loss=True)
    body = one.solution.partition("\n")[2]
    learnt = tokenizer.decode([label for label in found.labels if label >= 0])
    assert learnt == f"\n{body}\n\nassert f(g())"


def test_rows_have_every_example_that_fits_and_are_nearly_full() -> None:
    sizes = [100, 400, 30, 900, 60, 500, 300, 2000, 10, 10]
    rows = packing.pack([Tokens([1] * size, [1] * size, 1.0) for size in sizes], 1000)
    assert sorted(len(one.ids) for row in rows for one in row) == sorted(sizes)[:-1]
    assert all(sum(len(one.ids) for one in row) <= 1000 for row in rows) and len(rows) == 3


@pytest.mark.parametrize("lora", [0, 4])
def test_training_lowers_the_loss_and_saves_a_model_that_loads(base: str, lora: int, tmp_path: Path) -> None:
    settings = Settings(
        learning_rate=1e-2,
        num_train_epochs=8,
        max_length=256,
        per_device_train_batch_size=4,
        lora_r=lora,
        logging_steps=1,
    )
    losses: list[float] = []
    counts = sft.train(base, examples(60), tmp_path, settings, on_step=lambda step, steps, loss: losses.append(loss))
    assert counts["examples"] == 60 and counts["too_long"] == 0
    assert losses[-1] < losses[0] - 0.05
    trained = Transformers.from_name(str(tmp_path))
    assert trained.digest != Transformers.from_name(base).digest
    assert [text for _, (text,) in trained.complete(["def f("], samples=1, max_new_tokens=5, temperature=1, seed=0)]


def test_an_interrupted_training_goes_on_from_its_checkpoint_and_ends_the_same(base: str, tmp_path: Path) -> None:
    settings = Settings(
        learning_rate=1e-2,
        num_train_epochs=4,
        max_length=256,
        per_device_train_batch_size=4,
        save_steps=3,
        logging_steps=4,
    )
    whole = sft.train(base, examples(40), tmp_path / "whole", settings)

    def interrupt(step: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sft.train(base, examples(40), tmp_path / "cut", settings, on_step=interrupt)
    assert list((tmp_path / "cut" / "checkpoints").glob("checkpoint-*"))
    again = sft.train(base, examples(40), tmp_path / "cut", settings)
    assert again["steps"] == whole["steps"]
    digests = {Transformers.from_name(str(tmp_path / name)).digest for name in ("whole", "cut")}
    assert len(digests) == 1


def test_every_logged_step_is_a_line_and_a_resumed_training_repeats_none(base: str, tmp_path: Path) -> None:
    settings = Settings(
        num_train_epochs=3, max_length=256, per_device_train_batch_size=4, save_steps=3, logging_steps=1
    )
    sft.train(base, examples(40), tmp_path / "whole", settings)

    def interrupt(step: int, steps: int, loss: float) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sft.train(base, examples(40), tmp_path / "cut", settings, on_step=interrupt)
    sft.train(base, examples(40), tmp_path / "cut", settings)
    whole, cut = ([line for line in tracking.read(tmp_path / name / "log.jsonl") if "loss" in line]
                  for name in ("whole", "cut"))  # fmt: skip
    assert [line["step"] for line in cut] == list(range(1, len(whole) + 1)) and len(whole) > 5
    assert [line["loss"] for line in cut] == pytest.approx([line["loss"] for line in whole])


def test_nothing_to_train_on_is_an_error(base: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        sft.train(base, examples(1), tmp_path, Settings(max_length=8))


def test_grpo_rewards_by_the_verifier_and_saves_a_model(base: str, tmp_path: Path, verifier: Any) -> None:
    pytest.importorskip("trl")
    from selftaught.generator import prompts, puzzle
    from selftaught.trainer import grpo, rewards

    rewards.use(verifier)
    puzzles = [puzzle.parse(one.puzzle) for one in examples(4)]
    settings = grpo.Settings(num_generations=2, per_device_train_batch_size=2, max_completion_length=8, max_steps=2)
    counts = grpo.train(base, puzzles, tmp_path, settings, prompts.BARE)
    assert counts["steps"] == 2 and len(counts["rewards"]) == 2
    assert (tmp_path / "model.safetensors").exists()


def test_the_command_trains_on_what_verify_accepted(base: str, tmp_path: Path) -> None:
    rows = [
        {"id": n, "sat": f"def sat(x: int):\n    return x == {n}", "sol": str(n), "status": status}
        for n, status in enumerate(["accepted"] * 5 + ["rejected", "invalid"])
    ]
    (tmp_path / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [str(tmp_path / "verdicts.jsonl"), "--model", base, "-o", str(tmp_path / "model")]
    done = CliRunner().invoke(train, [*arguments, "--set", "num_train_epochs=1"])
    assert done.exit_code == 0, done.output
    assert "examples 5" in done.output
    assert "1 record is left out: it was not accepted, but invalid" in done.output
    assert (tmp_path / "model" / "config.json").exists()
