"""A task of one kind: its prompt, how an answer is read, and what judges it.

It is a question as `selftaught.trainer.question.Question` describes it, so a model can be evaluated on it too. Answers
of deduction and abduction are literals: what a model computes by code is no prediction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from selftaught.generator.absolute_zero.checking import case_task
from selftaught.generator.absolute_zero.proposing import SHOTS, shown
from selftaught.generator.absolute_zero.triplet import (
    Kind,
    NotAProposal,
    Triplet,
    arguments,
    calls,
    literal,
)
from selftaught.generator.models import Stop
from selftaught.generator.prompts import Prompt, Style, Unindented, cut
from selftaught.generator.puzzle import rename
from selftaught.sandbox import FunctionTask
from selftaught.sandbox import completion as completions

_UNINDENTED = Unindented()
_LINE = ("\n",)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a model is asked of a triplet.

    Attributes:
        kind: What is asked.
        triplet: The triplet; deduction and abduction use its first input, induction all: the first half is shown, and
            the second half judges.
        group: The kind, for results by group.
        trivial: Not known.
    """

    kind: Kind
    triplet: Triplet
    group: str = ""
    trivial: bool = False

    @property
    def id(self) -> str:
        """The triplet's id and the kind."""
        return f"{self.triplet.id}/{self.kind}"

    @property
    def source(self) -> str:
        """What verdicts are known by."""
        return "\n".join([self.kind, self.triplet.source, *self.triplet.inputs, *self.triplet.outputs])

    @property
    def stop(self) -> Stop:
        """When a completion is complete."""
        return _UNINDENTED if self.kind is Kind.INDUCTION else _LINE

    def prompt(self, style: Style, chat: bool) -> Prompt:
        """Return the prompt: a text to continue after examples of the same form, or a message."""
        if chat:
            return Prompt(self._message(), "", chat=True)
        examples = [one for one in SHOTS if style.shots and one.source != self.triplet.source]
        parts = [self._shown(one, str(place), False) for place, one in enumerate(examples, 1)]
        number = str(len(parts) + 1)
        return Prompt("\n\n".join([*parts, self._shown(self.triplet, number, True)]), number)

    def _shown(self, one: Triplet, number: str, open_: bool) -> str:
        """Return a triplet in the form of this kind, whole or up to what is asked."""
        name = f"f{number}"
        if self.kind is Kind.DEDUCTION:
            text = shown(one, number, 1)
            return text[: -len(one.outputs[0]) - 1] if open_ else text
        source = rename(one.source, {"f": name})
        if self.kind is Kind.ABDUCTION:
            return f"{source}\n\nassert {one.outputs[0]} == {name}(" + ("" if open_ else f"{one.inputs[0]})")
        return f"{self._pairs(one, name)}\n\n" + (f"def {name}(" if open_ else source)

    def _pairs(self, one: Triplet, name: str) -> str:
        pairs = list(zip(one.inputs, one.outputs, strict=True))[: one.shown]
        lines = [f"assert {name}({given}) == {output}" for given, output in pairs]
        return "\n".join([f"# {one.message}"] * bool(one.message) + lines)

    def _message(self) -> str:
        one = self.triplet
        if self.kind is Kind.INDUCTION:
            return _ASK_INDUCTION.format(pairs=self._pairs(one, "f"))
        asked = _ASK_DEDUCTION if self.kind is Kind.DEDUCTION else _ASK_ABDUCTION
        return asked.format(source=one.source, given=one.inputs[0], output=one.outputs[0])

    def read(self, prompt: Prompt, text: str) -> str | None:
        """Return the answer: a program, or a literal as the program that judges it takes it; None if there is none."""
        try:
            if self.kind is Kind.INDUCTION:
                written = completions.code(text, names=("f",)) if prompt.chat else f"def f{prompt.number}({cut(text)}"
                return None if written is None else rename(written, {f"f{prompt.number}": "f"})
            found = self._in_answer(text) if prompt.chat else text.split("\n")[0].strip()
            if self.kind is Kind.DEDUCTION:
                literal(found)
                return f"def f():\n    return {found}"
            if not prompt.chat:
                found = next(calls(f"f({found}", "f"), "")
            if not found or not arguments(found):
                return None
            return f"def f():\n    return [{found}]"
        except ValueError:  # NotAProposal and NotAPuzzle are such
            return None

    def _in_answer(self, text: str) -> str:
        """Return what the last assertion in an answer says. Raises NotAProposal."""
        written = completions.code(text) or completions.answer(text)
        lines = [line.strip() for line in written.split("\n") if line.strip().startswith("assert ")]
        if not lines:
            raise NotAProposal("there is no assertion")
        if self.kind is Kind.ABDUCTION:
            return next(calls(lines[-1], "f"), "")
        said = re.fullmatch(r"assert f\(.*\) == (.*)", lines[-1])
        return said[1] if said else ""

    def task(self, ident: str, solution: str) -> FunctionTask:
        """Return the task that judges an answer; equal is what Python's ``==`` says, as in the paper.

        An input of abduction is judged by any that gives the output: the program runs in a process that the answer
        never enters.
        """
        if self.kind is Kind.INDUCTION:
            return case_task(ident, solution, self.triplet, self.triplet.shown)
        if self.kind is Kind.DEDUCTION:
            return FunctionTask(ident, solution, "f", cases=[((), {}, literal(self.triplet.outputs[0]))])
        asked = rename(self.triplet.source, {"f": "asked"})
        check = f"def check(candidate):\n    assert asked(*candidate()) == {self.triplet.outputs[0]}\n"
        return FunctionTask(ident, solution, "f", tests=f"{asked}\n\n\n{check}")


def problems(triplet: Triplet, kinds: Sequence[Kind]) -> list[Problem]:
    """Return the tasks of a triplet: induction needs several pairs, the other kinds take one that has just one."""
    several = len(triplet.inputs) > 1
    return [Problem(kind, triplet, kind) for kind in kinds if several == (kind is Kind.INDUCTION)]


_ASK_DEDUCTION = (
    "This is a Python function:\n\n```python\n{source}\n```\n\nWhat does `f({given})` return? Do not write code that "
    "computes it. Answer with one line `assert f({given}) == ...`, in which a literal stands for the dots, in a fenced "
    "block of Python."
)
_ASK_ABDUCTION = (
    "This is a Python function:\n\n```python\n{source}\n```\n\nFind arguments for which it returns `{output}`. Do not "
    "write code that computes them. Answer with one line `assert f(...) == {output}`, in which literals stand for the "
    "dots, in a fenced block of Python."
)
_ASK_INDUCTION = (
    "These are calls of a Python function `f` with their results:\n\n```python\n{pairs}\n```\n\nWrite the function, "
    "which must be right for other arguments too, in one fenced block of Python."
)
