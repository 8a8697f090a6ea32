"""Puzzles from templates: problems of one line, whose constants are drawn at random.

A file of templates is TOML, a table of the array `problems` for each::

    [[problems]]
    id = "quotient-and-rest"
    answer = "n: int"
    constants = "k = randint(5, 60); q = randint(3, 80); r = randint(0, k - 1)"
    sat = "n // k == q and n % k == r"
    sol = "q * k + r"

`constants` is Python: what it sets is the default value of an argument of the same name if `sat` reads it. It may use
`random.Random`'s `randint`, `choice` and `sample`, and the functions of `Draw`. The files are ours: they run unjailed.
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

SEEDS = Path(__file__).with_name("oneliners.toml")
"""Bundled templates of seeds, in the style of P3's modules `basic`, `trivial_inverse` and `study`."""

_TRIES = 50
"""How often constants are drawn for one more instance before there is none: some problems have few."""
_WORDS = (
    "amber anchor apricot badger bakery basket beacon blanket bottle bramble breeze bronze bucket butter button cabin "
    "candle canyon carrot castle cedar cellar cherry chimney cinder clover cobble copper coral cotton cradle crystal "
    "desert dragon drawer ember engine fabric falcon feather fennel ferry fiddle forest fossil garden ginger glacier "
    "goblet granite hammer harbor hazel helmet hollow honey island ivory jacket jasmine juniper kettle ladder lagoon "
    "lantern lemon lichen linen locket magnet maple marble meadow mirror mortar mustard needle nettle nickel noodle "
    "nutmeg oyster paddle parcel pebble pepper pigeon pillow pocket poplar puddle quartz rabbit raven ribbon river "
    "rocket saddle saffron salmon sandal silver sparrow spider spruce squash stable summer sunset tailor temple "
    "thimble thistle timber tomato tunnel turnip turtle velvet violet walnut willow window winter yellow zipper"
).split()


class Draw:
    """Draws constants, for the code of templates."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def names(self) -> dict[str, Any]:
        """Return the names that the code of templates finds besides Python's own."""
        rng = self._rng
        drawn = (self.ints, self.distinct_ints, self.word, self.distinct_words, self.long_word, self.shuffled)
        names: dict[str, Any] = {function.__name__: function for function in drawn}
        return {
            **names, "randint": rng.randint, "choice": rng.choice, "sample": rng.sample,
            "LETTERS": "abcdefghijklmnopqrstuvwxyz",
        }  # fmt: skip

    def ints(self, count: int, low: int, high: int) -> list[int]:
        """Return so many integers from `low` to `high`."""
        return [self._rng.randint(low, high) for _ in range(count)]

    def distinct_ints(self, count: int) -> list[int]:
        """Return so many different integers from -99 to 499."""
        return self._rng.sample(range(-99, 500), count)

    def word(self) -> str:
        """Return an English word."""
        return self._rng.choice(_WORDS)

    def distinct_words(self, count: int) -> list[str]:
        """Return so many different English words."""
        return self._rng.sample(_WORDS, count)

    def long_word(self, length: int) -> str:
        """Return so many letters that can be pronounced, of which no three consonants or vowels follow each other."""
        return "".join(self._rng.choice("aeiou" if i % 2 else "bcdfghklmnprstvwz") for i in range(length))

    def shuffled(self, values: Sequence[Any]) -> list[Any]:
        """Return the values in another order."""
        return self._rng.sample(values, len(values))


@dataclass(frozen=True, slots=True)
class Template:
    """A problem whose constants vary.

    Attributes:
        id: Its name in the file.
        answer: Name and type of the answer, as in a signature.
        constants: Statements that set the constants.
        sat: Expression that is True for right answers.
        sol: Expression of an answer.
    """

    id: str
    answer: str
    constants: str
    sat: str
    sol: str

    def instance(self, rng: random.Random) -> dict[str, str]:
        """Return one puzzle with its reference solution, as a record with `id`, `answer_type`, `sat` and `sol`.

        Args:
            rng: Source of randomness.

        Raises:
            ValueError: The code of the template fails.
        """
        scope: dict[str, Any] = Draw(rng).names()
        given = set(scope)
        try:
            exec(self.constants, scope)
            read = [node.id for node in ast.walk(ast.parse(self.sat)) if isinstance(node, ast.Name)]
        except Exception as error:
            raise ValueError(f"template {self.id}: {type(error).__name__}: {error}") from error
        drawn = [name for name in scope if name not in given and name in read]
        defaults = ", ".join(f"{name}={scope[name]!r}" for name in drawn)
        return {
            "id": self.id,
            "answer_type": self.answer.partition(": ")[2],
            "sat": f"def sat({self.answer}{', ' if drawn else ''}{defaults}):\n    return {self.sat}",
            "sol": f"def sol({defaults}):\n    return {self.sol}",
        }

    def instances(self, count: int, seed: int) -> Iterator[dict[str, str]]:
        """Yield so many different puzzles; fewer if there are not so many. `id` is followed by a number.

        Args:
            count: Number of puzzles.
            seed: The same seed gives the same puzzles, whatever other templates there are.
        """
        rng = random.Random(f"{seed}:{self.id}")
        seen: set[str] = set()
        for _ in range(_TRIES * count):
            if len(seen) == count:
                return
            record = self.instance(rng)
            if record["sat"] not in seen:
                seen.add(record["sat"])
                yield {**record, "id": f"{self.id}:{len(seen) - 1}"}


def read(path: Path) -> list[Template]:
    """Return the templates of a file. Raises ValueError if it is malformed."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["problems"]
        return [Template(**table) for table in tables]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: no templates: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Write instances of a file's templates to standard output, one JSON object a line."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("file", type=Path, help="templates, TOML")
    parser.add_argument("--each", type=int, default=2, help="instances of each template (2)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (0)")
    chosen = parser.parse_args(arguments)
    for template in read(chosen.file):
        for record in template.instances(chosen.each, chosen.seed):
            sys.stdout.write(orjson.dumps(record).decode() + "\n")


if __name__ == "__main__":
    main()
