"""SkyRL-gym's released package with our environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.trainer.integrations import released

ROLL_OUT = """
import asyncio, json, sys
from types import SimpleNamespace
import skyrl_gym

skyrl_gym.register("selftaught", "selftaught.trainer.integrations.skyrl_gym:CodeEnv")

async def step(row, text, **config):
    env = skyrl_gym.make("selftaught", env_config=SimpleNamespace(**config), extras={"max_turns": 1, **row})
    env.init([{"role": "user", "content": "Write it."}])
    try:
        output = env.step(text)
    except Exception as error:
        return type(error).__name__
    finally:
        env.close()
    return [output["reward"], output["done"], output["observations"]]

async def main():
    return [await step(row, text, **config) for row, text, config in json.loads(sys.argv[1])]

print(json.dumps(asyncio.run(main())))
"""
DOUBLE = {"reward_spec": {"ground_truth": '{"inputs": ["21", "1"], "outputs": ["42", "2"]}'}}
PUZZLE = {"puzzle": "def sat(x: int, a=17, b=42):\n    return x + a == b"}


def rolled_out(folder: Path, *steps: tuple[dict[str, Any], str, dict[str, Any]]) -> Any:
    return released.run("skyrl-gym", ROLL_OUT, json.dumps(steps), folder=folder)


def test_programs_are_judged_and_the_episode_ends_in_skyrls_own_event_loop(tmp_path: Path) -> None:
    found = rolled_out(
        tmp_path,
        (DOUBLE, "```python\nprint(2 * int(input()))\n```", {}),
        (DOUBLE, "```python\nprint(42)\n```", {}),
        (PUZZLE, "def g(a=17, b=42):\n    return b - a", {}),
    )
    assert found == [[1.0, True, []], [0.0, True, []], [1.0, True, []]]


def test_what_was_not_judged_is_an_exception_unless_the_configuration_gives_it_a_number(tmp_path: Path) -> None:
    found = rolled_out(
        tmp_path,
        (DOUBLE, "I can't.", {}),
        (DOUBLE, "I can't.", {"unanswered": -1}),
        ({}, "print(1)", {"unanswered": -1}),
        ({"reward_spec": {"ground_truth": "{"}}, "print(1)", {"unanswered": -1}),
    )
    assert found == ["Unanswered", [-1.0, True, []], "NotJudged", "NotJudged"]
