"""The problems of a dataset's files, by id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from selftaught.sandbox import records
from selftaught.sandbox.formats import AUTO, FORMATS, Malformed, read, recognise
from selftaught.sandbox.formats.fields import Fields, ident
from selftaught.sandbox.formats.problem import Problem
from selftaught.sandbox.records import Record, Unreadable

_MOST_READ = 64
"""How many problems are kept in the form that samples need. The others are kept as they were read, which is smaller."""


class Benchmark:
    """The problems of a dataset.

    Args:
        sources: Files with the problems, see `selftaught.sandbox.records.rows`.
        form: One of `selftaught.sandbox.formats.NAMES`, or `AUTO`.
        compare: See `selftaught.sandbox.formats.read`.
        all_cases: Judge every case, also after one has failed.

    Attributes:
        malformed: Records that are no problems, with the reason.
        seconds: CPU time that the judge of the first problem's format allows.

    Raises:
        Unreadable: A file can't be read, or two problems have the same id.
    """

    def __init__(
        self, sources: Iterable[str], form: str = AUTO, compare: str | None = None, all_cases: bool = False
    ) -> None:
        self._form, self._compare, self._all_cases = form, compare, all_cases
        self._rows: dict[str, Record] = {}
        self._content = hashlib.sha256()
        self.malformed: list[Record] = []
        self.seconds = 0.0
        names = list(sources)
        for name in names:
            records.check(name)
        for name in names:
            for row in records.rows(name, may_be_empty=True):
                self._add(row, len(self._rows) + len(self.malformed))
        if not self._rows and not self.malformed:
            raise Unreadable(f"there are no problems in {', '.join(names)}")
        self.seconds = self.seconds or 1.0
        self._problem: Callable[[str], Problem] = lru_cache(_MOST_READ)(self._read)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        """Yield the ids of the problems, in their order."""
        return iter(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    @property
    def digest(self) -> str:
        """A digest of the problems' fields, whatever the file's format."""
        return self._content.hexdigest()[:16]

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
        self._content.update(json.dumps([key, row.fields], sort_keys=True, default=str).encode())

    def place(self, key: str) -> str:
        """Return where a problem is: ``FILE:LINE``."""
        return self._rows[key].place

    def fields(self, key: str) -> Fields:
        """Return the fields of a problem."""
        return self._rows[key].fields

    def form(self, key: str) -> str:
        """Return the name of a problem's format."""
        return recognise(self.fields(key)) if self._form == AUTO else self._form

    def problem(self, key: str) -> Problem:
        """Return the problem with this id. Raises Malformed with its place."""
        return self._problem(key)

    def _read(self, key: str) -> Problem:
        row = self._rows[key]
        try:
            return read(row.fields, self._form, self._compare, self._all_cases)
        except Malformed as error:
            raise Malformed(f"{row.place}: {error}") from None
