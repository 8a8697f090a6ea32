"""Problems of a benchmark's file, as questions for a model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from selftaught.generator.prompts import Prompt, Style
from selftaught.sandbox import Limits
from selftaught.sandbox.formats import AUTO, NAMES, Malformed, answers
from selftaught.sandbox.formats.benchmark import Benchmark
from selftaught.sandbox.records import Unreadable
from selftaught.sandbox.task import AnyTask
from selftaught.trainer.benchmarks import prompts
from selftaught.trainer.problems import Selection

_NO_PROBLEM = "it is no problem that a model can be asked"
_PUZZLE = "puzzle"
_MBPP_SHOTS = ("2", "3", "4")
"""The tasks that MBPP's authors show (https://github.com/google-research/google-research/tree/master/mbpp)."""
_MBPP_PARTS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}


@dataclass(frozen=True, slots=True)
class BenchmarkProblem:
    """A problem of a benchmark, a `selftaught.trainer.question.Question`.

    Attributes:
        id: Its id in the dataset.
        benchmark: The problems of the file.
        form: The name of its format.
        limits: Limits of its tasks.
        shots: Ids of the solved problems that a prompt shows, if it shows any.
        group: The part of the dataset that it is in, if the file has several.
    """

    id: str
    benchmark: Benchmark
    form: str
    limits: Limits
    shots: tuple[str, ...] = ()
    group: str = ""

    @property
    def trivial(self) -> bool:
        """False: trivial answers are a notion of puzzles."""
        return False

    @property
    def source(self) -> str:
        """See `selftaught.trainer.question.Question`."""
        return f"{self.benchmark.digest} {self.id}"

    @property
    def stop(self) -> tuple[str, ...]:
        """See `selftaught.trainer.question.Question`."""
        return prompts.stops(self.form)

    def prompt(self, style: Style, chat: bool) -> Prompt:
        """Return the prompt; solved problems are shown if `style` has any, and no problem shows itself."""
        shown = [self.benchmark.fields(one) for one in self.shots if one != self.id] if style.shots else []
        fields, problem = self.benchmark.fields(self.id), self.benchmark.problem(self.id)
        return Prompt(prompts.text(fields, self.form, problem, chat, shown), "", chat=chat)

    def read(self, prompt: Prompt, text: str) -> str | None:
        """Return the whole solution in what a model wrote; None if no code is understood in it."""
        written = text if prompt.chat else prompts.written(self.form, text)
        return answers.solution(self.benchmark.problem(self.id), written)

    def task(self, ident: str, solution: str) -> AnyTask:
        """Return the task of a solution."""
        return dataclasses.replace(self.benchmark.problem(self.id).task(solution, ident), limits=self.limits)


def select(
    file: str, form: str = AUTO, compare: str | None = None, cpu_seconds: float | None = None
) -> Selection[BenchmarkProblem]:
    """Return the problems of a file.

    Args:
        file: The file (see `selftaught.sandbox.records.rows`).
        form: One of `selftaught.sandbox.formats.NAMES`, or `AUTO`.
        compare: See `selftaught.sandbox.formats.read`.
        cpu_seconds: CPU limit of a case, or of all tests of a problem (None: that of the dataset's own judge).

    Raises:
        Unreadable, ValueError: The file can't be read, or has no such problems.
    """
    if file in NAMES and not Path(file).exists():
        raise Unreadable(
            f"there is no file {file!r}; --benchmark takes the file with the dataset's problems, which is not part of "
            "this program, and --format its name if that is not recognised"
        )
    benchmark = Benchmark([file], form, compare)
    found, limits = Selection[BenchmarkProblem]([]), Limits(cpu_seconds=cpu_seconds or benchmark.seconds)
    for record in benchmark.malformed:
        found.omissions.add(_NO_PROBLEM, record.problem)
    found.malformed, found.cpu_seconds = len(benchmark.malformed), limits.cpu_seconds
    shots = tuple(key for key in _MBPP_SHOTS if key in benchmark)
    for key in benchmark:
        name = benchmark.form(key)
        with_tests = name in prompts.TASK_WITH_TESTS
        shown, part = (shots, _part(key)) if with_tests else ((), "")
        one = BenchmarkProblem(key, benchmark, name, limits, shown, part)
        try:
            if name == _PUZZLE:
                raise Malformed(f"{benchmark.place(key)}: a puzzle: those are given with --puzzles")
            one.prompt(Style(), False)
            found.problems.append(one)
        except Malformed as error:
            found.malformed += 1
            reason = str(error)
            found.omissions.add(_NO_PROBLEM, reason if benchmark.place(key) in reason else f"{key}: {reason}")
    if not found.problems:
        hint = ["--format NAME says what a record lacks of a format"] if form == AUTO else []
        raise Unreadable(
            "\n".join([f"{file} has no problems that a model can be asked", *found.omissions.lines(), *hint])
        )
    if len({one.group for one in found.problems}) == 1:
        found.problems = [dataclasses.replace(one, group="") for one in found.problems]
    return found


def _part(key: str) -> str:
    """Return the part of MBPP that a problem is in; empty if it isn't one of MBPP's ids."""
    number = int(key) if key.isdecimal() else 0
    return next((f"MBPP {name} part" for name, ids in _MBPP_PARTS.items() if number in ids), "")
