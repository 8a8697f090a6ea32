"""Both roles of Absolute Zero in GRPO: a model is rewarded for what it solves, and for proposing what it learns from.

Rows are made of the tasks of `selftaught self-play`. Who solves gets 1 or 0 by the verifier. Who proposes gets 1 less
the share of right attempts that the model in training makes at the proposal, and 0 if all or none are right
(`selftaught.generator.absolute_zero.play.learnability`), or if the proposal can't be read, fails, or is not
deterministic. The paper punishes unreadable proposals by -1 or -0.5; here they are as bad as useless ones.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftaught.generator import models
from selftaught.generator.absolute_zero import proposing
from selftaught.generator.absolute_zero.checking import check
from selftaught.generator.absolute_zero.play import learnability
from selftaught.generator.absolute_zero.problem import Problem, problems
from selftaught.generator.absolute_zero.triplet import Kind, NotAProposal, Proposal, Triplet
from selftaught.generator.models import Completer
from selftaught.generator.models.transformers import Transformers
from selftaught.generator.prompts import Prompt, Style
from selftaught.sandbox.dropin import process
from selftaught.sandbox.errors import NotJudged
from selftaught.trainer import grpo

SOLVE, PROPOSE = "solve", "propose"
_REFERENCES = 6


def rows(
    tasks: Iterable[tuple[Kind, Triplet]], roles: Sequence[str], style: Style, seed: int = 0
) -> list[dict[str, Any]]:
    """Return the rows of tasks: for each a prompt to solve it, and one to propose another of its kind.

    Args:
        tasks: Kinds and triplets.
        roles: ``solve``, ``propose`` or both.
        style: The form of prompts that ask for a solution.
        seed: Random seed of the references in proposals' prompts.
    """
    given = list(tasks)
    rng = random.Random(seed)
    triplets = list({one.id: one for _, one in given}.values())
    found: list[dict[str, Any]] = []
    for kind, triplet in given:
        row = {"kind": str(kind), "triplet": json.dumps(triplet.to_dict())}
        if SOLVE in roles:
            prompt = Problem(kind, triplet).prompt(style, False)
            found.append({"prompt": prompt.text, "number": prompt.number, "role": SOLVE, **row})
        if PROPOSE in roles:
            if kind is Kind.INDUCTION:
                prompt = proposing.for_inputs(proposing.SHOTS, triplet.source)
            else:
                prompt = proposing.for_program(rng.sample(triplets, min(_REFERENCES, len(triplets))))
            found.append({"prompt": prompt.text, "number": prompt.number, "role": PROPOSE, **row})
    return found


class Reward:
    """The reward function of both roles, as TRL calls it.

    Args:
        attempts: Attempts at each proposal.
        temperature: Their sampling temperature.
        max_new_tokens: Maximum number of tokens of an attempt.
        style: The form of prompts that ask for a solution.
        solver: The model that attempts proposals (None: the one in training, see `follow`).
    """

    __name__ = "self_play"

    def __init__(
        self,
        attempts: int = 8,
        temperature: float = 1.0,
        max_new_tokens: int = 100,
        style: Style | None = None,
        solver: Completer | None = None,
    ) -> None:
        self._attempts, self._temperature, self._max_new_tokens = attempts, temperature, max_new_tokens
        self._style, self._solver, self._trainer = style or Style(), solver, None
        self._calls = 0  # each call draws anew

    def follow(self, trainer: Any) -> None:
        """Take the model of a trainer, as it is at each call. Raises ValueError for one whose weights are in shards."""
        if getattr(trainer, "is_fsdp_enabled", False) or getattr(trainer, "is_deepspeed_enabled", False):
            raise ValueError("the weights in training are in shards: name a model that attempts proposals (solver=)")
        self._trainer = trainer

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float | None]:
        """Return a reward for each completion; None where nothing was judged."""
        names = ("role", "kind", "number", "triplet")
        given = [dict(zip(names, row, strict=True)) for row in zip(*(columns[name] for name in names), strict=True)]
        found: list[float | None] = [None] * len(given)
        places = {role: [n for n, row in enumerate(given) if row["role"] == role] for role in (SOLVE, PROPOSE)}
        for role, judge in ((SOLVE, self._solving), (PROPOSE, self._proposing)):
            here = places[role]
            values = judge([given[n] for n in here], [completions[n] for n in here]) if here else []
            for place, value in zip(here, values, strict=True):
                found[place] = value
        return found

    def _solving(self, rows_: Sequence[dict[str, Any]], completions: Sequence[str]) -> list[float | None]:
        asked = [Problem(Kind(row["kind"]), Triplet.from_dict(json.loads(row["triplet"]))) for row in rows_]
        read = [
            one.read(Prompt("", row["number"]), text) for one, row, text in zip(asked, rows_, completions, strict=True)
        ]
        return self._judged(list(zip(asked, read, strict=True)))

    def _judged(self, answers: Sequence[tuple[Problem, str | None]]) -> list[float | None]:
        """Return 1 or 0 for each answer; None for one that is none, or could not be judged."""
        tasks = [problem.task("", answer) for problem, answer in answers if answer is not None]
        verdicts = iter(process.judge_many(tasks))
        found: list[float | None] = []
        for _, answer in answers:
            verdict = next(verdicts) if answer is not None else None
            found.append(float(verdict.accepted) if verdict and verdict.judged else None)
        return found

    def _proposing(self, rows_: Sequence[dict[str, Any]], completions: Sequence[str]) -> list[float | None]:
        proposals = [_proposal(row, text) for row, text in zip(rows_, completions, strict=True)]
        triplets = check(process.current(), proposals)
        asked = [
            (place, problem)
            for place, (row, triplet) in enumerate(zip(rows_, triplets, strict=True))
            if isinstance(triplet, Triplet)
            for problem in problems(triplet, [Kind(row["kind"])])
        ]
        found: list[float | None] = [None if isinstance(one, NotJudged) else 0.0 for one in triplets]
        for (place, _), judged in zip(asked, self._attempted([problem for _, problem in asked]), strict=True):
            known = [one for one in judged if one is not None]
            found[place] = learnability(int(sum(known)), len(known))
        return found

    def _attempted(self, asked: Sequence[Problem]) -> list[list[float | None]]:
        """Return what the model's attempts at each problem are worth. One that can't be read is wrong."""
        self._calls += 1
        prompts = [one.prompt(self._style, False) for one in asked]
        answers: list[list[str | None]] = [[] for _ in asked]
        with self._sampling() as model:
            for induction in (True, False):
                here = [n for n, one in enumerate(asked) if (one.kind is Kind.INDUCTION) == induction]
                if not here:
                    continue
                for place, texts in model.complete(
                    [prompts[n].text for n in here],
                    samples=self._attempts,
                    max_new_tokens=self._max_new_tokens,
                    temperature=self._temperature,
                    stop=asked[here[0]].stop,
                    seed=self._calls,
                ):
                    answers[here[place]] = [asked[here[place]].read(prompts[here[place]], text) for text in texts]
        flat = [(asked[n], answer) for n, found in enumerate(answers) for answer in found]
        values = iter(self._judged(flat))
        return [
            [value if answer is not None else 0.0 for answer, value in zip(found, values, strict=False)]
            for found in answers
        ]

    @contextmanager
    def _sampling(self) -> Iterator[Completer]:
        """Give the model that attempts proposals; one in training goes on training afterwards."""
        if self._solver:
            yield self._solver
            return
        assert self._trainer is not None, "follow() was called"
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        was_training = model.training
        try:
            yield Transformers(model, self._trainer.processing_class, name="in training")
        finally:
            model.train(was_training)


def _proposal(row: dict[str, Any], text: str) -> Proposal | None:
    prompt = Prompt("", row["number"])
    try:
        if row["kind"] == Kind.INDUCTION:
            return proposing.read_inputs(json.loads(row["triplet"])["source"], prompt, text)
        return proposing.read_program(prompt, text)
    except NotAProposal:
        return None


@dataclass(frozen=True, slots=True)
class Settings(grpo.Settings):
    """Settings of `train`: those of `selftaught.trainer.grpo.Settings`, and

    Attributes:
        roles: ``solve``, ``propose``, or both with a comma between them.
        solver_attempts: Attempts at each proposal, from which its reward is computed.
        solver: A model that attempts proposals, as `selftaught.generator.models.load` takes it (empty: the one in
            training).
    """

    roles: str = "solve,propose"
    solver_attempts: int = 8
    solver: str = ""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.roles.split(",")) - {SOLVE, PROPOSE}):
            raise ValueError(f"roles are {SOLVE} and {PROPOSE}, not {', '.join(unknown)}")


def train(
    base: str,
    tasks: Sequence[tuple[Kind, Triplet]],
    folder: Path,
    settings: Settings,
    style: Style | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Train a model in the roles of the settings, and save it in Hugging Face's layout (see
    `selftaught.trainer.grpo.train`).

    Args:
        base: The base model: a folder or name that transformers loads.
        tasks: Tasks of self-play.
        folder: Where the trained model and its checkpoints are saved.
        settings: Settings of the training.
        style: The form of prompts that ask for a solution (None: with examples).
        seed: Random seed.

    Returns:
        ``tasks`` (their number), ``steps`` and ``rewards``.

    Raises:
        ModelFailed: The base model or the solver can't be loaded.
        ValueError: Settings can't be used here.
    """
    style = style or Style()
    reward = Reward(
        settings.solver_attempts,
        settings.temperature,
        settings.max_completion_length,
        style,
        models.load(settings.solver) if settings.solver else None,
    )
    made = rows(tasks, settings.roles.split(","), style, seed)
    needs_model = PROPOSE in settings.roles and not settings.solver
    on_trainer = reward.follow if needs_model else lambda trainer: None
    return {"tasks": len(tasks), **grpo.train_on(base, made, reward, folder, settings, seed, on_trainer)}
