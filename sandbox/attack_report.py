"""What ``selftaught doctor --attacks`` prints: progress, a table by kind, and the cases that came out otherwise."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from selftaught.sandbox import attacks
from selftaught.sandbox.attacks import Failure, Result
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.cases import Case

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def attack(config: WorkerConfig, levels: dict[str, Any], cases: Sequence[Case], workers: int) -> list[Result]:
    """Run the cases at each level and on each engine, and report progress on standard error.

    Args:
        config: What was asked for.
        levels: What was found, by level, as `selftaught.sandbox.doctor.survey` returns it.
        cases: What is run.
        workers: How many cases run side by side.
    """
    results = []
    with _Progress(cases) as progress:
        for place, reason in attacks.plan(config, levels):
            if reason:
                result = Result(place.level or "", reason=reason)
            else:
                progress.begin(f"{place.level}, {place.engine}")
                result = attacks.run(place, cases, workers, progress.add)
            progress.end(result)
            results.append(result)
    return results


def all_as_expected(results: Iterable[Result], levels: Sequence[str]) -> bool:
    """Return True if cases were run at one of these levels and none, at whatever level, came out otherwise.

    Args:
        results: What `attack` returns.
        levels: Confinement levels each of which is enough.
    """
    results = list(results)
    ran = any(result.run.total() for result in results if result.level in levels)
    return ran and not any(result.failures or result.failed for result in results)


def show(results: Sequence[Result]) -> None:
    """Print the table by kind, what was not run and why, and each case that came out otherwise."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    ran = [result for result in results if not result.reason]
    if ran:
        titles = (result.title.replace(", ", "\n") for result in ran)
        table = Table("kind", *titles, show_footer=True, box=SIMPLE, padding=(0, 1, 0, 0))  # six fit into 80 columns
        for kind in sorted({kind for result in ran for kind in (*result.run, *result.excluded)}):
            counts = ((result.passed[kind], result.run[kind], result.excluded[kind]) for result in ran)
            table.add_row(kind, *(_cell(*each) for each in counts))
        table.columns[0].footer = "all"
        for column, result in zip(table.columns[1:], ran, strict=True):
            column.footer = _cell(result.passed.total(), result.run.total(), result.excluded.total())
        console.print(table)
        console.print("Cases that came out as expected / cases that were run.", highlight=False)
    for result in results:
        if result.reason:
            console.print(f"{result.title}: not run. {escape(result.reason)}", highlight=False, soft_wrap=True)
        elif excluded := result.excluded.total():
            console.print(f"{result.title}: {excluded} not run, since they do not apply there", highlight=False)
    for result in results:
        for failure in result.failures:
            console.print(f"[red]{result.title}[/]: {escape(str(failure))}", highlight=False, soft_wrap=True)


def _cell(passed: int, run: int, excluded: int) -> str:
    counts = f"{passed}/{run}" if passed == run else f"[red]{passed}/{run}[/]"
    return f"{counts}, {excluded} not run" if excluded else counts


class _Progress:
    """A bar if standard error is a terminal, else a line for each kind, level and engine."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._total = len(cases)
        self._kinds = Counter(case.kind for case in cases)
        self._stack = ExitStack()
        self._bars: Progress | None = None
        self._bar: TaskID | None = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = self._stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, title: str) -> None:
        """Announce the next level and engine."""
        if self._bars is not None:
            self._bar = self._bars.add_task(title, total=self._total)
        else:
            self._say(f"{title}: {self._total} cases")

    def add(self, result: Result, case: Case, failure: Failure | None) -> None:
        """Count a case that was run."""
        kind = case.kind
        if failure is not None:
            self._say(f"{result.title}: {failure}")
        if self._bars is not None and self._bar is not None:
            self._bars.advance(self._bar)
        elif result.run[kind] + result.excluded[kind] == self._kinds[kind]:
            self._say(f"{result.title}: {kind} {result.passed[kind]}/{result.run[kind]}")

    def end(self, result: Result) -> None:
        """Finish a level and engine, whether its cases were run or not."""
        if result.reason:
            self._say(f"{result.title}: not run: {result.reason}")
        if self._bars is not None and self._bar is not None:
            self._bars.update(self._bar, total=result.run.total(), description=result.title)
            self._bar = None

    def _say(self, text: str) -> None:
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            click.echo(text, err=True)
