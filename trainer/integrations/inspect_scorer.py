"""A scorer for inspect_ai: `selftaught/verified`, which inspect finds by its entry point.

In a task it is ``Task(dataset, scorer=verified())``, and for a log ``inspect score LOG --scorer selftaught/verified``.

What judges a sample is in its metadata, in the columns that rewards know (`selftaught.trainer.rows`), or else its
target: a puzzle's source, or a ground truth. A right completion is ``C`` and a wrong one ``I``.

A completion that was not judged is ``Score.unscored``: inspect leaves it out of every metric, counts it in
``unscored_samples``, and shows the reason. So is one in which no code is understood, unless `unanswered` says
otherwise. Read at inspect_ai 0.3.285.
"""

from __future__ import annotations

from typing import Any

from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState

from selftaught.sandbox.dropin import process
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.task import Task
from selftaught.trainer import rows


@scorer(metrics=[accuracy(), stderr()])  # type: ignore[untyped-decorator]  # the same whether installed or not
def verified(all_cases: bool = False, unanswered: float | None = None) -> Scorer:
    """Return a scorer that judges completions by the puzzle, tests or cases of their sample.

    Args:
        all_cases: The score is the share of tests or cases that pass, from 0.0 to 1.0.
        unanswered: The score of a completion in which no code is understood, such as 0; None leaves it out.
    """

    async def score(state: TaskState, target: Target) -> Score:
        written, prompt = state.output.completion, state.input_text
        try:
            given = {name: value for name, value in state.metadata.items() if value is not None}
            source: Any = rows.judge({"prompt": prompt, **given}, all_cases)
            task = rows.task(target.text if source is None else source, written, prompt, all_cases)
            if task is None:
                raise ValueError("neither the metadata nor the target has a puzzle, tests or cases")
            verdict = process.require_judged(await process.ajudge(task))
        except rows.Unanswered as error:
            if unanswered is not None:
                return Score(value=unanswered, explanation=str(error))
            reason = "invalid_response_format" if written.strip() else "no_response"
            return Score.unscored(reason=reason, explanation=str(error))
        except (NotJudged, ValueError) as error:
            return Score.unscored(reason="scoring_failed", explanation=str(error))
        share = verdict.score if all_cases and not isinstance(task, Task) else None
        value = share if share is not None else CORRECT if verdict.accepted else INCORRECT
        message = f"{verdict.status}: {verdict.message}" if verdict.message else str(verdict.status)
        return Score(value=value, answer=task.sol, explanation=message, metadata={"level": verdict.level})

    return score
