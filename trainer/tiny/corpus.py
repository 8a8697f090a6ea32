"""Machine-written puzzles with noisy solutions: the corpus on which the base model is trained.

A puzzle asks for an `x` that one or two invertible operations turn into a given value, or that satisfies several
conditions. Its solution inverts the operations step by step. Most steps are wrong, in ways in which people err: the
operation itself instead of its inverse, a missing step, another operation, the answer of another puzzle.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from selftaught.trainer.tiny.operations import ANNOTATIONS, CONDITIONS, OPERATIONS, Conditions, Operation

_NAMES = {"int": "abcdnmk", "str": "stu", "list": "lpq", "words": "vwz"}
"""Names of parameters by type, in the order in which they appear."""
_SENSELESS = (ValueError, TypeError, IndexError, OverflowError, ZeroDivisionError)
_TRIVIAL: dict[str, list[Any]] = {
    "int": list(range(-10, 101)),
    "str": ["", "a", "b", "aa", "0", "1"],
    "list": [[], [0], [1], [0, 0], [0, 1], [1, 0], [1, 1]],
    "words": [[], [""], ["a"], ["", ""], ["a", "a"]],
}
_SLOTS = {"v": "int", "s": "str", "l": "list"}


@dataclass(frozen=True, slots=True)
class Noise:
    """How often a solution is wrong, and how. Shares of solutions or of steps, from 0 to 1.

    Attributes:
        correct: Share of steps that are inverted correctly; for puzzles of several conditions, share of correct
            answers.
        other_puzzle: Share of solutions that solve another puzzle with the same type of answer.
        not_inverted: Share of steps with the operation itself instead of its inverse.
        skipped: Share of steps that are missing. All other steps are an operation of a fitting type.
        extra_operation: Share of answers with one more operation.
    """

    correct: float = 0.08
    other_puzzle: float = 0.3
    not_inverted: float = 0.35
    skipped: float = 0.15
    extra_operation: float = 0.4


@dataclass(frozen=True, slots=True)
class Document:
    """A puzzle with a noisy solution and a correct one."""

    sat: str
    sol: str
    right: str
    family: str

    @property
    def text(self) -> str:
        """The training text."""
        return example(self.sat, self.sol)


def example(sat: str, sol: str) -> str:
    """Return a puzzle and its solution as one text, in the paper's format."""
    return f"{sat}\n\n{sol}\n\nassert f(g())"


@dataclass(slots=True)
class Puzzle:
    """A puzzle under construction: its parameters by name, and the operations or the condition template with their
    arguments."""

    answer_type: str
    parameters: dict[str, Any]
    kinds: dict[str, str]
    body: str = ""
    target: str = ""
    steps: tuple[tuple[Operation, dict[str, str]], ...] = ()
    template: tuple[Conditions, dict[str, str]] | None = None

    def header(self) -> str:
        """Return the parameters as the solution declares them."""
        return ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())

    def add(self, rng: random.Random, kind: str, value: Any) -> str:
        """Add a parameter with a free name, and return the name."""
        name = rng.choice([name for name in _NAMES[kind] if name not in self.parameters])
        self.parameters[name], self.kinds[name] = value, kind
        return name

    def any(self, rng: random.Random, kind: str) -> str:
        """Return a parameter of this type, or a constant if there is none."""
        fitting = [name for name, of in self.kinds.items() if of == kind]
        return rng.choice(fitting) if fitting else repr(value(rng, kind))


def value(rng: random.Random, kind: str) -> Any:
    """Return a random value of a kind."""
    match kind:
        case "int":
            return rng.randrange(10, 1000)
        case "small":
            return rng.randrange(3, 20)
        case "unit":
            return rng.randrange(1, 3)
        case "size":
            return rng.randrange(3, 10)
        case "length":
            return rng.randrange(6, 30)
        case "greater":
            return rng.randrange(1000, 3000)
        case "digit":
            return rng.choice("123456789")
        case "str":
            return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randrange(2, 5)))
        case "list":
            return [rng.randrange(10, 100) for _ in range(rng.randrange(2, 4))]
    return [value(rng, "str") for _ in range(rng.randrange(2, 4))]


def chain(rng: random.Random, depth: int) -> Puzzle | None:
    """Return a puzzle of `depth` operations, or ``None`` if the draw makes no sense (a negative shift, a long
    answer...)."""
    operations = [rng.choice(OPERATIONS)]
    while len(operations) < depth:
        operations.append(rng.choice([op for op in OPERATIONS if op.takes == operations[-1].gives]))
    return build(rng, operations)


def build(rng: random.Random, operations: list[Operation]) -> Puzzle | None:
    """Return a puzzle of these operations, or ``None`` if the draw makes no sense."""
    puzzle = Puzzle(operations[0].takes, {}, {})
    steps, expression = [], "x"
    for operation in operations:
        filled = {
            slot: str(rng.randrange(2, 10)) if slot == "c" else puzzle.add(rng, _SLOTS[slot], value(rng, _SLOTS[slot]))
            for slot in operation.slots
        }
        steps.append((operation, filled))
        expression = operation.forward.format(x=f"({expression})", **filled)
    answer = value(rng, rng.choice(("int", "size")) if puzzle.answer_type == "int" else puzzle.answer_type)
    try:
        target = evaluate(expression, {"x": answer, **puzzle.parameters})
    except _SENSELESS:
        return None
    kind = operations[-1].gives
    if not target or len(repr(target)) > 24:
        return None
    if kind == "int" and rng.random() < 0.1:
        part = value(rng, "int")
        puzzle.target = f"{puzzle.add(rng, kind, target - part)} + {puzzle.add(rng, kind, part)}"
    else:
        puzzle.target = puzzle.add(rng, kind, target)
    sides = [expression, puzzle.target]
    if rng.random() < 0.15:
        sides.reverse()
    puzzle.body, puzzle.steps = tidy(" == ".join(sides)), tuple(steps)
    _order(rng, puzzle)
    return puzzle


def conditions(rng: random.Random) -> Puzzle:
    """Return a puzzle of several conditions."""
    template = rng.choice(CONDITIONS)
    puzzle = Puzzle(template.answer_type, {}, {})
    filled = {
        name: puzzle.add(rng, "str" if kind in ("str", "digit") else "int", value(rng, kind))
        for name, kind in template.parameters
    }
    puzzle.body, puzzle.template = tidy(template.conditions.format(x="x", **filled)), (template, filled)
    _order(rng, puzzle)
    return puzzle


def _order(rng: random.Random, puzzle: Puzzle) -> None:
    """Shuffle the parameters, and name those of each type in the order in which they then appear."""
    order = list(puzzle.parameters)
    rng.shuffle(order)
    count: Counter[str] = Counter()
    new: dict[str, str] = {}
    for name in order:
        kind = puzzle.kinds[name]
        new[name] = _NAMES[kind][count[kind]]
        count[kind] += 1
    puzzle.parameters = {new[name]: puzzle.parameters[name] for name in order}
    puzzle.kinds = {new[name]: puzzle.kinds[name] for name in order}
    puzzle.body = _renamed(puzzle.body, new)
    puzzle.target = _renamed(puzzle.target, new)
    puzzle.steps = tuple(
        (operation, {slot: new.get(name, name) for slot, name in filled.items()}) for operation, filled in puzzle.steps
    )
    if puzzle.template:
        template, filled = puzzle.template
        puzzle.template = template, {slot: new[name] for slot, name in filled.items()}


def evaluate(expression: str, names: dict[str, Any]) -> Any:
    """Return the value of an expression made from this project's own tables. Never call it with a model's text."""
    return eval(compiled(expression), {**names})


@cache
def compiled(expression: str) -> Any:
    """Return the compiled expression."""
    return compile(expression, "<machine-written>", "eval")


@cache
def tidy(expression: str) -> str:
    """Return the expression without unnecessary parentheses."""
    return ast.unparse(ast.parse(expression, mode="eval"))


def right(puzzle: Puzzle) -> str:
    """Return the answer that inverts every step."""
    if puzzle.template:
        template, filled = puzzle.template
        return tidy(template.answer.format(**filled))
    expression = puzzle.target
    for operation, filled in reversed(puzzle.steps):
        expression = operation.inverse.format(y=f"({expression})", **filled)
    return tidy(expression)


def wrong(rng: random.Random, puzzle: Puzzle, noise: Noise) -> str:
    """Return an answer with noise; it may be correct by chance."""
    if rng.random() < noise.other_puzzle:
        return tidy(_of_other_puzzle(rng, puzzle))
    if puzzle.template:
        answer = right(puzzle)
        return answer if rng.random() < noise.correct else tidy(_mutate(rng, puzzle, answer, noise))
    expression = puzzle.target
    for operation, filled in reversed(puzzle.steps):
        expression = _step(rng, puzzle, operation, noise).format(
            y=f"({expression})", x=f"({expression})", **_fill(rng, puzzle, filled)
        )
    return tidy(_extra(rng, puzzle, expression, noise))


def _extra(rng: random.Random, puzzle: Puzzle, answer: str, noise: Noise) -> str:
    """Return the answer, sometimes with one more operation."""
    if rng.random() >= noise.extra_operation:
        return answer
    more = rng.choice(fitting(puzzle.answer_type, puzzle.answer_type))
    return more.format(x=f"({answer})", y=f"({answer})", **_fill(rng, puzzle, {}))


def _step(rng: random.Random, puzzle: Puzzle, operation: Operation, noise: Noise) -> str:
    draw = rng.random()
    if draw < noise.correct:
        return operation.inverse
    if operation.takes == operation.gives:
        if draw < noise.correct + noise.not_inverted:
            return operation.forward
        if draw < noise.correct + noise.not_inverted + noise.skipped:
            return "{y}"
    return rng.choice(fitting(operation.gives, operation.takes))


def fitting(given: str, wanted: str) -> list[str]:
    """Return every expression of the table from one type to another, operations and inverses."""
    return [op.forward for op in OPERATIONS if (op.takes, op.gives) == (given, wanted)] + [
        op.inverse for op in OPERATIONS if (op.gives, op.takes) == (given, wanted)
    ]


def _fill(rng: random.Random, puzzle: Puzzle, filled: dict[str, str]) -> dict[str, str]:
    """Return arguments for all slots: those of the step, and random ones for others."""
    return {slot: puzzle.any(rng, kind) for slot, kind in _SLOTS.items()} | {"c": str(rng.randrange(2, 10))} | filled


def _of_other_puzzle(rng: random.Random, puzzle: Puzzle) -> str:
    """Return the answer of another puzzle with the same type of answer, with this puzzle's parameters."""
    for _ in range(50):
        other = conditions(rng) if rng.random() < 0.3 else chain(rng, rng.randrange(1, 3))
        if other and other.answer_type == puzzle.answer_type:
            return _renamed(right(other), {name: puzzle.any(rng, kind) for name, kind in other.kinds.items()})
    return right(puzzle)


def _mutate(rng: random.Random, puzzle: Puzzle, answer: str, noise: Noise) -> str:
    """Return the answer with some variables exchanged, some operators changed, and sometimes one more operation."""
    for _ in range(rng.randrange(1, 4)):
        if rng.random() < 0.6:
            answer = rename(answer, lambda name: puzzle.any(rng, puzzle.kinds[name]) if name in puzzle.kinds else name)
        else:
            signs = list(re.finditer(r" ([+*-]) ", answer))
            if signs:
                sign = rng.choice(signs)
                answer = answer[: sign.start(1)] + rng.choice("+-*") + answer[sign.end(1) :]
    return _extra(rng, puzzle, answer, noise)


def _renamed(expression: str, names: dict[str, str]) -> str:
    return rename(expression, lambda name: names.get(name, name))


def rename(expression: str, to: Callable[[str], str]) -> str:
    """Return the expression with its names replaced; quoted words stay."""
    return re.sub(
        r"'[^']*'|(?<![\w.])[a-z](?!\w)", lambda found: found[0] if found[0][0] == "'" else to(found[0]), expression
    )


def puzzle(rng: random.Random, single: float = 0.33, double: float = 0.52) -> Puzzle:
    """Return a random puzzle.

    Args:
        rng: Source of randomness.
        single: Share of puzzles with one operation.
        double: Share of puzzles with two operations; the rest has several conditions.
    """
    while True:
        draw = rng.random()
        made = conditions(rng) if draw >= single + double else chain(rng, 1 if draw < single else 2)
        if made and answers(made, right(made)) and not trivial(made):
            return made


def answers(puzzle: Puzzle, answer: str) -> bool:
    """Return True if an answer of this project's own making is correct."""
    try:
        return evaluate(puzzle.body, {"x": evaluate(answer, puzzle.parameters), **puzzle.parameters}) is True
    except _SENSELESS:
        return False


def trivial(puzzle: Puzzle) -> bool:
    """Return True if a parameter of the puzzle or a trivial answer solves it."""
    own = [value for name, value in puzzle.parameters.items() if puzzle.kinds[name] == puzzle.answer_type]
    for answer in (*own, *_TRIVIAL[puzzle.answer_type]):
        try:
            if evaluate(puzzle.body, {"x": answer, **puzzle.parameters}) is True:
                return True
        except _SENSELESS:
            continue
    return False


def document(rng: random.Random, made: Puzzle, noise: Noise) -> Document:
    """Return the puzzle as text, with a noisy solution and the correct one."""
    head = made.header()
    sat = f"def f(x: {ANNOTATIONS[made.answer_type]}, {head}):\n    return {made.body}"
    family = f"{len(made.steps)} operations" if made.steps else "conditions"

    def solution(answer: str) -> str:
        return f"def g({head}):\n    return {answer}"

    return Document(sat, solution(wrong(rng, made, noise)), solution(right(made)), family)


def documents(
    seed: int, noise: Noise | None = None, allowed: Callable[[str], bool] = lambda sat: True
) -> Iterator[Document]:
    """Yield documents without end.

    Args:
        seed: Random seed.
        noise: How solutions are wrong (None: the default).
        allowed: Returns True for puzzles that may be in the corpus.
    """
    rng = random.Random(seed)
    while True:
        made = document(rng, puzzle(rng), noise or Noise())
        if allowed(made.sat):
            yield made
