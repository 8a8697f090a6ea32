"""Evaluation: attempts at held-out puzzles, or at problems of a benchmark, verified, and summarised as Pass@k.

`evaluate` returns all results at the end, for the loop; `attempt` hands each over as it comes, for long evaluations.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from selftaught.generator import prompts
from selftaught.generator.calls import Calls
from selftaught.generator.models import Completer, Stop, chats, encodable, known
from selftaught.generator.prompts import Prompt, Style
from selftaught.generator.puzzle import NotAPuzzle, Puzzle
from selftaught.sandbox import Status, Task
from selftaught.sandbox.passk import KS, Estimate, Score, estimate
from selftaught.sandbox.task import AnyTask
from selftaught.trainer.question import Question
from selftaught.trainer.results import REFUSED, UNJUDGED, UNPARSED, Result, read, write
from selftaught.trainer.verdict_cache import VerdictCache

__all__ = [
    "UNJUDGED", "Problem", "Question", "Result", "Stopped", "VerdictCache", "attempt", "evaluate", "read", "scores",
    "shown", "summary", "write",
]  # fmt: skip


_UNINDENTED = prompts.Unindented()


@dataclass(frozen=True, slots=True)
class Problem:
    """A held-out puzzle, a `Question`.

    Attributes:
        id: See `Question`.
        puzzle: The puzzle.
        group: See `Question`.
        trivial: See `Question`.
    """

    id: str
    puzzle: Puzzle
    group: str = ""
    trivial: bool = False

    @property
    def source(self) -> str:
        """The puzzle's source."""
        return self.puzzle.source

    @property
    def stop(self) -> Stop:
        """See `Question`."""
        return _UNINDENTED

    def prompt(self, style: Style, chat: bool) -> Prompt:
        """See `Question`."""
        return prompts.for_solution(self.puzzle, style, chat)

    def read(self, prompt: Prompt, text: str) -> str | None:
        """See `Question`. What does not parse is none."""
        try:
            return prompts.read_solution(self.puzzle, prompt, text)
        except NotAPuzzle:
            return None

    def task(self, ident: str, solution: str) -> AnyTask:
        """See `Question`."""
        return Task(ident, self.puzzle.source, solution)


class Stopped(Exception):
    """The evaluation was stopped before it was complete."""


def evaluate(
    model: Completer,
    problems: Sequence[Question],
    cache: VerdictCache,
    *,
    attempts: int,
    temperature: float,
    max_new_tokens: int,
    style: Style,
    seed: int,
    stopped: Callable[[], bool] = lambda: False,
    calls: Calls | None = None,
    on_answered: Callable[[int], None] = lambda number: None,
) -> list[Result]:
    """Attempt every problem at one temperature, and verify the attempts.

    Args:
        model: The model.
        problems: What is asked.
        cache: Verdicts that are known, and the verifier.
        attempts: Number of attempts at each problem (n of Pass@k).
        temperature: Sampling temperature; 0 is greedy decoding.
        max_new_tokens: Maximum number of tokens of a solution.
        style: The form of the prompts.
        seed: Random seed.
        stopped: Polled after each problem; True ends the evaluation.
        calls: Where answers are kept until the evaluation is complete, and those that an earlier process got are found.
        on_answered: Called with the number of problems that the model has answered.

    Returns:
        A result for each problem, in the order of the problems. A prompt that the model refuses, such as one that is
        too long, is a result with the status ``refused``.

    Raises:
        ModelFailed: The model can't be used.
        Stopped: `stopped` returned True.
    """
    chat = chats(model)
    asked = [problem.prompt(style, chat) for problem in problems]
    answers: dict[int, list[str]] = {}
    refused: dict[int, str] = {}
    keys: list[str] = []
    if calls:
        drawn = (model.name, model.digest, attempts, max_new_tokens, temperature, seed)
        keys = [_key(number, prompt.content, drawn) for number, prompt in enumerate(asked)]
        answers = {number: found[0] for number, key in enumerate(keys) if (found := calls.take(key))}
    for number, texts in model.complete(
        [prompt.content for prompt in asked],
        samples=attempts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        stop=_stop(problems, chat),
        seed=seed,
        **known(model, skip=set(answers), on_refusal=refused.__setitem__),
    ):
        if stopped():
            raise Stopped
        answers[number] = [encodable(text) for text in texts]
        if calls:
            calls.add(keys[number], [answers[number]])
        on_answered(len(answers))
    written = {
        number: [problems[number].read(asked[number], text) for text in texts] for number, texts in answers.items()
    }
    verdicts = cache.verify((problems[n], text) for n, texts in written.items() for text in texts if text is not None)
    return [
        _refused(problem, temperature, attempts, refused[n])
        if n in refused
        else _result(problem, temperature, written[n], verdicts)
        for n, problem in enumerate(problems)
    ]


def _key(number: int, content: object, drawn: tuple[object, ...]) -> str:
    """Return a digest of the place of a problem, what is asked, and how its answers are drawn."""
    return hashlib.sha256(repr((number, content, drawn)).encode("utf-8", "replace")).hexdigest()


_JUDGING, _WAITING = 4, 16
"""Problems whose attempts are verified at once, and the most that wait for it: more would only take memory."""


def attempt(
    model: Completer,
    problems: Sequence[Question],
    cache: VerdictCache,
    on_result: Callable[[Result], None],
    *,
    attempts: int,
    temperature: float,
    max_new_tokens: int,
    style: Style,
    seed: int,
    done: Collection[str] = (),
) -> None:
    """Attempt problems at one temperature as `evaluate` does, but hand over each result as soon as it is complete.

    Attempts at one problem are verified while the model works on the next. A prompt that the model refuses is a result
    with the status ``refused``. When this is interrupted, no further result is handed over.

    Args:
        model: The model.
        problems: What is asked.
        cache: Verdicts that are known, and the verifier.
        on_result: Called with each result, in any order, from one thread at a time.
        attempts: Number of attempts at each problem.
        temperature: Sampling temperature.
        max_new_tokens: Maximum number of tokens of a solution.
        style: The form of the prompts.
        seed: Random seed.
        done: Ids of problems whose results an earlier process had; results of the others are the same as without it.

    Raises:
        ModelFailed: The model can't be used. Results of what it has answered were handed over.
    """
    chat = chats(model)
    asked = [problem.prompt(style, chat) for problem in problems]
    handover = _Handover(problems, asked, cache, on_result, attempts, temperature)
    skip = {number for number, problem in enumerate(problems) if problem.id in done}
    running: list[Future[None]] = []
    with ThreadPoolExecutor(_JUDGING, "judging") as pool:
        try:
            for number, texts in model.complete(
                [prompt.content for prompt in asked],
                samples=attempts,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                stop=_stop(problems, chat),
                seed=seed,
                **known(model, skip=skip, on_refusal=handover.refuse),
            ):
                if number not in skip:
                    handover.places.acquire()
                    running = [one for one in running if not one.done() or one.result()]  # raises what one raised
                    running.append(pool.submit(handover.judge, number, texts))
            for one in running:
                one.result()
        except KeyboardInterrupt:
            handover.interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)
            cache.stop()
            raise


class _Handover:
    """Judges attempts, in any thread, and hands over each result, in one thread at a time.

    Args:
        problems: What is asked.
        asked: The prompt of each.
        cache: Verdicts that are known, and the verifier.
        on_result: Called with each result.
        attempts: Number of attempts at each problem.
        temperature: Sampling temperature.

    Attributes:
        places: `judge` releases one: who calls it acquires one before.
        interrupted: Set to hand over no more.
    """

    def __init__(
        self,
        problems: Sequence[Question],
        asked: Sequence[Prompt],
        cache: VerdictCache,
        on_result: Callable[[Result], None],
        attempts: int,
        temperature: float,
    ) -> None:
        self._problems, self._asked, self._cache, self._on_result = problems, asked, cache, on_result
        self._attempts, self._temperature = attempts, temperature
        self.places, self.interrupted = threading.Semaphore(_WAITING), threading.Event()
        self._lock = threading.Lock()

    def refuse(self, number: int, reason: str) -> None:
        """Hand over that the model refuses the prompt with this number."""
        result = _refused(self._problems[number], self._temperature, self._attempts, reason)
        self._hand_over(result, number)

    def judge(self, number: int, texts: Sequence[str]) -> None:
        """Judge what the model wrote for the prompt with this number, and hand over the result."""
        problem = self._problems[number]
        try:
            written = [problem.read(self._asked[number], text) for text in texts]
            verdicts = self._cache.verify((problem, one) for one in written if one is not None)
            self._hand_over(_result(problem, self._temperature, written, verdicts), number)
        finally:
            self.places.release()

    def _hand_over(self, result: Result, number: int) -> None:
        result.number = number
        with self._lock:
            if not self.interrupted.is_set() and not result.statuses[Status.CANCELLED]:
                self._on_result(result)


def _stop(problems: Sequence[Question], chat: bool) -> Stop:
    """Return where completions stop: answers in a chat, and those of different kinds of questions, where they end."""
    alike = bool(problems) and all(one.stop == problems[0].stop for one in problems)
    return problems[0].stop if alike and not chat else ()


def _refused(problem: Question, temperature: float, attempts: int, reason: str) -> Result:
    statuses = Counter({REFUSED: attempts})
    return Result(problem.id, problem.group, problem.trivial, temperature, statuses, refusal=reason)


def _result(
    problem: Question, temperature: float, written: list[str | None], verdicts: dict[tuple[str, str], str]
) -> Result:
    result = Result(problem.id, problem.group, problem.trivial, temperature)
    for solution in written:
        status = UNPARSED if solution is None else verdicts[problem.source, solution]
        result.statuses[status] += 1
        if solution is not None:
            result.solutions[solution] = status
    return result


def summary(results: Sequence[Result], seed: int = 0) -> dict[str, Any]:
    """Return the Pass@k of a model with bootstrap intervals.

    Args:
        results: All results of the model.
        seed: Random seed of the bootstrap.

    Returns:
        ``problems`` (their number), ``pass_at_k`` (at the best temperature of each k), ``temperatures`` (at each;
        ``""`` if it is not known), ``groups`` (of each), ``trivial`` (problems that a trivial answer solves; in no
        other figure) and ``statuses`` (numbers of attempts).
    """
    trivial = [result for result in results if result.trivial]
    counted = [result for result in results if not result.trivial]
    found = _by_temperature(counted, seed)
    groups = sorted({result.group for result in counted} - {""})
    return {
        "problems": len({result.id for result in counted}),
        "pass_at_k": _best(found),
        "temperatures": found,
        "groups": {
            group: _best(_by_temperature([result for result in counted if result.group == group], seed))
            for group in groups
        },
        "trivial": {
            "problems": len({result.id for result in trivial}),
            "pass_at_k": _best(_by_temperature(trivial, seed)),
        },
        "statuses": dict(sum((result.statuses for result in results), Counter[str]())),
    }


def _by_temperature(results: Sequence[Result], seed: int) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    temperatures = {result.temperature for result in results}
    for temperature in sorted(temperatures, key=lambda one: (one is not None, one)):
        scores = [result.score for result in results if result.temperature == temperature]
        most = max(score.attempts for score in scores)
        estimates = {str(k): estimate(scores, k, seed) for k in KS if k <= most}
        found["" if temperature is None else f"{temperature:g}"] = {
            "attempts": most,
            "pass_at_k": {k: dataclasses.asdict(one) for k, one in estimates.items() if one},
        }
    return found


def _best(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the highest Pass@k over temperatures, for each k."""
    best: dict[str, Any] = {}
    for temperature, entry in found.items():
        for k, one in entry["pass_at_k"].items():
            if k not in best or one["value"] > best[k]["value"]:
                best[k] = {
                    **one,
                    "temperature": float(temperature) if temperature else None,
                    "attempts": entry["attempts"],
                }
    return best


def shown(found: dict[str, Any]) -> str:
    """Return one Pass@k of a summary in words, with its interval."""
    return str(Estimate(found["value"], found["low"], found["high"]))


def scores(results: Sequence[Result], temperature: float | None) -> dict[str, Score]:
    """Return the scores at one temperature by problem, without trivial problems."""
    return {result.id: result.score for result in results if result.temperature == temperature and not result.trivial}
