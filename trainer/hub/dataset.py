"""The kept pairs of a run as a dataset: one JSON Lines file, and a card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from selftaught.generator.candidate import STAGES
from selftaught.generator.example import Example
from selftaught.trainer.hub.cleaning import cleaned, refuse_secrets
from selftaught.trainer.hub.contents import DATASET, Run, Upload

DATA = "data/train.jsonl"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
          (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))  # fmt: skip


@dataclass(slots=True)
class Facts:
    """What a card says of the pairs, gathered while they pass by.

    Attributes:
        pairs: Number of pairs.
        puzzles: Ids of their puzzles.
        templates: Ids of the puzzles' canonical forms.
        kinds: Pairs with each type of answer.
        models: Pairs of which each model wrote the solution, by its name and the digest of its weights.
        derived: Pairs whose puzzle no model wrote.
        borrowed: Pairs whose solution was written for another puzzle.
        verifiers: Programs, versions and engines that verified them.
        levels: Confinement levels at which they were verified.
        repeats: How often a pair was verified.
        iterations: Iterations of the loop.
    """

    pairs: int = 0
    puzzles: set[str] = field(default_factory=set)
    templates: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    derived: int = 0
    borrowed: int = 0
    verifiers: set[str] = field(default_factory=set)
    levels: set[str] = field(default_factory=set)
    repeats: set[int] = field(default_factory=set)
    iterations: set[int] = field(default_factory=set)

    def seen(self, examples: Iterable[Example], root: Path) -> Iterator[Example]:
        """Yield the examples and gather what the card says of them.

        Args:
            examples: The pairs.
            root: The run's folder: models in it are named relative to it.
        """
        for one in examples:
            self.pairs += 1
            self.puzzles.add(one.puzzle_id)
            self.templates.add(one.template)
            self.kinds[one.answer_type] += 1
            wrote = one.solution_sampling
            if wrote.model:
                self.models[cleaned(wrote.model, root), wrote.model_digest[:12]] += 1
            self.derived += not one.puzzle_sampling.model
            self.borrowed += bool(one.borrowed_from)
            self.verifiers.add(one.judgement.verifier)
            self.levels.add(one.judgement.level)
            self.repeats.add(one.judgement.repeats)
            self.iterations.add(one.iteration)
            yield one


def write_pairs(examples: Iterable[Example], path: Path, root: Path) -> None:
    """Write pairs as lines of JSON, without paths of this machine.

    Args:
        examples: The pairs.
        path: The file.
        root: The run's folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as out:
        for one in examples:
            out.write(orjson.dumps(cleaned(one.to_dict(), root)) + b"\n")


def prepare(run: Run, staging: Path, repo: str, license_id: str | None) -> Upload:
    """Return what is uploaded of a run's pairs.

    Args:
        run: The run.
        staging: A folder for the file that is made.
        repo: ``OWNER/NAME``, for the card.
        license_id: The licence's identifier on the Hub (None: none is stated).

    Raises:
        Unreadable: The run's files can't be read.
        Secret: A pair has what looks like one.
    """
    facts = Facts()
    path = staging / DATA
    write_pairs(facts.seen(run.examples(), run.path), path, run.path)
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            refuse_secrets(DATA, number, line)
    notes = [] if license_id else ["no licence is stated: --license ID, such as mit or cc-by-4.0"]
    if not facts.pairs:
        notes.append("there is no pair in it")
    readme = card(run, facts, repo, license_id).encode()
    left_out = sorted(entry.name for entry in run.path.iterdir())
    return Upload(DATASET, {"README.md": readme, DATA: path}, left_out, notes)


def card(run: Run, facts: Facts, repo: str = "", license_id: str | None = None) -> str:
    """Return the dataset's card: metadata for the Hub, and what is in it, how it was made and verified.

    Args:
        run: The run.
        facts: What was gathered from its pairs.
        repo: ``OWNER/NAME``; empty for a card in the run's own folder.
        license_id: The licence's identifier on the Hub (None: none is stated).
    """
    from huggingface_hub import DatasetCardData

    size = next((name for most, name in _SIZES if facts.pairs < most), "1B<n<10B")
    data = DatasetCardData(
        license=license_id,
        pretty_name="Verified programming puzzles and solutions",
        task_categories=["text-generation"],
        size_categories=[size],
        annotations_creators=["machine-generated"],
        tags=["code", "synthetic", "programming-puzzles", "selftaught"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": DATA}]}],
    )
    source = f'"{repo}"' if repo else f'"json", data_files="{DATA}"'
    models = [f"{name} (weights {digest}): {count:,}" for (name, digest), count in facts.models.most_common()]
    return _CARD.format(
        metadata=data.to_yaml(),
        made=_made(run, facts),
        pairs=facts.pairs,
        puzzles=len(facts.puzzles),
        templates=len(facts.templates),
        derived=facts.derived,
        borrowed=facts.borrowed,
        kinds=", ".join(f"`{name}` {number:,}" for name, number in facts.kinds.most_common()) or "none",
        models="; ".join(models) or "none",
        verifier=", ".join(sorted(facts.verifiers)) or "none",
        levels=", ".join(f"`{level}`" for level in sorted(facts.levels)) or "none",
        repeats=" or ".join(str(number) for number in sorted(facts.repeats)) or "0",
        table=_yield(run),
        switches=_switches(run),
        load=source,
        licence=f"`{license_id}`, as stated by who pushed it." if license_id else "None is stated.",
    )


def _made(run: Run, facts: Facts) -> str:
    """Return in words which command made the pairs."""
    recipe = run.recipe["name"]
    if "name" not in run.config:
        return f"Made by `selftaught generate`, recipe `{recipe}`, seed {run.config.get('seed', 0)}."
    iterations = max(facts.iterations, default=0)
    return (
        f"Made by `selftaught loop`, preset `{run.config['name']}`, recipe `{recipe}`, seed "
        f"{run.config.get('seed', 0)}, {iterations} iteration{'' if iterations == 1 else 's'}."
    )


def _yield(run: Run) -> str:
    """Return a table: how many puzzles passed each filter, and how many it refused."""
    tally = run.tally()
    lines = ["| stage | passed | refused |", "|---|---|---|", f"| written | {tally.stages['written']:,} | |"]
    if tally.stages["derived"]:
        lines.append(f"| derived from solved and unsolved ones | {tally.stages['derived']:,} | |")
    lines += [f"| {stage} | {tally.stages[stage]:,} | {tally.refusals[stage]:,} |" for stage in STAGES]
    attempts, right = tally.stages["attempts"], tally.stages["right"]
    share = f" ({right / attempts:.1%})" if attempts else ""
    return "\n".join([*lines, "", f"Attempts at solving them: {attempts:,}, of which {right:,} are right{share}."])


def _switches(run: Run) -> str:
    settings: dict[str, Any] = {name: run.config[name] for name in ("recipe", "limits", "seed") if name in run.config}
    return orjson.dumps(cleaned(settings, run.path), option=orjson.OPT_INDENT_2).decode()


_CARD = """---
{metadata}
---
# Puzzles and solutions that a model wrote and a Python interpreter verified

{pairs:,} pairs of a programming puzzle and a solution: {puzzles:,} puzzles of {templates:,} forms (ignoring names and
constants). {made}

```python
import datasets

rows = datasets.load_dataset({load}, split="train")
```

* **Fields.** `puzzle` (`def f(answer: T, ...)`), `solution` (`def g(...)`), `text` (the training text: both, and
  `assert f(g())`), `answer_type`, `attempts` and `passes` (of the model at this puzzle), `weight`; and provenance:
  `puzzle_sampling` and `solution_sampling` (model, digest of its weights, hash of the prompt, sampling settings),
  `filters` (the outcome of every filter), `judgement` (the verdict, the verifier and what it used).
* **Answer types.** {kinds}.
* **Written by.** {models}. Of the pairs, {derived:,} have a puzzle that was derived from others by rule, and
  {borrowed:,} a solution that was written for another puzzle.

## How it was verified

`f(g())` is exactly `True`, with the solution in one confined process and the puzzle in another, so that neither can
cheat the other. Verified {repeats} times, by {verifier}, at confinement level {levels}. That does not mean that a
puzzle is useful, hard, or in good style.

## How it was filtered

{table}

No puzzle here has the canonical form of one in the held-out sets of the run.

<details><summary>Switches, limits and seed</summary>

```json
{switches}
```

</details>

## Licence and limits

Licence: {licence} The code was written by models and has not been reviewed by people: run it in a sandbox.
"""
