"""Problems and samples, joined by id: each sample becomes a record with a task (`selftaught.sandbox.batch`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from selftaught.sandbox import records
from selftaught.sandbox.formats import AUTO, Malformed, answers, puzzles
from selftaught.sandbox.formats.benchmark import Benchmark
from selftaught.sandbox.formats.fields import IDS, ident
from selftaught.sandbox.formats.problem import Problem
from selftaught.sandbox.passk import Tally
from selftaught.sandbox.records import Record
from selftaught.sandbox.task import Task

REFERENCE = "reference:"
"""The name of samples that stands for the solutions that the problems themselves have."""

_SOLUTIONS = ("solution", "code", "solutions", "code_list", "sol")
_COMPLETING = ("completion", "completions", "response", "output", "generation")
_ANSWER = re.compile(r"^[ \t]*(?:```|~~~)|</?think|<\|", re.M)
"""What an answer has and a plain continuation has not."""


class Dataset(Benchmark):
    """The problems of a dataset, and samples of their solutions.

    Args:
        sources: See `Benchmark`.
        samples: A file with the samples, or `REFERENCE`. A sample has the id of its problem (one of `IDS`) and
            ``solution``, whole, or ``completion``: what continues the problem's prompt, or a model's answer with the
            code in it. Either may be a list.
        form: See `Benchmark`.
        compare: See `Benchmark`.
        all_cases: See `Benchmark`.

    Attributes:
        tally: Counts the attempts at each problem; whoever has the verdicts adds them.
        unanswered: Ids of problems without a sample. Complete once all samples were read.

    Raises:
        Unreadable: A file can't be read, or two problems have the same id.
    """

    def __init__(
        self,
        sources: Iterable[str],
        samples: str,
        form: str = AUTO,
        compare: str | None = None,
        all_cases: bool = False,
    ) -> None:
        self._samples = samples
        if samples != REFERENCE:
            records.check(samples)
        super().__init__(sources, form, compare, all_cases)
        self.tally = Tally()
        self.unanswered = dict.fromkeys(self)

    def samples(self) -> Iterator[Record]:
        """Yield a record for each sample: first what is malformed among the problems, then the samples in order.

        The fields of a record are those of the sample, and the problem's id as ``id``.

        Raises:
            Unreadable: The file of the samples can't be read.
        """
        yield from self.malformed
        if self._samples == REFERENCE:
            yield from self._references()
            return
        for row in records.rows(self._samples, may_be_empty=True):
            yield from self._attempts(row)

    def count(self) -> int | None:
        """Return how many records `samples` yields, if it can be known ahead at little cost; else ``None``."""
        if self._samples == REFERENCE or records.count(self._samples) is None:
            return None
        return len(self.malformed) + sum(map(_attempts_in, records.rows(self._samples, may_be_empty=True)))

    def _references(self) -> Iterator[Record]:
        for key in self:
            place = self.place(key)
            try:
                problem = self.problem(key)
                if not problem.references:
                    continue
                self.unanswered.pop(key, None)
                for number, solution in enumerate(problem.references):
                    fields = {"id": key, "reference": number, "solution": solution}
                    yield Record(place, fields, problem.task(solution, key))
            except Malformed as error:
                yield Record(place, {"id": key}, problem=str(error))

    def _attempts(self, row: Record) -> Iterator[Record]:
        """Yield a record for each attempt of a line, of which there may be a list."""
        if row.problem:
            yield Record(row.place, {"id": row.place}, problem=row.problem)
            return
        key = ident(row.fields)
        if key not in self:
            reason = f"there is no problem {key!r}" if key else f"it has no id: {', '.join(IDS)}"
            yield Record(row.place, {**row.fields, "id": key or row.place}, problem=f"{row.place}: {reason}")
            return
        try:
            name, sources = _sources(row)
            self.unanswered.pop(key, None)
            problem = self.problem(key)
        except Malformed as error:
            yield Record(row.place, {**row.fields, "id": key}, problem=str(error))
            return
        for number, source in enumerate(sources):
            fields = {**row.fields, "id": key}
            if len(sources) > 1:
                fields |= {name: source, "sample": number}
            solution = _whole(problem, source) if name in _COMPLETING else source
            yield Record(row.place, fields, problem.task(solution, key))


def _whole(problem: Problem, text: str) -> str:
    """Return the solution in what a model wrote: it continues the prompt, or is an answer with code in it."""
    if isinstance(problem.judge, Task):
        return puzzles.solution(problem.prompt, text)
    found = answers.solution(problem, text) if _ANSWER.search(text) else None
    return problem.complete(text) if found is None else found


def _attempts_in(row: Record) -> int:
    """Return how many attempts a line has; what is malformed is a record too."""
    try:
        return 1 if row.problem else len(_sources(row)[1])
    except Malformed:
        return 1


def _sources(row: Record) -> tuple[str, list[str]]:
    """Return the name of the field that has the sample, and the sources in it. Raises Malformed with its place."""
    for name in (*_SOLUTIONS, *_COMPLETING):
        value = row.fields.get(name)
        if value is None:
            continue
        sources = [value] if isinstance(value, str) else value
        if not isinstance(sources, list) or not all(isinstance(source, str) for source in sources):
            raise Malformed(f"{row.place}: the field {name!r} must be a string or a list of strings")
        if not sources:
            raise Malformed(f"{row.place}: the field {name!r} is an empty list")
        return name, sources
    raise Malformed(f"{row.place}: it has no solution: {', '.join((*_SOLUTIONS, *_COMPLETING))}")
