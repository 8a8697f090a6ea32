"""Proposals are read, run and kept only if they are what they seem; answers are judged, and can't be computed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from selftaught.generator.absolute_zero import proposing
from selftaught.generator.absolute_zero.checking import check
from selftaught.generator.absolute_zero.problem import Problem, problems
from selftaught.generator.absolute_zero.proposing import SHOTS
from selftaught.generator.absolute_zero.triplet import Kind, NotAProposal, Proposal, Triplet, program
from selftaught.generator.prompts import BARE, Style
from selftaught.sandbox import Program, Run, Status, Verdict, Verifier
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.program import Ending

SUM = SHOTS[1]
DEFINED = "def f(x):\n    return x"


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=2, require="restricted") as made:
        yield made


@pytest.mark.parametrize("source", [
    "def f():\n    return 1", "def f(*x):\n    return x", "def f(x):\n    return 1", "x = 1", DEFINED + "\n" + DEFINED,
    "def f(x):\n    return eval(x)", "@cache\ndef f(x):\n    return x", "def f(x:\n", "def g(x):\n    return x", "",
])  # fmt: skip
def test_what_is_no_program_of_its_arguments_is_refused(source: str) -> None:
    with pytest.raises(NotAProposal):
        program(source)


def test_a_program_with_a_call_is_read_up_to_its_first_assertion() -> None:
    prompt = proposing.for_program(SHOTS)
    assert prompt.text.endswith("def f4(")
    text = "x, y):\n    return x * y\n\nassert f4(3, [1]) == [1, 1, 1]\nassert f4(2, 2) == 4\n\ndef f5("
    assert proposing.read_program(prompt, text) == Proposal("def f(x, y):\n    return x * y", ("3, [1]",))
    chat = proposing.for_program(SHOTS, chat=True)
    answer = "Here:\n```python\ndef f(x, y):\n    return x * y\n\nassert f(3, [1]) == [1, 1, 1]\n```"
    assert proposing.read_program(chat, answer) == Proposal("def f(x, y):\n    return x * y", ("3, [1]",))


@pytest.mark.parametrize("text", [
    "x):\n    return x\n", "x):\n    return x\n\nassert f4(y) == 1\n", "x):\n    return x\n\nassert f4(x=1) == 1\n",
    "x):\n    return x\n\nassert f4() == 1\n", "x):\n    return x\n\nassert f4([1) == 1\n",
    "x):\n    return x\n\nassert f4('\ud800') == 1\n",
    "x):\n    return x\n\nassert f4(" + "1" * 9000 + ") == 1\n",
])  # fmt: skip
def test_a_program_without_a_call_of_literals_is_refused(text: str) -> None:
    with pytest.raises(NotAProposal):
        proposing.read_program(proposing.for_program(SHOTS), text)


def test_inputs_of_a_program_are_read_each_once_with_what_it_does() -> None:
    prompt = proposing.for_inputs(SHOTS[:2], SUM.source)
    assert prompt.text.endswith("        n //= 10\n    return total\n\n#")
    text = " the digits\nassert f3(1) == 1\nassert f3(1) == 1\nassert f3(x) == 1\nassert f3(22) == 5\n\ndef f4(x):"
    assert proposing.read_inputs(SUM.source, prompt, text) == Proposal(SUM.source, ("1", "22"), "the digits")
    with pytest.raises(NotAProposal, match="fewer than two"):
        proposing.read_inputs(SUM.source, prompt, " the digits\nassert f3(1) == 1\n")


@pytest.mark.parametrize("prefix", ["x):\n    return x", " a"])
def test_a_completion_stops_after_its_assertions(prefix: str) -> None:
    stop = proposing.AfterAsserts(2)
    text = prefix + "\n\nassert f(1) == 1\nassert f(2) == 2"
    assert not any(stop(text[:length]) for length in range(len(text) + 1))
    assert stop(text + "\nassert f(3)") and stop(text + "\n\ndef f9") and stop(prefix + "\nprint")


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("style", [Style(), BARE])
def test_a_prompt_shows_what_is_given_and_not_what_is_asked(kind: Kind, style: Style) -> None:
    triplet = Triplet("def f(word, n):\n    return word * n", ("'pq', 3", "'z', 2"), ("'pqpqpq'", "'zz'"), "repeats")
    texts = [Problem(kind, triplet).prompt(style, chat).text for chat in (False, True)]
    for text in texts:
        assert ("'pqpqpq'" in text) == (kind is not Kind.DEDUCTION)
        assert ("'pq', 3" in text) == (kind is not Kind.ABDUCTION)
        assert ("word * n" in text) == (kind is not Kind.INDUCTION)
        assert "'zz'" not in text, "what judges an induction is not shown"
    assert texts[0].rstrip() == texts[0], "it ends where a token ends"


@pytest.mark.parametrize("kind", Kind)
def test_an_example_in_a_prompt_is_never_the_answer(kind: Kind) -> None:
    for one in SHOTS:
        text = Problem(kind, one).prompt(Style(), False).text
        assert text.count(one.source.split("\n", 1)[1]) == (kind is not Kind.INDUCTION)


RIGHT = {
    Kind.DEDUCTION: (" 12\n", "```python\nassert f(507) == 12\n```"),
    Kind.ABDUCTION: ("93)\n", "Say:\n```python\nassert f(93) == 12\n```"),
    Kind.INDUCTION: ("n):\n    return sum(map(int, str(n)))\n",
                     "```python\ndef f(n):\n    return sum(map(int, str(n)))\n```"),
}  # fmt: skip
WRONG = {
    Kind.DEDUCTION: (" 13\n", "```python\nassert f(507) == 13\n```"),
    Kind.ABDUCTION: ("94)\n", "```python\nassert f(94) == 12\n```"),
    Kind.INDUCTION: ("n):\n    return {507: 12, 9: 9}.get(n)\n", "```python\ndef f(n):\n    return n\n```"),
}
UNREADABLE = {
    Kind.DEDUCTION: (" 10 + 2\n", "It is f(507)."),
    Kind.ABDUCTION: ("int('93'))\n", "```python\nassert f(int('93')) == 12\n```"),
    Kind.INDUCTION: ("n:\n    return\n", "I don't know."),
}


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("kind", Kind)
def test_right_and_wrong_answers_are_told_apart_and_code_is_no_prediction(
    kind: Kind, chat: bool, verifier: Verifier
) -> None:
    one = Problem(kind, SUM)
    prompt = one.prompt(Style(), chat)
    for answers, status in ((RIGHT, Status.ACCEPTED), (WRONG, Status.REJECTED)):
        read = one.read(prompt, answers[kind][chat])
        assert read is not None and verifier.verify(one.task("", read)).status is status
    assert one.read(prompt, UNREADABLE[kind][chat]) is None


def test_only_deterministic_programs_of_plain_data_are_kept_and_what_they_print_is_no_evidence(
    verifier: Verifier,
) -> None:
    bad = [
        Proposal("def f(x):\n    import random\n    return random.random() + x", ("1",)),
        Proposal("def f(x):\n    import os\n    return [x, os.urandom(4)]", ("1",)),
        Proposal("def f(x):\n    return x / 0", ("1",)),
        Proposal("def f(x):\n    return object() if x else x", ("1",)),
        Proposal("def f(x):\n    while x: pass", ("1",)),
        Proposal("def f(x):\n    return float('nan') + x", ("1",)),
        Proposal("def f(x):\n    return [x] * 10000", ("1",)),
        Proposal("import atexit\ndef f(x):\n    atexit.register(print, '--- outputs', ['5'])\n    return x", ("1",)),
        Proposal("def f(x):\n    import os\n    print('--- outputs', ['5'], flush=True)\n    os._exit(0 * x)", ("1",)),
    ]
    good = [Proposal(one.source, one.inputs, one.message) for one in SHOTS]
    good += [Proposal("def f(x):\n    print('--- outputs', ['5'])\n    return x", ("1",))]
    found = check(verifier, [*bad, None, *good])
    assert found[: len(bad) + 1] == [None] * (len(bad) + 1)
    assert found[len(bad) + 1 :] == [*SHOTS, Triplet(good[-1].source, ("1",), ("1",))]


def test_a_proposal_that_could_not_be_judged_is_not_a_bad_one() -> None:
    class Failing:
        workers = 1

        def run(self, program: Program) -> Run:
            return Run("", Ending.INTERNAL_ERROR, message="it broke")

        def verify_many(self, tasks: Any, repeat: int) -> Iterator[Verdict]:
            return iter([])

    class Cancelling(Failing):
        def run(self, program: Program) -> Run:
            return Run("", Ending.EXITED, return_code=0, stdout="--- outputs  ['1']\n")

        def verify_many(self, tasks: Any, repeat: int) -> Iterator[Verdict]:
            return iter([Verdict(one.id, Status.CANCELLED, message="closed") for one in tasks])

    for verifier in (Failing(), Cancelling()):
        (found,) = check(verifier, [Proposal(DEFINED, ("1",))])  # type: ignore[arg-type]
        assert isinstance(found, NotJudged)


def test_a_proposal_that_is_deep_or_long_is_judged_or_dropped_and_ends_nothing(verifier: Verifier) -> None:
    deep = Proposal(DEFINED, ("[" * 180 + "]" * 180,))
    wide = Proposal("def f(x):\n    for _ in range(300):\n        x = [x]\n    return x", ("1",))
    long = Proposal("def f(x):\n    return 10 ** (x * 3000)", ("2",))
    found = check(verifier, [deep, wide, long, Proposal(DEFINED, ("1",))])
    assert len(found) == 4 and found[1] is found[2] is None and found[3] == Triplet(DEFINED, ("1",), ("1",))


def test_a_triplet_makes_problems_of_the_kinds_that_it_has_the_inputs_for() -> None:
    one = Triplet(DEFINED, ("1",), ("1",))
    assert [problem.kind for problem in problems(one, list(Kind))] == [Kind.DEDUCTION, Kind.ABDUCTION]
    assert [problem.kind for problem in problems(SUM, list(Kind))] == [Kind.INDUCTION]
    renamed = Triplet("def f(y):\n    return y", ("1",), ("1",))
    assert renamed.id == one.id != Triplet(DEFINED, ("2",), ("2",)).id
    assert Triplet.from_dict(SUM.to_dict()) == SUM
