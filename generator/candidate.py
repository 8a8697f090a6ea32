"""A puzzle on its way through the filters and the attempts, and the filters that need no verifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from selftaught.generator import answers, example, prompts
from selftaught.generator.answers import Type
from selftaught.generator.example import Outcome, Sampling
from selftaught.generator.novelty import HeldOut, Known
from selftaught.generator.prompts import Prompt
from selftaught.generator.puzzle import NotAPuzzle, Puzzle, exact
from selftaught.generator.recipe import Recipe
from selftaught.sandbox import Verdict

STAGES = (
    "parses",
    "signature",
    "answer_type",
    "used",
    "new",
    "held_out",
    "runs",
    "trivial",
    "quota",
    "solved",
    "stable",
    "depends",
)
"""The filters in their order. A puzzle that passes all of them is kept."""

STATIC_STAGES, ATTEMPT_STAGES = STAGES[:4], STAGES[9:]
"""The filters that need the puzzle's text alone, and those that need attempts (after a puzzle is admitted)."""

DRAWN = "not asked: drawn by lot"


@dataclass(slots=True)
class Attempt:
    """A solution that a model wrote.

    Attributes:
        sampling: How it was sampled.
        body: What follows the signature.
        solution: The whole function ``def g(...)``; empty if it doesn't parse.
        status: The verdict's status, ``unparsed``, or ``held_out`` (it has the solution of a held-out problem); empty
            before verification.
        verdict: The verdict; ``None`` before verification, and for what is not verified.
        borrowed_from: Id of the puzzle that it was written for, if that is another one; else empty.
        form: Digest of the solution with names normalised; empty if it was not computed yet (see `program`).
    """

    sampling: Sampling
    body: str
    solution: str
    status: str = ""
    verdict: Verdict | None = None
    borrowed_from: str = ""
    form: str = ""

    @property
    def program(self) -> str:
        """Digest of the solution with names normalised: attempts with the same one are the same program."""
        if not self.form:
            self.form = example.digest(exact(self.solution))
        return self.form

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are recorded in puzzles.jsonl."""
        return {
            "attempt": self.sampling.attempt,
            "seed": self.sampling.seed,
            "solution": self.solution or self.body,
            "status": self.status,
            "borrowed_from": self.borrowed_from,
        }


@dataclass(slots=True)
class Candidate:
    """A puzzle as it was written, with the results of the filters so far.

    Attributes:
        text: The completion with its prompt's head.
        sampling: How it was sampled.
        puzzle: The parsed puzzle; ``None`` if it doesn't parse.
        kind: The type of its answers; ``None`` if that is not plain data.
        id: Digest of the puzzle with names normalised.
        form: Its canonical form (see `selftaught.generator.puzzle.canonical`).
        template: Digest of its canonical form.
        cluster: The cluster of near-duplicates that it belongs to.
        refused: The filter that it failed; empty if none.
        outcomes: The outcome of every filter that it reached.
        attempts: Solutions that were tried on it.
        drawn: It was drawn by lot, and skips filters (see `selftaught.generator.recipe.Recipe.lot_skips_checks`).
    """

    text: str
    sampling: Sampling
    puzzle: Puzzle | None = None
    kind: Type | None = None
    id: str = ""
    form: str = ""
    template: str = ""
    cluster: str = ""
    refused: str = ""
    outcomes: list[Outcome] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    drawn: bool = False

    @property
    def derived(self) -> bool:
        """True if no model wrote it (see `selftaught.generator.derivation`)."""
        return not self.sampling.model

    @property
    def judged(self) -> list[Attempt]:
        """The attempts that were written for this puzzle and count for its pass rate.

        What doesn't parse counts as wrong. What the verifier could not judge, or was not given, does not count.
        """
        return [one for one in self.attempts if not one.borrowed_from and _counts(one)]

    @property
    def passed(self) -> list[Attempt]:
        """The accepted attempts, borrowed ones included."""
        return [attempt for attempt in self.attempts if attempt.status == "accepted"]

    def passes(self, stage: str, score: float = 0.0, detail: str = "") -> None:
        """Record that it passed a filter."""
        self.outcomes.append(Outcome(stage, "passed", float(score), detail))

    def exempt(self, stage: str, detail: str = "") -> None:
        """Record that it failed a filter, or would have been asked by it, and was chosen at random to stay."""
        self.outcomes.append(Outcome(stage, "exempt", 0.0, detail))

    def fails(self, stage: str, detail: str, score: float = 0.0) -> None:
        """Record that a filter refused it."""
        self.outcomes.append(Outcome(stage, "refused", float(score), detail))
        self.refused = stage

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are recorded in puzzles.jsonl, as orjson writes them; every field has one type."""
        return {
            "id": self.id,
            "puzzle": self.puzzle.source if self.puzzle else self.text,
            "answer_type": self.puzzle.annotation if self.puzzle else "",
            "template": self.template,
            "form": self.form if self.cluster else "",
            "cluster": self.cluster,
            "refused": self.refused,
            "sampling": self.sampling,
            "filters": self.outcomes,
            "passes": sum(attempt.status == "accepted" for attempt in self.judged),
            "attempts": [attempt.to_dict() for attempt in self.attempts],
        }


def read(prompt: Prompt, completion: str, sampling: Sampling, recipe: Recipe, drawn: bool = False) -> Candidate:
    """Return a completion as a candidate that has been through the filters of `STATIC_STAGES`.

    Args:
        prompt: What was asked.
        completion: The answer.
        sampling: How it was sampled.
        recipe: The switches.
        drawn: It was drawn by lot, and skips the filters `answer_type` and `used`.
    """
    found = Candidate(prompts.puzzle_source(prompt, completion), sampling, drawn=drawn)
    try:
        found.puzzle = prompts.read_puzzle(prompt, completion)
        found.id, found.form = example.puzzle_id(found.puzzle.source), found.puzzle.canonical
        found.template = example.digest(found.form)
    except NotAPuzzle as error:
        if error.rule != "parses":
            found.passes("parses")
        found.fails(error.rule, str(error))
        return found
    found.passes("parses")
    found.passes("signature")
    found.kind = answers.read_type(found.puzzle.annotation)
    if drawn:
        for stage in STATIC_STAGES[2:]:
            found.exempt(stage, DRAWN)
        return found
    if not answers.allowed(found.kind, recipe.answer_types):
        found.fails("answer_type", f"answers of type {found.puzzle.annotation} are not wanted")
        return found
    found.passes("answer_type")
    if not found.puzzle.uses_argument:
        found.fails("used", f"the body does not use {found.puzzle.argument}")
        return found
    if recipe.refuse_undefined_names and (names := found.puzzle.undefined_names):
        found.fails("used", f"nothing defines {', '.join(names)}")
        return found
    if recipe.refuse_never_true and not found.puzzle.can_return_true:
        found.fails("used", "no return can be True")
        return found
    found.passes("used")
    return found


def filter_known(candidates: list[Candidate], known: Known, held_out: HeldOut, recipe: Recipe, wave: int) -> None:
    """Apply the filters `new` and `held_out` to the candidates of a wave, in their order."""
    for one in candidates:
        if one.refused or one.puzzle is None:
            continue
        if known.add_seen(one.id, wave) and recipe.exact_dedup:
            one.fails("new", "the same puzzle was written before")
            continue
        one.passes("new")
        score = held_out.similarity(one.form) if recipe.held_out_similarity < 1 and len(held_out) else 0.0
        if reason := held_out.reason(one.puzzle.source):
            one.fails("held_out", reason, 1.0)
        elif recipe.held_out_similarity < 1 and score >= recipe.held_out_similarity:
            one.fails("held_out", "too similar to a held-out puzzle", score)
        else:
            one.passes("held_out", score)


def apply_quotas(candidates: list[Candidate], known: Known, recipe: Recipe, wave: int) -> list[Candidate]:
    """Apply the filter `quota` to the candidates of a wave, in their order, and return those that pass."""
    admitted = []
    for one in candidates:
        if one.refused:
            continue
        one.cluster, score = known.cluster(one.template, one.form) if recipe.max_per_cluster else (one.template, 0.0)
        if recipe.max_per_template and known.of_template(one.template) >= recipe.max_per_template:
            one.fails("quota", f"{recipe.max_per_template} of this canonical form already", 1.0)
        elif recipe.max_per_cluster and known.in_cluster(one.cluster) >= recipe.max_per_cluster:
            one.fails("quota", f"{recipe.max_per_cluster} near-duplicates already", score)
        else:
            one.passes("quota", score)
            known.admit(one.template, one.form, one.cluster, wave)
            admitted.append(one)
    return admitted


def _counts(attempt: Attempt) -> bool:
    return attempt.status == "unparsed" if attempt.verdict is None else attempt.verdict.judged
