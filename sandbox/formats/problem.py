"""A problem of a dataset, and the tasks that samples make of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from selftaught.sandbox.task import AnyTask, StdioTask, Task


class Malformed(ValueError):
    """A record is not what its format says; the message says why."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What judges the solutions of one problem.

    Attributes:
        id: Its id in the dataset, as a string.
        judge: A task without a solution.
        prompt: Source that a completion continues; empty if completions are whole programs.
        imports: A line of imports that the dataset's own judge writes before a program.
        method: The entry point is a method of the solution's class ``Solution``, if it has that class.
        references: Solutions that the dataset itself has, whole.
    """

    id: str
    judge: AnyTask
    prompt: str = ""
    imports: str = ""
    method: bool = False
    references: tuple[str, ...] = ()

    def task(self, solution: str, ident: str | None = None) -> AnyTask:
        """Return the task of a solution.

        Args:
            solution: The source, whole.
            ident: The task's id; ``None`` means the problem's.
        """
        ident = self.id if ident is None else ident
        if isinstance(self.judge, Task):
            return dataclasses.replace(self.judge, id=ident, sol=solution)
        if isinstance(self.judge, StdioTask):
            # An import from __future__ must be a program's first statement.
            imports = "" if "from __future__" in solution else self.imports
            return dataclasses.replace(self.judge, id=ident, sol=imports + solution)
        name = self.judge.entry_point
        if self.method and "class Solution" in solution:
            name = f"Solution.{name}"
        return dataclasses.replace(self.judge, id=ident, sol=solution, entry_point=name)

    def complete(self, completion: str) -> str:
        """Return the whole solution of a completion, which continues the prompt."""
        return self.prompt + completion
