"""A row of a data set: what a model is asked, and what judges its answer, for environments that ask by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selftaught.generator import prompts, puzzle
from selftaught.sandbox import Verdict, records
from selftaught.sandbox.dropin import process
from selftaught.sandbox.formats import Problem, statement
from selftaught.sandbox.formats.fields import ident
from selftaught.sandbox.records import CORPUS
from selftaught.trainer import rows


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A row of a data set.

    Attributes:
        id: The row's own id, or its number.
        prompt: What the model is asked: text, or messages.
        judge: What judges its answers, as `selftaught.trainer.rows.judge` returns it.
        fields: The row's fields by name.
        all_cases: The reward is the share of cases that pass.
    """

    id: str
    prompt: Any
    judge: Any
    fields: Mapping[str, Any]
    all_cases: bool = False

    @property
    def reference(self) -> str | None:
        """A solution of the row's own; None if it has none."""
        if isinstance(self.judge, Problem):
            return next(iter(self.judge.references), None)
        return next((self.fields[name] for name in ("sol", "solution") if self.fields.get(name)), None)

    async def reward(self, written: Any) -> tuple[float, Verdict]:
        """Return the reward of an answer, and the verdict from which it is.

        Args:
            written: The answer: text, or messages.

        Returns:
            1.0 or 0.0; with `all_cases` the share of cases that pass.

        Raises:
            Unanswered: No code is understood in the answer.
            NotJudged: The solution could not be judged.
        """
        task = rows.task(self.judge, written, self.prompt, self.all_cases)
        assert task is not None  # `read` refuses rows of other tasks
        verdict = process.require_judged(await process.ajudge(task))
        return rows.value(task, verdict), verdict


def read(row: Mapping[str, Any], number: int = 0, all_cases: bool = False) -> DatasetRow:
    """Return a row that can be asked.

    Args:
        row: The fields by name: `puzzle`, `task`, or those of a published dataset; and what the model is asked, which
            a puzzle may lack.
        number: The id of a row without one.
        all_cases: The reward is the share of cases that pass.

    Raises:
        ValueError: Nothing judges the row, or it says not what is asked.
    """
    fields = {name: value for name, value in row.items() if value is not None}
    judge = rows.judge(fields, all_cases)
    if judge is None:
        raise ValueError(f"nothing judges the row: it has {sorted(fields)}, and no puzzle, task or test cases")
    prompt = fields.get("prompt") or _words(fields, judge) or _puzzle_prompt(judge)
    return DatasetRow(ident(fields) or str(number), prompt, judge, row, all_cases)


def read_file(name: str = CORPUS, all_cases: bool = False) -> list[DatasetRow]:
    """Return the rows of a file.

    Args:
        name: See `selftaught.sandbox.records.rows`.
        all_cases: See `read`.

    Raises:
        Unreadable: The file can't be read.
        ValueError: A record can't be asked; the message names it.
    """
    found = []
    for number, row in enumerate(records.rows(name)):
        if row.problem:
            raise ValueError(row.problem)
        try:
            found.append(read(row.fields, number, all_cases))
        except ValueError as error:
            raise ValueError(f"{row.place}: {error}") from error
    return found


def _words(fields: Mapping[str, Any], judge: Any) -> str:
    """Return the words in which a data set states the row's problem; empty if it has none."""
    if isinstance(judge, str):  # a puzzle: in the pairs that a model wrote, `text` has the solution too
        fields = {name: value for name, value in fields.items() if name != "text"}
    return statement.read(fields)


def _puzzle_prompt(judge: Any) -> str:
    """Return what a model is asked about a puzzle. Raises ValueError."""
    if not isinstance(judge, str):
        names = ", ".join(name for name in statement.NAMES if name != "prompt")
        raise ValueError(f"the row does not say what is asked: it needs a column `prompt`, or one of: {names}")
    return prompts.for_solution(puzzle.parse(judge), prompts.Style(()), chat=True).text
