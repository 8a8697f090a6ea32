"""A model in several processes completes what it does in one, ends when it is told to, and says why it can't."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from selftaught.generator import models
from selftaught.generator.models import ModelFailed
from selftaught.generator.prompts import Unindented
from tests.trainer.small import save_base

PROMPTS = [f"def g(x: int) -> int:\n    return {number}" for number in range(7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_base(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: str) -> Iterator[Any]:
    made: Any = models.load(folder, processes=2, dtype="float32")
    yield made
    made.close()


def draw(model: Any, prompts: list[str], **settings: Any) -> dict[int, list[str]]:
    given: dict[str, Any] = {"samples": 1, "max_new_tokens": 12, "temperature": 0.0, "seed": 1, **settings}
    return dict(model.complete(prompts, **given))


@pytest.mark.parametrize("count", [1, 2, 7])
def test_greedy_completions_are_those_of_one_process(folder: str, model: Any, count: int) -> None:
    alone = models.load(folder, dtype="float32")
    assert (model.digest, model.context, model.chat) == (alone.digest, alone.context, False)
    assert model.tokens(PROMPTS[0]) == alone.tokens(PROMPTS[0])
    assert draw(model, PROMPTS[:count], samples=3) == draw(alone, PROMPTS[:count], samples=3)


def test_samples_of_one_prompt_differ_between_processes_and_are_the_same_again(model: Any) -> None:
    first = draw(model, PROMPTS[:1], samples=6, temperature=1.0)
    assert len(first[0]) == 6 and len(set(first[0])) > 3
    assert draw(model, PROMPTS[:1], samples=6, temperature=1.0) == first
    assert draw(model, PROMPTS[:1], samples=6, temperature=1.0, seed=2) != first


def test_skipped_and_refused_prompts_leave_the_others_alone(model: Any) -> None:
    whole = draw(model, PROMPTS, samples=4, temperature=1.0)
    assert draw(model, PROMPTS, samples=4, temperature=1.0, skip={0, 5}) == {n: whole[n] for n in (1, 2, 3, 4, 6)}
    told: list[int] = []
    asked = [*PROMPTS[:3], "x" * model.context]
    assert sorted(draw(model, asked, on_refusal=lambda number, reason: told.append(number))) == [0, 1, 2]
    assert told == [3]
    with pytest.raises(ModelFailed, match="don't fit"):
        draw(model, asked)
    assert draw(model, PROMPTS[:2]), "a refusal breaks nothing"


class Never(Unindented):
    def __call__(self, text: str) -> bool:
        return False


class Everywhere(Unindented):
    def __call__(self, text: str) -> bool:
        return True


def test_a_call_that_is_given_up_ends_soon_and_the_next_one_is_answered(model: Any) -> None:
    long = {"samples": 400, "max_new_tokens": model.context - 60, "temperature": 1.0, "stop": Never()}
    answers = model.complete(PROMPTS, seed=1, **long)
    started = time.monotonic()
    next(answers)
    first = time.monotonic() - started
    answers.close()
    assert time.monotonic() - started < first + 5
    assert draw(model, PROMPTS, **{**long, "stop": Everywhere()}) == {}
    assert draw(model, PROMPTS[:2])


def test_a_process_that_ends_is_named_with_its_exit_code_and_all_end_with_the_model(folder: str) -> None:
    made: Any = models.load(folder, processes=3)
    os.kill(made._processes[2].pid, signal.SIGKILL)
    with pytest.raises(ModelFailed, match="ended with exit code -9: is there memory"):
        draw(made, PROMPTS)
    running = list(made._processes)
    made.close()
    assert [one.poll() for one in running] == [0, 0, -9]
    with pytest.raises(ModelFailed, match="closed"):
        draw(made, PROMPTS)


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="no causal model that can be loaded"):
        models.load(str(tmp_path), processes=2)
