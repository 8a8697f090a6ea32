"""The verifier as a reward function, for several training frameworks.

What judges is a puzzle, or the tests or cases of a problem of any dataset that `selftaught.sandbox.formats` reads, in a
row's own columns or as its ground truth.

A correct solution gets 1.0 and a wrong one 0.0. A solution that could not be verified never gets a number: the result
is ``None`` if the framework accepts it, else `NotJudged` is raised, so that no model learns from a failure of the
machine.

TRL          GRPOTrainer(reward_funcs=rewards.reward), or `areward`, or `passed_share` for the share of tests that
             pass; the dataset has columns `prompt` and `puzzle` or `task`, or those of a published dataset
verl         reward.custom_reward_function.path=pkg://selftaught.trainer.rewards, .name=compute_score (or
             acompute_score); the puzzle or ground truth is reward_model.ground_truth. (verl's manager `prime` turns
             every exception into 0: use `naive`.)
verifiers    --env.taskset.task.rewards.verified.fn=selftaught.trainer.rewards:verified, for tasks with a field
             `puzzle`; before verifiers 0.2: vf.Rubric(funcs=[rewards.rubric]), the puzzle is `answer`
OpenRLHF     a file with ``from selftaught.trainer.rewards import reward_func`` as the remote reward model; the puzzle
             is the label
open-r1      `Provider` in place of a code execution provider

A completion is what follows ``def g(...):`` in one of our prompts, or text (also a chat message) with the whole
function, fenced or not. In place of a puzzle's source there may be a `FunctionTask` or `StdioTask`, or its fields as in
JSON, without a solution: then the last fenced block of Python of a completion is judged, or all of it if there is none.
With `all_cases` a reward is the share of tests or cases that pass. One verifier serves the process; it is created when
first needed, unless `use` sets another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from selftaught.generator import prompts, puzzle
from selftaught.generator.puzzle import NotAPuzzle
from selftaught.sandbox import FunctionTask, StdioTask, Task, Verdict, formats, records
from selftaught.sandbox.dropin import process
from selftaught.sandbox.dropin.process import current, use
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.formats import Malformed, Problem, answers
from selftaught.sandbox.formats.fields import decoded
from selftaught.sandbox.task import AnyTask

__all__ = [
    "NotJudged", "Provider", "acompute_score", "areward", "code", "compute_score", "current", "passed_share", "reward",
    "reward_func", "rubric", "solution", "use", "verified",
]  # fmt: skip

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.S)
_FUNCTION = re.compile(r"^(?:def (?:g|sol)\d*\()", re.M)
_HEAD = re.compile(r"def g(\d*)\([^\n]*\):\Z")
_SPECIAL = re.compile(r"(?:<\|[^|>]*\|>|</s>|<eos>|<pad>)+\s*\Z")


def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return rewards for TRL's trainers.

    Args:
        prompts: The prompts, as text or messages.
        completions: Their completions, as text or messages.
        columns: Columns of the dataset; `puzzle` has the source of each prompt's puzzle, or a ground truth, or `task`
            each prompt's task. Without them they are those of a dataset that `selftaught.sandbox.formats` reads.

    Returns:
        1.0 or 0.0 for each completion; ``None`` if it could not be judged, which TRL leaves out.

    Raises:
        ValueError: The columns say of no prompt what judges it, or have something else.
    """
    tasks = _tasks(columns, prompts, completions)
    return list(map(_value, tasks, process.judge_many(tasks)))


async def areward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return rewards for TRL's trainers, as a coroutine that runs concurrently with other reward functions (see
    `reward`)."""
    tasks = _tasks(columns, prompts, completions)
    return list(map(_value, tasks, await process.ajudge_many(tasks)))


def passed_share(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Return rewards for TRL's trainers, as `reward` does, but from 0.0 to 1.0: the share of tests that pass."""
    tasks = _tasks(columns, prompts, completions, all_cases=True)
    return list(map(_value, tasks, process.judge_many(tasks)))


async def acompute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    continuous: bool = False,
    **settings: Any,
) -> float:
    """Return the reward of a solution for verl, as a coroutine (see `compute_score`)."""
    return await _asure(_task(ground_truth, solution_str, all_cases=continuous))


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: dict[str, Any] | None = None,
    continuous: bool = False,
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
        settings: Ignored.

    Returns:
        1.0 or 0.0, or the share.

    Raises:
        NotJudged: The solution could not be judged.
    """
    task = _task(ground_truth, solution_str, all_cases=continuous)
    return _sure(task, process.judge(task))


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
    text, asked = _text(completion), _last(prompt)
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


def _tasks(
    columns: dict[str, Any], prompts: Sequence[Any], completions: Sequence[Any], all_cases: bool = False
) -> list[AnyTask]:
    if name := next((name for name in ("puzzle", "task") if name in columns), None):
        given = zip(columns[name], completions, prompts, strict=True)
        return [_task(source, completion, prompt, all_cases) for source, completion, prompt in given]
    tasks: list[AnyTask] = []
    before: tuple[dict[str, Any], Problem] | None = None
    for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        row = {name: column[number] for name, column in columns.items() if _is_column(column, len(prompts))}
        row["prompt"] = prompt if isinstance(prompt, str) else ""
        if before is None or before[0] != row:  # several completions of a problem follow each other
            before = row, _problem(row, columns, all_cases)
        tasks.append(answers.task(before[1], _text(completion)))
    return tasks


def _is_column(column: Any, length: int) -> bool:
    return isinstance(column, Sequence) and not isinstance(column, str) and len(column) == length


def _problem(row: dict[str, Any], columns: dict[str, Any], all_cases: bool) -> Problem:
    try:
        return formats.read(row, all_cases=all_cases)
    except Malformed as error:
        raise ValueError(
            f"the data set needs a column `puzzle` with each prompt's puzzle, `task` with each prompt's task, or the "
            f"columns of a published dataset; it has {sorted(columns)}: {error}"
        ) from error


def _task(source: Any, completion: Any, prompt: Any = "", all_cases: bool = False) -> AnyTask:
    """Return the task of a completion.

    Args:
        source: A puzzle's source; a task whose solution is left open, as an object or as its fields; or a ground truth
            in the format of a published dataset, as an object or as its text.
        completion: Text or messages.
        prompt: The prompt, if the completion continues it.
        all_cases: Judge every case, also after one has failed.

    Raises:
        ValueError: The source is none of these.
    """
    if isinstance(source, str) and source.lstrip()[:1] in ("{", "["):
        source = decoded(source, "the ground truth")
    if isinstance(source, FunctionTask | StdioTask):
        return replace(source, sol=code(completion), all_cases=all_cases or source.all_cases)
    if isinstance(source, Task | dict) and (sat := source.sat if isinstance(source, Task) else source.get("sat")):
        source = sat
    if isinstance(source, dict) and _is_task(source):
        fields = {**source, "sol": code(completion), "all_cases": all_cases or source.get("all_cases")}
        return records.to_task(fields, str(source.get("id", "")))
    if not isinstance(source, str):
        return answers.task(formats.read(source, all_cases=all_cases), _text(completion))
    try:
        return Task("", puzzle.parse(source).named("f"), solution(source, completion, prompt))
    except NotAPuzzle as error:
        raise ValueError(f"the column `puzzle` has something else than puzzles: {error}") from error


def _is_task(fields: dict[str, Any]) -> bool:
    """Return True for the fields of a task of ours, which differ from those of any dataset."""
    return fields.get("cases") is not None or (isinstance(fields.get("tests"), str) and "entry_point" in fields)


def code(completion: Any) -> str:
    """Return the code in a completion, as `selftaught.sandbox.formats.answers.code` finds it.

    Args:
        completion: Text, or the messages of a chat, of which the last one counts.
    """
    return answers.code(_text(completion))


def _text(completion: Any) -> str:
    """Return the text of a completion without special tokens at its end."""
    return _SPECIAL.sub("", _last(completion))


def _value(task: AnyTask, verdict: Verdict) -> float | None:
    return _number(task, verdict) if verdict.judged else None


def _sure(task: AnyTask, verdict: Verdict) -> float:
    return _number(task, process.require_judged(verdict))


async def _asure(task: AnyTask) -> float:
    return _sure(task, await process.ajudge(task))


def _number(task: AnyTask, verdict: Verdict) -> float:
    in_part = not isinstance(task, Task) and task.all_cases
    return verdict.score if in_part else float(verdict.accepted)
