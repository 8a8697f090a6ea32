"""A learner without a neural network: its models solve a share of machine-written puzzles that grows with training."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from selftaught.generator import prompts, puzzle
from selftaught.generator.example import Example
from selftaught.generator.models import Stop
from selftaught.generator.novelty import HeldOut
from selftaught.generator.recipe import DEFAULT, replace
from selftaught.sandbox import Limits
from selftaught.trainer.evaluation import Problem
from selftaught.trainer.presets import Preset, StepCallback
from selftaught.trainer.tiny import corpus

DOCUMENTS = list(islice(corpus.documents(0), 60))
HELD_OUT = DOCUMENTS[:16]
_RIGHT = {one.sat: one.right.partition("\n")[2] for one in DOCUMENTS}


class StubModel:
    """Writes puzzles of the corpus, and solves each with a probability that is its skill."""

    context = 4096

    def __init__(self, skill: float) -> None:
        self.skill, self.name, self.digest = skill, "stub", f"{skill:.3f}"
        self.calls = 0

    def tokens(self, text: str) -> int:
        return len(text) // 4

    def complete(
        self,
        prompts: Sequence[Any],
        *,
        samples: int,
        max_new_tokens: int,
        temperature: float,
        top_p: float = 1.0,
        stop: Stop = (),
        seed: int,
    ) -> Iterator[tuple[int, list[str]]]:
        self.calls += 1
        rng = random.Random(f"{seed} {temperature}")
        for number, prompt in enumerate(prompts):
            if prompt == "def f(":
                yield number, [rng.choice(DOCUMENTS).sat.removeprefix("def f(") for _ in range(samples)]
            else:
                right = _RIGHT[prompt.partition("\n\ndef g(")[0]]
                yield (
                    number,
                    ["\n" + right if rng.random() < self.skill else "\n    return None" for _ in range(samples)],
                )


@dataclass
class StubLearner:
    """A learner whose models are stubs: more examples, more skill. trained: number of trainings."""

    trained: int = 0

    def make_base(self, folder: Path, seed: int, on_step: StepCallback | None = None) -> None:
        folder.mkdir(parents=True)
        (folder / "skill.json").write_text("0.2")

    def load(self, folder: Path) -> StubModel:
        return StubModel(json.loads((folder / "skill.json").read_text()))

    def train(
        self, base: Path, examples: Sequence[Example], folder: Path, seed: int, on_step: StepCallback | None = None
    ) -> dict[str, object]:
        self.trained += 1
        folder.mkdir(parents=True, exist_ok=True)
        skill = json.loads((base / "skill.json").read_text()) + len(examples) / 15
        (folder / "skill.json").write_text(json.dumps(min(skill, 0.9)))
        return {}

    def to_dict(self) -> dict[str, object]:
        return {"kind": "stub"}


def preset(learner: StubLearner) -> Preset:
    """A loop of seconds."""
    recipe = replace(
        DEFAULT,
        name="stub",
        prompts_per_wave=1,
        samples_per_prompt=20,
        max_attempts=4,
        attempts_per_round=4,
        max_per_template=0,
        max_per_cluster=0,
        held_out_similarity=1.0,
        verify_repeats=1,
        keep_trivial_share=0.0,
        hindsight_attempts=0,
    )
    return Preset(
        name="stub",
        learner=learner,
        recipe=recipe,
        style=prompts.BARE,
        puzzles_per_iteration=40,
        eval_attempts=10,
        eval_temperatures=(0.5, 1.0),
        eval_max_new_tokens=50,
        limits=Limits(cpu_seconds=0.5),
        problems=lambda: [Problem(f"p{n}", puzzle.parse(one.sat), one.family) for n, one in enumerate(HELD_OUT)],
        held_out=lambda: HeldOut(one.sat for one in HELD_OUT),
        seeds=list,
    )
