"""Options and exit codes that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from selftaught.sandbox.output import SymbolicLink, refuse_link

if TYPE_CHECKING:
    from selftaught.sandbox.backends import Placement
    from selftaught.sandbox.task import Limits

OK, SOME_UNJUDGED, UNUSABLE = 0, 1, 2
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
F = TypeVar("F", bound=Callable[..., Any])


class Unusable(click.ClickException):
    """The environment or an input does not allow what was asked."""

    exit_code = UNUSABLE


def size(value: str) -> int:
    """A number of bytes, with K, M or G for powers of 1,024."""
    match = re.fullmatch(r"(\d{1,15})([KMG]?)I?B?", value.upper())
    if not match:
        raise click.BadParameter(f"{value!r} is no size: give bytes, or a number with K, M or G")
    return int(match[1]) * _UNITS[match[2]]


def _workers(value: int | None) -> int | None:
    if value == 0:
        raise click.BadParameter("0 workers judge nothing")
    return value


_JUDGING = (
    click.option("--cpu-limit", type=float, default=1.0, show_default=True, help="CPU seconds for each of the two phases."),
    click.option("--wall-limit", type=float, help="Elapsed seconds for each phase.  [default: 10 x CPU limit + 1]"),
    click.option("--memory", type=size, default="512M", show_default=True, help="Memory of a phase beyond the interpreter."),
    click.option("--answer-limit", type=size, default="32M", show_default=True, help="Size of an encoded answer."),
    click.option("--output-limit", type=size, default="1M", show_default=True, help="What a phase may print."),
    click.option("--workers", type=int, callback=lambda *given: _workers(given[-1]),
                 help="How many judge side by side; -1 leaves one processor to others.  [default: one a processor]"),
    click.option("--engine", type=click.Choice(["auto", "snapshot", "fork"]), default="auto", show_default=True,
                 help="How a phase gets a fresh process: snapshot is fast, fork works everywhere, auto is the fastest this host can do."),
)  # fmt: skip
_WHERE = (
    click.option("--require", type=click.Choice(["full", "restricted", "container"]),
                 help="The confinement level that must be reached; the best one is used.  [default: full; container with docker]"),
    click.option("--backend", type=click.Choice(["local", "docker"]), default="local", show_default=True,
                 help="Where code runs: confined processes of this machine, or containers."),
    click.option("--image", metavar="NAME", help="The containers' image.  [default: what `make images` builds]"),
    click.option("--runtime", metavar="NAME", help="The containers' OCI runtime, as the engine knows it.  [default: the engine's]"),
)  # fmt: skip


def no_link(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The callback of an option that names an output, a file or a folder: it is refused before any work is done if it is a symbolic link."""
    try:
        refuse_link(value)
    except SymbolicLink as error:
        raise Unusable(str(error)) from error
    return value


def judging(command: F) -> F:
    """The options that say under which limits, by how many workers and by which engine is judged."""
    return _with(command, _JUDGING)


def where(command: F) -> F:
    """The options that say where code runs, and how well it must be held."""
    return _with(command, _WHERE)


def _with(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def placement_of(options: dict[str, Any]) -> Placement:
    """Where code runs, by those of these options that say so."""
    from selftaught.sandbox.backends import Placement

    try:
        return Placement(**{field.name: options[field.name] for field in fields(Placement) if field.name in options})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def limits(options: dict[str, Any]) -> Limits:
    """The limits among these options."""
    from selftaught.sandbox.task import Limits

    names = ("cpu_limit", "wall_limit", "memory", "answer_limit", "output_limit")
    try:
        return Limits(*(options[name] for name in names))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
