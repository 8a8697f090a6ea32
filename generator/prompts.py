"""Prompts for puzzles and solutions, and how completions are cut and parsed.

A prompt ends where a token surely ends: ``def f7(`` or ``def g7(...):``. A prompt that ended in a newline or an indent
would split a token that the model has learnt, and the completions would be off its distribution. A model that chats is
asked in a message instead, and its answer is read by `selftaught.sandbox.completion`.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from selftaught.generator import puzzle as puzzles
from selftaught.generator.models import Completer, Conversation, chats
from selftaught.generator.novelty import HeldOut
from selftaught.generator.puzzle import NotAPuzzle, Puzzle
from selftaught.generator.seeds import Seed
from selftaught.sandbox import completion as completions
from selftaught.sandbox.formats.puzzles import NAMES
from selftaught.sandbox.formats.puzzles import cut as cut

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
        annotated: Signatures of solutions have the type of the answer, ``def g(...) -> List[int]:``, and those of
            puzzles ``-> bool``. Small models give fewer answers of other types then, and after a training on such
            solutions write fewer of them in place of puzzles.
    """

    shots: tuple[tuple[str, str], ...] = SHOTS
    packed: bool = True
    docstrings: bool = False
    annotated: bool = False

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The few-shot pairs as prompts show them."""
        return _annotated(self.shots) if self.annotated else self.shots

    def signature(self, puzzle: Puzzle, number: str = "") -> str:
        """Return the first line of a solution, called ``g`` and a number."""
        line = f"def g{number}({puzzle.parameters}):"
        return puzzles.annotated(line, f"g{number}", puzzle) if self.annotated else line

    def shown(self, puzzle: Puzzle, name: str) -> str:
        """Return a puzzle as prompts show it, under another name."""
        source = puzzle.named(name)
        return puzzles.returning(source, "bool") if self.annotated else source


@cache
def _annotated(shots: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (puzzles.returning(shown, "bool"), puzzles.annotated(solution, f"g{number}", puzzles.parse(shown)))
        for number, (shown, solution) in enumerate(shots, 1)
    )


BARE = Style((), False)
"""For a model that was trained on puzzles only."""


@dataclass(frozen=True)
class Prompt:
    """A text to continue, or a message to answer.

    Attributes:
        text: The text, or the last message.
        number: Number in the name of the function that it begins; empty if names have no numbers.
        parents: Ids of the puzzles in it.
        chat: It is a message, and a model's answer to it is not a continuation.
        turns: What was said before the message: messages of the user, each with its answer.
        begun: What the text has of the function's arguments already.
    """

    text: str
    number: str
    parents: tuple[str, ...] = ()
    chat: bool = False
    turns: tuple[tuple[str, str], ...] = ()
    begun: str = ""

    @property
    def content(self) -> str | Conversation:
        """What a model is asked: the text, or a conversation if there are turns before it."""
        if not self.turns:
            return self.text
        said = [
            {"role": role, "content": text}
            for turn in self.turns
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
        return [*said, {"role": "user", "content": self.text}]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the text, or of the conversation as JSON."""
        whole = json.dumps(self.content) if self.turns else self.text
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()


class Unindented:
    """Stops a completion at the first line that isn't indented. `strings` has typical beginnings of such lines, for
    servers."""

    strings: tuple[str, ...] = ("\ndef ", "\nassert", "\nclass ", "\nprint")

    def __call__(self, text: str) -> bool:
        return len(cut(text)) < len(text.rstrip())


def for_puzzle(
    seeds: Sequence[Seed],
    model: Completer,
    style: Style,
    rng: random.Random,
    length: int,
    held_out: HeldOut,
    first_instance: bool = False,
    typed: bool = False,
) -> Prompt:
    """Return a prompt for another puzzle: one instance of each seed problem, shuffled, as many as fit.

    Args:
        seeds: The seed puzzles.
        model: Counts tokens.
        style: The form of prompts.
        rng: Source of randomness.
        length: Maximum number of tokens of the prompt.
        held_out: Puzzles that must not be in the prompt.
        first_instance: Take the first instance of each problem, not one chosen at random.
        typed: Begin the puzzle with the name and type of an answer, those of one of the seeds.

    Raises:
        Contaminated: A chosen seed is held out.
    """
    chat = chats(model)
    if not style.packed:
        return Prompt(_ASK_PUZZLE, "", chat=True) if chat else Prompt("def f(", "")
    instances: dict[str, list[Seed]] = {}
    for seed in seeds:
        instances.setdefault(seed.problem, []).append(seed)
    chosen = [group[0] if first_instance else rng.choice(group) for group in instances.values()]
    rng.shuffle(chosen)
    answer = rng.choice(chosen).puzzle if typed and chosen else None
    # A comma, and not the type, is where a token surely ends.
    begun = f"{answer.argument}: {answer.annotation}," if answer else ""
    ask = _ASK_PUZZLE + (_ASK_TYPED.format(answer=begun[:-1]) if begun else "")
    tokens_left = length - model.tokens(_SHOWN + ask if chat else f"def f100({begun}")
    packed: list[str] = []
    for place, seed in enumerate(chosen, 1):
        source, numbered = _seed_texts(seed.puzzle, style)
        tokens_left -= model.tokens(source + "\n\n") + _NUMBER
        if tokens_left < 0:
            break
        held_out.check(seed.puzzle.source)
        packed.append(numbered.replace(_MARK, str(place)))
    parents = tuple(seed.id for seed in chosen[: len(packed)])
    if chat:
        return Prompt(_SHOWN + _fenced("\n\n".join(packed)) + "\n\n" + ask, "", parents, chat=True)
    number = str(len(packed) + 1)
    return Prompt("\n\n".join([*packed, f"def f{number}({begun}"]), number, parents, begun=begun)


_MARK = "\u0660\u0661\u0662\u0663"
"""Where the number of a seed goes: digits that a name may have and no source has."""


@lru_cache(1 << 14)
def _seed_texts(puzzle: Puzzle, style: Style) -> tuple[str, str]:
    """Return the source of a seed as a prompt shows it, under its own name and under ``f`` with a mark for the
    number."""
    chosen = puzzle if style.docstrings else puzzle.without_docstring
    return style.shown(chosen, chosen.name), style.shown(chosen, f"f{_MARK}")


def puzzle_source(prompt: Prompt, completion: str) -> str:
    """Return the source of the puzzle that a completion makes; a whole answer in which no code is understood."""
    if prompt.chat:
        return completions.code(completion, names=("f", "sat")) or completion
    return f"def f{prompt.number}({prompt.begun}{cut(completion)}"


def read_puzzle(prompt: Prompt, completion: str) -> Puzzle:
    """Return the puzzle that a completion makes, called ``f``, without an annotation of what it returns. Raises
    NotAPuzzle."""
    source = puzzles.parse(puzzle_source(prompt, completion)).named("f")
    return puzzles.parse(puzzles.returning(source, "") if "->" in source else source)


_SHOWN = "These are programming puzzles in Python. Each is a function that returns True for right answers:\n\n"
_ASK_PUZZLE = (
    "Write one new programming puzzle: a Python function `f` that returns True for right answers and False for all "
    "others. Its first argument is the answer and has a type annotation, such as `x: int` or `li: List[str]`; all "
    "other arguments have default values. It must have an answer that is not easy to guess. Write the function alone, "
    "without a solution, in one fenced block of Python."
)
_ASK_TYPED = " Its first argument is `{answer}`."
_ASK_SOLUTION = (
    "Write a Python function `g` that returns a value for the first argument of `f` for which `f` returns True. `g` is "
    "called without arguments, and has the other arguments of `f` with the same default values. It must not call `f`. "
    "Write the function whole, in one fenced block of Python, beginning with `{signature}`."
)
_ASK_BRIEFLY = "Write a solution `g`, beginning with `{signature}`."
"""What the turns of few-shot pairs ask, in fewer tokens than the last message."""


def _fenced(source: str) -> str:
    return f"```python\n{source}\n```"


def _ask_solution(puzzle: Puzzle, style: Style) -> Prompt:
    """Return a message that asks for a solution, after the few-shot pairs as turns of the same form."""
    return Prompt(_asked(puzzle, style, _ASK_SOLUTION), "", chat=True, turns=_turns(style))


@cache
def _turns(style: Style) -> tuple[tuple[str, str], ...]:
    """Return few-shot pairs as messages with their answers."""
    turns = []
    for number, (shown, solution) in enumerate(style.pairs, 1):
        example = puzzles.parse(shown.replace(f"def f{number}(", "def f("))
        turns.append((_asked(example, style, _ASK_BRIEFLY), _fenced(solution.replace(f"def g{number}(", "def g("))))
    return tuple(turns)


def _asked(puzzle: Puzzle, style: Style, task: str) -> str:
    shown = ["This is a programming puzzle:", _fenced(style.shown(puzzle, "f"))]
    return "\n\n".join([*shown, task.format(signature=style.signature(puzzle))])


def for_solution(puzzle: Puzzle, style: Style, chat: bool = False) -> Prompt:
    """Return a prompt for a solution: few-shot pairs, the puzzle, and the solution's signature with the defaults
    verbatim.

    Args:
        puzzle: The puzzle.
        style: The form of the prompt.
        chat: Ask in messages (see `selftaught.generator.models.Completer`): few-shot pairs are turns before the last.
    """
    if chat:
        return _ask_solution(puzzle, style)
    number = str(len(style.shots) + 1) if style.shots else ""
    parts = [text for pair in style.pairs for text in pair]
    parts += [style.shown(puzzle, f"f{number}"), style.signature(puzzle, number)]
    return Prompt("\n\n".join(parts), number)


def read_solution(puzzle: Puzzle, prompt: Prompt, completion: str) -> str:
    """Return the solution ``g`` that a completion makes, for a puzzle called ``f``. Raises NotAPuzzle if it doesn't
    parse, or if no code is understood in an answer."""
    if prompt.chat:
        found = completions.code(completion, names=NAMES)
        if found is None:
            raise NotAPuzzle("parses", "no code is understood in the answer")
        return puzzles.rename(
            found.strip("\n").rstrip(), {"sol": "g"} if re.search(r"^def\s+sol\b", found, re.M) else {}
        )
    source = f"def g{prompt.number}({puzzle.parameters}):{cut(completion)}"
    return puzzles.rename(source, {f"g{prompt.number}": "g", f"f{prompt.number}": "f"})
