"""Derived puzzles: made in every wave from the puzzles that a model wrote and its attempts at them.

There are two ways. An unsolved equation is asked again with a target that one of its failed attempts reached, so that
an answer exists and one of the attempts may compute it (hindsight relabelling of the puzzle). And two solved equations
are composed into a harder one (see `selftaught.generator.chains`).
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

from selftaught.generator import candidate, equation, selection
from selftaught.generator.candidate import Attempt, Candidate
from selftaught.generator.chains import Links
from selftaught.generator.equation import Equation
from selftaught.generator.example import Judgement, Sampling
from selftaught.generator.index import Index
from selftaught.generator.novelty import HeldOut, Known
from selftaught.generator.prompts import Prompt
from selftaught.generator.puzzle import Puzzle, parse
from selftaught.generator.recipe import Recipe
from selftaught.generator.verification import Verification
from selftaught.sandbox import Status

_TRIES = 2
"""Number of failed attempts of a puzzle whose answers are tried as a new target."""

Settled = tuple[Candidate, list[tuple[Attempt, Judgement]]]
Guess = tuple[str, str]
"""A solution, and the id of the puzzle that it was written for."""


class Derivation:
    """Derives puzzles in a run. It keeps the puzzles derived so far, in the index, and the links of chains, in memory:
    a run with chains takes some 3 KB for every solved equation."""

    def __init__(self, recipe: Recipe, held_out: HeldOut, index: Index) -> None:
        self._recipe, self._held_out = recipe, held_out
        self._known, self._links = Known(recipe.near, index, "derived"), Links()

    def add_record(self, record: dict[str, Any]) -> None:
        """Add a solved puzzle that an earlier wave or run recorded, written or derived, to the links of chains."""
        derived, chained = not record["sampling"]["model"], len(record["sampling"]["parents"]) == 2
        if not record["refused"] and not (derived and chained) and self._recipe.chains_per_wave:
            right = [attempt["solution"] for attempt in record["attempts"] if attempt["status"] == Status.ACCEPTED]
            self._links.add(parse(record["puzzle"]), right)

    async def derive(
        self, admitted: Sequence[Candidate], verification: Verification, seed: int, wave: int
    ) -> tuple[list[Candidate], list[Settled]]:
        """Derive puzzles from a wave's admitted ones and from earlier waves.

        Args:
            admitted: The wave's candidates that passed the filter `quota`, after their attempts.
            verification: Verifies the derived puzzles.
            seed: Random seed.
            wave: The wave's number.

        Returns:
            All derived puzzles, and the pairs to keep of those that were admitted.
        """
        rng = random.Random(seed)
        made: list[Candidate] = []
        settled: list[Settled] = []
        if self._recipe.retarget_unsolved:
            retargeted = await self._retargeted(admitted, verification, rng, seed)
            written, found = await self._verify(retargeted, verification, rng, wave)
            made, settled = made + written, settled + found
        if self._recipe.chains_per_wave:
            for one in (*admitted, *(one for one, _ in settled)):
                if not one.refused and one.puzzle:
                    self._links.add(one.puzzle, [attempt.solution for attempt in one.passed])
            chained = await self._chained(verification, rng, seed)
            written, found = await self._verify(chained, verification, rng, wave)
            made, settled = made + written, settled + found
        return made, settled

    async def _verify(
        self, derived: list[tuple[Candidate, list[Guess]]], verification: Verification, rng: random.Random, wave: int
    ) -> tuple[list[Candidate], list[Settled]]:
        """Apply all filters to derived puzzles, then verify the guesses."""
        made = [one for one, _ in derived]
        candidate.filter_known(made, self._known, self._held_out, self._recipe, wave)
        await verification.check_running(made)
        await verification.check_trivial(made, rng)
        admitted = candidate.apply_quotas(made, self._known, self._recipe, wave)

        async def attempts() -> AsyncIterator[tuple[Candidate, Attempt]]:
            for one, guesses in derived:
                for solution, origin in () if one.refused else guesses:
                    yield one, Attempt(one.sampling, solution.partition(":")[2], solution, borrowed_from=origin)

        await verification.verify_attempts(attempts())
        return made, list(zip(admitted, await verification.select_pairs(admitted), strict=True))

    async def _retargeted(
        self, admitted: Sequence[Candidate], verification: Verification, rng: random.Random, seed: int
    ) -> list[tuple[Candidate, list[Guess]]]:
        tried = []
        for one in admitted:
            failed = [attempt for attempt in one.attempts if attempt.status == Status.REJECTED]
            asked = equation.read(one.puzzle) if one.puzzle and one.refused and failed else None
            if asked:
                tried += [(one, asked, attempt) for attempt in rng.sample(failed, min(_TRIES, len(failed)))]
        printed = await verification.run_programs(asked.value_program(attempt.solution) for _, asked, attempt in tried)
        aimed: dict[str, tuple[Candidate, Equation, str]] = {}
        for (one, asked, _), text in zip(tried, printed, strict=True):
            source = asked.with_target(text)
            if source and source != asked.puzzle.source:
                aimed.setdefault(one.id, (one, asked, source))
        made = []
        for number, (origin, asked, source) in enumerate(aimed.values()):
            derived = self._read(source, [origin.id], seed, number)
            made.append((derived, _again(origin, derived.puzzle, asked.target) if derived.puzzle else []))
        return made

    async def _chained(
        self, verification: Verification, rng: random.Random, seed: int
    ) -> list[tuple[Candidate, list[Guess]]]:
        chains = list(self._links.chains(self._recipe.chains_per_wave, rng))
        made = []
        for number, (chain, text) in enumerate(
            zip(chains, await verification.run_programs(one.program for one in chains), strict=True)
        ):
            closed = self._links.complete_chain(chain, text, rng)
            if closed:
                made.append((self._read(closed[0], chain.parents, seed, number), [(closed[1], chain.parents[0])]))
        return made

    def _read(self, source: str, parents: list[str], seed: int, number: int) -> Candidate:
        origin = Sampling("", "", "", 0.0, 0.0, 0, seed, number, parents)
        return candidate.read(Prompt("def f(", ""), source.removeprefix("def f("), origin, self._recipe)


def _again(origin: Candidate, puzzle: Puzzle, target: str) -> list[Guess]:
    """Return the attempts at a puzzle that read its target, moved to the copy with another target.

    An attempt that does not read the target is left out: one of them produced the target, so it would be right by
    construction.
    """
    assert origin.puzzle is not None
    bodies = dict.fromkeys(
        attempt.body for attempt in origin.attempts if attempt.solution and equation.reads(attempt.solution, target)
    )
    moved = (selection.transplant(body, origin.puzzle, puzzle) for body in bodies)
    return [(solution, origin.id) for solution in moved if solution]
