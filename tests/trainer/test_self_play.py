"""Both roles of self-play in GRPO: rewards by the verifier and by what the model in training solves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from selftaught.generator.absolute_zero.proposing import SHOTS  # noqa: E402
from selftaught.generator.absolute_zero.triplet import Kind, Triplet  # noqa: E402
from selftaught.generator.models.scripted import Scripted  # noqa: E402
from selftaught.generator.prompts import BARE, Style  # noqa: E402
from selftaught.sandbox import Verifier  # noqa: E402
from selftaught.sandbox.dropin import process  # noqa: E402
from selftaught.trainer import self_play  # noqa: E402
from selftaught.trainer.cli import train  # noqa: E402
from selftaught.trainer.self_play import PROPOSE, SOLVE, Reward, Settings  # noqa: E402
from tests.trainer.small import save_base  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
ONE = Triplet("def f(n):\n    return n + 1", ("4",), ("5",))
TASKS = [(Kind.DEDUCTION, ONE), (Kind.ABDUCTION, ONE), (Kind.INDUCTION, SHOTS[1])]


@pytest.fixture(autouse=True)
def _judged_by(verifier: Verifier) -> None:
    process.use(verifier)


def rewards(reward: Reward, rows: list[dict[str, Any]], completions: list[str]) -> list[float | None]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return reward(columns.pop("prompt"), completions, **columns)


def test_every_task_makes_a_row_of_each_role_whose_prompt_hides_what_is_asked() -> None:
    rows = self_play.rows(TASKS, [SOLVE, PROPOSE], Style())
    assert [row["role"] for row in rows] == [SOLVE, PROPOSE] * 3
    assert len({row["prompt"] for row in rows}) == 6
    assert len(self_play.rows(TASKS, [PROPOSE], Style())) == 3


def test_who_solves_is_judged_and_what_cannot_be_read_has_no_reward() -> None:
    rows = self_play.rows(TASKS, [SOLVE], BARE)
    assert rewards(Reward(), rows, [" 5\n", "4)\n", "n):\n    return sum(map(int, str(n)))\n"]) == [1.0, 1.0, 1.0]
    assert rewards(Reward(), rows, [" 6\n", "5)\n", "n):\n    return n\n"]) == [0.0, 0.0, 0.0]
    assert rewards(Reward(), rows, ["?\n", "?\n", "n:\n"]) == [None, None, None]


def test_who_proposes_is_rewarded_for_what_is_solved_now_and_then() -> None:
    rows = self_play.rows(TASKS[:1] * 4, [PROPOSE], BARE)
    head = f"def f{rows[0]['number']}("
    texts = [
        "n):\n    return n * 5\n\nassert HEAD1) == 5", "n):\n    return n * 7\n\nassert HEAD1) == 5",
        "n):\n    return n / 0\n\nassert HEAD1) == 5", "no program",
    ]  # fmt: skip
    texts = [text.replace("HEAD", head.removeprefix("def ")) for text in texts]
    answers = iter([" 5\n", " 6\n", " 6\n", " 6\n"] * 2)
    solver = Scripted(lambda prompt, rng: next(answers))
    found = rewards(Reward(attempts=4, solver=solver), rows, texts)
    assert found == [0.75, 0.0, 0.0, 0.0], "one of four; none; it fails; it can't be read"


def test_weights_in_shards_need_a_solver_of_their_own() -> None:
    class Sharded:
        is_fsdp_enabled = True

    with pytest.raises(ValueError, match="solver="):
        Reward().follow(Sharded())
    with pytest.raises(ValueError, match="roles are solve and propose, not watch"):
        Settings(roles="solve,watch")


def test_a_training_in_both_roles_attempts_proposals_with_the_model_in_training(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    with open(tmp_path / "tasks.jsonl", "w") as file:
        for kind, triplet in TASKS:
            file.write(json.dumps({"kind": kind, **triplet.to_dict()}) + "\n")
    settings = ["max_steps=2", "num_generations=4", "per_device_train_batch_size=12", "max_completion_length=12",
                "solver_attempts=2", "bf16=false", "gradient_checkpointing=false"]  # fmt: skip
    arguments = [str(tmp_path / "tasks.jsonl"), "--model", base, "--method", "self-play", "--bare",
                 "-o", str(tmp_path / "out")]  # fmt: skip
    for one in settings:
        arguments += ["--set", one]
    done = CliRunner().invoke(train, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "tasks 3, steps 2" in done.output and (tmp_path / "out" / "model.safetensors").exists()
