"""Problems and samples, joined by id: each sample becomes a record with a task (`selftaught.sandbox.batch`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from selftaught.sandbox import records
from selftaught.sandbox.formats import AUTO, FORMATS, Malformed, answers, puzzles, read, recognise
from selftaught.sandbox.formats.fields import IDS, ident
from selftaught.sandbox.formats.problem import Problem
from selftaught.sandbox.passk import Tally
from selftaught.sandbox.records import Record, Unreadable
from selftaught.sandbox.task import Task

REFERENCE = "reference:"
"""The name of samples that stands for the solutions that the problems themselves have."""

_SOLUTIONS = ("solution", "code", "solutions", "code_list", "sol")
_COMPLETING = ("completion", "completions", "response", "output", "generation")
_ANSWER = re.compile(r"^[ \t]*(?:```|~~~)|</?think|<\|", re.M)
"""What an answer has and a plain continuation has not."""
_MOST_READ = 64
"""How many problems are kept in the form that samples need. The others are kept as they were read, which is smaller."""


class Dataset:
    """The problems of a dataset, and samples of their solutions.

    Args:
        sources: Files with the problems, see `selftaught.sandbox.records.rows`.
        samples: A file with the samples, or `REFERENCE`. A sample has the id of its problem (one of `IDS`) and
            ``solution``, whole, or ``completion``: what continues the problem's prompt, or a model's answer with the
            code in it. Either may be a list.
        form: One of `selftaught.sandbox.formats.NAMES`, or `AUTO`.
        compare: See `selftaught.sandbox.formats.read`.
        all_cases: Judge every case, also after one has failed.

    Attributes:
        malformed: Records that are no problems, with the reason.
        seconds: CPU time that the judge of the first problem's format allows.
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
        self._form, self._compare, self._all_cases = form, compare, all_cases
        self._rows: dict[str, Record] = {}
        self.malformed: list[Record] = []
        self.seconds = 0.0
        names = list(sources)
        for name in names if samples == REFERENCE else [*names, samples]:
            records.check(name)
        for name in names:
            for row in records.rows(name, may_be_empty=True):
                self._add(row, len(self._rows) + len(self.malformed))
        if not self._rows and not self.malformed:
            raise Unreadable(f"there are no problems in {', '.join(names)}")
        self.seconds = self.seconds or 1.0
        self.tally = Tally()
        self.unanswered = dict.fromkeys(self._rows)
        self._problem: Callable[[str], Problem] = lru_cache(_MOST_READ)(self._read)

    def __len__(self) -> int:
        return len(self._rows)

    def _add(self, row: Record, number: int) -> None:
        """Keep a row. Its id is what its format takes for it; a row without one is numbered, from 0."""
        if not row.problem:
            try:
                form = recognise(row.fields) if self._form == AUTO else self._form
            except Malformed as error:
                row = Record(row.place, row.fields, problem=f"{row.place}: {error}")
        if row.problem:
            self.malformed.append(Record(row.place, {"id": row.place}, problem=row.problem))
            return
        self.seconds = self.seconds or FORMATS[form].seconds
        key = ident(row.fields) or str(number)
        if key in self._rows:
            raise Unreadable(f"{row.place}: the id {key!r} is also that of {self._rows[key].place}")
        self._rows[key] = row

    def _read(self, key: str) -> Problem:
        """Return the problem with this id. Raises Malformed with its place."""
        row = self._rows[key]
        try:
            return read(row.fields, self._form, self._compare, self._all_cases)
        except Malformed as error:
            raise Malformed(f"{row.place}: {error}") from None

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
        for key, row in self._rows.items():
            try:
                problem = self._problem(key)
                if not problem.references:
                    continue
                self.unanswered.pop(key, None)
                for number, solution in enumerate(problem.references):
                    fields = {"id": key, "reference": number, "solution": solution}
                    yield Record(row.place, fields, problem.task(solution, key))
            except Malformed as error:
                yield Record(row.place, {"id": key}, problem=str(error))

    def _attempts(self, row: Record) -> Iterator[Record]:
        """Yield a record for each attempt of a line, of which there may be a list."""
        if row.problem:
            yield Record(row.place, {"id": row.place}, problem=row.problem)
            return
        key = ident(row.fields)
        if key not in self._rows:
            reason = f"there is no problem {key!r}" if key else f"it has no id: {', '.join(IDS)}"
            yield Record(row.place, {**row.fields, "id": key or row.place}, problem=f"{row.place}: {reason}")
            return
        try:
            name, sources = _sources(row)
            self.unanswered.pop(key, None)
            problem = self._problem(key)
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
