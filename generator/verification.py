"""The filters and attempts that need the verifier. All code of puzzles and solutions runs in the verifier's workers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from selftaught.generator import checks, selection
from selftaught.generator.candidate import DRAWN, Attempt, Candidate
from selftaught.generator.example import Judgement
from selftaught.generator.folder import Tally
from selftaught.generator.recipe import Recipe
from selftaught.sandbox import Program, Run, Status, Task, Verdict, Verifier

_ENDED = (Status.TIME_LIMIT, Status.MEMORY_LIMIT, Status.OUTPUT_LIMIT, Status.CRASHED, Status.FORBIDDEN)
"""Statuses after which a search for a trivial answer has tried some answers only."""

_OFF = "the recipe does not ask"
_TOGETHER = 25

_RUN_ALL = """
from contextlib import redirect_stdout
from io import StringIO
for program in {programs}:
    with redirect_stdout(StringIO()) as printed:
        try:
            exec(program, {"__name__": "__main__"})
            line = printed.getvalue().partition("\\n")[0]
        except Exception:
            line = ""
    print(line)
"""


class Closed(RuntimeError):
    """The verifier was closed during a generation."""


@dataclass(slots=True)
class Backlog:
    """Number of tasks that were given to the verifier and not judged yet."""

    tasks: int = 0


class Verification:
    """Verifies the candidates and attempts of one wave.

    Args:
        verifier: The verifier.
        recipe: The switches.
        tally: Receives the counts.
        backlog: Receives the number of tasks that are not judged yet; waves share it.
    """

    def __init__(self, verifier: Verifier, recipe: Recipe, tally: Tally, backlog: Backlog) -> None:
        self._verifier, self._recipe, self._tally, self._backlog = verifier, recipe, tally, backlog

    async def check_trivial(self, candidates: Sequence[Candidate], rng: random.Random) -> None:
        """Apply the filter `trivial`; a share of the trivial puzzles stays, chosen at random, unless it was drawn from
        all puzzles."""
        share = 0.0 if self._recipe.lot_skips_checks else self._recipe.keep_trivial_share
        # Drawn for every candidate: the random numbers must not depend on verdicts.
        kept_at_random = [rng.random() < share for _ in candidates]
        asked = {}
        for number, one in enumerate(candidates):
            if one.drawn and not one.refused:
                one.exempt("trivial", DRAWN)
            elif not one.refused and self._recipe.trivial_check == "off":
                one.passes("trivial", detail=_OFF)
            elif not one.refused and one.puzzle and one.kind:
                asked[number] = checks.trivial_tasks(str(number), one.puzzle, one.kind, self._recipe.trivial_check)
        found = await self._all(tasks[0] for tasks in asked.values())
        again = [task for tasks in asked.values() if found[tasks[0].id].status in _ENDED for task in tasks[1:]]
        found |= await self._all(again)
        for number, tasks in asked.items():
            one, verdicts = candidates[number], [found[task.id] for task in tasks if task.id in found]
            if not any(verdict.judged for verdict in verdicts):
                one.fails("trivial", f"could not be judged: {verdicts[0].message}")
            elif not any(verdict.accepted for verdict in verdicts):
                one.passes("trivial")
            elif kept_at_random[number]:
                one.exempt("trivial", "kept at random")
            else:
                one.fails("trivial", "a trivial answer solves it")

    async def check_running(self, candidates: Sequence[Candidate]) -> None:
        """Apply the filter `runs`. What hits a limit did not raise an exception."""
        asked = {}
        for number, one in enumerate(candidates):
            if one.drawn and not one.refused:
                one.exempt("runs", DRAWN)
            elif not one.refused and not self._recipe.refuse_always_raises:
                one.passes("runs", detail=_OFF)
            elif not one.refused and one.puzzle and one.kind:
                asked[str(number)] = checks.running_task(str(number), one.puzzle, one.kind)
        for ident, verdict in (await self._all(asked.values())).items():
            if verdict.status is Status.REJECTED:
                candidates[int(ident)].fails("runs", "it raises an exception for every trivial answer of its type")
            elif not verdict.judged:
                candidates[int(ident)].fails("runs", f"could not be judged: {verdict.message}")
            else:
                candidates[int(ident)].passes("runs", detail="" if verdict.accepted else f"by {verdict.status}")

    async def run_programs(self, programs: Iterable[str]) -> list[str]:
        """Return the first line that each program prints; empty if it failed.

        Several programs run in one process, since starting a process costs more than running one. If one of them ends
        the process, all of them run again in a process each.
        """
        given = list(programs)
        groups = [given[start : start + _TOGETHER] for start in range(0, len(given), _TOGETHER)]
        found = await asyncio.gather(*(self._run_together(group) for group in groups))
        return [line for lines in found for line in lines]

    async def _run_together(self, programs: list[str]) -> list[str]:
        run = await self._run(_RUN_ALL.replace("{programs}", repr(programs)))
        lines = run.stdout.split("\n")[:-1]
        if run.return_code == 0 and len(lines) == len(programs):
            return lines
        runs = await asyncio.gather(*map(self._run, programs))
        return [run.stdout.partition("\n")[0] if run.return_code == 0 else "" for run in runs]

    async def _run(self, program: str) -> Run:
        run = await self._verifier.arun(Program("", program))
        self._tally.spend(verifier=run.usage.cpu_seconds)
        return run

    async def verify_attempts(self, stream: AsyncIterable[tuple[Candidate, Attempt]]) -> None:
        """Verify attempts as they come and set their status and verdict; attempts that are the same program are
        verified once, and those that have a status not at all."""
        came: list[tuple[str, Attempt]] = []
        verdicts: dict[str, Verdict] = {}

        async def tasks() -> AsyncIterator[Task]:
            seen = set()
            async for one, attempt in stream:
                one.attempts.append(attempt)
                if not attempt.solution or one.puzzle is None:
                    attempt.status = "unparsed"
                if attempt.status or one.puzzle is None:
                    self._tally.statuses[attempt.status] += 1
                    continue
                ident = f"{id(one)}/{attempt.program}"
                came.append((ident, attempt))
                if ident not in seen:
                    seen.add(ident)
                    yield Task(ident, one.puzzle.source, attempt.solution)

        async for verdict in self._verify(tasks()):
            verdicts[verdict.id] = verdict
        for ident, attempt in came:
            attempt.verdict = verdicts[ident]
            attempt.status = str(verdicts[ident].status)
            self._tally.statuses[attempt.status] += 1

    async def try_hindsight(self, candidates: Sequence[Candidate]) -> None:
        """Verify solutions of other puzzles on the unsolved puzzles with the same type of answer (hindsight).

        Solutions that solved a puzzle of the same template come first, then those that solved another one, then failed
        ones.
        """
        donors: dict[str, dict[str, tuple[Candidate, Attempt]]] = {}
        for status in (Status.ACCEPTED, Status.REJECTED):
            for one in candidates:
                for attempt in one.attempts:
                    if one.puzzle and attempt.status == status:
                        donors.setdefault(one.puzzle.annotation, {}).setdefault(attempt.body, (one, attempt))

        async def transplants() -> AsyncIterator[tuple[Candidate, Attempt]]:
            for one in candidates:
                if one.puzzle is None or one.passed:
                    continue
                others = [pair for pair in donors.get(one.puzzle.annotation, {}).values() if pair[0] is not one]
                for donor, attempt in _nearest(one, others, self._recipe.hindsight_attempts):
                    assert donor.puzzle is not None
                    solution = selection.transplant(attempt.body, donor.puzzle, one.puzzle)
                    if solution:
                        yield one, Attempt(attempt.sampling, attempt.body, solution, borrowed_from=donor.id)

        await self.verify_attempts(transplants())

    async def select_pairs(self, candidates: Sequence[Candidate]) -> list[list[tuple[Attempt, Judgement]]]:
        """Apply the filters `solved`, `stable` and `depends`, and return the pairs to keep of each candidate."""
        chosen = {number: self._choose(one) for number, one in enumerate(candidates)}
        for number, one in enumerate(candidates):
            if chosen[number]:
                one.passes(
                    "solved", len([a for a in one.judged if a.status == Status.ACCEPTED]) / max(1, len(one.judged))
                )
            elif not one.refused:
                one.fails("solved", f"none of {len(one.judged)} attempts is right")
        stable = await self._stable(candidates, chosen)
        for number, one in enumerate(candidates):
            if stable[number]:
                one.passes("stable", detail=f"{self._recipe.verify_repeats} judgements agree")
            elif not one.refused:
                one.fails("stable", "no solution is judged the same every time")
        await self._depends(candidates, stable)
        keep = self._recipe.max_solutions
        return [[] if one.refused else stable[number][:keep] for number, one in enumerate(candidates)]

    def _choose(self, one: Candidate) -> list[Attempt]:
        """Return distinct accepted attempts in order of preference, twice as many as are kept if repeated verification
        may refuse some."""
        keep = self._recipe.max_solutions * (2 if self._recipe.verify_repeats > 1 else 1)
        by_text: dict[str, Attempt] = {}
        for attempt in one.passed:
            by_text.setdefault(attempt.solution, attempt)
        return [by_text[text] for text in selection.choose(by_text, keep, self._recipe.diverse_solutions)]

    async def _stable(
        self, candidates: Sequence[Candidate], chosen: dict[int, list[Attempt]]
    ) -> dict[int, list[tuple[Attempt, Judgement]]]:
        repeat, tasks, found = self._recipe.verify_repeats, [], {}
        for number, attempts in chosen.items():
            puzzle = candidates[number].puzzle
            assert puzzle is not None
            for place, attempt in enumerate(attempts):
                tasks.append(Task(f"{number}/{place}", puzzle.source, attempt.solution))
                if repeat == 1 and attempt.verdict:
                    found[tasks[-1].id] = attempt.verdict
        if repeat > 1:
            found = await self._all(tasks, repeat)
        stable: dict[int, list[tuple[Attempt, Judgement]]] = {number: [] for number in chosen}
        for number, attempts in chosen.items():
            for place, attempt in enumerate(attempts):
                verdict = found[f"{number}/{place}"]
                if verdict.accepted:
                    stable[number].append((attempt, Judgement.from_verdict(verdict, repeat)))
        return stable

    async def _depends(
        self, candidates: Sequence[Candidate], stable: dict[int, list[tuple[Attempt, Judgement]]]
    ) -> None:
        if not self._recipe.refuse_answer_independent:
            return
        tasks = []
        for number, kept in stable.items():
            one = candidates[number]
            if kept and one.puzzle and one.kind:
                tasks.append(checks.dependence_task(str(number), one.puzzle, one.kind, kept[0][0].solution))
        for ident, verdict in (await self._all(tasks)).items():
            if verdict.status is Status.REJECTED:
                candidates[int(ident)].fails("depends", "it takes every changed answer")
            elif not verdict.judged:
                candidates[int(ident)].fails("depends", f"could not be judged: {verdict.message}")
            else:
                candidates[int(ident)].passes("depends", detail="" if verdict.accepted else f"by {verdict.status}")

    async def _all(self, tasks: Iterable[Task], repeat: int = 1) -> dict[str, Verdict]:
        return {verdict.id: verdict async for verdict in self._verify(tasks, repeat)}

    async def _verify(self, tasks: Iterable[Task] | AsyncIterable[Task], repeat: int = 1) -> AsyncIterator[Verdict]:
        async for verdict in self._verifier.averify_many(self._counted(tasks), ordered=False, repeat=repeat):
            self._backlog.tasks -= 1
            if verdict.status is Status.CANCELLED:
                raise Closed("the verifier was closed while a generation needed it")
            self._tally.spend(verifier=verdict.usage.cpu_seconds * repeat)
            yield verdict

    async def _counted(self, tasks: Iterable[Task] | AsyncIterable[Task]) -> AsyncIterator[Task]:
        """Yield the tasks, and count them in the backlog."""
        if isinstance(tasks, AsyncIterable):
            async for task in tasks:
                self._backlog.tasks += 1
                yield task
        else:
            for task in tasks:
                self._backlog.tasks += 1
                yield task


def _nearest(one: Candidate, donors: Sequence[tuple[Candidate, Attempt]], most: int) -> list[tuple[Candidate, Attempt]]:
    """Return the attempts to try on a puzzle: accepted ones of its template, accepted ones, failed ones, each kind
    spread evenly."""
    kinds: dict[int, list[tuple[Candidate, Attempt]]] = {0: [], 1: [], 2: []}
    for donor in donors:
        right = donor[1].status == Status.ACCEPTED
        kinds[0 if right and donor[0].template == one.template else 1 if right else 2].append(donor)
    chosen: list[tuple[Candidate, Attempt]] = []
    for group in kinds.values():
        chosen += [group[place] for place in selection.evenly_spaced(len(group), most - len(chosen))]
    return chosen
