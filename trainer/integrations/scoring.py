"""The reward of one completion, for trainers that ask for one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.verdict import Verdict
from selftaught.trainer import rows
from selftaught.trainer.integrations.dataset_row import DatasetRow


async def judge(
    row: Mapping[str, Any], truth: Any, written: Any, prompt: Any = "", all_cases: bool = False
) -> tuple[float, Verdict]:
    """Return the reward of a completion, and the verdict from which it is.

    Args:
        row: What judges, in the columns that rewards know (`selftaught.trainer.rows.judge`); others are ignored.
        truth: What judges if the row has no such column: a puzzle's source, or a ground truth.
        written: The completion: text, or messages.
        prompt: The prompt that it continues: text, or messages.
        all_cases: The reward is the share of tests or cases that pass.

    Returns:
        1.0 or 0.0, or the share.

    Raises:
        Unanswered: No code is understood in the completion.
        NotJudged: It could not be judged, or nothing judges it: the message says which.
    """
    given = {name: value for name, value in row.items() if value is not None}
    try:
        source = rows.judge({"prompt": prompt if isinstance(prompt, str) else "", **given}, all_cases)
        source = truth if source is None else source
        if source is None or (isinstance(source, str) and not source.strip()):
            raise NotJudged("nothing judges the completion: there is no puzzle, task or ground truth")
        return await DatasetRow("", prompt, source, given, all_cases).reward(written)
    except ValueError as error:
        raise NotJudged(f"nothing judges the completion: {error}") from error


async def reward(
    row: Mapping[str, Any], truth: Any, written: Any, prompt: Any = "", unanswered: float | None = None
) -> float:
    """Return the reward of a completion (see `judge`).

    Args:
        row: See `judge`.
        truth: See `judge`.
        written: See `judge`.
        prompt: See `judge`.
        unanswered: The reward of a completion in which no code is understood; None means that Unanswered is raised.

    Raises:
        NotJudged: See `judge`.
    """
    try:
        return (await judge(row, truth, written, prompt))[0]
    except rows.Unanswered:
        if unanswered is None:
            raise
        return float(unanswered)
