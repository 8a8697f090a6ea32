"""Results of an evaluation, and their file: JSON Lines that grow, and from which an interrupted evaluation goes on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from selftaught.sandbox import Status
from selftaught.sandbox.batch import Mismatch
from selftaught.sandbox.output import descriptor, open_output
from selftaught.sandbox.passk import Score
from selftaught.sandbox.records import parse

UNPARSED, REFUSED = "unparsed", "refused"
"""Statuses besides the verifier's: an attempt in which no code is understood, and a prompt that the model refused."""

UNJUDGED = (*(status for status in Status if not status.judged), REFUSED)
"""Statuses that say nothing about a solution: such an attempt is neither right nor wrong."""

_PASSING = (REFUSED, Status.INTERNAL_ERROR)
"""Those of them whose cause may be gone the next time: a server's settings, or a fault of this machine."""


@dataclass(slots=True)
class Result:
    """Attempts at one problem at one temperature.

    Attributes:
        id: The problem's id.
        group: The problem's group.
        trivial: True if a trivial answer solves the problem.
        temperature: Sampling temperature; ``None`` if it is not known (of given samples).
        statuses: Number of attempts with each status, unverified ones included.
        solutions: Status of each distinct solution.
        refusal: Why the model refused the prompt, or why a sample can't be judged; or empty.
        number: The place of the problem among those that were asked, or of the sample among those given, from 0.
        settings: How the attempts were made; empty in files that can't be continued.
    """

    id: str
    group: str
    trivial: bool
    temperature: float | None
    statuses: Counter[str] = field(default_factory=Counter)
    solutions: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    number: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> Score:
        """The number of verified attempts and of correct ones. What does not parse is wrong; what could not be verified
        does not count."""
        unjudged = sum(self.statuses[status] for status in UNJUDGED)
        return Score(self.statuses.total() - unjudged, self.statuses[Status.ACCEPTED])

    @property
    def key(self) -> tuple[str, float | None, int]:
        """What a result is about; a later one with the same key is about the same attempts, made again."""
        return self.id, self.temperature, self.number

    @property
    def to_repeat(self) -> bool:
        """True if attempts were refused or not judged for a reason that may be gone: ``--resume`` makes them again."""
        return any(self.statuses[status] for status in _PASSING)

    def add(self, other: Result) -> None:
        """Add more attempts at the same problem and temperature."""
        self.statuses.update(other.statuses)
        self.solutions.update(other.solutions)
        self.refusal = self.refusal or other.refusal

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        fields = {
            "id": self.id,
            "group": self.group,
            "trivial": self.trivial,
            "temperature": self.temperature,
            "statuses": dict(self.statuses),
            "solutions": self.solutions,
        }
        apart = {"refusal": self.refusal, "number": self.number, "settings": self.settings}
        return fields | {name: value for name, value in apart.items() if value}


def merge(results: Iterable[Result]) -> list[Result]:
    """Return one result for each problem and temperature, in the order of the problems.

    Results come in any order, and the intervals of a bootstrap depend on the order. One that was to repeat gives way to
    a later one of the same attempts; all others add up.
    """
    last: dict[tuple[str, float | None, int], Result] = {}
    for one in results:
        earlier = last.setdefault(one.key, one)
        if earlier is not one and earlier.to_repeat:
            last[one.key] = one
        elif earlier is not one:
            earlier.add(one)
    merged: dict[tuple[str, float | None], Result] = {}
    for one in last.values():
        earlier = merged.setdefault((one.id, one.temperature), one)
        if earlier is not one:
            earlier.add(one)
    return sorted(merged.values(), key=lambda one: one.number)


def write(results: Iterable[Result], path: Path) -> None:
    """Write results as JSON Lines. Raises OSError, also if the path is a symbolic link."""
    with open_output(path) as file:
        file.writelines(_line(result) for result in results)


def read(path: Path) -> Iterator[Result]:
    """Yield the results in a file, one for each problem and temperature. Raises OSError or ValueError."""
    with open(path, "rb") as lines:
        yield from merge(_parsed(line, f"{path}:{number}") for number, line in enumerate(lines, 1))


def check(path: Path, allowed: bool) -> bool:
    """Return True if there are results in a file. Raises Mismatch if there must not be any."""
    exists = descriptor(path) is None and path.exists() and path.stat().st_size > 0
    if exists and not allowed:
        raise Mismatch(f"{path} exists: use --resume to continue it, or --force to replace it")
    return exists


class ResultsFile:
    """A file to which results are added as they come: whole lines, each with one flush.

    A context manager.

    Args:
        path: The file, or ``-`` for standard output.
        settings: How the attempts are made; every line has them.
        resume: Continue an existing file.
        force: Replace an existing file.

    Raises:
        Mismatch: The file exists, and neither is asked for; or it has results with other settings.
        OSError: It can't be opened, or is a symbolic link.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, resume: bool = False, force: bool = False) -> None:
        self._path, self._settings = path, orjson.loads(orjson.dumps(settings))
        self._earlier = 0
        exists = check(path, resume or force)
        if exists and resume:
            for _ in self.earlier():  # before anything is changed
                pass
        self._file: IO[bytes] = open_output(path, "r+b" if exists and resume else "wb")
        if exists and resume:
            self._file.truncate(self._earlier)
            self._file.seek(0, os.SEEK_END)

    def earlier(self) -> Iterator[Result]:
        """Yield the results of an earlier process, line by line. A last line that was cut is none.

        Raises:
            Mismatch: They have other settings.
        """
        end = 0
        with open(self._path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                place = f"{self._path}:{number}"
                try:
                    result = _parsed(line, place)
                except ValueError as error:
                    raise Mismatch(f"{error}: is this an output of `selftaught evaluate`?") from error
                self._compare(result.settings, place)
                end += len(line)
                yield result
        self._earlier = end

    def _compare(self, old: dict[str, Any], place: str) -> None:
        if not old:
            raise Mismatch(f"{place} has no settings, so it can't be continued: choose another output, or give --force")
        new = self._settings
        different = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if different:
            said = "; ".join(f"{name} was {_brief(old.get(name))}, is {_brief(new.get(name))}" for name in different)
            raise Mismatch(f"{place} has other settings: {said}. Give those again, or choose another output")

    def add(self, result: Result) -> None:
        """Write a result."""
        result.settings = self._settings
        self._file.write(_line(result))
        self._file.flush()

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _brief(value: Any) -> str:
    return "not there" if value is None else orjson.dumps(value).decode()


def _line(result: Result) -> bytes:
    try:
        return orjson.dumps(result.to_dict()) + b"\n"
    except TypeError:  # lone surrogates
        return json.dumps(result.to_dict()).encode() + b"\n"


def _parsed(line: bytes, place: str) -> Result:
    try:
        fields = parse(line)
        return Result(**{**fields, "statuses": Counter(fields["statuses"])})
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{place}: no result of an evaluation: {error}") from error
