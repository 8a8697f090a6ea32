"""The verifier as a reward function, for several training frameworks.

What judges is a puzzle, or the tests or cases of a problem of any dataset that `selftaught.sandbox.formats` reads, in a
row's own columns or as its ground truth. A completion is text or messages, read by `selftaught.sandbox.completion`: the
last complete definition in its answer counts, fenced or not; or it is what follows ``def g(...):`` in a prompt.

A correct solution gets 1.0 and a wrong one 0.0. What was not judged never gets a number: a solution that could not be
verified, a completion in which no code is understood (it ends in its reasoning, refuses, is empty), a malformed row,
which is also named in the log, and a row of another task. The result is ``None`` if the framework accepts it, else
`NotJudged` is raised, so that no model learns from it.

TRL          GRPOTrainer(reward_funcs=rewards.reward), or `areward`, or `passed_share` for the share of tests that
             pass; the dataset has columns `prompt` and `puzzle` or `task`, or those of a published dataset. TRL leaves
             None out.
verl         reward.custom_reward_function.path=pkg://selftaught.trainer.rewards, .name=compute_score (or
             acompute_score); the puzzle or ground truth is reward_model.ground_truth. With verl 0.9's managers `naive`,
             `dapo`, `gdpo` and `remote` and trainer.use_v1, the default, a completion whose reward raises is left out
             (synchronous training) or its group sampled anew (asynchronous). The manager `rate_limited`, and `prime` of
             older versions, make 0 of every exception: don't take them.
verifiers    --env.taskset.task.rewards.verified.fn=selftaught.trainer.rewards:verified, for tasks with a field
             `puzzle`; before verifiers 0.2: vf.Rubric(funcs=[rewards.rubric]), the puzzle is `answer`. An exception is
             the trace's error, without a reward.
OpenRLHF     a file with ``from selftaught.trainer.rewards import reward_func`` as the remote reward model; the puzzle
             is the label. OpenRLHF 0.11 logs an exception and ends the training for want of the reward.

`compute_score`, `acompute_score`, `verified`, `rubric` and `reward_func` take `unanswered`: a number for completions in
which no code is understood, for who wants the model to learn from them. In place of a puzzle's source there may be a
`FunctionTask` or `StdioTask`, or its fields as in JSON, without a solution. With `all_cases` a reward is the share of
tests or cases that pass. One verifier serves the process (`selftaught.sandbox.dropin.process`); it is created when
first needed, unless `use` sets another; where many processes ask it is a daemon that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selftaught.sandbox import Verdict
from selftaught.sandbox import completion as completions
from selftaught.sandbox.dropin import process
from selftaught.sandbox.dropin.process import current, use
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.task import AnyTask
from selftaught.trainer import rows
from selftaught.trainer.rows import Unanswered, solution

__all__ = [
    "NotJudged", "Unanswered", "acompute_score", "areward", "code", "compute_score", "current", "passed_share",
    "reward", "reward_func", "rubric", "solution", "use", "verified",
]  # fmt: skip


def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return rewards for TRL's trainers.

    Args:
        prompts: The prompts, as text or messages.
        completions: Their completions, as text or messages.
        columns: Columns of the dataset; `puzzle` (or `sat`) has the source of each prompt's puzzle, or a ground truth,
            or `task` each prompt's task. A row without these is judged by the columns of a dataset that
            `selftaught.sandbox.formats` reads.

    Returns:
        1.0 or 0.0 for each completion; ``None`` if it was not judged, which TRL leaves out. A malformed row is also
        named in the log.

    Raises:
        ValueError: The data set has no column that judges.
    """
    tasks = rows.tasks(columns, prompts, completions)
    return _values(tasks, process.judge_many(_given(tasks)))


async def areward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return rewards for TRL's trainers, as a coroutine that runs concurrently with other reward functions (see
    `reward`)."""
    tasks = rows.tasks(columns, prompts, completions)
    return _values(tasks, await process.ajudge_many(_given(tasks)))


def passed_share(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return rewards for TRL's trainers, as `reward` does, but from 0.0 to 1.0: the share of tests that pass."""
    tasks = rows.tasks(columns, prompts, completions, all_cases=True)
    return _values(tasks, process.judge_many(_given(tasks)))


async def acompute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    continuous: bool = False,
    unanswered: float | None = None,
    **settings: Any,
) -> float:
    """Return the reward of a solution for verl, as a coroutine (see `compute_score`)."""
    return await _aone(ground_truth, solution_str, unanswered, continuous)


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    continuous: bool = False,
    unanswered: float | None = None,
    **settings: Any,
) -> float:
    """Return the reward of a solution for verl.

    Args:
        data_source: Name of the dataset; ignored.
        solution_str: The completion.
        ground_truth: The puzzle's source; a task or its fields; or what judges programs in any format of
            `selftaught.sandbox.formats`, such as verl's ``{"inputs": ..., "outputs": ...}``, as an object or as text.
        extra_info: Ignored.
        continuous: Return the share of tests or cases that pass.
        unanswered: The reward of a completion in which no code is understood; None means that NotJudged is raised.
        settings: Ignored.

    Returns:
        1.0 or 0.0, or the share.

    Raises:
        NotJudged: The solution could not be judged, or the ground truth is none.
    """
    task = _task(ground_truth, solution_str, unanswered, continuous)
    return task if isinstance(task, float) else rows.value(task, process.require_judged(process.judge(task)))


async def verified(task: Any, trace: Any, unanswered: float | None = None) -> float:
    """Return the reward of a trace for verifiers.

    Args:
        task: A task with the puzzle's source in `puzzle`.
        trace: A trace; `last_reply` is the completion.
        unanswered: See `compute_score`.

    Returns:
        1.0 or 0.0.

    Raises:
        NotJudged: The solution could not be judged; verifiers records it as the trace's error.
    """
    return await _aone(getattr(task, "puzzle", None), trace.last_reply, unanswered)


async def rubric(completion: Any, answer: str, unanswered: float | None = None, **rest: Any) -> float:
    """Return the reward of a completion for rubrics of verifiers before 0.2.

    Args:
        completion: The completion, as text or messages.
        answer: The puzzle's source.
        unanswered: See `compute_score`.
        rest: Ignored.

    Returns:
        1.0 or 0.0.

    Raises:
        NotJudged: The solution could not be judged.
    """
    return await _aone(answer, completion, unanswered)


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], unanswered: float | None = None
) -> dict[str, Any]:
    """Return rewards for OpenRLHF.

    Args:
        queries: Prompts with their completions; padding and a beginning of text may surround the prompts.
        prompts: The prompts.
        labels: The puzzles' sources.
        unanswered: See `compute_score`.

    Returns:
        ``rewards`` and ``scores``: a float32 tensor of shape (queries,) with 1.0 or 0.0; ``extra_logs``: the same as
        ``verified``.

    Raises:
        NotJudged: A solution could not be judged.
    """
    import torch

    given = zip(labels, queries, prompts, strict=True)
    tasks = [_task(label, _after(query, prompt), unanswered, prompt=prompt) for label, query, prompt in given]
    verdicts = iter(process.judge_many([task for task in tasks if not isinstance(task, float)]))
    values = [
        task if isinstance(task, float) else rows.value(task, process.require_judged(next(verdicts))) for task in tasks
    ]
    rewards = torch.tensor(values, dtype=torch.float32)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"verified": rewards}}


def code(completion: Any) -> str | None:
    """Return the code in a completion, as `selftaught.sandbox.completion.code` finds it.

    Args:
        completion: Text, or messages.
    """
    return completions.code(completion)


def _after(query: str, prompt: str) -> str:
    """Return what a query has after its prompt."""
    place = query.find(prompt)
    return query[place + len(prompt) :] if place >= 0 else query


def _task(
    source: Any, written: Any, unanswered: float | None, all_cases: bool = False, prompt: str = ""
) -> AnyTask | float:
    """Return the task of a completion, or its reward. Raises NotJudged."""
    try:
        task = rows.task(source, written, prompt, all_cases)
    except Unanswered:
        if unanswered is None:
            raise
        return float(unanswered)
    except ValueError as error:
        raise NotJudged(f"nothing judges the completion: {error}") from error
    if task is None:
        raise NotJudged("nothing judges the completion: there is no puzzle, task or ground truth")
    return task


async def _aone(source: Any, written: Any, unanswered: float | None, all_cases: bool = False) -> float:
    task = _task(source, written, unanswered, all_cases)
    return task if isinstance(task, float) else rows.value(task, process.require_judged(await process.ajudge(task)))


def _given(tasks: Sequence[AnyTask | None]) -> list[AnyTask]:
    return [task for task in tasks if task is not None]


def _values(tasks: Sequence[AnyTask | None], verdicts: Sequence[Verdict]) -> list[float | None]:
    """Return the rewards of tasks, of which some are missing, from the verdicts on the others."""
    left = iter(verdicts)
    return [None if task is None else _value(task, next(left)) for task in tasks]


def _value(task: AnyTask, verdict: Verdict) -> float | None:
    return rows.value(task, verdict) if verdict.judged else None
