"""Puzzles that no model writes: made in every wave out of those that a model wrote, and of its attempts at them.

Two ways. An unsolved equation is asked again with a target that one of its failed attempts reached: then it has an answer for sure, and one of the
attempts may find it (hindsight on the puzzle's side). And two solved equations are chained into a harder one (see `selftaught.generator.chains`).
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

from selftaught.generator import candidate, equation, selection
from selftaught.generator.candidate import ALONE, LATE, Attempt, Candidate
from selftaught.generator.chains import Links
from selftaught.generator.equation import Equation
from selftaught.generator.example import Judgement, Sampling
from selftaught.generator.novelty import HeldOut, Known
from selftaught.generator.prompts import Prompt
from selftaught.generator.puzzle import Puzzle, parse
from selftaught.generator.recipe import Recipe
from selftaught.generator.trial import Trial
from selftaught.sandbox import Status

_TRIES = 2
"""Failed attempts whose answers are tried as the source of a target."""

Settled = tuple[Candidate, list[tuple[Attempt, Judgement]]]
Guess = tuple[str, str]
"""A solution, and the id of the puzzle that it comes from."""


class Derivation:
    """What a run derives; remembers the puzzles derived and the links found."""

    def __init__(self, recipe: Recipe, held_out: HeldOut) -> None:
        self._recipe, self._held_out = recipe, held_out
        self._known, self._links = Known(recipe.near), Links()

    def recall(self, record: dict[str, Any]) -> None:
        """Take in a recorded puzzle of an earlier wave or run, written or derived."""
        derived, chained = not record["sampling"]["model"], len(record["sampling"]["parents"]) == 2
        if derived:
            if record["refused"] not in ALONE:
                self._known.meet(record["id"])
            if record["refused"] in ("", *LATE):
                self._known.admit(record["template"], record["form"], record["cluster"])
        if not record["refused"] and not (derived and chained) and self._recipe.chains:
            right = [attempt["solution"] for attempt in record["attempts"] if attempt["status"] == Status.ACCEPTED]
            self._links.add(parse(record["puzzle"]), right)

    async def derive(
        self, admitted: Sequence[Candidate], trial: Trial, seed: int
    ) -> tuple[list[Candidate], list[Settled]]:
        """All puzzles derived from a wave's admitted ones and what came before, and what is kept of those that were admitted."""
        chance = random.Random(seed)
        made: list[Candidate] = []
        settled: list[Settled] = []
        if self._recipe.retarget:
            written, found = await self._judge(await self._retargeted(admitted, trial, chance, seed), trial, chance)
            made, settled = made + written, settled + found
        if self._recipe.chains:
            for one in (*admitted, *(one for one, _ in settled)):
                if not one.refused and one.puzzle:
                    self._links.add(one.puzzle, [attempt.solution for attempt in one.passed])
            written, found = await self._judge(await self._chained(trial, chance, seed), trial, chance)
            made, settled = made + written, settled + found
        return made, settled

    async def _judge(
        self, derived: list[tuple[Candidate, list[Guess]]], trial: Trial, chance: random.Random
    ) -> tuple[list[Candidate], list[Settled]]:
        """All filters, then the guesses."""
        made = [one for one, _ in derived]
        candidate.compare(made, self._known, self._held_out, self._recipe)
        await trial.trivial(made, chance)
        admitted = candidate.admit(made, self._known, self._recipe)

        async def attempts() -> AsyncIterator[tuple[Candidate, Attempt]]:
            for one, guesses in derived:
                for solution, origin in () if one.refused else guesses:
                    yield one, Attempt(one.sampling, solution.partition(":")[2], solution, borrowed_from=origin)

        await trial.attempts(attempts())
        return made, list(zip(admitted, await trial.settle(admitted), strict=True))

    async def _retargeted(
        self, admitted: Sequence[Candidate], trial: Trial, chance: random.Random, seed: int
    ) -> list[tuple[Candidate, list[Guess]]]:
        tried = []
        for one in admitted:
            failed = [attempt for attempt in one.attempts if attempt.status == Status.REJECTED]
            asked = equation.read(one.puzzle) if one.puzzle and one.refused and failed else None
            if asked:
                tried += [(one, asked, attempt) for attempt in chance.sample(failed, min(_TRIES, len(failed)))]
        printed = await trial.printed(asked.achieved(attempt.solution) for _, asked, attempt in tried)
        aimed: dict[str, tuple[Candidate, Equation, str]] = {}
        for (one, asked, _), text in zip(tried, printed, strict=True):
            source = asked.aimed(text)
            if source and source != asked.puzzle.source:
                aimed.setdefault(one.id, (one, asked, source))
        made = []
        for number, (origin, asked, source) in enumerate(aimed.values()):
            derived = self._read(source, [origin.id], seed, number)
            made.append((derived, _again(origin, derived.puzzle, asked.target) if derived.puzzle else []))
        return made

    async def _chained(self, trial: Trial, chance: random.Random, seed: int) -> list[tuple[Candidate, list[Guess]]]:
        chains = list(self._links.chains(self._recipe.chains, chance))
        made = []
        for number, (chain, text) in enumerate(
            zip(chains, await trial.printed(one.program for one in chains), strict=True)
        ):
            closed = self._links.close(chain, text, chance)
            if closed:
                made.append((self._read(closed[0], chain.parents, seed, number), [(closed[1], chain.parents[0])]))
        return made

    def _read(self, source: str, parents: list[str], seed: int, number: int) -> Candidate:
        origin = Sampling("", "", "", 0.0, 0.0, 0, seed, number, parents)
        return candidate.read(Prompt("def f(", ""), source.removeprefix("def f("), origin, self._recipe)


def _again(origin: Candidate, puzzle: Puzzle, target: str) -> list[Guess]:
    """The attempts at a puzzle that read its target, as attempts at the same with another one. (The others would be right by
    construction: one of them gave the target.)"""
    assert origin.puzzle is not None
    bodies = dict.fromkeys(
        attempt.body for attempt in origin.attempts if attempt.solution and equation.reads(attempt.solution, target)
    )
    moved = (selection.transplant(body, origin.puzzle, puzzle) for body in bodies)
    return [(solution, origin.id) for solution in moved if solution]
