"""Options that the trainer's commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from selftaught.sandbox.options import Unusable, worker_config

if TYPE_CHECKING:
    from selftaught.sandbox import Limits, Verifier

WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Number of worker processes.  [default: one for each processor]"
)
REQUIRE = click.option("--require", type=click.Choice(["full", "restricted"]), default="full", show_default=True,
                       help="The confinement level that is required.")  # fmt: skip


def verifier(limits: Limits, options: dict[str, Any]) -> Verifier:
    """Return the verifier that `WORKERS` and `REQUIRE` describe. Raises Unusable."""
    from selftaught.sandbox import CannotConfine, Verifier

    try:
        return Verifier.from_config(worker_config(options), workers=options["workers"], limits=limits)
    except CannotConfine as error:
        raise Unusable(f"{error}\nRun `selftaught doctor` for remedies, or give --require restricted.") from error
