"""A generation: a model writes puzzles and solves them; pairs that pass the filters and the verifier are kept.

Work is divided into waves: puzzles are written, filtered, attempted in rounds, and kept. Several waves run
concurrently: three with a local model, so that it writes one while the verifier works on another; with servers as many
as keep them busy. Within a wave the first texts are verified while the last are sampled; with servers each puzzle goes
from round to round by itself. What a wave does depends on earlier waves and the seed, never on timing: the same seed
gives the same data, resumed or not.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from selftaught.generator import candidate, example, prompts, selection
from selftaught.generator.calls import Calls
from selftaught.generator.candidate import ATTEMPT_STAGES, STAGES, STATIC_STAGES, Attempt, Candidate
from selftaught.generator.derivation import Derivation
from selftaught.generator.example import Example, Judgement
from selftaught.generator.folder import Folder, Tally, read_puzzles
from selftaught.generator.index import COMPLETE
from selftaught.generator.models import Completer, chats, fits
from selftaught.generator.novelty import HeldOut, Known
from selftaught.generator.prompts import Prompt, Style
from selftaught.generator.reading import Reader
from selftaught.generator.recipe import Recipe
from selftaught.generator.sampler import Drawing, Sampler
from selftaught.generator.seeds import Seed
from selftaught.generator.verification import Backlog, Verification
from selftaught.sandbox import Status, Verifier, interruption

AHEAD, MOST_AHEAD = 3, 1000
"""Number of waves that run concurrently with a local model, and at most with servers."""

_MOST_QUEUED = 200
"""Tasks that wait for each worker of the verifier, from which on no wave is begun: the model is not the limit."""

_POLL_SECONDS = 0.02
"""How often it is looked whether the servers would take more."""

_PROGRESS_SECONDS = 0.1
"""The shortest time between two reports of the counts."""


Asked = tuple[int, Candidate, Prompt]
"""A puzzle with its index among the admitted ones of its wave, and the prompt for its solutions."""


@dataclass(slots=True)
class Wave:
    """A wave: its number, its stored calls, its counts, and the two points that the next wave waits for."""

    number: int
    calls: Calls
    tally: Tally = field(default_factory=Tally)
    admitted: asyncio.Event = field(default_factory=asyncio.Event)
    written: asyncio.Event = field(default_factory=asyncio.Event)


class Generation:
    """A run that fills a folder with verified pairs.

    Args:
        model: Writes solutions, and puzzles unless there is a `writer`.
        seeds: Puzzles that prompts are made of.
        verifier: Verifies attempts and runs the filters that execute a puzzle.
        folder: The run's files; a run that was interrupted continues.
        recipe: The switches.
        style: The form of prompts (None: with few-shot examples).
        held_out: Puzzles that must not be in a prompt nor kept.
        earlier: Records of puzzles from other runs (see `selftaught.generator.folder.read_puzzles`), which count as
            written before; read once.
        seed: Random seed.
        iteration: Recorded with every pair.
        writer: Another model, which writes the puzzles.
        processes: Number of processes that read completions, if that takes much of this one's time (see `Reader`).
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
        earlier: Iterable[dict[str, Any]] = (),
        seed: int = 0,
        iteration: int = 0,
        writer: Completer | None = None,
        processes: int | None = None,
        on_progress: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        self.model, self.seeds, self.folder, self.recipe = model, seeds, folder, recipe
        self.writer = writer or model
        self.style, self.held_out = style or Style(), held_out or HeldOut()
        self.seed, self.iteration, self._processes = seed, iteration, processes
        self._verifier, self._on_progress = verifier, on_progress
        for one in seeds:
            self.held_out.check(one.puzzle.source)
        self._backlog, self._told = Backlog(), 0.0
        self._known = Known(recipe.near, folder.index)
        self._derivation = Derivation(recipe, self.held_out, folder.index)
        self._add_earlier(earlier)

    def _add_earlier(self, earlier: Iterable[dict[str, Any]]) -> None:
        """Add the puzzles of other runs, and those of this one that the index or the links of chains lack."""
        is_new = self.folder.index.is_new
        derived = Known(self.recipe.near, self.folder.index, "derived")
        if is_new or self.recipe.chains_per_wave:
            for record in itertools.chain(earlier, read_puzzles(self.folder.path)):
                self._derivation.add_record(record)
                known = self._known if record["sampling"]["model"] else derived
                if is_new and record["refused"] not in STATIC_STAGES:
                    known.add_seen(record["id"], COMPLETE)
                if is_new and record["refused"] in ("", *ATTEMPT_STAGES):
                    known.admit(record["template"], record["form"], record["cluster"], COMPLETE)
        if is_new:
            for one in example.read(self.folder.path / "pairs.jsonl"):
                self.folder.index.add_pair(one.id, COMPLETE)
            self.folder.index.commit(self.folder.waves)

    @property
    def refused(self) -> tuple[int, str]:
        """Number of prompts that the models have refused in this process, and the reason for one of the last."""
        numbers, reasons = zip(*(one.refused for one in self._samplers), strict=True)
        return sum(numbers), next(filter(None, reasons), "")

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
        top_p, top_k = self.recipe.top_p, self.recipe.top_k
        self._sampler = self._puzzle_sampler = Sampler(self.model, top_p, top_k)
        self._samplers = [self._sampler]
        if self.writer is not self.model:
            self._puzzle_sampler = Sampler(self.writer, top_p, top_k, beside=self._sampler)
            self._samplers.append(self._puzzle_sampler)
        self._reader = Reader(self._processes)
        self._running_waves: deque[Wave] = deque()
        running: deque[asyncio.Task[int]] = deque()
        last, empty_waves, started = None, 0, time.perf_counter()
        waves = (
            float("inf")
            if puzzles is None
            else -(-puzzles // (self.recipe.prompts_per_wave * self.recipe.samples_per_prompt))
        )
        try:
            while not self._is_done(pairs, puzzles) and empty_waves < patience:
                number = last.number + 1 if last else self.folder.waves
                if number < waves and self._may_begin(len(running)):
                    wave = Wave(number, self.folder.calls(number))
                    self._running_waves.append(wave)
                    running.append(asyncio.create_task(self._run(wave, last)))
                    last = wave
                    await asyncio.sleep(0)  # the wave asks for its puzzles
                elif not running:
                    break
                else:
                    await asyncio.wait({running[0]}, timeout=_POLL_SECONDS if self._sampler.is_concurrent else None)
                    if running[0].done():
                        empty_waves = 0 if await running.popleft() else empty_waves + 1
        finally:
            for task in running:
                task.cancel()
            for one in self._samplers:
                one.close()
            self._reader.close()
            await asyncio.gather(*running, return_exceptions=True)
            elapsed = time.perf_counter() - started
            self.folder.add_seconds(elapsed=elapsed, model=min(elapsed, sum(one.busy for one in self._samplers)))
        return self.folder.tally

    def _is_done(self, pairs: int | None, puzzles: int | None) -> bool:
        stages = self.folder.tally.stages
        return (pairs is not None and stages["pairs"] >= pairs) or (
            puzzles is not None and stages["written"] >= puzzles
        )

    def _may_begin(self, running: int) -> bool:
        """Return True if another wave may begin while so many are running. Of those beyond the first few each has a
        prompt at the servers: if they wait for the verifier or for this process, more waves make nothing faster."""
        if running < AHEAD or not self._sampler.is_concurrent:
            return running < AHEAD
        waits_for_model = sum(one.outstanding for one in self._samplers) > running - AHEAD
        judges = self._backlog.tasks < _MOST_QUEUED * self._verifier.workers
        return running < MOST_AHEAD and waits_for_model and judges and all(one.has_room for one in self._samplers)

    async def _run(self, wave: Wave, previous: Wave | None) -> int:
        """Run one wave, from its prompts to its lines in the files; return the number of its pairs."""
        verification = Verification(self._verifier, self.recipe, wave.tally, self._backlog)
        written = await self._write(wave)
        if previous:
            await previous.admitted.wait()
        candidate.filter_known(written, self._known, self.held_out, self.recipe, wave.number)
        self._count(wave, written)
        await verification.check_running(written)
        await verification.check_trivial(written, self._rng(wave, "lots"))
        admitted = candidate.apply_quotas(written, self._known, self.recipe, wave.number)
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
            verification = Verification(self._verifier, self.recipe, tally, self._backlog)
            seed = self._seed(wave, "derived")
            derived, more = await self._derivation.derive(admitted, verification, seed, wave.number)
            written = [*written, *derived]
            admitted, kept = [*admitted, *(one for one, _ in more)], [*kept, *(pairs for _, pairs in more)]
        examples = [
            self._example(one, attempt, judgement)
            for one, pairs in zip(admitted, kept, strict=True)
            for attempt, judgement in pairs
        ]
        distinct = {one.id: one for one in reversed(examples)}  # a pair that came twice stands where it came last
        new = [one for one in reversed(distinct.values()) if not self.folder.index.add_pair(one.id, wave.number)]
        self._count(wave, written, len(new), now=True)
        self._running_waves.remove(wave)
        self.folder.commit(new, written, wave.tally)
        wave.calls.remove()
        wave.written.set()
        return len(new)

    async def _write(self, wave: Wave) -> list[Candidate]:
        """Return the wave's puzzles in the order of prompts and samples, with the static filters applied."""
        rng, recipe, tokens = self._rng(wave, "prompts"), self.recipe, self.recipe.puzzle_max_new_tokens
        context = min(self.writer.context, recipe.puzzle_context or self.writer.context)
        switches = recipe.first_instance, recipe.typed_prompts
        asked = [
            prompts.for_puzzle(self.seeds, self.writer, self.style, rng, context - tokens, self.held_out, *switches)
            for _ in range(recipe.prompts_per_wave)
        ]
        drawn = self._drawn(wave)
        drawing = Drawing(recipe.samples_per_prompt, tokens, recipe.temperature, self._seed(wave, "puzzles"))
        found: dict[int, list[Candidate]] = {}
        async for number, texts in self._puzzle_sampler.call(wave.number, wave.calls, asked, drawing):
            origins = [self._puzzle_sampler.origin(asked[number], drawing, sample) for sample in range(len(texts))]
            lots = [(number, sample) in drawn for sample in range(len(texts))]
            found[number] = await self._reader.puzzles(asked[number], texts, origins, recipe, lots)
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
        going: list[Asked] = []
        for number, one in enumerate(candidates):
            assert one.puzzle is not None
            prompt = prompts.for_solution(one.puzzle, self.style, chats(self.model))
            if fits(self.model, prompt.content, self.recipe.solution_max_new_tokens):
                going.append((number, one, prompt))
            else:
                one.fails("solved", "too long for the model's context")
        groups = [[one] for one in going] if self._sampler.is_concurrent else [going]
        await _together(*(self._solve_in_rounds(wave, verification, group) for group in groups))

    async def _solve_in_rounds(self, wave: Wave, verification: Verification, going: list[Asked]) -> None:
        """Sample and verify attempts at some puzzles, which go from one round to the next together."""
        recipe = self.recipe
        for start in range(0, recipe.max_attempts, recipe.attempts_per_round):
            going = [asked for asked in going if _worth_more(asked[1], recipe)]
            if not going:
                break
            count = min(recipe.attempts_per_round, recipe.max_attempts - start)
            await verification.verify_attempts(self._attempts(wave, start, count, going))
            self._count(wave)

    async def _attempts(
        self, wave: Wave, start: int, count: int, going: list[Asked]
    ) -> AsyncIterator[tuple[Candidate, Attempt]]:
        """Yield the attempts of one round as they are written; `start` is the number of earlier attempts at each
        puzzle."""
        first = going[0][0] if self._sampler.is_concurrent else 0
        drawing = Drawing(
            count,
            self.recipe.solution_max_new_tokens,
            self.recipe.solution_temperature or self.recipe.temperature,
            self._seed(wave, f"solutions from {start}") + 1009 * first,
        )
        asked = [prompt for _, _, prompt in going]
        async for number, found in self._sampler.call(wave.number, wave.calls, asked, drawing):
            _, one, prompt = going[number]
            assert one.puzzle is not None
            read = await self._reader.solutions(one.puzzle, prompt, found)
            for sample, (text, (solution, form)) in enumerate(zip(found, read, strict=True)):
                status = "held_out" if solution and self.held_out.reason_of_solution(solution) else ""
                origin = self._sampler.origin(prompt, drawing, start + sample)
                body = text if prompt.chat else prompts.cut(text)
                yield one, Attempt(origin, body, solution, status, form=form)

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

    def _count(self, wave: Wave, written: list[Candidate] | None = None, pairs: int = 0, *, now: bool = False) -> None:
        """Update the wave's counts and call `on_progress`, at once or if that was not done just before."""
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
        if not now and time.perf_counter() < self._told + _PROGRESS_SECONDS:
            return
        self._told, total = time.perf_counter(), Tally()
        for part in (self.folder.tally, *(other.tally for other in self._running_waves)):
            total.add(part)
        self._on_progress(total)

    def _rng(self, wave: Wave, what: str) -> random.Random:
        return random.Random(self._seed(wave, what))

    def _seed(self, wave: Wave, what: str) -> int:
        """Return a seed for one purpose in a wave. The data of a run depends on the text that is hashed here."""
        return int(example.digest(f"{self.seed} {self.iteration} {wave.number} {what}")[:8], 16) // 2


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Run coroutines concurrently; the first exception cancels the others, and is raised."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _worth_more(one: Candidate, recipe: Recipe) -> bool:
    """Return True if a puzzle gets another round of attempts."""
    passed = {attempt.program for attempt in one.passed}
    if recipe.target_passes and len(passed) >= recipe.target_passes:
        return False
    return bool(passed) or not recipe.give_up_after or len(one.attempts) < recipe.give_up_after


def stages() -> tuple[str, ...]:
    """Return the names of the counts, in the order in which a puzzle reaches them."""
    return ("written", "derived", *STAGES, "attempts", "right", "pairs")
