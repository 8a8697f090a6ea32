"""Options and exit codes that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from selftaught.sandbox.daemon_address import DAEMON_VARIABLE, TOKEN_VARIABLE, read_token
from selftaught.sandbox.output import SymbolicLink, refuse_link

if TYPE_CHECKING:
    from selftaught.sandbox.backends import WorkerConfig
    from selftaught.sandbox.client import Client
    from selftaught.sandbox.task import Limits
    from selftaught.sandbox.verifier import Verifier

OK, SOME_UNJUDGED, UNUSABLE = 0, 1, 2
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
F = TypeVar("F", bound=Callable[..., Any])


class Unusable(click.ClickException):
    """The command can't do its work with this environment or input."""

    exit_code = UNUSABLE


def size(value: str) -> int:
    """Parse a number of bytes; K, M and G stand for powers of 1,024. Raises click.BadParameter."""
    match = re.fullmatch(r"(\d{1,15})([KMG]?)I?B?", value.upper())
    if not match:
        raise click.BadParameter(f"{value!r} is not a size: give bytes, or a number with K, M or G")
    return int(match[1]) * _UNITS[match[2]]


def _workers(value: int | None) -> int | None:
    if value == 0:
        raise click.BadParameter("must not be 0")
    return value


def _names(values: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(name for value in values for name in value.split(",") if name.strip()) or None


_JUDGING = (
    click.option("--cpu-limit", type=float, default=1.0, show_default=True,
                 help="CPU seconds for each of the two phases."),
    click.option("--wall-limit", type=float, help="Elapsed seconds for each phase.  [default: 10 x CPU limit + 1]"),
    click.option("--memory", type=size, default="512M", show_default=True,
                 help="Memory of a phase beyond the interpreter."),
    click.option("--answer-limit", type=size, default="32M", show_default=True, help="Size of an encoded answer."),
    click.option("--output-limit", type=size, default="1M", show_default=True, help="Size of what a phase may print."),
    click.option("--workers", type=int, callback=lambda *given: _workers(given[-1]),
                 help="Tasks judged in parallel; -1 leaves one processor free.  [default: one for each processor]"),
    click.option("--engine", type=click.Choice(["auto", "snapshot", "fork"]), default="auto", show_default=True,
                 help="How a phase gets a fresh process: snapshot is fast, fork works everywhere, auto takes the "
                      "fastest that this host offers."),
    click.option("--require-isolation", type=click.Choice(["process", "shared"]), default="shared", show_default=True,
                 help="process refuses tests that run in one process with the solution, which can cheat there."),
)  # fmt: skip
_WHERE = (
    click.option("--require", type=click.Choice(["full", "restricted", "container"]),
                 help="The lowest acceptable confinement level; the best one is used.  "
                      "[default: full; container with docker]"),
    click.option("--backend", type=click.Choice(["local", "docker"]), default="local", show_default=True,
                 help="Where code runs: confined processes of this machine, or containers."),
    click.option("--image", metavar="NAME",
                 help="The containers' image.  [default: the one that `make images` builds]"),
    click.option("--runtime", metavar="NAME",
                 help="The containers' OCI runtime, by its name in the container engine.  [default: the engine's]"),
    click.option("--packages", multiple=True, metavar="NAMES", callback=lambda *given: _names(given[-1]),
                 help="Installed packages that tasks may import, such as numpy,sympy. Repeatable.  "
                      "[default: those in SELFTAUGHT_PACKAGES, or none]"),
    click.option("--site", metavar="FOLDER",
                 help="Where those are installed: a site-packages folder.  [default: where this command is]"),
)  # fmt: skip


def no_link(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse an output that is a symbolic link before any work is done: the callback of an option for an output."""
    try:
        refuse_link(value)
    except SymbolicLink as error:
        raise Unusable(str(error)) from error
    return value


class _FormatName(click.ParamType):  # type: ignore[type-arg]  # it is generic in the newest versions only
    """A name of a format. The names are looked up when they are needed: every command starts with this module.

    Args:
        tasks: Formats of tasks too, not only those of datasets.
    """

    name = "format"

    def __init__(self, tasks: bool) -> None:
        self._tasks = tasks

    def _names(self) -> list[str]:
        from selftaught.sandbox import formats, records

        return [*(records.FORMATS if self._tasks else [formats.AUTO]), *formats.NAMES]

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return f"[{'|'.join(self._names())}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self._names():
            self.fail(f"{value!r} is not one of {', '.join(self._names())}.", param, ctx)
        return value


def format_option(said: str, tasks: bool = False) -> Callable[[F], F]:
    """Return the option ``--format``.

    Args:
        said: Its help.
        tasks: Formats of tasks too, not only those of datasets.
    """
    return click.option("--format", "form", type=_FormatName(tasks), default="auto", show_default=True, help=said)


def _comparison(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value:
        from selftaught.sandbox import comparison

        try:
            comparison.validate(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return value


def judging(command: F) -> F:
    """Add the options for limits, number of workers, and engine to a command."""
    return _with(command, _JUDGING)


def where(command: F) -> F:
    """Add the options for backend and confinement level to a command."""
    return _with(command, _WHERE)


def _with(command: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def worker_config(options: dict[str, Any]) -> WorkerConfig:
    """Return the config that these options describe. Raises click.UsageError."""
    from selftaught.sandbox.backends import WorkerConfig

    try:
        return WorkerConfig(
            **{field.name: options[field.name] for field in fields(WorkerConfig) if field.name in options}
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error


WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Number of worker processes.  [default: one for each processor]"
)
REQUIRE = click.option("--require", type=click.Choice(["full", "restricted"]), default="full", show_default=True,
                       help="The confinement level that is required.")  # fmt: skip
COMPARE = click.option("--compare", metavar="NAME", callback=_comparison,
                       help="Of a dataset's problems: how output is compared, if not as the dataset's own judge does "
                       "it.")  # fmt: skip
_ELSEWHERE = (
    click.option("--ray", metavar="ADDRESS",
                 help="Judge on all nodes of this Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for one on "
                      "this machine. --workers is then of each node."),
    click.option("--daemon", "daemons", multiple=True, metavar="URL", envvar=DAEMON_VARIABLE,
                 help="Judge by this daemon (`selftaught serve`): http://HOST:PORT, unix:PATH, or dns+http://NAME:PORT "
                      "for each address of a name. Repeatable: several share the work, and those that fail are left "
                      f"out.  [default: those in {DAEMON_VARIABLE}, separated by spaces, or none]"),
    click.option("--token-file", "daemon_token", metavar="FILE", envvar=TOKEN_VARIABLE,
                 type=click.Path(dir_okay=False),
                 help=f"The daemons' token, if they require one.  [default: the file that {TOKEN_VARIABLE} names]"),
)  # fmt: skip
_DAEMONS_OWN = (
    "workers", "engine", "backend", "image", "runtime", "packages", "site", "require_isolation",
)  # fmt: skip
START_SECONDS = 60.0
"""How long a command waits for the first of its daemons."""


def elsewhere(command: F) -> F:
    """Add the options for judging on a Ray cluster or by daemons to a command."""
    return _with(command, _ELSEWHERE)


def open_verifier(options: dict[str, Any], limits: Limits) -> Verifier:
    """Return the verifier that these options describe: of this machine, of a cluster, or a client of daemons.

    Raises:
        click.UsageError: Options contradict each other.
        Unusable: It can't be opened, with the remedy.
    """
    from selftaught.sandbox.errors import CannotConfine, ServerRefused

    given = click.get_current_context().get_parameter_source
    opened: Any  # the others have the methods of a Verifier
    try:
        if options.get("daemons") and not (options.get("ray") and given("daemons") is ParameterSource.ENVIRONMENT):
            opened = _client(options, limits)
        elif options.get("ray"):
            from selftaught.sandbox.cluster import RayVerifier

            opened = RayVerifier(
                options["ray"], workers=options["workers"], config=worker_config(options), limits=limits
            )
        else:
            opened = _local(options, limits)
        return opened  # type: ignore[no-any-return]
    except (CannotConfine, ImportError, ConnectionError, ServerRefused) as error:
        raise Unusable(str(error)) from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _local(options: dict[str, Any], limits: Limits) -> Verifier:
    from selftaught.sandbox.errors import CannotConfine
    from selftaught.sandbox.verifier import Verifier

    config = worker_config(options)
    try:
        return Verifier.from_config(config, workers=options["workers"], limits=limits)
    except CannotConfine as error:
        lower = ", or give --require restricted" if config.backend == "local" else " (with the same --backend)"
        raise Unusable(f"{error}\nRun `selftaught doctor` for remedies{lower}.") from error


def _client(options: dict[str, Any], limits: Limits) -> Client:
    """Return a client whose daemons are ready. Raises as `AsyncClient.wait_until_ready`, and what `open_verifier`
    does."""
    from selftaught.sandbox.client import Client
    from selftaught.sandbox.errors import CannotConfine

    given = click.get_current_context().get_parameter_source
    wrong = [name for name in _DAEMONS_OWN if given(name) is ParameterSource.COMMANDLINE]
    if options.get("ray"):
        raise click.UsageError("give --ray or --daemon, not both")
    if wrong:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        raise click.UsageError(f"with --daemon leave out {names}: it is an option of the daemons, `selftaught serve`")
    path, require = options["daemon_token"], options["require"] or "full"
    try:
        token = read_token(path) if path else None
    except OSError as error:
        raise Unusable(str(error)) from error
    client = Client(options["daemons"], token=token, require=require, limits=limits)
    try:
        client.wait_until_ready(START_SECONDS)
        allowed = client.config()["limits"]
        if above := [name for name, value in limits.to_dict().items() if value > allowed[name]]:
            least = ", ".join(f"{name} {allowed[name]:g}" for name in above)
            raise Unusable(f"limits above those of the daemons ({least}): lower them here, or raise them there")
    except CannotConfine as error:
        client.close()
        raise Unusable(f"{error}\nGive --require restricted if that is enough.") from error
    except BaseException:
        client.close()
        raise
    return client


def limits(options: dict[str, Any]) -> Limits:
    """Return the limits that these options describe. Raises click.UsageError."""
    from selftaught.sandbox.task import Limits

    names = ("cpu_limit", "wall_limit", "memory", "answer_limit", "output_limit")
    try:
        return Limits(*(options[name] for name in names))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
