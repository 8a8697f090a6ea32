"""The verifier as a reward function, for several training frameworks.

A correct solution gets 1.0 and a wrong one 0.0. A solution that could not be verified never gets a number: the result
is ``None`` if the framework accepts it, else `NotJudged` is raised, so that no model learns from a failure of the
machine.

TRL          GRPOTrainer(reward_funcs=rewards.reward), or `areward`; the dataset has columns `prompt` and `puzzle`
verl         reward.custom_reward_function.path=pkg://selftaught.trainer.rewards, .name=compute_score (or
acompute_score);
             the puzzle is reward_model.ground_truth. (verl's manager `prime` turns every exception into 0: use
             `naive`.)
verifiers    --env.taskset.task.rewards.verified.fn=selftaught.trainer.rewards:verified, for tasks with a field
`puzzle`;
             before verifiers 0.2: vf.Rubric(funcs=[rewards.rubric]), the puzzle is `answer`
OpenRLHF     a file with ``from selftaught.trainer.rewards import reward_func`` as the remote reward model; the puzzle
is
             the label
open-r1      `Provider` in place of a code execution provider

A completion is what follows ``def g(...):`` in one of our prompts, or text (also a chat message) with the whole
function, fenced or not. In place of a puzzle's source there may be a `FunctionTask` or `StdioTask`, or its fields as in
JSON, without a solution: then the last fenced block of a completion is judged, or all of it if there is none, and with
`all_cases` its reward is the share of cases that it passes. One verifier serves the process; it is created when first
needed, unless `use` sets another.
"""

from __future__ import annotations

import asyncio
import atexit
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from selftaught.generator import prompts, puzzle
from selftaught.generator.puzzle import NotAPuzzle
from selftaught.sandbox import FunctionTask, StdioTask, Task, Verdict, Verifier, records
from selftaught.sandbox.task import AnyTask

TRIES = 3
"""Maximum number of verifications of a solution that could not be judged."""

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.S)
_FUNCTION = re.compile(r"^(?:def (?:g|sol)\d*\()", re.M)
_HEAD = re.compile(r"def g(\d*)\([^\n]*\):\Z")
_SPECIAL = re.compile(r"(?:<\|[^|>]*\|>|</s>|<eos>|<pad>)+\s*\Z")

_verifier: Verifier | None = None
_lock = threading.Lock()


class NotJudged(RuntimeError):
    """The verifier could not judge a solution. The message says why. There is no reward for it."""


def use(verifier: Verifier) -> None:
    """Set the verifier of all reward functions (for other limits, workers, or a lower confinement level).

    Args:
        verifier: The verifier. The caller closes it.
    """
    global _verifier
    with _lock:
        _verifier = verifier


def current() -> Verifier:
    """Return the verifier in use; create one if there is none.

    Raises:
        CannotConfine: None can be created on this machine.
    """
    global _verifier
    with _lock:
        if _verifier is None:
            _verifier = Verifier()
            atexit.register(_verifier.close)
        return _verifier


def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return rewards for TRL's trainers.

    Args:
        prompts: The prompts, as text or messages.
        completions: Their completions, as text or messages.
        columns: Columns of the dataset; `puzzle` has the source of each prompt's puzzle, or `task` each prompt's task,
            and others are ignored.

    Returns:
        1.0 or 0.0 for each completion; ``None`` if it could not be judged, which TRL leaves out.

    Raises:
        ValueError: There is no column `puzzle` or `task`, or it has something else.
    """
    tasks = _tasks(columns, prompts, completions)
    verdicts = list(current().verify_many(tasks))
    for _ in range(TRIES - 1):
        again = [number for number, verdict in enumerate(verdicts) if not verdict.judged]
        for number, verdict in zip(again, current().verify_many([tasks[n] for n in again]), strict=True):
            verdicts[number] = verdict
    return [_value(task, verdict) for task, verdict in zip(tasks, verdicts, strict=True)]


async def areward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return rewards for TRL's trainers, as a coroutine that runs concurrently with other reward functions (see
    `reward`)."""
    tasks = _tasks(columns, prompts, completions)
    return [
        _value(task, verdict) for task, verdict in zip(tasks, await asyncio.gather(*map(_judge, tasks)), strict=True)
    ]


async def acompute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: dict[str, Any] | None = None, **settings: Any
) -> float:
    """Return the reward of a solution for verl, as a coroutine (see `compute_score`)."""
    return await _asure(_task(ground_truth, solution_str))


def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: dict[str, Any] | None = None, **settings: Any
) -> float:
    """Return the reward of a solution for verl.

    Args:
        data_source: Name of the dataset; ignored.
        solution_str: The completion.
        ground_truth: The puzzle's source, or a task or its fields.
        extra_info: Ignored.
        settings: Ignored.

    Returns:
        1.0 or 0.0.

    Raises:
        NotJudged: The solution could not be judged.
    """
    task = _task(ground_truth, solution_str)
    return _sure(task, _judge_now(task))


async def verified(task: Any, trace: Any) -> float:
    """Return the reward of a trace for verifiers.

    Args:
        task: A task with the puzzle's source in `puzzle`.
        trace: A trace; `last_reply` is the completion.

    Returns:
        1.0 or 0.0.

    Raises:
        NotJudged: The solution could not be judged; verifiers records it as the task's error.
    """
    return await _asure(_task(task.puzzle, trace.last_reply))


async def rubric(completion: Any, answer: str, **rest: Any) -> float:
    """Return the reward of a completion for rubrics of verifiers before 0.2.

    Args:
        completion: The completion, as text or messages.
        answer: The puzzle's source.
        rest: Ignored.

    Returns:
        1.0 or 0.0.

    Raises:
        NotJudged: The solution could not be judged.
    """
    return await _asure(_task(answer, completion))


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Return rewards for OpenRLHF.

    Args:
        queries: Prompts with their completions.
        prompts: The prompts.
        labels: The puzzles' sources.

    Returns:
        ``rewards`` and ``scores``: a float32 tensor of shape (queries,) with 1.0 or 0.0; ``extra_logs``: the same as
        ``verified``.

    Raises:
        NotJudged: A solution could not be judged.
    """
    import torch

    completions = [query.removeprefix(prompt) for query, prompt in zip(queries, prompts, strict=True)]
    values = reward(prompts, completions, puzzle=labels)
    if None in values:
        raise NotJudged("some solutions could not be judged: see the verifier's own log")
    rewards = torch.tensor(values, dtype=torch.float32)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"verified": rewards}}


class Provider:
    """A code execution provider for open-r1 (what its `get_provider` returns)."""

    def execute_scripts(self, scripts: Sequence[str], languages: Sequence[str]) -> list[float | None]:
        """Return rewards of scripts.

        Args:
            scripts: Puzzles with solutions, as in `selftaught.generator.example.Example.text`.
            languages: The language of each script; only Python is verified.

        Returns:
            1.0 or 0.0 for each script; ``None`` if it was not judged.
        """
        given = list(zip(scripts, languages, strict=True))
        judged = [
            number for number, (_, language) in enumerate(given) if language.lower() in ("python", "py", "python3")
        ]
        parts = [scripts[number].partition("\n\ndef g") for number in judged]
        values = reward(
            [""] * len(parts), [f"def g{rest}" for _, _, rest in parts], puzzle=[first for first, _, _ in parts]
        )
        found = dict(zip(judged, values, strict=True))
        return [found.get(number) for number in range(len(given))]


def solution(source: str, completion: Any, prompt: Any = "") -> str:
    """Return the solution ``g`` in a completion, for a puzzle called ``f``. Text without a solution is returned as the
    body of one.

    Args:
        source: The puzzle's source.
        completion: Text, or the messages of a chat, of which the last one counts.
        prompt: The prompt, if the completion continues it; text or messages.

    Raises:
        NotAPuzzle: The source is no puzzle.
    """
    text, asked = _SPECIAL.sub("", _last(completion)), _last(prompt)
    fenced = [block for block in _FENCED.findall(text) if _FUNCTION.search(block)]
    whole = fenced[-1] if fenced else _unfenced(text)
    if whole:
        number = re.search(r"def (?:g|sol)(\d*)\(", whole)
        names = {f"g{number[1]}": "g", f"f{number[1]}": "f"} if number and number[1] else {}
        return _renamed(whole, names)
    head = _HEAD.search(asked)
    given = puzzle.parse(source)
    try:
        return prompts.read_solution(given, prompts.Prompt("", head[1] if head else ""), text)
    except NotAPuzzle:
        return f"def g({given.parameters}):{prompts.cut(text)}"


def _unfenced(text: str) -> str:
    """Return the text if it is a program with the function, else the function; empty if it has none."""
    found = _FUNCTION.search(text)
    if not found:
        return ""
    try:
        puzzle.tree(text)
        return text
    except NotAPuzzle:
        return prompts.cut(text[found.start() :])


def _renamed(source: str, names: dict[str, str]) -> str:
    try:
        return puzzle.rename(source, names) if names else source
    except NotAPuzzle:
        return source


def _last(text: Any) -> str:
    """Return a text, or that of a chat's last message."""
    if isinstance(text, str):
        return text
    message = text[-1] if text else ""
    content = message.get("content") if isinstance(message, dict) else getattr(message, "content", message)
    return content if isinstance(content, str) else ""


def code(completion: Any) -> str:
    """Return the code in a completion: the last fenced block, or else all of it.

    Args:
        completion: Text, or the messages of a chat, of which the last one counts.
    """
    text = _SPECIAL.sub("", _last(completion))
    fenced = _FENCED.findall(text)
    return fenced[-1] if fenced else text


def _tasks(columns: dict[str, Any], prompts: Sequence[Any], completions: Sequence[Any]) -> list[AnyTask]:
    name = next((name for name in ("puzzle", "task") if name in columns), None)
    if name is None:
        raise ValueError(
            "the data set needs a column `puzzle` with each prompt's puzzle, or `task` with each prompt's task; "
            f"it has {sorted(columns)}"
        )
    given = zip(columns[name], completions, prompts, strict=True)
    return [_task(source, completion, prompt) for source, completion, prompt in given]


def _task(source: Any, completion: Any, prompt: Any = "") -> AnyTask:
    """Return the task of a completion.

    Args:
        source: A puzzle's source; or a task whose solution is left open, as an object or as its fields.
        completion: Text or messages.
        prompt: The prompt, if the completion continues it.

    Raises:
        ValueError: The source is neither.
    """
    if isinstance(source, FunctionTask | StdioTask):
        return replace(source, sol=code(completion))
    if isinstance(source, dict) and source.get("sat") is None:
        return records.to_task({**source, "sol": code(completion)}, str(source.get("id", "")))
    if isinstance(source, Task | dict):
        source = source.sat if isinstance(source, Task) else source["sat"]
    try:
        return Task("", puzzle.parse(source).named("f"), solution(source, completion, prompt))
    except NotAPuzzle as error:
        raise ValueError(f"the column `puzzle` has something else than puzzles: {error}") from error


async def _judge(task: AnyTask) -> Verdict:
    for _ in range(TRIES):
        verdict = await current().averify(task)
        if verdict.judged:
            break
    return verdict


def _judge_now(task: AnyTask) -> Verdict:
    for _ in range(TRIES):
        verdict = current().verify(task)
        if verdict.judged:
            break
    return verdict


def _value(task: AnyTask, verdict: Verdict) -> float | None:
    if not verdict.judged:
        return None
    in_part = not isinstance(task, Task) and task.all_cases
    return verdict.score if in_part else float(verdict.accepted)


def _sure(task: AnyTask, verdict: Verdict) -> float:
    value = _value(task, verdict)
    if value is None:
        raise NotJudged(f"{verdict.status}: {verdict.message}")
    return value


async def _asure(task: AnyTask) -> float:
    return _sure(task, await _judge(task))
