"""What all requests share: JSON, conditions for a retry, and pauses before it."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import asdict
from typing import Any

import aiohttp
import orjson

from selftaught.sandbox import json_cases
from selftaught.sandbox.job import Kind
from selftaught.sandbox.judging import Checked, PackedTask, unpack_cases, unpack_tests
from selftaught.sandbox.records import parse
from selftaught.sandbox.task import Limits

ATTEMPTS = 3
"""How often a task is sent whose verdict is `internal_error`. The server itself makes two attempts each time."""

BROKEN = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError, OSError)
"""Exceptions that mean a broken connection."""

_WAITS = (0.05, 0.1, 0.2, 0.5, 1.0)


class Busy(Exception):
    """The server asks for a retry after so many `seconds`."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Unavailable(Busy):
    """The server serves nobody at the moment: it shuts down, or is no longer there behind a proxy."""


def encode(task: Checked, limits: Limits | None = None) -> bytes:
    """Return a task as JSON, with these limits if it has none of its own."""
    fields: dict[str, Any] = {"id": task.id}
    if isinstance(task, PackedTask):
        fields |= _fields(task)
    else:
        fields.update(sat=task.sat, sol=task.sol)
    if (limits := task.limits or limits) is not None:
        fields["limits"] = limits.to_dict()
    return to_json(fields)


def _fields(task: PackedTask) -> dict[str, Any]:
    fields: dict[str, Any] = {"sol": task.sol.decode("utf-8", "surrogatepass")}
    if task.kind in (Kind.TESTS, Kind.SHARED):
        isolation = "shared" if task.kind is Kind.SHARED else "process"
        return {**fields, **asdict(unpack_tests(task.judge)), "isolation": isolation}
    judge = unpack_cases(task.judge)
    fields.update(compare=judge.compare, checker=judge.checker or None, all_cases=judge.all_cases)
    if task.kind is Kind.STDIO:
        texts = [[text.decode("utf-8", "surrogatepass") for text in case] for case in judge.cases]
        return {**fields, "cases": texts}
    cases = [json_cases.write(*case) for case in judge.cases]
    return {**fields, "entry_point": judge.entry_point, "prelude": judge.prelude, "cases": cases}


def to_json(content: dict[str, Any]) -> bytes:
    """Return an object as JSON; `json` writes what orjson refuses."""
    try:
        return orjson.dumps(content)
    except TypeError:  # lone surrogates
        return json.dumps(content).encode()


async def content_of(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the JSON object in a response, or an empty one if there is none."""
    try:
        content = parse(await response.read())
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {}


class Waits:
    """Pauses between attempts: exponential backoff with jitter."""

    def __init__(self) -> None:
        self._number = 0

    async def wait(self, at_least_seconds: float = 0.0) -> None:
        """Sleep for the next pause, or longer if the server asked for that."""
        pause = max(at_least_seconds, _WAITS[min(self._number, len(_WAITS) - 1)])
        self._number += 1
        await asyncio.sleep(pause * random.uniform(0.75, 1.25))

    def reset(self) -> None:
        """Start with short pauses again, after a success."""
        self._number = 0
