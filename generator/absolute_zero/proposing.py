"""What a model is asked to propose, and how its proposals are read.

A text to continue shows programs with calls, as ``assert`` statements, and begins another program (for deduction and
abduction) or the calls of a program (for induction). A model that chats is asked for the same in a message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selftaught.generator.absolute_zero.triplet import NotAProposal, Proposal, Triplet, calls, program
from selftaught.generator.prompts import Prompt
from selftaught.generator.puzzle import rename
from selftaught.sandbox import completion as completions

MOST_INPUTS = 10
"""Inputs of a proposal for induction, as in the paper."""

SHOTS: tuple[Triplet, ...] = (
    Triplet(
        "def f(words, size):\n    return [word for word in words if len(word) > size]",
        ("['fig', 'plum', 'kiwi'], 3", "['a', 'bb'], 1", "[], 4", "['pear'], 9"),
        ("['plum', 'kiwi']", "['bb']", "[]", "[]"),
        "the words that are longer than a size",
    ),
    Triplet(
        "def f(n):\n    total = 0\n    while n:\n        total += n % 10\n        n //= 10\n    return total",
        ("507", "9", "1000", "86"),
        ("12", "9", "1", "14"),
        "the sum of the digits of a number",
    ),
    Triplet(
        "def f(text, old='a'):\n    return text.replace(old, '-').split('-')",
        ("'banana'", "'seven', 'e'", "'x'", "'a b'"),
        ("['b', 'n', 'n', '']", "['s', 'v', 'n']", "['x']", "['', ' b']"),
        "the parts of a text between a letter",
    ),
)
"""Triplets of ours at the beginning, until there are enough of the model's."""

SHOWN = frozenset(
    Triplet(one.source, (given,), (output,)).id
    for one in SHOTS
    for given, output in zip(one.inputs, one.outputs, strict=True)
)
"""Ids of what prompts show: a proposal of one of these is not new."""


class AfterAsserts:
    """Stops a completion that begins in a function at the first line that is neither indented nor an assertion, or
    after so many assertions."""

    strings: tuple[str, ...] = ("\ndef ", "\nclass ", "\nprint")

    def __init__(self, most: int) -> None:
        self._most = most

    def __call__(self, text: str) -> bool:
        return len(_until(text, self._most)) < len(text.rstrip())


def _until(text: str, most: int) -> str:
    """Return the text up to where `AfterAsserts` stops it."""
    lines = text.split("\n")
    asserted = 0
    for number, line in enumerate(lines):
        if asserted >= most:
            return "\n".join(lines[:number])
        if number and line.strip() and not line[0].isspace():
            begun = number == len(lines) - 1 and "assert ".startswith(line)
            if not line.startswith("assert ") and not begun:
                return "\n".join(lines[:number])
            asserted += 1
    return text


def shown(triplet: Triplet, number: str, inputs: int) -> str:
    """Return a triplet as prompts show it."""
    source = rename(triplet.source, {"f": f"f{number}"})
    pairs = zip(triplet.inputs[:inputs], triplet.outputs[:inputs], strict=True)
    return source + "\n\n" + "\n".join(f"assert f{number}({given}) == {output}" for given, output in pairs)


def for_program(references: Sequence[Triplet], chat: bool = False) -> Prompt:
    """Return a prompt for a program with an input, different from the references."""
    if chat:
        examples = "\n\n".join(shown(one, "", 1) for one in references)
        return Prompt(_ASK_PROGRAM.format(examples=examples), "", chat=True)
    number = str(len(references) + 1)
    parts = [shown(one, str(place), 1) for place, one in enumerate(references, 1)]
    return Prompt("\n\n".join([*parts, f"def f{number}("]), number)


def read_program(prompt: Prompt, text: str) -> Proposal:
    """Return the program with an input in what a model wrote. Raises NotAProposal."""
    if prompt.chat:
        source, name = completions.code(text, names=("f",)) or "", "f"
    else:
        source, name = f"def f{prompt.number}({_until(text, 1)}", f"f{prompt.number}"
    head, found = re.split(r"^(?=assert |f\d*\()", source, maxsplit=1, flags=re.M), ""
    if len(head) == 2:
        found = next(calls(head[1], name), "")
    if not found:
        raise NotAProposal("there is no call with literal arguments")
    return Proposal(program(head[0], name), (found,))


def for_inputs(references: Sequence[Triplet], source: str, chat: bool = False) -> Prompt:
    """Return a prompt for inputs of a program, with a message what it does."""
    if chat:
        return Prompt(_ASK_INPUTS.format(source=source, number=MOST_INPUTS), "", chat=True)
    parts = []
    for place, one in enumerate(references, 1):
        text, _, asserts = shown(one, str(place), MOST_INPUTS).partition("\n\nassert ")
        parts += [text, f"# {one.message or 'what it returns'}\nassert {asserts}"]
    number = str(len(references) + 1)
    return Prompt("\n\n".join([*parts, rename(source, {"f": f"f{number}"}), "#"]), number)


def read_inputs(source: str, prompt: Prompt, text: str) -> Proposal:
    """Return the inputs of a program in what a model wrote; every one once. Raises NotAProposal."""
    name = "f" if prompt.chat else f"f{prompt.number}"
    written = completions.code(text) or "" if prompt.chat else f"#{_until(text, MOST_INPUTS)}"
    message = re.match(r"\s*#+ *([^\n]*)", written)
    lines = [line for line in written.split("\n") if line.startswith(("assert ", f"{name}("))]
    found: dict[str, None] = {}
    for line in lines:
        try:
            found |= dict.fromkeys(calls(line, name))
        except NotAProposal:
            continue
    if len(found) < 2:
        raise NotAProposal("there are fewer than two calls with different literal arguments")
    return Proposal(source, tuple(found)[:MOST_INPUTS], message[1].strip()[:200] if message else "")


_ASK_PROGRAM = (
    "These are Python functions, each with one call:\n\n```python\n{examples}\n```\n\n"
    "Write one new function `f`, unlike these, whose result for one input takes several steps of thought to predict. "
    "It is deterministic, reads its arguments, has no side effects, and returns plain data. After it write one line "
    "`assert f(...) == ...` with literal arguments. Write both in one fenced block of Python."
)
_ASK_INPUTS = (
    "This is a Python function:\n\n```python\n{source}\n```\n\n"
    "Write {number} calls that show what it does, so that somebody who sees half of them with their results can write "
    "the function: first a comment of one line that says what it computes, without the way it does so, then a line "
    "`assert f(...) == ...` with literal arguments for each call. Write all in one fenced block of Python."
)
