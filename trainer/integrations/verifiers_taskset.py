"""A task set for verifiers: rows of a file, judged in the jail.

verifiers finds a task set by the name of a package that exports it; a package of two lines is
`examples/verifiers_environment`:

    vf-validate selftaught-tasks --runtime.type subprocess --taskset.problems corpus:
    vf-eval selftaught-tasks --env.taskset.problems problems.jsonl --model MODEL

A solution that was not judged raises: verifiers 0.4 records it as the trace's error, without a reward, and tries again
what `--env.retries` allows. A task that no agent has touched, as in `vf-validate`, is judged with a program that does
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import verifiers.v1 as vf

from selftaught.sandbox.records import CORPUS
from selftaught.trainer.integrations import dataset_row
from selftaught.trainer.integrations.dataset_row import DatasetRow
from selftaught.trainer.rows import Unanswered


def _fenced(source: str) -> str:
    return f"```python\n{source}\n```"


_UNTOUCHED = _fenced("pass")
"""The reply to a task that no agent has touched: a program that does nothing."""


class SelftaughtData(vf.TaskData):  # type: ignore[misc]
    """A task's data: besides verifiers' fields `row`, the row as it is in the file."""

    row: dict[str, Any]


class SelftaughtTaskConfig(vf.TaskConfig):  # type: ignore[misc]
    """Settings of scoring.

    Attributes:
        all_cases: The reward is the share of cases that pass.
        unanswered: The reward of a reply in which no code is understood; None means an error instead of a reward.
    """

    all_cases: bool = False
    unanswered: float | None = None


class SelftaughtTask(vf.Task[SelftaughtData, vf.State, SelftaughtTaskConfig]):  # type: ignore[misc]
    """A row that is asked, and the reward of a reply to it."""

    def _row(self) -> DatasetRow:
        return dataset_row.read(self.data.row, self.data.idx or 0, self.config.all_cases)

    @vf.reward  # type: ignore[untyped-decorator]
    async def verified(self, trace: Any) -> float:
        """Return the reward of a trace's last reply.

        Args:
            trace: The trace.

        Returns:
            1.0 or 0.0, or the share of cases that pass.

        Raises:
            NotJudged: The solution could not be judged.
        """
        reply = trace.last_reply if trace.num_turns else _UNTOUCHED
        try:
            return (await self._row().reward(reply))[0]
        except Unanswered:
            if self.config.unanswered is None:
                raise
            return float(self.config.unanswered)

    async def validate(self, runtime: Any) -> bool | None:
        """Return True if a solution of the row's own is right; None if it has none."""
        row = self._row()
        if row.reference is None:
            return None
        return (await row.reward(_fenced(row.reference)))[1].accepted


class SelftaughtConfig(vf.TasksetConfig):  # type: ignore[misc]
    """Settings of the task set.

    Attributes:
        problems: A file of rows, see `dataset_row.read_file`.
    """

    problems: str = CORPUS
    task: SelftaughtTaskConfig = SelftaughtTaskConfig()


class SelftaughtTaskset(vf.Taskset[SelftaughtTask, SelftaughtConfig]):  # type: ignore[misc]
    """The rows of a file as tasks."""

    def load(self) -> Iterator[SelftaughtTask]:
        """Yield the tasks.

        Raises:
            Unreadable: The file can't be read.
            ValueError: A row can't be asked; the message names it.
        """
        for one in dataset_row.read_file(self.config.problems):
            data = SelftaughtData(id=one.id, name=one.id, prompt=one.prompt, row=dict(one.fields))
            yield SelftaughtTask(data, self.config.task)
