"""Whole runs with a model that answers prompts concurrently: timing changes nothing, and nothing is asked twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasketch  # noqa: F401  # it changes the filters of warnings when it is first imported
import pytest

from selftaught.generator import prompts, puzzle
from selftaught.generator.models import ModelFailed, Refused
from selftaught.generator.models.scripted import Scripted
from selftaught.generator.reading import Reader
from selftaught.generator.recipe import replace
from selftaught.sandbox import Verifier
from tests.generator.scripted_run import SMALL, SOLUTIONS, kept, records, run, script

PUZZLE = puzzle.parse("def f(x: int, a=417, b=1342):\n    return x + a == b")


class Served(Scripted):
    """Answers each prompt after a while of its own, and fails when `left` were answered.

    Attributes:
        asked: Prompt and seed of each answer.
        most: The most prompts that were open at a time.
    """

    def __init__(self, delays: int = 0, capacity: int = 20) -> None:
        super().__init__(script)
        self.capacity, self.left, self.refuses = capacity, 10**6, "\0"
        self.asked: list[tuple[str, int]] = []
        self.open, self.most = 0, 0
        self._delays = random.Random(delays)

    async def acomplete(self, prompt: str, *, samples: int, seed: int, **settings: Any) -> list[str]:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await asyncio.sleep(self._delays.random() / 20)
            if self.refuses in prompt:
                raise Refused("too long")
            if not self.left:
                raise ModelFailed("gone")
            self.left -= 1
            self.asked.append((prompt, seed))
            rng = random.Random(f"{seed} {prompt}")
            return [script(prompt, rng) for _ in range(samples)]
        finally:
            self.open -= 1


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        yield made


def test_the_same_seed_gives_the_same_data_whatever_the_timing(tmp_path: Path, verifier: Verifier) -> None:
    for name, delays, capacity in (("a", 1, 3), ("b", 2, 50)):
        run(tmp_path / name, verifier, model=Served(delays, capacity))
    assert kept(tmp_path / "a") == kept(tmp_path / "b") != []
    assert records(tmp_path / "a") == records(tmp_path / "b")


def test_prompts_of_many_waves_are_open_at_once(tmp_path: Path, verifier: Verifier) -> None:
    model = Served(capacity=40)
    run(tmp_path, verifier, model=model, puzzles=640)
    assert model.most > 5 * SMALL.prompts_per_wave


@pytest.mark.parametrize("after", [1, 5, 9, 12])
def test_a_run_that_breaks_goes_on_and_asks_nothing_twice(tmp_path: Path, verifier: Verifier, after: int) -> None:
    """after: prompts that are answered before the first one that isn't."""
    run(tmp_path / "whole", verifier, model=Served(1))
    model = Served(2)
    model.left = after
    with pytest.raises(ModelFailed, match="gone"):
        run(tmp_path / "broken", verifier, model=model)
    assert len(model.asked) == after
    model.left = 10**6
    run(tmp_path / "broken", verifier, model=model, resume=True)
    assert kept(tmp_path / "broken") == kept(tmp_path / "whole")
    assert records(tmp_path / "broken") == records(tmp_path / "whole")
    assert len(model.asked) == len(set(model.asked))
    assert not list((tmp_path / "broken" / "calls").iterdir())


def test_a_call_that_was_half_written_is_made_again(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path / "whole", verifier, model=Served(1))
    model = Served(2)
    model.left = 9
    with pytest.raises(ModelFailed):
        run(tmp_path / "broken", verifier, model=model)
    for path in (tmp_path / "broken" / "calls").iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    model.left = 10**6
    run(tmp_path / "broken", verifier, model=model, resume=True)
    assert kept(tmp_path / "broken") == kept(tmp_path / "whole")


def test_a_prompt_that_is_refused_gives_nothing_and_ends_nothing(tmp_path: Path, verifier: Verifier) -> None:
    model = Served()
    model.refuses = "x * 0 == a"
    run(tmp_path, verifier, model=model, recipe=replace(SMALL, hindsight_attempts=0))
    tried = {"x * 0 == a" in one["puzzle"]: one["attempts"] for one in records(tmp_path) if one["refused"] != "new"}
    assert tried[True] == []
    assert kept(tmp_path)


def test_texts_are_read_alike_in_another_process(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path / "here", verifier, model=Served(), processes=0)
    run(tmp_path / "there", verifier, model=Served(), processes=2)
    assert kept(tmp_path / "here") == kept(tmp_path / "there")

    async def read(reader: Reader) -> list[Any]:
        prompt = prompts.for_solution(PUZZLE, prompts.Style())
        texts = [text for group in SOLUTIONS.values() for text in group]
        return [await reader.solutions(PUZZLE, prompt, texts) for _ in range(3)]

    here, there = Reader(0), Reader(1, share=0)
    try:
        assert asyncio.run(read(here)) == asyncio.run(read(there))
        assert there._children is not None and here._children is None
    finally:
        there.close()


def test_a_process_that_ends_costs_nothing_but_time(caplog: pytest.LogCaptureFixture) -> None:
    prompt = prompts.for_solution(PUZZLE, prompts.Style())
    reader = Reader(1, share=0)

    async def read() -> list[Any]:
        return [await reader.solutions(PUZZLE, prompt, [" return b - a"])]

    try:
        expected = asyncio.run(read())
        assert asyncio.run(read()) == expected
        assert reader._children is not None
        os.kill(reader._children._processes[0].pid, signal.SIGKILL)
        assert asyncio.run(read()) == expected
        assert "read in this process alone" in caplog.text
    finally:
        reader.close()
