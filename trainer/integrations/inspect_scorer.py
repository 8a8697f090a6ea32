"""A scorer for inspect_ai: `selftaught/verified`, which inspect finds by its entry point.

In a task it is ``Task(dataset, scorer=verified())``, and for a log ``inspect score LOG --scorer selftaught/verified``.

What judges a sample is in its metadata, in the columns that rewards know (`selftaught.trainer.rows`), or else its
target: a puzzle's source, or a ground truth. A right completion is ``C`` and a wrong one ``I``.

A completion that was not judged is ``Score.unscored``: inspect leaves it out of every metric, counts it in
``unscored_samples``, and shows the reason. So is one in which no code is understood, unless `unanswered` says
otherwise. Read at inspect_ai 0.3.285.
"""

from __future__ import annotations

from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState

from selftaught.sandbox.errors import NotJudged
from selftaught.trainer import rows
from selftaught.trainer.integrations import scoring


@scorer(metrics=[accuracy(), stderr()])  # type: ignore[untyped-decorator]  # the same whether installed or not
def verified(all_cases: bool = False, unanswered: float | None = None) -> Scorer:
    """Return a scorer that judges completions by the puzzle, tests or cases of their sample.

    Args:
        all_cases: The score is the share of tests or cases that pass, from 0.0 to 1.0.
        unanswered: The score of a completion in which no code is understood, such as 0; None leaves it out.
    """

    async def score(state: TaskState, target: Target) -> Score:
        written = state.output.completion
        try:
            share, verdict = await scoring.judge(state.metadata, target.text, written, state.input_text, all_cases)
        except rows.Unanswered as error:
            if unanswered is not None:
                return Score(value=unanswered, explanation=str(error))
            reason = "invalid_response_format" if written.strip() else "no_response"
            return Score.unscored(reason=reason, explanation=str(error))
        except NotJudged as error:
            return Score.unscored(reason="scoring_failed", explanation=str(error))
        value = share if all_cases else CORRECT if verdict.accepted else INCORRECT
        message = f"{verdict.status}: {verdict.message}" if verdict.message else str(verdict.status)
        return Score(value=value, explanation=message, metadata={"level": verdict.level})

    return score
