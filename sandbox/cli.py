"""The command `selftaught`."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

import selftaught
from selftaught.sandbox.interruption import exit_code, heed_sigterm
from selftaught.sandbox.options import (
    COMPARE,
    OK,
    SOME_UNJUDGED,
    Unusable,
    elsewhere,
    format_option,
    judging,
    limits,
    no_link,
    open_verifier,
    where,
    worker_config,
)
from selftaught.sandbox.output import descriptor, open_output
from selftaught.sandbox.progress import Progress, is_shown
from selftaught.sandbox.server.command import serve

if TYPE_CHECKING:
    from selftaught.sandbox.cases import Case
    from selftaught.sandbox.formats.joining import Dataset
    from selftaught.sandbox.records import Record
    from selftaught.sandbox.verdict import Status, Verdict


class _Commands(click.Group):
    """The commands of this module, and those that packages register as entry points ``selftaught.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group="selftaught.commands").names})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        found = super().get_command(ctx, name)
        for entry in entry_points(group="selftaught.commands", name=name) if found is None else ():
            found = entry.load()
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(selftaught.__version__, prog_name="selftaught")
def main() -> None:
    """Judge programming puzzles and solutions written by language models, safely and exactly."""


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", default="-", metavar="OUT", callback=no_link,
              help="File for the verdicts; standard output by default. Must not be a symbolic link.")  # fmt: skip
@judging
@where
@elsewhere
@click.option("--repeat", type=click.IntRange(1), default=1,
              help="Judge each task this many times; if the verdicts differ it is `unstable`.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue an interrupted output file; no task is judged twice.")
@click.option("--force", is_flag=True, help="Overwrite an existing output file.")
@format_option("Format of the INPUTs; with --samples a dataset's.", tasks=True)
@click.option("--samples", metavar="FILE",
              help="The INPUTs are problems of a dataset: judge these samples of them, or `reference:` for the "
                   "solutions that the dataset has. The default CPU limit is the dataset's.")  # fmt: skip
@COMPARE
@click.option("--all-cases", is_flag=True,
              help="With --samples: judge every case, also after one has failed.")  # fmt: skip
@click.option("--summary", is_flag=True, help="Print the summary even if standard error is not a terminal.")
@click.option("--quiet", is_flag=True, help="Show no progress and no summary.")
def verify(inputs: tuple[str, ...], output: str, resume: bool, force: bool, **options: Any) -> None:
    """Judge tasks and write their verdicts as JSON Lines.

    Each record of the INPUTs becomes one line, in input order: its own fields and those of the verdict. An INPUT is a
    file of JSON Lines, a JSON array, P3's puzzles.json or Parquet, also compressed (gzip, zstd, bzip2, xz), - for
    standard input, or corpus: for the bundled puzzles; what it is, is seen by its content. A puzzle has the fields id,
    sat and sol; a function id, sol and entry_point with tests or cases; a program id, sol and cases. `puzzle` and
    `solution` may stand for sat and sol, as in the pairs of `selftaught generate`. Other fields are copied to the
    output.

    With --samples the INPUTs are problems of a published dataset in its own fields, and each sample becomes a line:
    it has task_id (or what the dataset calls it) and solution, or completion, which continues the problem's prompt.
    The summary has Pass@k.

    \b
    Examples:
      selftaught verify corpus: -o verdicts.jsonl
      selftaught verify attempts.jsonl.gz -o verdicts.jsonl --resume
      selftaught verify puzzles.json --cpu-limit 5 | jq -r 'select(.status != "accepted") | .id'
      selftaught verify HumanEval.jsonl.gz --samples samples.jsonl -o verdicts.jsonl --summary

    \b
    Exit code: 0 every record was judged; 1 some are `invalid` or `internal_error`;
    2 wrong usage; an INPUT is cut, damaged or something else (what was read before is judged); or this machine can't
    reach the required level (see `selftaught doctor`);
    130 interrupted, 143 terminated: the output has only complete lines, and --resume continues it.
    """
    from selftaught.sandbox import batch, records

    heed_sigterm()
    if (*inputs, options["samples"]).count("-") > 1:
        raise click.UsageError("standard input can be read once: name a file for the others")
    done: Counter[str] = Counter()
    try:
        dataset = _dataset(inputs, options)
        source = dataset.samples() if dataset else batch.chain(inputs, options["form"])
        read = (*inputs, options["samples"] or "-")
        if descriptor(output) is not None:
            if resume:
                raise click.UsageError("--resume needs an output file: -o OUT")
        elif Path(output).exists() and Path(output).stat().st_size:
            if any(Path(name).exists() and Path(name).samefile(output) for name in read):
                raise click.UsageError(f"{output} is also an input: choose another output")
            if resume:
                done = batch.resume(Path(output), source, dataset.tally.add if dataset else _ignore)
            elif not force:
                raise click.UsageError(f"{output} exists: use --resume to continue it, or --force to overwrite it")
        sys.exit(_judge(inputs, output, "ab" if resume else "wb", source, done, dataset, options))
    except BrokenPipeError:
        raise  # the reader has closed the pipe: click ends without a message
    except (batch.Mismatch, records.Unreadable, OSError) as error:
        raise Unusable(str(error)) from error
    except KeyboardInterrupt as stop:
        if descriptor(output) is None:
            click.echo(f"interrupted; continue with --resume -o {output}", err=True)
        sys.exit(exit_code(stop))


def _judge(
    inputs: tuple[str, ...],
    output: str,
    mode: str,
    source: Iterator[Record],
    done: Counter[str],
    dataset: Dataset | None,
    options: dict[str, Any],
) -> int:
    from selftaught.sandbox import batch
    from selftaught.sandbox.records import Unreadable

    with ExitStack() as stack:
        verifier = stack.enter_context(open_verifier(options, limits(options)))
        out = sys.stdout.buffer if output == "-" else stack.enter_context(open_output(output, mode))
        shown = is_shown(out, options["quiet"])
        total = (dataset.count() if dataset else batch.count(inputs, options["form"])) if shown else None
        progress = stack.enter_context(Progress(total, done.total(), shown=shown))
        counts, damage, invalid = Counter(done), None, ""

        def on_verdict(verdict: Verdict) -> None:
            nonlocal invalid
            counts[verdict.status] += 1
            if verdict.status == "invalid":
                invalid = invalid or verdict.message
            progress.add(note=f"{counts['accepted']:,} accepted")
            if dataset:
                dataset.tally.add(verdict.id, verdict.status)

        try:
            batch.run(source, verifier, out, options["repeat"], on_verdict)
        except Unreadable as error:
            damage = error
    if options["summary"] or (sys.stderr.isatty() and not options["quiet"]):
        _summarize(counts, verifier.limits.cpu_seconds, progress, dataset)
    if invalid and counts["invalid"] == counts.total() and not options["quiet"]:
        click.echo(f"no record is a task: {invalid}", err=True)
    if dataset and dataset.unanswered and not options["quiet"]:
        click.echo(f"{len(dataset.unanswered):,} of {len(dataset):,} problems have no sample", err=True)
    if damage:
        raise damage
    return SOME_UNJUDGED if counts["invalid"] or counts["internal_error"] else OK


def _ignore(ident: str, status: Status) -> None:
    """Without samples there is no Pass@k to estimate."""


def _dataset(inputs: tuple[str, ...], options: dict[str, Any]) -> Dataset | None:
    """Return the dataset that --samples are of, if they are given, and set the limit that it suggests."""
    from selftaught.sandbox import formats, records

    form, samples = options["form"], options["samples"]
    if not samples:
        if form not in records.FORMATS:
            raise click.UsageError(f"--format {form} is a dataset's: add --samples FILE, or --samples reference:")
        if options["compare"] or options["all_cases"]:
            raise click.UsageError("--compare and --all-cases are for --samples")
        return None
    from selftaught.sandbox.formats.joining import Dataset

    if form in records.FORMATS and form != "auto":
        raise click.UsageError(f"--samples needs the format of a dataset, not {form}: {', '.join(formats.NAMES)}")
    dataset = Dataset(inputs, samples, form, options["compare"], options["all_cases"])
    if click.get_current_context().get_parameter_source("cpu_limit") is ParameterSource.DEFAULT:
        options["cpu_limit"] = dataset.seconds
    return dataset


def _summarize(counts: Counter[str], cpu_seconds: float, progress: Progress, dataset: Dataset | None) -> None:
    from rich.console import Console
    from rich.table import Table

    now = f", {progress.added:,} of them now" if progress.added < counts.total() else ""
    table = Table("status", "tasks", "share")
    for status, number in counts.most_common():
        table.add_row(status, f"{number:,}", f"{number / counts.total():.1%}")
    console = Console(stderr=True)
    console.print(f"{counts.total():,} tasks{now} {progress}, {cpu_seconds:g} s CPU a phase", highlight=False)
    console.print(table)
    if dataset:
        for line in dataset.tally.lines():
            console.print(line, highlight=False)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option(
    "--attacks", is_flag=True, help="Also run the bundled attack and honest cases, at every level and on every engine."
)
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="With --attacks: only cases of this kind. Repeatable."
)
@click.option(
    "--workers", type=click.IntRange(1), help="With --attacks: how many cases run side by side.  [default: 2 at most]"
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "snapshot", "fork"]),
    default="auto",
    show_default=True,
    help="The engine; with --attacks, auto means each of them.",
)
@where
def doctor(as_json: bool, attacks: bool, kinds: tuple[str, ...], workers: int | None, **options: Any) -> None:
    """Say which confinement level this host reaches, with the evidence, and what to do for more.

    With --attacks, hostile code runs on this host: fork bombs, memory bombs, attempts to read and write files and to
    reach the kernel. It runs in the jail, under its limits; but what is tested is that jail, so use a disposable
    machine without secrets. All cases take about a minute for each level and engine, and each worker some 600 MiB of
    memory for a moment. Containers are attacked too if an engine and the image are there; --backend docker means
    containers alone. On a busy machine a case may come out otherwise because it was late: run its kind again with
    --workers 1.

    \b
    Examples:
      selftaught doctor --attacks
      selftaught doctor --attacks --kind files --kind kernel --require restricted

    \b
    Exit code: 0 the required level is reached, and every case that was run came out as expected;
    1 the level is not reached, or a case came out otherwise; 2 wrong usage; 130 interrupted, 143 terminated.
    """
    import orjson

    from selftaught.sandbox import doctor as diagnosis

    if (kinds or workers) and not attacks:
        raise click.UsageError("--kind and --workers are for --attacks")
    heed_sigterm()
    config = worker_config(options)
    try:
        chosen = _cases(kinds) if attacks else ()
        found = diagnosis.survey(config) if attacks else diagnosis.examine(config)
        if not as_json:
            _show(found)
        good = found["level"] in config.levels
        if attacks:
            from selftaught.sandbox import attack_report
            from selftaught.sandbox.attacks import MOST_WORKERS

            workers = workers or min(MOST_WORKERS, len(os.sched_getaffinity(0)))
            results = attack_report.attack(config, found["levels"], chosen, workers)
            found["attacks"] = [result.to_dict() for result in results]
            good = good and attack_report.all_as_expected(results, config.levels)
            if not as_json:
                attack_report.show(results)
    except KeyboardInterrupt as stop:
        sys.exit(exit_code(stop))
    if as_json:
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    sys.exit(OK if good else SOME_UNJUDGED)


def _cases(kinds: tuple[str, ...]) -> tuple[Case, ...]:
    """Return the cases of these kinds, or all."""
    from selftaught.sandbox import cases

    loaded = cases.load()
    known = {case.kind for case in loaded}
    if unknown := set(kinds) - known:
        raise click.UsageError(f"no kind {', '.join(sorted(unknown))}: choose from {', '.join(sorted(known))}")
    return tuple(case for case in loaded if not kinds or case.kind in kinds)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print("  ".join(f"{name}: {value}" for name, value in found["host"].items()), highlight=False)
    for level, result in found["levels"].items():
        if not result["reached"]:
            console.print(f"\n[bold]{level}[/]: [red]not reached[/]. {escape(result['reason'])}")
            console.print(f"  Remedy: {escape(result['remedy'])}")
            continue
        table = Table(
            "mechanism", "", "evidence", title=f"{level}: reached, engine {result['engine']}", title_justify="left"
        )
        for proof in result["mechanisms"]:
            table.add_row(proof["mechanism"], "yes" if proof["holds"] else "[red]no[/]", escape(proof["evidence"]))
        console.print(table)
        if result["packages"]:
            console.print(f"  Packages: {', '.join(f'{name} {which}' for name, which in result['packages'].items())}")
        if result["why"]:
            console.print(f"  Engine {result['engine']}, since a faster one is not available: {escape(result['why'])}")
    console.print(f"level of this host: [bold]{found['level'] or 'none'}[/]")


main.add_command(serve)

if __name__ == "__main__":
    main()
