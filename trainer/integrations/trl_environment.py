"""An environment for TRL's `environment_factory`: a model runs programs, and submits a solution.

    trainer = GRPOTrainer(MODEL, environment_factory=CodeEnvironment, reward_funcs=trl_environment.reward, ...)

`reward` judges the solutions of all environments of a batch at once. TRL asks the environments of a class with
`get_reward` one after the other: `RewardingEnvironment` has it, where no function may be given
(`AsyncGRPOTrainer`, which finishes one rollout at a time, and mixtures of environments).

The rows are those of `selftaught.trainer.rewards.reward`, with messages as `prompt`. A solution that could not be
judged gets None, and so does a rollout without a solution: TRL 1.16 leaves it out of its group, and its advantage is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selftaught.trainer import rewards
from selftaught.trainer.integrations import tools


class CodeEnvironment:
    """The environment of one rollout. Its public methods are the model's tools; TRL reads their docstrings."""

    def __init__(self) -> None:
        self._row: dict[str, Any] = {}
        self._submitted: str | None = None

    def reset(self, **row: Any) -> None:
        """Begin a rollout.

        Args:
            row: The columns of its row.
        """
        self._row, self._submitted = row, None

    def run(self, code: str, stdin: str = "") -> str:
        """
        Run a Python program and see what it prints. It has no network, and files only in a folder of its own.

        Args:
            code: The source of the program.
            stdin: What it reads from standard input.

        Returns:
            What it printed, and how it ended.
        """
        return tools.run(code, stdin)

    def submit(self, solution: str) -> str:
        """
        Submit your solution. It is judged when you have ended your turn; the last one that you submit counts.

        Args:
            solution: The source of the whole solution.

        Returns:
            That it was noted.
        """
        self._submitted = solution
        return "Noted. Submit again if you find a better one."


class RewardingEnvironment(CodeEnvironment):
    """An environment that judges its own solution. Don't give `reward` beside it: that would count twice."""

    async def get_reward(self) -> float | None:
        """Return the reward of the submitted solution; None if there is none, or it was not judged."""
        if self._submitted is None:
            return None
        columns = {name: [value] for name, value in self._row.items() if name != "prompt"}
        (value,) = await rewards.areward([self._row.get("prompt", "")], [self._submitted], **columns)
        return value


def reward(
    prompts: Sequence[Any], completions: Sequence[Any], environments: Sequence[Any], **columns: Any
) -> list[float | None]:
    """Return the rewards of the rollouts of a batch, for `reward_funcs`.

    Args:
        prompts: Their prompts, as messages.
        completions: Their messages.
        environments: Their environments; those of other classes get None.
        columns: Columns of the data set, see `selftaught.trainer.rewards.reward`.

    Returns:
        1.0 or 0.0 for each; None if it was not judged. What a model submitted counts; without that, its last message.

    Raises:
        ValueError: The data set has no column that judges.
    """
    written = [
        (completion if environment._submitted is None else environment._submitted)
        if isinstance(environment, CodeEnvironment)
        else ""
        for environment, completion in zip(environments, completions, strict=True)
    ]
    return rewards.reward(prompts, written, **columns)
