"""A reward function for AReaL's `RLVRWorkflow`: ``reward_fn="selftaught.trainer.integrations.areal.reward"``.

What judges a completion is the columns of its data set, which AReaL passes by name.

A completion that was not judged raises NotJudged. AReaL 1.0 tries it three times again, and then rejects the episode
with all its group: it is not trained on. But it makes 0 of a reward for which it has waited 15 s, four times. So the
reward is given up before that, as not judged.
"""

from __future__ import annotations

import asyncio
from typing import Any

from selftaught.sandbox.errors import NotJudged
from selftaught.trainer.integrations import scoring

SECONDS = 13.0
"""A reward takes no longer: AReaL's `AsyncRewardWrapper` waits 15 s."""


def reward(
    prompt: str,
    completions: str,
    prompt_ids: list[int],
    completion_ids: list[int],
    unanswered: float | None = None,
    **data: Any,
) -> float:
    """Return the reward of a completion.

    Args:
        prompt: The prompt, with the chat template's tokens.
        completions: The completion, with the chat template's tokens.
        prompt_ids: Ignored.
        completion_ids: Ignored.
        unanswered: The reward of a completion in which no code is understood; None means that NotJudged is raised.
        data: The columns of the row: `puzzle`, `task`, or those of a published dataset.

    Returns:
        1.0 or 0.0.

    Raises:
        NotJudged: The solution could not be judged, or not within `SECONDS`.
    """
    return asyncio.run(_reward(data, completions, prompt, unanswered))


async def _reward(row: dict[str, Any], written: str, prompt: str, unanswered: float | None) -> float:
    try:
        async with asyncio.timeout(SECONDS):
            return await scoring.reward(row, None, written, prompt, unanswered)
    except TimeoutError:
        raise NotJudged(f"no verdict within {SECONDS:.0f} s") from None
