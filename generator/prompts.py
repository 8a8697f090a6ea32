"""Prompts for puzzles and solutions, and how completions are cut and parsed.

A prompt ends where a token surely ends: ``def f7(`` or ``def g7(...):``. A prompt that ended in a newline or an indent
would split a token that the model has learnt, and the completions would be off its distribution.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from selftaught.generator import puzzle as puzzles
from selftaught.generator.models import Completer
from selftaught.generator.novelty import HeldOut
from selftaught.generator.puzzle import Puzzle
from selftaught.generator.seeds import Seed

SHOTS: tuple[tuple[str, str], ...] = (
    (
        "def f1(s: str, tail='onomy', size=9):\n    return s.endswith(tail) and len(s) == size",
        "def g1(tail='onomy', size=9):\n    return 'x' * (size - len(tail)) + tail",
    ),
    (
        "def f2(n: int, total=91):\n    return n > 0 and n * (n + 1) // 2 == total",
        "def g2(total=91):\n    n = 1\n    while n * (n + 1) // 2 < total:\n        n += 1\n    return n",
    ),
    (
        "def f3(li: List[int], words=['plum', 'fig', 'cherry']):\n"
        "    return [w[i] for w, i in zip(words, li)] == ['m', 'i', 'c'] and len(li) == 3",
        "def g3(words=['plum', 'fig', 'cherry']):\n    return [w.index(c) for w, c in zip(words, 'mic')]",
    ),
    (
        "def f4(x: float, area=7.5, side=3):\n    return abs(x * side - area) < 1e-6",
        "def g4(area=7.5, side=3):\n    return area / side",
    ),
    (
        "def f5(parts: List[str], text='salt;pepper;;thyme'):\n    return ';'.join(parts) == text and len(parts) == 4",
        "def g5(text='salt;pepper;;thyme'):\n    return text.split(';')",
    ),
)
"""Few-shot examples: pairs of puzzle and solution at the beginning of every solution prompt."""


_NUMBER = 3
"""Maximum number of tokens of the number in a function's name."""


@dataclass(frozen=True, slots=True)
class Style:
    """The form of prompts.

    Attributes:
        shots: Few-shot pairs before a puzzle to solve.
        packed: Put seed puzzles before a puzzle to write. A model that was trained on puzzles only needs none. Without
            shots and seeds functions are called ``f`` and ``g``, as in training texts.
        docstrings: Keep the docstrings of seed puzzles. Small models imitate them at length.
    """

    shots: tuple[tuple[str, str], ...] = SHOTS
    packed: bool = True
    docstrings: bool = False


BARE = Style((), False)
"""For a model that was trained on puzzles only."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue.

    Attributes:
        text: The text.
        number: Number in the name of the function that it begins; empty if names have no numbers.
        parents: Ids of the puzzles in it.
    """

    text: str
    number: str
    parents: tuple[str, ...] = ()


class Unindented:
    """Stops a completion at the first line that isn't indented. `strings` has typical beginnings of such lines, for
    servers."""

    strings = ("\ndef ", "\nassert", "\nclass ", "\nprint")

    def __call__(self, text: str) -> bool:
        return len(cut(text)) < len(text.rstrip())


def cut(text: str) -> str:
    """Return the text up to the first line that isn't indented, without trailing blank lines; the first line always
    counts.

    Lines inside brackets or strings are no exception. This is the paper's rule.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines[1:], 1):
        if line.strip() and line[0] not in " \t":
            lines = lines[:number]
            break
    return "\n".join(lines).rstrip()


def for_puzzle(
    seeds: Sequence[Seed], model: Completer, style: Style, rng: random.Random, new_tokens: int, held_out: HeldOut
) -> Prompt:
    """Return a prompt for another puzzle: one instance of each seed problem, shuffled, as many as fit.

    Args:
        seeds: The seed puzzles.
        model: Counts tokens and limits the context.
        style: The form of prompts.
        rng: Source of randomness.
        new_tokens: Number of tokens left for the completion.
        held_out: Puzzles that must not be in the prompt.

    Raises:
        Contaminated: A chosen seed is held out.
    """
    if not style.packed:
        return Prompt("def f(", "")
    instances: dict[str, list[Seed]] = {}
    for seed in seeds:
        instances.setdefault(seed.problem, []).append(seed)
    chosen = [rng.choice(group) for group in instances.values()]
    rng.shuffle(chosen)
    tokens_left = model.context - new_tokens - model.tokens("def f100(")
    packed: list[str] = []
    for place, seed in enumerate(chosen, 1):
        shown = seed.puzzle if style.docstrings else seed.puzzle.without_docstring
        tokens_left -= model.tokens(shown.source + "\n\n") + _NUMBER
        if tokens_left < 0:
            break
        held_out.check(seed.puzzle.source)
        packed.append(shown.named(f"f{place}"))
    number = str(len(packed) + 1)
    return Prompt("\n\n".join([*packed, f"def f{number}("]), number, tuple(seed.id for seed in chosen[: len(packed)]))


def read_puzzle(prompt: Prompt, completion: str) -> Puzzle:
    """Return the puzzle that a completion makes, called ``f``. Raises NotAPuzzle."""
    source = f"def f{prompt.number}({cut(completion)}"
    return puzzles.parse(puzzles.parse(source).named("f"))


def for_solution(puzzle: Puzzle, style: Style) -> Prompt:
    """Return a prompt for a solution: few-shot pairs, the puzzle, and the solution's signature with the defaults
    verbatim."""
    number = str(len(style.shots) + 1) if style.shots else ""
    parts = [text for pair in style.shots for text in pair]
    parts += [puzzle.named(f"f{number}"), f"def g{number}({puzzle.parameters}):"]
    return Prompt("\n\n".join(parts), number)


def read_solution(puzzle: Puzzle, prompt: Prompt, completion: str) -> str:
    """Return the solution ``g`` that a completion makes, for a puzzle called ``f``. Raises NotAPuzzle if it doesn't
    parse."""
    source = f"def g{prompt.number}({puzzle.parameters}):{cut(completion)}"
    return puzzles.rename(source, {f"g{prompt.number}": "g", f"f{prompt.number}": "f"})
