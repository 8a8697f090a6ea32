"""The command `selftaught self-play`."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from selftaught.generator.options import load_model, model_options
from selftaught.sandbox.interruption import exit_code, heed_sigterm
from selftaught.sandbox.options import REQUIRE, WORKERS, Unusable, elsewhere, no_link, open_verifier

TOO_FEW = 1


@click.command(name="self-play")
@click.option("--model", "model_name", required=True, metavar="MODEL", help="As for `selftaught generate`.")
@click.option("-n", "tasks", type=click.IntRange(1), required=True, help="Stop when there are so many tasks.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FOLDER", callback=no_link,
              help="The run's folder, with tasks.jsonl. No symbolic link.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="Change a setting, such as kinds=deduction or attempts=16; may be repeated.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@model_options
@click.option("--cpu-limit", type=float, default=1.0, show_default=True, help="CPU seconds for each phase.")
@WORKERS
@elsewhere
@REQUIRE
@click.option("--resume", is_flag=True, help="Continue the run in the folder.")
@click.option("--quiet", is_flag=True, help="No progress and no summary.")
def self_play(tasks: int, output: Path, **options: Any) -> None:
    """Let a model propose tasks about programs, and solve them: Absolute Zero's three kinds, beside puzzles.

    Deduction: predict the output of a program. Abduction: find an input. Induction: write the program for inputs and
    outputs, of which half are shown. The verifier runs what is proposed, keeps what is deterministic, and judges the
    answers. `selftaught train --method self-play` learns both roles from FOLDER/tasks.jsonl.

    \b
    Settings: kinds=deduction,abduction,induction prompts_per_wave=4 samples_per_prompt=8 references=6 attempts=8
      temperature=1.0 top_p=1.0 propose_max_new_tokens=200 solve_max_new_tokens=100 bare=false
    Examples:
      selftaught self-play --model ./coder -n 1000 -o out/play
      selftaught self-play --model http://127.0.0.1:8000/v1 --chat -n 1000 -o out/play --set kinds=induction

    \b
    Exit code: 0 done; 1 the model proposed too few tasks; 2 wrong usage, or model, files or confinement level not
    available; 130 interrupted, 143 terminated: --resume continues.
    """
    from selftaught.generator.absolute_zero.play import SelfPlay, Settings
    from selftaught.generator.folder import Mismatch
    from selftaught.generator.models import ModelFailed
    from selftaught.generator.settings import changed
    from selftaught.sandbox import Limits

    heed_sigterm()

    def tell(counts: Counter[str]) -> None:
        if not options["quiet"]:
            click.echo(f"  {counts['tasks']:,} of {tasks:,} tasks, {counts['learnable']:,} learnable", err=True)

    try:
        chosen, limits = changed(Settings(), options["settings"]), Limits(cpu_seconds=options["cpu_limit"])
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    try:
        model = load_model(options["model_name"], options)
        with open_verifier(options, limits) as verifier:
            seed, resume = options["seed"], options["resume"]
            made = SelfPlay(model, verifier, output, chosen, seed=seed, resume=resume, on_progress=tell)
            counts = made.run(tasks)
    except (ModelFailed, Mismatch, ValueError, OSError) as error:
        raise Unusable(str(error)) from error
    except KeyboardInterrupt as stop:
        click.echo(f"interrupted; continue with --resume -o {output}", err=True)
        sys.exit(exit_code(stop))
    if not options["quiet"]:
        click.echo(", ".join(f"{name} {number:,}" for name, number in counts.items()), err=True)
    if counts["tasks"] < tasks:
        click.echo(f"the model proposed too few tasks: {counts['tasks']} of {tasks}", err=True)
        sys.exit(TOO_FEW)
