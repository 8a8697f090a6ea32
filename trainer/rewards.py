"""The verifier as a reward, in the shape that each training framework wants.

1.0 for a solution that is right, 0.0 for one that is not, and for what was *not judged* never a number: ``None`` where the framework
takes it, else `NotJudged` is raised, so that a failure of the machine is never learnt from.

TRL          GRPOTrainer(reward_funcs=rewards.reward), or `areward`; the data set has columns `prompt` and `puzzle`
verl         reward.custom_reward_function.path=pkg://selftaught.trainer.rewards, .name=compute_score (or acompute_score);
             the puzzle is reward_model.ground_truth. (verl's manager `prime` makes 0 of every exception: take `naive`.)
verifiers    --env.taskset.task.rewards.verified.fn=selftaught.trainer.rewards:verified, for tasks whose data has a field `puzzle`;
             before verifiers 0.2: vf.Rubric(funcs=[rewards.rubric]), the puzzle is `answer`
OpenRLHF     a file with ``from selftaught.trainer.rewards import reward_func`` as the remote reward model; the puzzle is the label
open-r1      `Provider`, where a code execution provider goes

A completion may be what follows ``def g(...):`` in a prompt of ours, or text (a chat message too) with the whole function, fenced
or not. The verifier is one for the process, made when first needed; `use` brings another.
"""

from __future__ import annotations

import asyncio
import atexit
import re
import threading
from collections.abc import Sequence
from typing import Any

from selftaught.generator import prompts, puzzle
from selftaught.generator.puzzle import NotAPuzzle
from selftaught.sandbox import Task, Verdict, Verifier

TRIES = 3
"""How often a judgement that failed for reasons of its own is asked for."""

_FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.S)
_FUNCTION = re.compile(r"^(?:def (?:g|sol)\d*\()", re.M)
_HEAD = re.compile(r"def g(\d*)\([^\n]*\):\Z")
_SPECIAL = re.compile(r"(?:<\|[^|>]*\|>|</s>|<eos>|<pad>)+\s*\Z")

_verifier: Verifier | None = None
_lock = threading.Lock()


class NotJudged(RuntimeError):
    """The verifier could not judge: the message says why. No reward may be made of that."""


def use(verifier: Verifier) -> None:
    """Judge with this verifier from now on (for other limits, workers, or a lower confinement level)."""
    global _verifier
    with _lock:
        _verifier = verifier


def current() -> Verifier:
    """The verifier in use. Raises CannotConfine if there is none and none can be made."""
    global _verifier
    with _lock:
        if _verifier is None:
            _verifier = Verifier()
            atexit.register(_verifier.close)
        return _verifier


def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """For TRL. columns: `puzzle`, the source of each prompt's puzzle. ``None``: not judged, and left out by the trainer."""
    tasks = _tasks(columns, prompts, completions)
    verdicts = list(current().verify_many(tasks))
    for _ in range(TRIES - 1):
        again = [number for number, verdict in enumerate(verdicts) if not verdict.judged]
        for number, verdict in zip(again, current().verify_many([tasks[n] for n in again]), strict=True):
            verdicts[number] = verdict
    return [_value(verdict) for verdict in verdicts]


async def areward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """`reward` as a coroutine function: TRL runs it beside other rewards."""
    return [_value(verdict) for verdict in await asyncio.gather(*map(_judge, _tasks(columns, prompts, completions)))]


async def acompute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **settings: Any
) -> float:
    """For verl. ground_truth: the puzzle's source. Raises NotJudged."""
    return _sure(await _judge(_task(ground_truth, solution_str)))


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **settings: Any
) -> float:
    """`acompute_score` as a plain function."""
    return _sure(_judge_now(_task(ground_truth, solution_str)))


async def verified(task: Any, trace: Any) -> float:
    """For verifiers. task: data with the puzzle's source in `puzzle`. Raises NotJudged, which verifiers records as the task's error."""
    return _sure(await _judge(_task(task.puzzle, trace.last_reply)))


async def rubric(completion: Any, answer: str, **rest: Any) -> float:
    """For the rubrics of verifiers before 0.2. answer: the puzzle's source. Raises NotJudged."""
    return _sure(await _judge(_task(answer, completion)))


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """For OpenRLHF. queries: prompts with completions. labels: the puzzles' sources. Raises NotJudged."""
    import torch

    completions = [query.removeprefix(prompt) for query, prompt in zip(queries, prompts, strict=True)]
    values = reward(prompts, completions, puzzle=labels)
    if None in values:
        raise NotJudged("some solutions could not be judged: see the verifier's own log")
    rewards = torch.tensor(values, dtype=torch.float32)
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"verified": rewards}}


class Provider:
    """For open-r1, where `get_provider` gives a code execution provider. A script is a puzzle and a solution, as in
    `Example.text`; languages other than Python are not judged."""

    def execute_scripts(self, scripts: Sequence[str], languages: Sequence[str]) -> list[float | None]:
        """1.0, 0.0, or ``None`` for what was not judged."""
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
    """The solution ``g`` that a completion holds, for the puzzle of that source; text that is none is given back as it is.

    completion, prompt: text, or messages of a chat, of which the last counts. Raises NotAPuzzle for the source.
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
    """A text that is a program with the function, or else the function alone; empty if it holds none."""
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
    """A text, or that of a chat's last message."""
    if isinstance(text, str):
        return text
    message = text[-1] if text else ""
    content = message.get("content") if isinstance(message, dict) else getattr(message, "content", message)
    return content if isinstance(content, str) else ""


def _tasks(columns: dict[str, Any], prompts: Sequence[Any], completions: Sequence[Any]) -> list[Task]:
    if "puzzle" not in columns:
        raise ValueError(f"the data set needs a column `puzzle` with each prompt's puzzle; it has {sorted(columns)}")
    given = zip(columns["puzzle"], completions, prompts, strict=True)
    return [_task(source, completion, prompt) for source, completion, prompt in given]


def _task(source: str, completion: Any, prompt: Any = "") -> Task:
    try:
        return Task("", puzzle.parse(source).named("f"), solution(source, completion, prompt))
    except NotAPuzzle as error:
        raise ValueError(f"the column `puzzle` holds something else: {error}") from error


async def _judge(task: Task) -> Verdict:
    for _ in range(TRIES):
        verdict = await current().averify(task)
        if verdict.judged:
            break
    return verdict


def _judge_now(task: Task) -> Verdict:
    for _ in range(TRIES):
        verdict = current().verify(task)
        if verdict.judged:
            break
    return verdict


def _value(verdict: Verdict) -> float | None:
    return float(verdict.accepted) if verdict.judged else None


def _sure(verdict: Verdict) -> float:
    if not verdict.judged:
        raise NotJudged(f"{verdict.status}: {verdict.message}")
    return float(verdict.accepted)
