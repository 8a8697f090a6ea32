"""The command `selftaught serve`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from selftaught.sandbox.interruption import Signals, Terminated
from selftaught.sandbox.options import OK, SOME_UNJUDGED, Unusable, judging, limits, size, where, worker_config

_LEAST_TOKEN = 16
_BUFFERED = 256 << 20


@click.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; any other than loopback needs a token.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 chooses a free one and prints it.",
)
@click.option("--uds", metavar="PATH", help="Listen on a Unix socket instead, which only this user can access.")
@click.option("--token-file", type=click.Path(dir_okay=False), metavar="FILE",
              help="Require the token in this file from clients: Authorization: Bearer ...")  # fmt: skip
@click.option("--queue", type=click.IntRange(1), default=1000, show_default=True,
              help="The most tasks queued and running at a time; more get 429. At least what all clients "
                   "send at once. Programs of /run_code don't count: they wait as long as their clients do, "
                   "then get 504.")  # fmt: skip
@judging
@where
@click.option("--run-timeout", type=click.FloatRange(0, 86_400, min_open=True), default=30.0, show_default=True,
              help="The most seconds of CPU time for a program of /run_code or /v1/run. Elapsed time may be five times "
                   "that.")  # fmt: skip
@click.option("--run-memory", type=size,
              help="The most memory for such a program.  [default: 1G, which clients of SandboxFusion ask for; less "
                   "if half of the machine's memory is not enough for that in each worker]")  # fmt: skip
@click.option("--run-output", type=size, default="8M", show_default=True,
              help="How much is kept of each output of such a program. What exceeds that is cut, which /run_code "
                   "answers with SandboxError.")  # fmt: skip
@click.option(
    "--max-body", type=size, default="16M", show_default=True, help="The largest request, or line in a stream."
)
@click.option("--max-buffered", type=size,
              help="Memory for requests and unread responses of all clients; more get 503.  "
                   "[default: 256M, or 4 x --max-body]")  # fmt: skip
@click.option(
    "--drain",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds that a shutdown waits for admitted tasks.",
)
@click.option("--patience", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True,
              help="Timeout in seconds for headers, and for a pause in a body or line; a whole body gets three "
                   "times that, and more if it is large.")  # fmt: skip
@click.option(
    "--level", type=click.Choice(["full", "restricted", "container"]), hidden=True, help="Use exactly this level."
)
@click.option(
    "--lease", type=click.Path(dir_okay=False), hidden=True, help="End when no process has a lock on this file."
)
@click.option(
    "--idle", type=float, default=60.0, hidden=True, help="Seconds without a lock on the lease after which to end."
)
def serve(host: str, port: int, uds: str | None, token_file: str | None, **options: Any) -> None:
    """Serve the verifier over HTTP.

    It judges single tasks and batches, runs programs (also in SandboxFusion's shape), and has metrics and a page to
    try it.

    \b
    POST /v1/verify        {"sat", "sol", "id"?, "limits"?} -> a verdict; or {"sol", "entry_point", "tests" or
                           "cases"}, a function; or {"sol", "cases"}, a program
    POST /v1/verify/batch  an array, or JSON lines -> JSON lines (?order=completion, ?repeat=N)
    POST /v1/run           {"code", "stdin"?, "id"?, "limits"?} -> what the program did
    POST /run_code         SandboxFusion's request for python, python3 or pytest -> its response
    GET  /healthz /readyz /v1/config /metrics /openapi.json, and / for the page

    \b
    Examples:
      selftaught serve
      selftaught serve --uds /run/selftaught.sock --cpu-limit 5
      selftaught serve --host 0.0.0.0 --token-file token --require restricted
      curl -s localhost:8000/v1/verify -H 'Content-Type: application/json' \\
           -d '{"sat": "def sat(x: int): return x > 3", "sol": "4"}'

    SIGTERM and Ctrl-C shut it down: it admits no more tasks, judges admitted ones for --drain seconds, and answers
    the rest with `cancelled`. A second signal ends it at once.

    \b
    Exit code: 0 every admitted task was judged; 1 some were cancelled at the end;
    2 wrong usage, an address that can't be used, or a level that can't be reached.
    """
    try:
        from selftaught.sandbox.server import listener
    except ImportError as error:
        raise Unusable(
            f"the server needs more packages ({error.name} is missing): pip install 'selftaught[server]'"
        ) from error
    from selftaught.sandbox.errors import CannotConfine
    from selftaught.sandbox.server.app import Settings
    from selftaught.sandbox.verifier import Verifier

    task_limits, config = limits(options), worker_config(options)
    token = _token(token_file) if token_file else None
    settings = Settings(
        queue=options["queue"],
        max_body=options["max_body"],
        max_buffered=_buffered(options["max_buffered"], options["max_body"]),
        program_seconds=options["run_timeout"],
        program_memory=options["run_memory"],
        program_output=options["run_output"],
        drain_seconds=options["drain"],
        patience_seconds=options["patience"],
        require=config.levels[-1],
        token=token,
        any_host=bool(uds),
    )
    try:
        if uds is None and token is None and not listener.is_loopback(host):
            raise click.UsageError(
                f"{host} can be reached from other machines: give --token-file, or listen on 127.0.0.1"
            )
        with (
            Signals() as signals,
            listener.listen_unix(uds) if uds else listener.listen_tcp(host, port) as listening,
            Verifier.from_config(config, workers=options["workers"], limits=task_limits) as verifier,
        ):
            click.echo(f"selftaught {listening.address}  level {verifier.level}, {verifier.workers} workers", err=True)
            watch = _lease(options["lease"], options["idle"]) if options["lease"] else None
            cancelled = listener.serve(verifier, settings, listening, signals, watch)
    except Terminated:
        sys.exit(OK)  # no task was admitted yet
    except listener.CannotListen as error:
        raise Unusable(str(error)) from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except CannotConfine as error:
        lower = ", or give --require restricted" if config.backend == "local" else " (with the same --backend)"
        raise Unusable(f"{error}\nRun `selftaught doctor` for remedies{lower}.") from error
    if cancelled:
        click.echo(
            f"{cancelled} tasks were cancelled: they had not been judged within {settings.drain_seconds:g} s", err=True
        )
    sys.exit(SOME_UNJUDGED if cancelled else OK)


def _token(path: str) -> bytes:
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from error
    if len(token) < _LEAST_TOKEN or not token.isascii() or any(byte <= 32 for byte in token):
        raise Unusable(
            f"{path}: a token is at least {_LEAST_TOKEN} printable ASCII characters: openssl rand -hex 32 > {path}"
        )
    return token


def _buffered(given: int | None, max_body: int) -> int:
    if given is None:
        return max(_BUFFERED, 4 * max_body)
    if given < max_body:
        raise click.UsageError(
            f"--max-buffered of {given:,} bytes is less than one request of --max-body, {max_body:,} bytes"
        )
    return given


def _lease(path: str, idle_seconds: float) -> Callable[[Callable[[], None]], Coroutine[Any, Any, None]]:
    from selftaught.sandbox.client.shared import stop_without_lease

    return lambda stop: stop_without_lease(stop, path, idle_seconds)
