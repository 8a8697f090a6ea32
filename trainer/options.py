"""Options that the trainer's commands share."""

from __future__ import annotations

import click

WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Number of worker processes.  [default: one for each processor]"
)
REQUIRE = click.option("--require", type=click.Choice(["full", "restricted"]), default="full", show_default=True,
                       help="The confinement level that is required.")  # fmt: skip
