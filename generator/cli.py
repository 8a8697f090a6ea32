"""The commands `selftaught generate` and `selftaught why`."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selftaught.generator.options import load_model, model_options
from selftaught.sandbox import progress
from selftaught.sandbox.interruption import exit_code, heed_sigterm
from selftaught.sandbox.options import REQUIRE, WORKERS, Unusable, elsewhere, no_link, open_verifier

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from selftaught.generator.folder import Tally
    from selftaught.generator.held_out import Split
    from selftaught.generator.models import Completer
    from selftaught.generator.recipe import Recipe
    from selftaught.generator.seeds import Seed

TOO_FEW = 1


@click.command()
@click.option("--model", "model_name", required=True, metavar="MODEL",
              help="A folder or name that transformers loads (GGUF too), or http://host:port/v1#NAME, any server with "
              "/v1/completions or /v1/chat/completions (a key is read from OPENAI_API_KEY), or several that serve the "
              "same model: http://host:port/v1,http://host:port/v1#NAME.")  # fmt: skip
@click.option("--seeds", default="corpus:", show_default=True, metavar="FILE",
              help="Puzzles for prompts: records with a field `sat` or `puzzle`, in any file that `selftaught verify` "
              "reads; P3's puzzles.json; corpus: or oneliners: (bundled; of one line, for small models); or - for "
              "standard input.")  # fmt: skip
@click.option("-n", "pairs", type=click.IntRange(1), help="Stop after this many pairs are kept.")
@click.option("--puzzles", type=click.IntRange(1), help="Stop after this many puzzles are written.")
@click.option("-o", "--output", required=True, metavar="FOLDER", callback=no_link,
              help="The run's folder, with pairs.jsonl. No symbolic link.")  # fmt: skip
@click.option("--recipe", "recipe_name", type=click.Choice(["default", "paper"]), default="default", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="Change a switch of the recipe, such as max_attempts=32; may be repeated.")  # fmt: skip
@click.option("--held-out", multiple=True, metavar="FILE",
              help="Puzzles to hold out, besides the bundled held-out sets, in a file as for --seeds; or problems of a "
              "benchmark, such as HumanEval.jsonl.gz. May be repeated. Every record must be one of these.")  # fmt: skip
@click.option("--split", metavar="FILE",
              help="P3's split.json: of P3's puzzles, --seeds are the training part, and the test part is held out.",
              )  # fmt: skip
@click.option(
    "--earlier", multiple=True, metavar="FOLDER", help="A run whose puzzles count as written before; may be repeated."
)
@click.option(
    "--bare", is_flag=True, help="Prompts without seeds and few-shot examples, for a model trained on puzzles only."
)
@click.option("--docstrings", is_flag=True, help="Keep the docstrings of seeds in prompts.")
@click.option("--annotated", is_flag=True,
              help="Ask for solutions with the type of the answer in their signature: def g(...) -> List[int].",
              )  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@click.option(
    "--iteration", type=click.IntRange(0), default=0, help="Number of the loop's iteration, recorded with every pair."
)
@model_options
@click.option("--cpu-limit", type=float, default=1.0, show_default=True, help="CPU seconds for each of the two phases.")
@WORKERS
@elsewhere
@REQUIRE
@click.option("--resume", is_flag=True, help="Continue the run in the folder; nothing is sampled or verified twice.")
@click.option("--quiet", is_flag=True, help="No progress and no summary.")
def generate(pairs: int | None, puzzles: int | None, output: str, **options: Any) -> None:
    """Let a model write puzzles and solve them; keep the pairs that are new, not trivial, and verified.

    FOLDER receives pairs.jsonl (training pairs with their provenance; `datasets` reads it), puzzles.jsonl (every puzzle
    with the results of its filters), and the state from which an interrupted run continues. `selftaught why ID`
    explains a pair.

    \b
    Examples:
      selftaught generate --model ./smollm2 -n 1000 -o out/first
      selftaught generate --model http://127.0.0.1:8000/v1 --seeds puzzles.json --recipe paper -n 100000 -o out/paper
      selftaught generate --model MODEL --seeds puzzles.json --split split.json --held-out HumanEval.jsonl -n 9 -o out
      selftaught generate --model ./smollm2 -n 1000 -o out/ablation --set hindsight_attempts=0 --set trivial_check=paper

    \b
    Exit code: 0 done; 1 the model wrote no more pairs before enough were kept; 2 wrong usage, or model, files or
    confinement level not available; 130 interrupted, 143 terminated: --resume continues.
    """
    from selftaught.generator.folder import Mismatch
    from selftaught.generator.models import ModelFailed
    from selftaught.generator.novelty import Contaminated
    from selftaught.generator.seeds import Unreadable

    if pairs is None and puzzles is None:
        raise click.UsageError("give -n PAIRS or --puzzles PUZZLES")
    heed_sigterm()
    try:
        tally = _generate(pairs, puzzles, Path(output), options)
    except (ModelFailed, Mismatch, Contaminated, Unreadable, OSError) as error:
        raise Unusable(str(error)) from error
    except KeyboardInterrupt as stop:
        click.echo(f"interrupted; continue with --resume -o {output}", err=True)
        sys.exit(exit_code(stop))
    if pairs and tally.stages["pairs"] < pairs and not (puzzles and tally.stages["written"] >= puzzles):
        click.echo(f"the model wrote too few pairs: {tally.stages['pairs']} of {pairs} pairs", err=True)
        sys.exit(TOO_FEW)


def _generate(pairs: int | None, puzzles: int | None, output: Path, options: dict[str, Any]) -> Tally:
    from selftaught.generator import held_out, models
    from selftaught.generator.folder import Folder, read_puzzles
    from selftaught.generator.generation import Generation
    from selftaught.generator.prompts import BARE, Style
    from selftaught.sandbox import Limits

    recipe = _recipe(options["recipe_name"], options["settings"])
    split = held_out.Split(options["split"]) if options["split"] else None
    shown, exam = _seeds(options["seeds"], recipe, options["quiet"], split)
    kept_out = held_out.gather(options["held_out"], split, (seed.puzzle.source for seed in exam))
    model = load_model(options["model_name"], options)
    style = replace(
        BARE if options["bare"] else Style(docstrings=options["docstrings"]), annotated=options["annotated"]
    )
    try:
        limits = Limits(cpu_seconds=options["cpu_limit"])
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error
    config = {
        "recipe": recipe.to_dict(),
        "model": model.name,
        "model_digest": model.digest,
        "seeds": [seed.id for seed in shown],
        "held_out": kept_out.digest,
        "earlier": list(options["earlier"]),
        **{name: options[name] for name in ("bare", "docstrings", "seed", "iteration")},
        **({"annotated": True} if options["annotated"] else {}),
        "limits": limits.to_dict(),
        **({"chat": True} if models.chats(model) else {}),
    }
    with (
        Folder(output, config, shown, resume=options["resume"]) as folder,
        open_verifier(options, limits) as verifier,
        _Live(options["quiet"], folder.tally, pairs, puzzles) as live,
    ):
        generation = Generation(
            model,
            shown,
            verifier,
            folder,
            recipe,
            style=style,
            held_out=kept_out,
            earlier=(record for path in options["earlier"] for record in read_puzzles(Path(path))),
            seed=options["seed"],
            iteration=options["iteration"],
            on_progress=live.show,
        )
        tally = generation.run(pairs=pairs, puzzles=puzzles)
        live.show(tally)
    if not options["quiet"]:
        _tell(model, *generation.refused)
    return tally


def _tell(model: Completer, refused: int, reason: str) -> None:
    """Say how many prompts gave nothing or less than they might."""
    from selftaught.generator import models

    if refused:
        click.echo(f"{refused:,} prompts were refused by the model, and gave nothing: {reason}", err=True)
    if models.chats(model) and (cut := getattr(model, "cut", 0)):
        click.echo(
            f"{cut:,} answers ended at their maximum of tokens: --set puzzle_max_new_tokens=N and --set "
            "solution_max_new_tokens=N allow more",
            err=True,
        )


def _seeds(source: str, recipe: Recipe, quiet: bool, split: Split | None) -> tuple[list[Seed], list[Seed]]:
    """Return the seeds of a file that the recipe can use, and those of the split's test part. Say how many were left
    out and why."""
    from selftaught.generator import answers, seeds
    from selftaught.sandbox.records.omissions import Omissions

    omissions, usable, exam = Omissions(), [], []
    split = None if source in seeds.BUNDLED else split
    for seed in seeds.read(source, omissions):
        if split and split.has("test", seed.name):
            exam.append(seed)
        if split and not split.has("train", seed.name):
            omissions.add(f"it is not in the training part of {split.path}", seed.name)
        elif answers.allowed(answers.read_type(seed.puzzle.annotation), recipe.answer_types):
            usable.append(seed)
        else:
            omissions.add("the recipe has no answers of its type", f"{seed.name}: {seed.puzzle.annotation}")
    if not usable:
        raise seeds.Unreadable("\n".join([f"{source} has no puzzle that the recipe can use", *omissions.lines()]))
    if source not in seeds.BUNDLED and not quiet:
        omissions.tell(source)
    return usable, exam


def _recipe(name: str, settings: tuple[str, ...]) -> Recipe:
    from selftaught.generator.recipe import RECIPES

    try:
        return RECIPES[name].changed(*settings)
    except ValueError as error:
        raise click.UsageError(f"--set {error}") from error


class _Live:
    """Shows the yield of every stage, the pace and the time left: updated on a terminal, printed once at the end
    elsewhere.

    Args:
        quiet: Show nothing.
        before: What earlier processes of the run have done.
        pairs: How many pairs are wanted.
        puzzles: Or how many puzzles.
    """

    def __init__(self, quiet: bool, before: Tally, pairs: int | None, puzzles: int | None) -> None:
        self._quiet = quiet
        self._wanted = {name: number for name, number in (("pairs", pairs), ("written", puzzles)) if number}
        self._before = {name: before.stages[name] for name in self._wanted}

    def __enter__(self) -> _Live:
        from rich.console import Console
        from rich.live import Live

        self._started = time.monotonic()
        self._console = Console(stderr=True)
        self._tally: Tally | None = None
        self._live = Live(console=self._console, refresh_per_second=4, transient=False)
        if not self._quiet and self._console.is_terminal:
            self._live.start()
        return self

    def show(self, tally: Tally) -> None:
        self._tally = tally
        if self._live.is_started:
            self._live.update(self._drawn(tally))

    def _drawn(self, tally: Tally) -> Group:
        from rich.console import Group

        return Group(table(tally), *(self._pace(tally, name) for name in self._wanted))

    def _pace(self, tally: Tally, name: str) -> str:
        """Return in words how many of the wanted pairs or puzzles there are, how fast they came, and the time left."""
        seconds, done, wanted = time.monotonic() - self._started, tally.stages[name], self._wanted[name]
        now = done - self._before[name]
        rest = progress.left(now, wanted - self._before[name], seconds)
        after = f", {progress.duration(rest)} left" if rest else ""
        what = "puzzles" if name == "written" else name
        return f"{done:,} of {wanted:,} {what}, {now:,} {progress.pace(now, seconds)}{after}"

    def __exit__(self, *_: object) -> None:
        started = self._live.is_started
        self._live.stop()
        if not started and not self._quiet and self._tally:
            self._console.print(self._drawn(self._tally), highlight=False)


def table(tally: Tally) -> Table:
    """Return a table of the puzzles that passed each stage."""
    from rich.table import Table

    from selftaught.generator.candidate import STAGES

    made = Table("puzzles", "passed", "of the stage before", "refused")
    before = tally.stages["written"] + tally.stages["derived"]
    made.add_row("written", f"{tally.stages['written']:,}", "", "")
    if tally.stages["derived"]:
        made.add_row("derived", f"{tally.stages['derived']:,}", "", "")
    for stage in STAGES:
        count = tally.stages[stage]
        share = f"{count / before:.1%}" if before else ""
        made.add_row(stage, f"{count:,}", share, f"{tally.refusals[stage]:,}")
        before = count
    attempts, right = tally.stages["attempts"], tally.stages["right"]
    made.add_section()
    made.add_row("attempts", f"{attempts:,}", "", "")
    made.add_row("correct", f"{right:,}", f"{right / attempts:.1%}" if attempts else "", "")
    made.add_row("pairs kept", f"{tally.stages['pairs']:,}", "", "")
    return made


@click.command()
@click.argument("ident", metavar="ID")
@click.argument("folder", default=".", metavar="[FOLDER]")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def why(ident: str, folder: str, as_json: bool) -> None:
    """Explain why a pair was kept or a puzzle refused: its sampling, filters, verdicts and parents.

    ID is the id of a pair or puzzle, or the beginning of one. All runs below FOLDER (default: the current folder) are
    searched.

    Exit code: 0 found; 1 no record or several records have that ID; 2 a run's file can't be read.
    """
    import orjson

    from selftaught.generator import provenance
    from selftaught.sandbox.records import Unreadable

    try:
        chain = provenance.explain(ident, Path(folder))
    except Unreadable as error:
        raise Unusable(str(error)) from error
    except provenance.NotFound as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(TOO_FEW)
    if as_json:
        click.echo(orjson.dumps(chain, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(provenance.describe(chain))
