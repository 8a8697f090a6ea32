"""Whole runs with a scripted model, for tests of what becomes of its puzzles and solutions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasketch  # noqa: F401  # it changes the filters of warnings when it is first imported

from selftaught.generator import seeds
from selftaught.generator.folder import Folder, Tally
from selftaught.generator.generation import Generation
from selftaught.generator.models.scripted import Scripted
from selftaught.generator.recipe import DEFAULT, Recipe, replace
from selftaught.sandbox import Verifier

SUM = "x: int, a=417, b=1342):\n    return x + a == b"
PUZZLES = {
    "good": SUM + "\n\nprint(",
    "the same puzzle otherwise": "y: int, c=417, d=1342):\n    return y + c == d",
    "the same form": "x: int, a=1000, b=5555):\n    return x + a == b",
    "good words": "s: str, t='melon'):\n    return s == t * 3 + t.upper()",
    "unsolvable": "x: int, a=3):\n    return x * 0 == a and x > 1234567",
    "no syntax": "x: int:\n    return x",
    "no answer": "a=3):\n    return a == 3",
    "no annotation": "x):\n    return x == 3",
    "bool": "b: bool):\n    return b",
    "unused": "x: int):\n    return 3 == 3",
    "never true": "x: int, a=3):\n    return x + a",
    "undefined": "x: int):\n    return x == secret",
    "raises": "x: int):\n    return x[::-1] == 'abc'",
    "trivial": "x: int):\n    return x * x == 49",
    "any answer": "x: int):\n    return x == x",
}
SOLUTIONS = {
    "x + a == b": [
        " return b - a",
        "\n    return b - a",
        "\n    c = b - a\n    return c",
        " return a",
        " return (",
        " return 1/0",
    ],
    "s == t * 3": [" return t * 3 + t.upper()", " return t", "\n    return ''"],
    "x * 0 == a": [" return 7", " return 8"],
    "x == x": [" return 12345"],
}
SMALL = replace(
    DEFAULT,
    prompts_per_wave=2,
    samples_per_prompt=8,
    attempts_per_round=4,
    max_attempts=12,
    give_up_after=8,
    target_passes=3,
    keep_trivial_share=0.0,
    verify_repeats=2,
)


class Killed(Exception):
    pass


class Counting(Scripted):
    """Breaks when `left` calls were answered."""

    left = 1000

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.answered: list[tuple[str, ...]] = []

    def complete(  # type: ignore[override]
        self, prompts: Sequence[str], **settings: Any
    ) -> Iterator[tuple[int, list[str]]]:
        if not self.left:
            raise Killed
        self.left -= 1
        yield from super().complete(prompts, **settings)
        self.answered.append((*prompts, str(settings["seed"])))


def script(prompt: str, rng: random.Random) -> str:
    if prompt.endswith("("):
        return rng.choice(list(PUZZLES.values()))
    last = prompt.rpartition("def f")[2]
    return next((rng.choice(texts) for key, texts in SOLUTIONS.items() if key in last), " return 0")


SEEDS = seeds.read(seeds.CORPUS)


def run(
    path: Path,
    verifier: Verifier,
    recipe: Recipe = SMALL,
    *,
    pairs: int | None = None,
    puzzles: int = 64,
    **options: Any,
) -> Tally:
    """A run until 64 puzzles (or so many) are written, or so many pairs kept."""
    model = options.pop("model", None) or Scripted(script)
    config = {"recipe": recipe.to_dict(), "seed": options.get("seed", 0)}
    with Folder(path, config, SEEDS, resume=options.pop("resume", False)) as folder:
        made = Generation(model, options.pop("seeds", SEEDS), verifier, folder, recipe, **options)
        return made.run(pairs=pairs, puzzles=None if pairs else puzzles)


def records(path: Path, name: str = "puzzles.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / name).read_text().splitlines()]


def kept(path: Path) -> list[dict[str, Any]]:
    """The pairs, without what the clock says."""
    found = records(path, "pairs.jsonl")
    for one in found:
        for name in ("cpu_seconds", "wall_seconds", "peak_memory_bytes"):
            del one["judgement"][name]
    return found


def refused(path: Path, name: str) -> list[str]:
    """What became of one of the puzzles above, each time it was written."""
    body = PUZZLES[name].split("\n")[1]
    head = PUZZLES[name].split("\n")[0]
    return [record["refused"] for record in records(path) if f"({head}\n{body}" in record["puzzle"]]
