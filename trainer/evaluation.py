"""Evaluation: attempts at held-out puzzles at several temperatures, verified, and summarised as Pass@k."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from selftaught.generator import prompts
from selftaught.generator.models import Completer
from selftaught.generator.prompts import Style
from selftaught.generator.puzzle import NotAPuzzle, Puzzle
from selftaught.sandbox import Status, Task, Verifier
from selftaught.sandbox.output import open_output
from selftaught.sandbox.passk import KS, Score, estimate


@dataclass(frozen=True, slots=True)
class Problem:
    """A held-out puzzle.

    Attributes:
        id: Its id in results.
        puzzle: The puzzle.
        group: The group whose Pass@k is also reported separately; or empty.
        trivial: True if a trivial answer solves it; such problems are reported separately.
    """

    id: str
    puzzle: Puzzle
    group: str = ""
    trivial: bool = False


@dataclass(slots=True)
class Result:
    """The attempts at one problem at one temperature.

    Attributes:
        id: The problem's id.
        group: The problem's group.
        trivial: True if a trivial answer solves the problem.
        temperature: Sampling temperature.
        statuses: Number of attempts with each status, unverified ones included.
        solutions: Status of each distinct solution.
    """

    id: str
    group: str
    trivial: bool
    temperature: float
    statuses: Counter[str] = field(default_factory=Counter)
    solutions: dict[str, str] = field(default_factory=dict)

    @property
    def score(self) -> Score:
        """The number of verified attempts and of correct ones. What does not parse is wrong; what could not be verified
        does not count."""
        unjudged = sum(self.statuses[status] for status in _UNJUDGED)
        return Score(self.statuses.total() - unjudged, self.statuses[Status.ACCEPTED])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {**dataclasses.asdict(self), "statuses": dict(self.statuses)}


_UNJUDGED = (Status.INTERNAL_ERROR, Status.CANCELLED)
UNPARSED = "unparsed"


class VerdictCache:
    """Verdicts by puzzle and solution: a solution is verified once, however many models write it.

    Args:
        verifier: The verifier.

    Attributes:
        verified: Number of pairs that were sent to the verifier.
        seconds: Time spent waiting for it.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._known: dict[tuple[str, str], str] = {}
        self.verified, self.seconds = 0, 0.0

    def add(self, sat: str, statuses: dict[str, str]) -> None:
        """Add verdicts of an earlier process: statuses of solutions of one puzzle. Failures of the verifier are
        ignored."""
        self._known |= {(sat, sol): status for sol, status in statuses.items() if status not in _UNJUDGED}

    def verify(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return the status of each pair of puzzle and solution."""
        started, statuses = time.perf_counter(), {}
        distinct = dict.fromkeys(pairs)
        fresh = [pair for pair in distinct if pair not in self._known]
        tasks = (Task(str(number), *pair) for number, pair in enumerate(fresh))
        for pair, verdict in zip(fresh, self._verifier.verify_many(tasks), strict=True):
            statuses[pair] = str(verdict.status)
            if verdict.judged or verdict.status is Status.INVALID:
                self._known[pair] = statuses[pair]
        self.verified += len(fresh)
        self.seconds += time.perf_counter() - started
        return {pair: self._known.get(pair) or statuses[pair] for pair in distinct}


class Stopped(Exception):
    """The evaluation was stopped before it was complete."""


def evaluate(
    model: Completer,
    problems: Sequence[Problem],
    cache: VerdictCache,
    *,
    attempts: int,
    temperature: float,
    max_new_tokens: int,
    style: Style,
    seed: int,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Result]:
    """Attempt every problem at one temperature, and verify the attempts.

    Args:
        model: The model.
        problems: The problems.
        cache: Verdicts that are known, and the verifier.
        attempts: Number of attempts at each problem (n of Pass@k).
        temperature: Sampling temperature; 0 is greedy decoding.
        max_new_tokens: Maximum number of tokens of a solution.
        style: The form of the prompts.
        seed: Random seed.
        stopped: Polled after each problem; True ends the evaluation.

    Returns:
        A result for each problem, in the order of the problems.

    Raises:
        ModelFailed: The model can't be used.
        Stopped: `stopped` returned True.
    """
    asked = [prompts.for_solution(problem.puzzle, style) for problem in problems]
    written: dict[int, list[str | None]] = {}
    for number, texts in model.complete(
        [prompt.text for prompt in asked],
        samples=attempts,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        stop=prompts.Unindented(),
        seed=seed,
    ):
        if stopped():
            raise Stopped
        written[number] = [_read(problems[number].puzzle, asked[number], text) for text in texts]
    sources = [problem.puzzle.source for problem in problems]
    verdicts = cache.verify((sources[n], one) for n in range(len(problems)) for one in written[n] if one is not None)
    results = []
    for number, problem in enumerate(problems):
        result = Result(problem.id, problem.group, problem.trivial, temperature)
        for solution in written[number]:
            status = UNPARSED if solution is None else verdicts[sources[number], solution]
            result.statuses[status] += 1
            if solution is not None:
                result.solutions[solution] = status
        results.append(result)
    return results


def _read(puzzle: Puzzle, prompt: prompts.Prompt, text: str) -> str | None:
    try:
        return prompts.read_solution(puzzle, prompt, text)
    except NotAPuzzle:
        return None


def summary(results: Sequence[Result], seed: int = 0) -> dict[str, Any]:
    """Return the Pass@k of a model with bootstrap intervals.

    Args:
        results: All results of the model.
        seed: Random seed of the bootstrap.

    Returns:
        ``problems`` (their number), ``pass_at_k`` (at the best temperature of each k), ``temperatures`` (at each),
        ``groups`` (of each), ``trivial`` (problems that a trivial answer solves; in no other figure) and ``statuses``
        (numbers of attempts).
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
    for temperature in sorted({result.temperature for result in results}):
        scores = [result.score for result in results if result.temperature == temperature]
        most = max(score.attempts for score in scores)
        estimates = {str(k): estimate(scores, k, seed) for k in KS if k <= most}
        found[f"{temperature:g}"] = {
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
                best[k] = {**one, "temperature": float(temperature), "attempts": entry["attempts"]}
    return best


def scores(results: Sequence[Result], temperature: float) -> dict[str, Score]:
    """Return the scores at one temperature by problem, without trivial problems."""
    return {result.id: result.score for result in results if result.temperature == temperature and not result.trivial}


def write(results: Iterable[Result], path: Path) -> None:
    """Write results as JSON Lines. Raises OSError, also if the path is a symbolic link."""
    with open_output(path) as file:
        file.writelines(orjson.dumps(result.to_dict()) + b"\n" for result in results)


def read(path: Path) -> Iterator[Result]:
    """Yield the results that `write` wrote. Raises OSError or ValueError."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            fields = orjson.loads(line)
            yield Result(**{**fields, "statuses": Counter(fields["statuses"])})
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path}:{number}: no result of an evaluation: {error}") from error
