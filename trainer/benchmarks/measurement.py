"""Benchmarks that a run of the loop reports before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selftaught.generator.models import Completer
from selftaught.generator.prompts import Style
from selftaught.sandbox.records import Unreadable
from selftaught.trainer import evaluation
from selftaught.trainer.benchmarks import problems
from selftaught.trainer.evaluation import Result, VerdictCache

MAX_NEW_TOKENS = 512


def names(files: Sequence[str]) -> dict[str, str]:
    """Return the files by the names that reports have for them: ``HumanEval`` for ``data/HumanEval.jsonl.gz``.

    Raises:
        Unreadable: A file can't be read, or has no problems that a model can be asked; or two have the same name.
    """
    found: dict[str, str] = {}
    for file in files:
        name = Path(file).name.partition(".")[0]
        if name in found:
            raise Unreadable(f"two benchmarks are called {name!r}: {found[name]} and {file}; rename one of the files")
        problems.select(file)
        found[name] = file
    return found


def measure(
    model: Completer,
    file: str,
    cache: VerdictCache,
    *,
    attempts: int,
    temperatures: Sequence[float],
    style: Style,
    seed: Callable[[float], int],
) -> list[Result]:
    """Return the results of a model on a benchmark, in the order of its problems. A prompt that the model refuses has a
    result of its own.

    Args:
        model: The model.
        file: The benchmark's file.
        cache: Verdicts that are known, and the verifier.
        attempts: Number of attempts at each problem and temperature.
        temperatures: Sampling temperatures.
        style: The form of the prompts.
        seed: Returns the random seed of a temperature.

    Raises:
        ModelFailed: The model can't be used.
        Unreadable: The file can't be read, or has no problems that a model can be asked.
    """
    asked, results = problems.select(file).problems, list[Result]()
    for temperature in temperatures:
        evaluation.attempt(
            model,
            asked,
            cache,
            results.append,
            attempts=attempts,
            temperature=temperature,
            max_new_tokens=MAX_NEW_TOKENS,
            style=style,
            seed=seed(temperature),
        )
    return sorted(results, key=lambda one: (one.temperature or 0, one.number))


def table(measured: dict[str, dict[str, Any]]) -> list[str]:
    """Return a report's table of benchmarks.

    Args:
        measured: For each benchmark the summaries (`selftaught.trainer.evaluation.summary`) by iteration.
    """
    lines = ["| benchmark | problems | iteration | Pass@k, each at its best T | not judged |", "|---|---|---|---|---|"]
    for name, entries in measured.items():
        for number, summary in entries.items():
            best = summary["pass_at_k"].items()
            values = ", ".join(f"Pass@{k} {evaluation.shown(one)} ({one['temperature']:g})" for k, one in best)
            unjudged = sum(summary["statuses"].get(status, 0) for status in evaluation.UNJUDGED)
            iteration = "base" if number == "0" else number
            lines.append(f"| {name} | {summary['problems']} | {iteration} | {values or 'none'} | {unjudged:,} |")
    return [*lines, ""]
