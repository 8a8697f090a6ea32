"""What becomes of a reward, and of one that was not judged, in the frameworks' own code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from selftaught.sandbox import Verifier
from selftaught.trainer import rewards
from tests.trainer import frameworks

PUZZLE = "def sat(x: int, a=17, b=42):\n    return x + a == b"
RIGHT, WRONG = "def g(a=17, b=42):\n    return b - a", "def g(a=17, b=42):\n    return a - b"
NO_ANSWER = "<think>It must be 25, or"


@pytest.fixture(scope="module", autouse=True)
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        rewards.use(made)
        yield made


@pytest.mark.parametrize("function", [rewards.compute_score, rewards.acompute_score])
def test_verl_leaves_out_the_one_completion_that_was_not_judged(function: object) -> None:
    made = frameworks.verl_custom_reward(function)  # type: ignore[arg-type]
    run = frameworks.verl_run_prompt(frameworks.verl_naive, made, [RIGHT, NO_ANSWER, WRONG], PUZZLE)
    status, stored = asyncio.run(run)
    assert status == "failure"
    assert sorted(stored) == [0.0, 1.0]


def test_verl_gives_the_number_that_its_settings_name() -> None:
    made = frameworks.verl_custom_reward(rewards.compute_score, unanswered=-0.5)
    run = frameworks.verl_run_prompt(frameworks.verl_naive, made, [RIGHT, NO_ANSWER], PUZZLE)
    outcome, scores = asyncio.run(run)
    assert (outcome, sorted(scores)) == ("finished", [-0.5, 1.0])


def test_verls_rate_limited_manager_makes_a_zero_of_it_so_the_docs_warn() -> None:
    made = frameworks.verl_custom_reward(rewards.compute_score)
    found = asyncio.run(frameworks.verl_rate_limited(made, NO_ANSWER, PUZZLE))
    assert found["reward_score"] == 0.0 and "no code is understood" in found["reward_extra_info"]["error"]


def test_openrlhf_has_no_reward_for_what_was_not_judged_and_stops() -> None:
    prompt = "Write g.\n"
    right = asyncio.run(frameworks.openrlhf(rewards.reward_func, f"<s>{prompt}{RIGHT}</s>", prompt, PUZZLE))
    assert isinstance(right["reward"], torch.Tensor)
    assert float(right["reward"]) == float(right["scores"]) == 1.0
    missing = asyncio.run(frameworks.openrlhf(rewards.reward_func, prompt + NO_ANSWER, prompt, PUZZLE))
    assert missing["reward"] is None
    with pytest.raises(ValueError, match="reward_model_group is required"):
        frameworks.openrlhf_make_experience([missing["reward"]])
    given = partial(rewards.reward_func, unanswered=0.0)
    assert float(asyncio.run(frameworks.openrlhf(given, prompt + NO_ANSWER, prompt, PUZZLE))["reward"]) == 0.0


def test_verifiers_records_an_error_and_no_reward() -> None:
    task = SimpleNamespace(puzzle=PUZZLE)
    trace = SimpleNamespace(last_reply=RIGHT, rewards={})
    asyncio.run(frameworks.verifiers_score(rewards.verified, task, trace))
    assert trace.rewards == {"verified": 1.0}
    trace.last_reply = NO_ANSWER
    with pytest.raises(frameworks.TaskError, match="Unanswered"):
        asyncio.run(frameworks.verifiers_score(rewards.verified, task, trace))
    assert trace.rewards == {"verified": None}
