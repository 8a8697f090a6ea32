"""The reward model for slime, called as slime calls it.

slime is not on PyPI. Its calls are those of THUDM/slime, slime/rollout/rm_hub/__init__.py (`async_rm`,
`batched_async_rm`) and slime/rollout/sglang_rollout.py (`generate_rollout_async`), read at commit 0044b40d.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from selftaught.sandbox import Verifier
from selftaught.trainer import rewards

PUZZLE = "def sat(x: int, a=17, b=42):\n    return x + a == b"
RIGHT, WRONG, SILENT = "def g(a=17, b=42):\n    return b - a", "def g(a=17, b=42):\n    return a", "<think>It is"


@pytest.fixture(scope="module", autouse=True)
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        rewards.use(made)
        yield made


def load_function(path: str) -> Any:
    """As slime loads what a path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


RM = "selftaught.trainer.integrations.slime.reward"
FILTER = load_function("selftaught.trainer.integrations.slime.judged")


def sample(response: str, label: Any = PUZZLE, metadata: Any = None) -> SimpleNamespace:
    made = {"index": 0, "prompt": "Write g.", "response": response, "label": label, "reward": None}
    return SimpleNamespace(**made, metadata={} if metadata is None else metadata)


def rewarded(samples: Any, **args: Any) -> Any:
    return asyncio.run(load_function(RM)(SimpleNamespace(custom_rm_path=RM, **args), samples))


def test_one_sample_is_judged_by_its_label_or_metadata() -> None:
    assert rewarded(sample(RIGHT)) == 1.0
    assert rewarded(sample(WRONG)) == 0.0
    assert rewarded(sample(RIGHT, label=None, metadata={"puzzle": PUZZLE})) == 1.0
    assert rewarded(sample("print(2 * int(input()))", label='{"inputs": ["21"], "outputs": ["42"]}')) == 1.0


def test_a_group_gets_a_reward_for_each_sample_in_order() -> None:
    assert rewarded([sample(RIGHT), sample(WRONG), sample(SILENT)]) == [1.0, 0.0, None]


def test_what_was_not_judged_has_no_reward_unless_the_settings_name_one(caplog: pytest.LogCaptureFixture) -> None:
    assert rewarded(sample(SILENT)) is None
    assert "no code is understood" in caplog.text
    assert rewarded(sample(SILENT), selftaught_unanswered=-0.5) == -0.5
    assert rewarded(sample(RIGHT, label="no puzzle"), selftaught_unanswered=-0.5) is None
    assert rewarded(sample(RIGHT, label=None), selftaught_unanswered=-0.5) is None


def test_the_filter_drops_a_group_with_a_sample_that_was_not_judged() -> None:
    group = [sample(RIGHT), sample(WRONG), sample(SILENT)]
    for one, reward in zip(group, rewarded(group), strict=True):
        one.reward = reward
    assert FILTER(SimpleNamespace(), group) is False
    assert FILTER(SimpleNamespace(), group[:2]) is True
    assert FILTER(SimpleNamespace(), [group[:2], group[2:]]) is False
