"""Controls for a finished run of a loop: the same base model, trained on other data of the same amount.

    python -m selftaught.trainer.ablation RUN --variant unverified [--preset NAME | --config FILE]

unverified        as many attempts of the base model at admitted puzzles, drawn regardless of their verdicts
                  (not attempts of later models: those have learnt from verdicts)
verified          the run's own pairs again: a check, whose result is that of the run's last iteration
corpus            preset tiny: as many other documents of the noisy corpus
corpus-verified   preset tiny: documents that the base model has read and the verifier accepts, at most as many

It prints Pass@k beside the base model's, and writes RUN/ablations/VARIANT/evaluation.jsonl and summary.json. For
ablations of the recipe run the loop with `--set NAME=VALUE`. The settings must be the run's.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from selftaught.generator.example import Example, Judgement, Sampling, pair_id
from selftaught.generator.models import ModelFailed
from selftaught.sandbox import Task, Verifier
from selftaught.sandbox.options import Unusable
from selftaught.sandbox.output import replace_json
from selftaught.trainer import evaluation, heldout, presets
from selftaught.trainer.evaluation import Result
from selftaught.trainer.loop import Loop
from selftaught.trainer.presets import Preset
from selftaught.trainer.tiny import corpus
from selftaught.trainer.tiny.guard import Guard
from selftaught.trainer.tiny.learner import TinyLearner


def _plain(puzzle: str, solution: str) -> Example:
    """Return an example without verdict and provenance."""
    nobody = Sampling("", "", "", 0.0, 0.0, 0, 0, 0)
    unknown = Judgement("", "", "", 0.0, 0.0, 0, "")
    ident = pair_id(puzzle, solution)
    return Example(ident, puzzle, solution, "", "", "", "", 0, 0, 1.0, "", "", 0, nobody, nobody, [], unknown)


def unverified(loop: Loop, count: int, rng: random.Random) -> Iterator[Example]:
    """Yield attempts of the base model at admitted puzzles, equally many of each, regardless of their verdicts."""
    found: list[tuple[str, list[str]]] = []
    for record in loop.written(1):
        own = [one for one in record["attempts"] if one["status"] != "unparsed" and not one["borrowed_from"]]
        if own:
            found.append((record["puzzle"], sorted({one["solution"] for one in own})))
    each = -(-count // max(1, len(found)))
    drawn = [(puzzle, one) for puzzle, solutions in found for one in rng.sample(solutions, min(each, len(solutions)))]
    rng.shuffle(drawn)
    yield from (_plain(*pair) for pair in drawn[:count])


def more_corpus(learner: TinyLearner, count: int, seed: int) -> Iterator[Example]:
    """Yield noisy documents that the base model has not read."""
    guard = Guard(heldout.records("machine"))
    fresh = corpus.documents(seed + 1_000_003, learner.noise, guard.allows)
    yield from (_plain(one.sat, one.sol) for one in itertools.islice(fresh, count))


def verified_corpus(learner: TinyLearner, count: int, seed: int, verifier: Verifier) -> Iterator[Example]:
    """Yield documents that the base model has read and the verifier accepts."""
    documents = learner.corpus(seed)
    verdicts = verifier.verify_many(Task(str(n), one.sat, one.sol) for n, one in enumerate(documents))
    right = (_plain(one.sat, one.sol) for one, verdict in zip(documents, verdicts, strict=True) if verdict.accepted)
    yield from itertools.islice(right, count)


def _controlled(
    run: Path, preset: Preset, done: Sequence[dict[str, Any]], variant: str, require: str, model: Path
) -> tuple[list[Example], list[Result]]:
    """Train a control in a folder; return what it was trained on, and its results.

    Raises:
        Mismatch: The settings are not the run's.
        ModelFailed: The model can't be used.
    """
    seed, last = orjson.loads((run / "config.json").read_bytes())["seed"], len(done) - 1
    learner, count = preset.learner, done[-1]["counts"]["examples"]
    with Verifier(limits=preset.limits, require=require) as verifier:
        loop = Loop(preset, last, run, verifier, seed, lambda line: click.echo(line, err=True))
        if variant == "unverified":
            examples = list(unverified(loop, count, random.Random(seed)))
        elif variant == "verified":
            examples = loop.examples(last)
        elif not isinstance(learner, TinyLearner):
            raise click.UsageError(f"{variant} is for the preset tiny, whose corpus is made here")
        elif variant == "corpus":
            examples = list(more_corpus(learner, count, loop.derive("base")))
        else:
            examples = list(verified_corpus(learner, count, loop.derive("base"), verifier))
        try:
            learner.train(run / "iterations" / "0" / "model", examples, model, loop.derive(f"train {last}"))
            return examples, loop.evaluate(model, f"evaluate {variant}")
        finally:
            getattr(learner, "close", lambda: None)()


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True))
@click.option("--variant", required=True, type=click.Choice(["unverified", "verified", "corpus", "corpus-verified"]))
@click.option("--preset", "name", default="tiny", type=click.Choice(list(presets.PRESETS)), help="The run's preset.")
@click.option("--config", type=click.Path(path_type=Path, exists=True), help="Or the run's file of settings.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A setting of the run, as given to loop.")
@click.option("--require", type=click.Choice(["full", "restricted"]), default="full")
def main(run: Path, variant: str, name: str, config: Path | None, settings: tuple[str, ...], require: str) -> None:
    """Train RUN's base model on other data of the same amount, and evaluate it like the run's models."""
    try:
        preset = presets.from_file(config or presets.PRESETS[name], "preset", settings)
        done = orjson.loads((run / "metrics.json").read_bytes())["iterations"]
        out = run / "ablations" / variant
        examples, results = _controlled(run, preset, done, variant, require, out / "model")
    except (OSError, ValueError, ModelFailed) as error:
        raise Unusable(str(error)) from error
    evaluation.write(results, out / "evaluation.jsonl")
    summary: dict[str, Any] = {"examples": len(examples), **evaluation.summary(results)}
    replace_json(out / "summary.json", summary)
    groups = {"": summary["pass_at_k"], **{f" of {group}": found for group, found in summary["groups"].items()}}
    for group, found in groups.items():
        for k, one in found.items():
            of_base = done[0]["groups"][group.removeprefix(" of ")] if group else done[0]["pass_at_k"]
            click.echo(
                f"{variant}: {len(examples):,} pairs, Pass@{k}{group} {one['value']:.1%} "
                f"[{one['low']:.1%}, {one['high']:.1%}] (base {of_base[k]['value']:.1%})"
            )


if __name__ == "__main__":
    main()
