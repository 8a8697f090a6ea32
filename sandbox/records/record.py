"""A record of an input, and what is raised about an input as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from selftaught.sandbox.task import AnyTask

EXPECTED = "expected JSON Lines (one object a line), a JSON array of objects, or Parquet"


class Unreadable(ValueError):
    """An input can't be read at all, or not to its end; the message says why and what to do."""


@dataclass(slots=True)
class Record:
    """One record of an input.

    Attributes:
        place: ``FILE:LINE``, or ``FILE:NUMBER`` with the number of the record if the format has no lines.
        fields: The record as read, for the output.
        task: The task, or ``None`` if there is a `problem`, or if tasks were not asked for.
        problem: What is wrong with the record.
    """

    place: str
    fields: dict[str, Any] = field(default_factory=dict)
    task: AnyTask | None = None
    problem: str = ""

    @property
    def id(self) -> str:
        """The record's own id as a string, or else its place."""
        name = self.fields.get("id")
        return str(name) if isinstance(name, (str, int, float)) and not isinstance(name, bool) else self.place
