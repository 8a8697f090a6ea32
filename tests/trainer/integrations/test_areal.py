"""AReaL's released `AsyncRewardWrapper` with our reward function."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox.errors import NotJudged
from selftaught.trainer.integrations import areal, scoring
from tests.trainer.integrations import released

REWARD = """
import asyncio, json, sys, types
from functools import partial
from pathlib import Path

for name in ("areal", "areal.api"):  # without their __init__, which asks for all that trains
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(Path(sys.path[-1], *name.split(".")))]
from areal.api.reward_api import AsyncRewardWrapper
from areal.utils.dynamic_import import import_from_string

async def main():
    found = []
    for row, text, named in json.loads(sys.argv[1]):
        function = import_from_string("selftaught.trainer.integrations.areal.reward")
        wrapped = AsyncRewardWrapper(partial(function, **named), timeout_seconds=120, max_workers=1, max_retries=1)
        try:
            found.append(await wrapped("Write it.", text, [1], [2], **row))
        except Exception as error:
            found.append(type(error).__name__)
    return found

if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
"""
PUZZLE = {"messages": [], "puzzle": "def sat(x: int, a=17, b=42):\n    return x + a == b"}
DOUBLE = {"messages": [], "inputs": ["21"], "outputs": ["42"]}


def test_areal_gets_rewards_from_its_processes_and_an_exception_for_what_was_not_judged(tmp_path: Path) -> None:
    asked = [
        (PUZZLE, "def g(a=17, b=42):\n    return b - a<|im_end|>", {}),
        (PUZZLE, "def g(a=17, b=42):\n    return a", {}),
        (DOUBLE, "```python\nprint(2 * int(input()))\n```", {}),
        (PUZZLE, "I can't.", {}),
        (PUZZLE, "I can't.", {"unanswered": -1}),
        ({"messages": []}, "print(1)", {}),
    ]
    found = released.run("areal", REWARD, json.dumps(asked), folder=tmp_path)
    assert found == [1.0, 0.0, 1.0, "Unanswered", -1.0, "NotJudged"]


def test_a_reward_is_given_up_before_areal_makes_a_zero_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> float:
        await asyncio.sleep(60)
        return 1.0

    monkeypatch.setattr(scoring, "reward", never)
    monkeypatch.setattr(areal, "SECONDS", 0.01)
    with pytest.raises(NotJudged, match="no verdict within"):
        areal.reward("", "", [], [], **PUZZLE)
