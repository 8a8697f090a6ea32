"""That what is compared is what it is said to be."""

from __future__ import annotations

import io
import tokenize
from collections import Counter

import pytest

from tests.benchmarks import workloads
from tests.benchmarks.peers import plain_exec, program

SIZES = (300, 1400, 5000)


@pytest.mark.parametrize("characters", SIZES)
def test_a_group_puzzle_is_code_of_exactly_its_size(characters: int) -> None:
    for source, _ in workloads.grpo(characters, 150)[:: workloads.GROUP]:
        assert len(source) == characters
        assert len(source.rstrip()) >= characters - 20
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
        assert not [token for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING)]
        assert len(tokens) > characters / 8


@pytest.mark.parametrize("characters", SIZES)
def test_no_group_puzzle_and_no_answer_occurs_twice(characters: int) -> None:
    made = workloads.grpo(characters, 150)
    assert len(made) == 2400
    assert set(Counter(sat for sat, _ in made).values()) == {workloads.GROUP}
    assert len({sol for _, sol in made}) == len(made)


@pytest.mark.parametrize("characters", SIZES)
def test_every_fourth_answer_of_a_group_is_wrong(characters: int) -> None:
    right = [plain_exec(program(pair)) for pair in workloads.grpo(characters, 3)]
    assert right == [True, True, True, False] * 12


def test_puzzles_named_as_in_the_paper_are_judged_too() -> None:
    puzzle = "def f(x: int): return x == 1"
    assert plain_exec(program((puzzle, "def g(): return 1")))
    assert not plain_exec(program((puzzle, "def g(): return 2")))


def test_what_is_not_given_is_said_with_the_variable_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_LM", "/nowhere")
    with pytest.raises(FileNotFoundError, match=r"/nowhere.*SELFTAUGHT_LM"):
        workloads.WORKLOADS["lm"](1, True)
