"""A generation: a model writes puzzles and solves them; pairs that pass the filters and the verifier are kept.

Work is divided into waves: puzzles are written, filtered, attempted in rounds, and kept. Up to `AHEAD` waves run
concurrently, so that the model writes one while the verifier works on another; within a wave the first texts are
verified while the last are sampled. What a wave does depends on earlier waves and the seed, never on timing: the same
seed gives the same data, resumed or not.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from selftaught.generator import candidate, example, prompts, selection
from selftaught.generator.candidate import ATTEMPT_STAGES, STAGES, STATIC_STAGES, Attempt, Candidate
from selftaught.generator.derivation import Derivation
from selftaught.generator.example import Example, Judgement
from selftaught.generator.folder import Folder, Tally
from selftaught.generator.models import Completer, chats
from selftaught.generator.novelty import HeldOut, Known
from selftaught.generator.prompts import Prompt, Style
from selftaught.generator.puzzle import NotAPuzzle, exact
from selftaught.generator.recipe import Recipe
from selftaught.generator.sampler import Sampler
from selftaught.generator.seeds import Seed
from selftaught.generator.verification import Verification
from selftaught.sandbox import Status, Verifier, interruption

AHEAD = 3
"""Number of waves that run concurrently."""


@dataclass(slots=True)
class Wave:
    """A wave: its number, its counts, and the two points that the next wave waits for."""

    number: int
    tally: Tally = field(default_factory=Tally)
    admitted: asyncio.Event = field(default_factory=asyncio.Event)
    written: asyncio.Event = field(default_factory=asyncio.Event)


class Generation:
    """A run that fills a folder with verified pairs.

    Args:
        model: Writes puzzles and solutions.
        seeds: Puzzles that prompts are made of.
        verifier: Verifies attempts and runs the filters that execute a puzzle.
        folder: The run's files; a run that was interrupted continues.
        recipe: The switches.
        style: The form of prompts (None: with few-shot examples).
        held_out: Puzzles that must not be in a prompt nor kept.
        earlier: Records of puzzles from other runs (`Folder.puzzles`), which count as written before.
        seed: Random seed.
        iteration: Recorded with every pair.
        on_progress: Called with the counts, those of incomplete waves included, whenever they change.

    Raises:
        Contaminated: A seed is a held-out puzzle.
    """

    def __init__(
        self,
        model: Completer,
        seeds: Sequence[Seed],
        verifier: Verifier,
        folder: Folder,
        recipe: Recipe,
        *,
        style: Style | None = None,
        held_out: HeldOut | None = None,
        earlier: Sequence[dict[str, Any]] = (),
        seed: int = 0,
        iteration: int = 0,
        on_progress: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self.model, self.seeds, self.folder, self.recipe = model, seeds, folder, recipe
        self.style, self.held_out = style or Style(), held_out or HeldOut()
        self.seed, self.iteration = seed, iteration
        self._verifier, self._on_progress = verifier, on_progress
        for one in seeds:
            self.held_out.check(one.puzzle.source)
        self._known, self._derivation = Known(recipe.cluster_similarity), Derivation(recipe, self.held_out)
        for record in [*earlier, *folder.puzzles()]:
            self._derivation.add_record(record)
            if record["refused"] not in STATIC_STAGES and record["sampling"]["model"]:
                self._known.add_seen(record["id"])
            if record["refused"] in ("", *ATTEMPT_STAGES) and record["sampling"]["model"]:
                self._known.admit(record["template"], record["form"], record["cluster"])
        self._pairs = {one.id for one in example.read(folder.path / "pairs.jsonl")}

    @property
    def refused(self) -> tuple[int, str]:
        """Number of prompts that the model has refused in this process, and its reason for the last one."""
        return self._sampler.refused

    def run(self, *, pairs: int | None = None, puzzles: int | None = None, patience: int = 20) -> Tally:
        """Generate until a number of pairs or puzzles is reached, whichever comes first.

        The wave that reaches it is kept whole.

        Args:
            pairs: Number of pairs to keep (None: no bound).
            puzzles: Number of puzzles to write (None: no bound).
            patience: Stop after this many consecutive waves without a pair.

        Returns:
            The counts of the run, earlier processes included.

        Raises:
            ValueError: Neither `pairs` nor `puzzles` is given.
            ModelFailed: The model can't be used.
            Closed: The verifier was closed during the run.
        """
        return interruption.run(self.arun(pairs=pairs, puzzles=puzzles, patience=patience))

    async def arun(self, *, pairs: int | None = None, puzzles: int | None = None, patience: int = 20) -> Tally:
        """`run` as a coroutine."""
        if pairs is None and puzzles is None:
            raise ValueError("give a number of pairs or of puzzles")
        self._sampler = Sampler(self.model, self.folder, self.recipe.top_p, self.recipe.top_k)
        self._running_waves: deque[Wave] = deque()
        running: deque[asyncio.Task[None]] = deque()
        last, empty_waves, started = None, 0, time.perf_counter()
        waves = (
            float("inf")
            if puzzles is None
            else -(-puzzles // (self.recipe.prompts_per_wave * self.recipe.samples_per_prompt))
        )
        try:
            while not self._is_done(pairs, puzzles) and empty_waves < patience:
                while len(running) < AHEAD and (number := last.number + 1 if last else self.folder.waves) < waves:
                    wave = Wave(number)
                    self._running_waves.append(wave)
                    running.append(asyncio.create_task(self._run(wave, last)))
                    last = wave
                if not running:
                    break
                kept = self.folder.tally.stages["pairs"]
                await running[0]
                running.popleft()
                empty_waves = 0 if self.folder.tally.stages["pairs"] > kept else empty_waves + 1
        finally:
            for task in running:
                task.cancel()
            self._sampler.close()
            await asyncio.gather(*running, return_exceptions=True)
            self.folder.add_seconds(elapsed=time.perf_counter() - started, model=self._sampler.busy)
        return self.folder.tally

    def _is_done(self, pairs: int | None, puzzles: int | None) -> bool:
        stages = self.folder.tally.stages
        return (pairs is not None and stages["pairs"] >= pairs) or (
            puzzles is not None and stages["written"] >= puzzles
        )

    async def _run(self, wave: Wave, previous: Wave | None) -> None:
        """Run one wave, from its prompts to its lines in the files."""
        verification = Verification(self._verifier, self.recipe, wave.tally)
        written = await self._write(wave)
        if previous:
            await previous.admitted.wait()
        candidate.filter_known(written, self._known, self.held_out, self.recipe)
        self._count(wave, written)
        await verification.check_trivial(written, self._rng(wave, "lots"))
        admitted = candidate.apply_quotas(written, self._known, self.recipe)
        wave.admitted.set()
        self._count(wave, written)
        await self._solve(wave, verification, admitted)
        if self.recipe.hindsight_attempts:
            await verification.try_hindsight(admitted)
        kept = await verification.select_pairs(admitted)
        if previous:
            await previous.written.wait()
        if self.recipe.retarget_unsolved or self.recipe.chains_per_wave:
            tally = Tally(seconds=wave.tally.seconds)  # guesses are not counted among the model's attempts
            verification = Verification(self._verifier, self.recipe, tally)
            derived, more = await self._derivation.derive(admitted, verification, self._seed(wave, "derived"))
            written = [*written, *derived]
            admitted, kept = [*admitted, *(one for one, _ in more)], [*kept, *(pairs for _, pairs in more)]
        examples = [
            self._example(one, attempt, judgement)
            for one, pairs in zip(admitted, kept, strict=True)
            for attempt, judgement in pairs
        ]
        new = list({one.id: one for one in reversed(examples) if one.id not in self._pairs}.values())[::-1]
        self._pairs.update(one.id for one in new)
        self._count(wave, written, len(new))
        self._running_waves.remove(wave)
        self.folder.commit(new, written, wave.tally)
        wave.written.set()

    async def _write(self, wave: Wave) -> list[Candidate]:
        """Return the wave's puzzles in the order of prompts and samples, with the static filters applied."""
        rng, recipe, tokens = self._rng(wave, "prompts"), self.recipe, self.recipe.puzzle_max_new_tokens
        context = min(self.model.context, recipe.puzzle_context or self.model.context)
        asked = [
            prompts.for_puzzle(
                self.seeds, self.model, self.style, rng, context - tokens, self.held_out, recipe.first_instance
            )
            for _ in range(recipe.prompts_per_wave)
        ]
        drawn = self._drawn(wave)
        seed, temperature, found = self._seed(wave, "puzzles"), self.recipe.temperature, {}
        async for number, texts in self._sampler.call(
            wave.number, "puzzles", asked, self.recipe.samples_per_prompt, tokens, temperature, seed
        ):
            origins = (
                self._sampler.origin(asked[number], tokens, temperature, seed, sample) for sample in range(len(texts))
            )
            found[number] = [
                candidate.read(asked[number], text, origin, recipe, (number, origin.attempt) in drawn)
                for text, origin in zip(texts, origins, strict=True)
            ]
        return [one for number in range(len(asked)) for one in found[number]]

    def _drawn(self, wave: Wave) -> set[tuple[int, int]]:
        """Return the prompts and samples whose puzzles skip filters."""
        if not self.recipe.lot_skips_checks:
            return set()
        rng, share = self._rng(wave, "drawn"), self.recipe.keep_trivial_share
        numbers = itertools.product(range(self.recipe.prompts_per_wave), range(self.recipe.samples_per_prompt))
        return {number for number in numbers if rng.random() < share}

    async def _solve(self, wave: Wave, verification: Verification, candidates: list[Candidate]) -> None:
        """Sample and verify attempts in rounds until a puzzle has enough passes or is given up."""
        recipe = self.recipe
        asked: dict[int, Prompt] = {}
        for number, one in enumerate(candidates):
            assert one.puzzle is not None
            asked[number] = prompts.for_solution(one.puzzle, self.style, chats(self.model))
            if self.model.tokens(asked[number].text) + recipe.solution_max_new_tokens > self.model.context:
                one.fails("solved", "too long for the model's context")
        for start in range(0, recipe.max_attempts, recipe.attempts_per_round):
            going = [n for n, one in enumerate(candidates) if not one.refused and _worth_more(one, recipe)]
            if not going:
                break
            count = min(recipe.attempts_per_round, recipe.max_attempts - start)
            await verification.verify_attempts(
                self._attempts(wave, start, count, [(candidates[n], asked[n]) for n in going])
            )
            self._count(wave)

    async def _attempts(
        self, wave: Wave, start: int, count: int, asked: list[tuple[Candidate, Prompt]]
    ) -> AsyncIterator[tuple[Candidate, Attempt]]:
        """Yield the attempts of one round as they are written; `start` is the number of earlier attempts at each
        puzzle."""
        tokens, seed = self.recipe.solution_max_new_tokens, self._seed(wave, f"solutions from {start}")
        texts, temperature = (
            [prompt for _, prompt in asked],
            self.recipe.solution_temperature or self.recipe.temperature,
        )
        async for number, found in self._sampler.call(
            wave.number, f"solutions-{start}", texts, count, tokens, temperature, seed
        ):
            one, prompt = asked[number]
            assert one.puzzle is not None
            for sample, text in enumerate(found):
                solution = status = ""
                try:
                    solution = prompts.read_solution(one.puzzle, prompt, text)
                    exact(solution)
                    status = "held_out" if self.held_out.reason_of_solution(solution) else ""
                except NotAPuzzle:
                    solution = ""
                origin = self._sampler.origin(prompt, tokens, temperature, seed, start + sample)
                yield one, Attempt(origin, text if prompt.chat else prompts.cut(text), solution, status)

    def _example(self, one: Candidate, attempt: Attempt, judgement: Judgement) -> Example:
        assert one.puzzle is not None
        passes = sum(own.status == Status.ACCEPTED for own in one.judged)
        attempts = len(one.judged)
        return Example(
            id=example.pair_id(one.puzzle.source, attempt.solution),
            puzzle=one.puzzle.source,
            solution=attempt.solution,
            answer_type=one.puzzle.annotation,
            puzzle_id=one.id,
            template=one.template,
            cluster=one.cluster,
            attempts=attempts,
            passes=passes,
            weight=selection.learnability(passes, attempts) if self.recipe.learnability_weights else 1.0,
            borrowed_from=attempt.borrowed_from,
            recipe=self.recipe.name,
            iteration=self.iteration,
            puzzle_sampling=one.sampling,
            solution_sampling=attempt.sampling,
            filters=one.outcomes,
            judgement=judgement,
        )

    def _count(self, wave: Wave, written: list[Candidate] | None = None, pairs: int = 0) -> None:
        """Update the wave's counts and call `on_progress`."""
        tally = wave.tally
        if written is not None:
            tally.stages.clear()
            tally.refusals.clear()
            tally.stages["derived"] = sum(one.derived for one in written)
            tally.stages["written"] = len(written) - tally.stages["derived"]
            for one in written:
                tally.stages.update(o.filter for o in one.outcomes if o.outcome != "refused")
                if not one.derived:
                    tally.stages["attempts"] += len(one.attempts)
                    tally.stages["right"] += len(one.passed)
                if one.refused:
                    tally.refusals[one.refused] += 1
            tally.stages["pairs"] = pairs
        total = Tally()
        for part in (self.folder.tally, *(other.tally for other in self._running_waves)):
            total.add(part)
        self._on_progress(total)

    def _rng(self, wave: Wave, what: str) -> random.Random:
        return random.Random(self._seed(wave, what))

    def _seed(self, wave: Wave, what: str) -> int:
        """Return a seed for one purpose in a wave. The data of a run depends on the text that is hashed here."""
        return int(example.digest(f"{self.seed} {self.iteration} {wave.number} {what}")[:8], 16) // 2


def _worth_more(one: Candidate, recipe: Recipe) -> bool:
    """Return True if a puzzle gets another round of attempts."""
    passed = {exact(attempt.solution) for attempt in one.passed}
    if recipe.target_passes and len(passed) >= recipe.target_passes:
        return False
    return bool(passed) or not recipe.give_up_after or len(one.attempts) < recipe.give_up_after


def stages() -> tuple[str, ...]:
    """Return the names of the counts, in the order in which a puzzle reaches them."""
    return ("written", "derived", *STAGES, "attempts", "right", "pairs")
