"""An environment of one turn for SkyRL-gym: the model writes a program, which is judged.

    skyrl_gym.register("selftaught", "selftaught.trainer.integrations.skyrl_gym:CodeEnv")

What judges a completion is `reward_spec.ground_truth` of its row: a puzzle's source, or a ground truth; or the row's
columns `puzzle` or `task`, or those of a published dataset.

A completion that was not judged raises NotJudged, which ends the training: SkyRL (read at commit 63bda56b) has no place
for a trajectory without a reward. `unanswered` in the environment's configuration gives completions in which no code
is understood a number, so that a model's silence does not end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from selftaught.trainer.integrations import scoring


class CodeEnv(BaseTextEnv):  # type: ignore[misc]  # the same whether installed or not
    """The environment of one trajectory.

    Args:
        env_config: `unanswered`: the reward of a completion in which no code is understood; none means NotJudged.
        extras: The row, with `reward_spec`.
    """

    def __init__(self, env_config: Any = None, extras: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._row = dict(extras or {})
        self._unanswered = getattr(env_config, "unanswered", None)
        self._prompt: Any = ""

    def init(self, prompt: list[dict[str, str]]) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """Return the first prompt, and no metadata."""
        self._prompt = prompt
        return prompt, {}

    def step(self, action: str) -> Any:
        """Return the reward of a completion, 1.0 or 0.0, and end.

        Raises:
            NotJudged: It could not be judged.
        """
        truth = (self._row.get("reward_spec") or {}).get("ground_truth")
        asked = scoring.reward(self._row, truth, action, self._prompt, self._unanswered)
        with ThreadPoolExecutor(1) as thread:  # this one may run SkyRL's event loop, which can't run another
            reward = thread.submit(asyncio.run, asked).result()
        return BaseTextEnvStepOutput(observations=[], reward=reward, done=True, metadata={})
