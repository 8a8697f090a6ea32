"""Malformed tasks, one of each kind, created anew each time; and unusual ones that are valid."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

from selftaught.sandbox import Limits, Program, Task
from selftaught.sandbox.validation import MOST_CHARACTERS

SAT, SOL = "def sat(x: int): return x == 1", "1"


class Text(str):
    """A string that overrides inherited methods."""

    def __hash__(self) -> int:
        raise TypeError("no hash of mine")

    def __eq__(self, other: object) -> bool:
        return True

    def __str__(self) -> str:
        return "another"

    def __len__(self) -> int:
        return 0

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        raise RuntimeError("no bytes of mine")


class Seconds(float):
    """A number that overrides inherited methods."""

    def __lt__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __gt__ = __le__ = __ge__ = __eq__ = __lt__

    def __hash__(self) -> int:
        raise TypeError("no hash of mine")


class Raising(Task):
    """A task whose fields raise when they are read."""

    def __init__(self, name: str, error: Exception) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_error", error)

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "_name"):
            raise object.__getattribute__(self, "_error")
        fields = {"id": "x", "sat": SAT, "sol": SOL, "limits": None}
        return fields[name] if name in fields else object.__getattribute__(self, name)


class Changing(Task):
    """A task whose source is a string when it is first read, and not when it is read again."""

    def __getattribute__(self, name: str) -> Any:
        if name == "sat":
            looks = object.__getattribute__(self, "__dict__")
            looks["seen"] = looks.get("seen", 0) + 1
            return SAT if looks["seen"] == 1 else 5
        return object.__getattribute__(self, name)


class Unwilling(Exception):
    """An error whose message can't be read."""

    def __str__(self) -> str:
        raise RuntimeError("no text of mine")


class Nameless(type):
    """The class of classes without a name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise KeyError("no name of mine")


class Anonymous(metaclass=Nameless):
    """An object of such a class."""


class Impostor:
    """Pretends to be a task, through `__class__`."""

    id, sat, sol, limits = "x", SAT, SOL, None

    @property
    def __class__(self) -> Any:
        return Task


class Denying:
    """Raises when its `__class__` is read."""

    @property
    def __class__(self) -> Any:
        raise ValueError("what am I?")


class Unprintable:
    """Has no representation."""

    def __repr__(self) -> str:
        raise RuntimeError("no words of mine")


class Stricter(Limits):
    """Limits that override inherited methods."""

    def __hash__(self) -> int:
        raise TypeError("no hash of mine")

    def __eq__(self, other: object) -> bool:
        raise TypeError("not to be compared")

    def __bool__(self) -> bool:
        return False


def forced(thing: Any, **fields: object) -> Any:
    """Create a frozen object with fields that its constructor refuses."""
    for name, value in fields.items():
        object.__setattr__(thing, name, value)
    return thing


def _with(name: str, value: Callable[[], object]) -> Any:
    return forced(Task("x", SAT, SOL), **{name: value()})


@functools.cache
def _long() -> str:
    return "#" * (MOST_CHARACTERS + 1)


def limits(**fields: object) -> Callable[[], Any]:
    return lambda: Task("x", SAT, SOL, forced(Limits(), **fields))


MALFORMED: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a number": lambda: 7,
    "text": lambda: "no task",
    "a list": lambda: ["x", SAT, SOL],
    "a dict": lambda: {"id": "x", "sat": SAT, "sol": SOL},
    "a class": lambda: Task,
    "a program": lambda: Program("x", "print(1)"),
    "a look-alike": lambda: SimpleNamespace(id="x", sat=SAT, sol=SOL, limits=None),
    "a mock of a task": lambda: mock.Mock(spec=Task("x", SAT, SOL)),
    "an impostor": Impostor,
    "an object that denies its class": Denying,
    "an object of a nameless class": Anonymous,
    "a task without fields": lambda: object.__new__(Task),
    "a task without limits": lambda: forced(object.__new__(Task), id="x", sat=SAT, sol=SOL),
    **{
        f"{name} that is {kind}": functools.partial(_with, name, value)
        for name in ("id", "sat", "sol", "limits")
        for kind, value in {
            "a number": lambda: 5,
            "a list": list,
            "a set": lambda: {1},
            "bytes": lambda: b"x",
            "a class": lambda: Limits,
            "denied": Denying,
            "nameless": Anonymous,
            "unprintable": Unprintable,
        }.items()
    },
    "None for an id": lambda: forced(Task("x", SAT, SOL), id=None),
    **{
        f"{name} that raises {error!r}": functools.partial(Raising, name, error)
        for name in ("id", "sat", "sol", "limits")
        for error in (ValueError("mine"), StopIteration(), AttributeError("mine"), MemoryError(), RecursionError())
    },
    "a field that raises an error without a message": lambda: Raising("sat", Unwilling()),
    "more characters than there may be": lambda: Task("x", SAT, _long()),
    "a dict for limits": lambda: Task("x", SAT, SOL, {"cpu_seconds": 1}),  # type: ignore[arg-type]
    "limits without fields": lambda: Task("x", SAT, SOL, object.__new__(Limits)),
    "text for seconds": limits(cpu_seconds="1"),
    "unprintable seconds": limits(cpu_seconds=Unprintable()),
    "true for seconds": limits(wall_seconds=True),
    "no seconds": limits(cpu_seconds=0),
    "not a number of seconds": limits(wall_seconds=float("nan")),
    "endless seconds": limits(cpu_seconds=float("inf")),
    "more seconds than the largest float": limits(cpu_seconds=10**400),
    "a list for bytes": limits(memory_bytes=[]),
    "a fraction of bytes": limits(answer_bytes=1.5),
    "true for bytes": limits(output_bytes=True),
    "negative bytes": limits(memory_bytes=-1),
    "more bytes than a machine has": limits(memory_bytes=1 << 80),
}  # fmt: skip
"""None of these can be judged."""

ODD: dict[str, Callable[[], Task]] = {
    "text of another class": lambda: Task(Text("x"), Text(SAT), Text(SOL)),
    "limits of another class": lambda: Task("x", SAT, SOL, Stricter(cpu_seconds=0.5)),
    "a number of another class": lambda: Task("x", SAT, SOL, forced(Limits(), cpu_seconds=Seconds(0.5))),
    "a whole number of seconds": lambda: Task("x", SAT, SOL, Limits(cpu_seconds=1, wall_seconds=5)),
    "no wall seconds": limits(wall_seconds=None),
    "a task that changes while it is read": lambda: Changing("x", SAT, SOL),
    "a task of another class": lambda: type("Mine", (Task,), {})("x", SAT, SOL),
    "half a surrogate pair for an id": lambda: Task("x\ud800", SAT, SOL),
}
"""All of these are valid tasks."""
