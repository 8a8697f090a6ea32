"""Supervised fine-tuning and GRPO on a model of a few thousand weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from selftaught.generator import example  # noqa: E402
from selftaught.generator.models.transformers import Transformers  # noqa: E402
from selftaught.trainer import concatenation, packing, sft, stages, tracking, weights  # noqa: E402
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


def test_loss_on_the_solution_alone_leaves_out_its_annotation_too(base: str) -> None:
    loaded = weights.load(base)
    (one,) = examples(1)
    found = packing.tokenize(loaded.tokenizer, one, completion_only_loss=True, annotated=True)
    assert " -> " in tokenizer.decode(found.ids)
    assert " -> " not in tokenizer.decode([label for label in found.labels if label >= 0])


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


def test_wrapped_rows_are_one_long_text_cut_at_equal_lengths_without_end_tokens(base: str) -> None:
    reader = Transformers.from_name(base).tokenizer
    rows = concatenation.rows(reader, examples(12), 64, seed=3)
    assert len(rows) > 3 and {len(row) for row in rows} == {64}
    assert tokenizer.END not in {token for row in rows for token in row}
    text = tokenizer.decode([token for row in rows for token in row])
    whole = {one.text + "\n\n" for one in examples(12)}
    found = {part + "\n\nassert f(g())\n\n" for part in text.split("\n\nassert f(g())\n\n")[:-1]}
    assert found <= whole and len(found) >= len(whole) - 2, "texts follow each other, each whole, across rows"
    assert concatenation.rows(reader, examples(12), 64, seed=4) != rows


def test_wrapped_rows_are_trained_on_whole_with_loss_on_every_token_but_the_first(base: str, tmp_path: Path) -> None:
    settings = Settings(packing_strategy="wrapped", max_length=64, num_train_epochs=1, per_device_train_batch_size=4)
    counts = sft.train(base, examples(12), tmp_path, settings)
    rows = concatenation.rows(Transformers.from_name(base).tokenizer, examples(12), 64, seed=0)
    assert (counts["examples"], counts["too_long"], counts["blocks"]) == (12, 0, len(rows))
    assert counts["steps"] == -(-len(rows) // 4)
    batch = packing.collate([[Tokens(row, row, 1.0)] for row in rows], 0)
    assert (batch["labels"][:, 1:] == batch["input_ids"][:, 1:]).all()
    assert (batch["position_ids"] == torch.arange(64)).all(), "a token attends to all before it in its row"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(packing_strategy="wrapped", completion_only_loss=True), "knows no borders of examples"),
        (Settings(packing_strategy="wrapped", use_example_weights=True), "knows no borders of examples"),
        (Settings(packing_strategy="best"), "bfd or wrapped"),
        (Settings(stages="1+x"), "such as 1\\+2\\+3\\+4"),
        (Settings(stages="1+0"), "such as 1\\+2\\+3\\+4"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    base: str, tmp_path: Path, settings: Settings, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        sft.train(base, examples(4), tmp_path, settings)


def test_stages_are_trainings_one_after_the_other(base: str, tmp_path: Path) -> None:
    """All rows are in one batch, so that their order is nothing to differ in."""
    settings = Settings(learning_rate=1e-2, num_train_epochs=2, max_length=256, per_device_train_batch_size=64,
                        lr_scheduler_type="linear", warmup_steps=1)  # fmt: skip
    staged = dataclasses.replace(settings, stages="2+3")
    assert sft.train(base, examples(20), tmp_path / "staged", staged)["steps"] == 5
    sft.train(base, examples(20), tmp_path / "first", settings)
    again = dataclasses.replace(settings, num_train_epochs=3)
    sft.train(str(tmp_path / "first"), examples(20), tmp_path / "second", again)
    sft.train(base, examples(20), tmp_path / "at once", dataclasses.replace(settings, num_train_epochs=5))
    one, two, other = (weights_of(tmp_path / name) for name in ("staged", "second", "at once"))
    assert torch.allclose(one, two, atol=1e-4), "but for rounding, which Adam makes larger where gradients are small"
    assert not torch.allclose(one, other, atol=1e-3)


def weights_of(folder: Path) -> Any:
    state = Transformers.from_name(str(folder), dtype="float32").model.state_dict()
    return torch.cat([tensor.flatten() for tensor in state.values()])


def test_the_learning_rate_warms_up_at_the_beginning_of_every_stage() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    begins = stages.starts(stages.epochs("1+2+3+4"), 100)
    assert begins == [0, 10, 30, 60]
    made = stages.schedule("constant_with_warmup", optimizer, lambda steps: 4, begins, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    assert [rates[begin + 1] for begin in begins] == [0.5] * 4 and [rates[begin] for begin in begins] == [0.0] * 4
    assert {rate for step, rate in enumerate(rates) if all(not 0 <= step - b < 4 for b in begins)} == {2.0}


def test_a_schedule_that_depends_on_more_than_the_step_has_no_stages() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.0)
    with pytest.raises(ValueError, match="can't start anew"):
        stages.schedule("reduce_lr_on_plateau", optimizer, lambda steps: 4, [0, 10], 20)


def test_the_papers_training_is_that_of_its_code() -> None:
    paper = sft.PAPER
    assert (paper.per_device_train_batch_size, paper.max_length, paper.gradient_accumulation_steps) == (4, 1024, 1)
    assert (paper.learning_rate, paper.lr_scheduler_type, paper.warmup_steps) == (5e-6, "constant_with_warmup", 10)
    assert (paper.stages, paper.packing_strategy, paper.lora_r) == ("1+2+3+4", "wrapped", 0)


def test_the_commands_recipe_paper_begins_with_the_papers_settings(base: str, tmp_path: Path) -> None:
    with open(tmp_path / "pairs.jsonl", "wb") as out:
        for one in examples(12):
            example.write(one, out)
    arguments = [str(tmp_path / "pairs.jsonl"), "--model", base, "-o", str(tmp_path / "model"), "--recipe", "paper"]
    done = CliRunner().invoke(train, [*arguments, "--set", "max_length=64", "--set", "stages=1+1"])
    assert done.exit_code == 0, done.output
    noted = json.loads((tmp_path / "model/training.json").read_text())
    wanted = dataclasses.asdict(dataclasses.replace(sft.PAPER, max_length=64, stages="1+1"))
    assert noted == {"model": base, "examples": 12, **wanted}


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
