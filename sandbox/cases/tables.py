"""Tables of a case's file, whose fields are taken one by one."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class MalformedCase(ValueError):
    """A file of a case can't be read; the message names the file and the field."""


class Table:
    """A table of a case's file, from which fields are taken one by one."""

    def __init__(self, where: str, fields: Any) -> None:
        if type(fields) is not dict:
            raise MalformedCase(f"{where}: is no table")
        self.where, self._fields = where, dict(fields)

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def take(self, name: str, kind: type[T], default: T | None = None) -> T:
        """Remove and return a field. Raises MalformedCase if it is missing without a default, or of another type."""
        value = self._fields.pop(name, default)
        if value is None:
            raise self.wrong(name, "is missing")
        if type(value) is not kind:
            raise self.wrong(name, f"must be of type {kind.__name__}, not {type(value).__name__}")
        return value

    def take_optional(self, name: str, kind: type[T], default: T | None = None) -> T | None:
        """Remove and return a field; the default if it is missing."""
        return self.take(name, kind) if name in self else default

    def take_table(self, name: str) -> Table | None:
        """Remove and return a table, or None if there is none of this name."""
        return Table(f"{self.where}: {name}", self._fields.pop(name)) if name in self else None

    def take_rest(self) -> dict[str, Any]:
        """Remove and return all fields that are left."""
        rest, self._fields = self._fields, {}
        return rest

    def end(self) -> None:
        """Raise MalformedCase if a field is left: nobody knows it."""
        for name in self._fields:
            raise self.wrong(name, "is no field of a case")

    def wrong(self, name: str, what: str) -> MalformedCase:
        """Return the exception for a field."""
        return MalformedCase(f"{self.where}: {name} {what}")
