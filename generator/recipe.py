"""The recipe: every switch of how pairs are generated, in one table.

`PAPER` is the recipe of Haluptzok et al. 2023 (https://arxiv.org/abs/2207.14502), as their code has it
(microsoft/PythonProgrammingPuzzles, ICLR2023/src); what differs all the same is in docs/learning.md. `DEFAULT` filters
more. An ablation is a recipe in between, such as ``replace(DEFAULT, hindsight_attempts=0)``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from selftaught.generator import settings

__all__ = ["DEFAULT", "PAPER", "RECIPES", "Recipe", "replace"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The switches of a generation. The defaults are the paper's.

    Attributes:
        name: The recipe's name, recorded with every pair.

        prompts_per_wave: Puzzle prompts in one wave (a wave is the unit that is written to disk).
        samples_per_prompt: Puzzles sampled from each puzzle prompt.
        temperature: Sampling temperature of puzzles, and of solutions unless `solution_temperature` is set.
        solution_temperature: Sampling temperature of solutions (0: the same as `temperature`).
        top_p: Nucleus sampling threshold of puzzles and solutions (1: no truncation).
        top_k: Sample from this many likeliest tokens only (0: from all). 50 was transformers' default, which the
            paper's code inherited.
        first_instance: Of a problem's seeds show the first one, not one chosen at random.
        typed_prompts: Begin a puzzle with the name and type of its answer, those of a seed drawn at random. A model
            that was trained on solutions may else begin it as it begins those.
        puzzle_context: Maximum number of tokens of a puzzle prompt and its completion; the model's own context if that
            is smaller (0: only that).
        puzzle_max_new_tokens: Maximum number of tokens of a puzzle.
        solution_max_new_tokens: Maximum number of tokens of a solution.
        max_attempts: Maximum number of solutions sampled for a puzzle.
        attempts_per_round: Solutions sampled for a puzzle before the two early stops below are checked.
        target_passes: Stop sampling a puzzle after this many distinct correct solutions (0: no early stop).
        give_up_after: Stop sampling a puzzle after this many attempts without a correct one (0: no early stop).

        answer_types: Types of answers that are accepted: ``paper`` (int, float, str, nested lists of these and bool) or
            ``plain`` (also tuples, sets, dicts and optionals).
        refuse_undefined_names: Refuse a puzzle that reads a name which nothing defines.
        refuse_never_true: Refuse a puzzle that can't return True, as far as its syntax shows.
        trivial_check: How trivial puzzles are found: ``paper`` (a fixed list of answers, for one of which the puzzle
            returns something true, or meets a name that nothing defines), ``search`` (small answers, constants of the
            source and values near them, for one of which it returns True) or ``off``.
        refuse_always_raises: Refuse a puzzle that raises an exception for every trivial answer of its type.
        keep_trivial_share: Keep this share of the trivial puzzles, chosen at random (0 to 1).
        lot_skips_checks: Draw that share from all puzzles, before it is known whether they are trivial: those drawn
            skip the filters `answer_type`, `used` and `trivial`.
        refuse_answer_independent: Refuse a puzzle that accepts every changed answer.
        verify_repeats: Verify a pair this many times; keep it if all verdicts agree.

        exact_dedup: Refuse a puzzle that was written before.
        max_per_template: Maximum number of puzzles with one canonical form (0: no maximum).
        max_per_cluster: Maximum number of puzzles in one cluster of near-duplicates (0: clusters are not computed).
        cluster_similarity: MinHash similarity from which two puzzles are near-duplicates (0 to 1).
        held_out_similarity: Refuse a puzzle whose MinHash similarity to a held-out puzzle is at least this (1: off). A
            puzzle with the canonical form of a held-out one is always refused.

        max_solutions: Maximum number of distinct solutions kept of a puzzle, shortest first.
        diverse_solutions: Keep one solution of each canonical form before a second one of any form.
        hindsight_attempts: For each unsolved puzzle, try this many solutions that were written for other puzzles with
            the same type of answer (0: off).
        learnability_weights: Weight pairs by the pass rate of their puzzle (see `selftaught.generator.selection`).

        retarget_unsolved: Ask an unsolved equation again with a target value that a failed attempt reached (see
            `selftaught.generator.derivation`).
        chains_per_wave: Number of times in a wave that two solved equations are composed into a harder one (0: off).

    Raises:
        ValueError: A value is out of its range.
    """

    name: str = "paper"
    prompts_per_wave: int = 1
    samples_per_prompt: int = 64
    temperature: float = 0.9
    solution_temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 50
    first_instance: bool = True
    typed_prompts: bool = False
    puzzle_context: int = 2048
    puzzle_max_new_tokens: int = 200
    solution_max_new_tokens: int = 150
    max_attempts: int = 128
    attempts_per_round: int = 128
    target_passes: int = 0
    give_up_after: int = 0
    answer_types: str = "paper"
    refuse_undefined_names: bool = False
    refuse_never_true: bool = False
    trivial_check: str = "paper"
    refuse_always_raises: bool = False
    keep_trivial_share: float = 0.05
    lot_skips_checks: bool = True
    refuse_answer_independent: bool = False
    verify_repeats: int = 1
    exact_dedup: bool = False
    max_per_template: int = 0
    max_per_cluster: int = 0
    cluster_similarity: float = 0.85
    held_out_similarity: float = 1.0
    max_solutions: int = 8
    diverse_solutions: bool = False
    hindsight_attempts: int = 0
    learnability_weights: bool = False
    retarget_unsolved: bool = False
    chains_per_wave: int = 0

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name, allowed in (("answer_types", ("paper", "plain")), ("trivial_check", ("paper", "search", "off"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for name in ("top_k", "puzzle_context"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)}")
        for name in ("keep_trivial_share", "cluster_similarity", "held_out_similarity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")

    @property
    def near(self) -> float | None:
        """The similarity of near-duplicates; None if clusters are not computed."""
        return self.cluster_similarity if self.max_per_cluster else None

    def to_dict(self) -> dict[str, Any]:
        """Return the switches as plain data."""
        return dataclasses.asdict(self)

    def changed(self, *changes: str) -> Recipe:
        """Return the recipe with some switches changed.

        Args:
            changes: The changes, each as ``NAME=VALUE``.

        Raises:
            ValueError: A name is unknown, or a value is out of range.
        """
        return settings.changed(self, changes)


_AT_LEAST_ONE = (
    "prompts_per_wave",
    "samples_per_prompt",
    "max_attempts",
    "attempts_per_round",
    "puzzle_max_new_tokens",
    "solution_max_new_tokens",
    "verify_repeats",
    "max_solutions",
)

PAPER = Recipe()
DEFAULT = replace(
    PAPER,
    name="default",
    prompts_per_wave=4,
    samples_per_prompt=16,
    top_k=0,
    first_instance=False,
    puzzle_context=0,
    attempts_per_round=16,
    target_passes=8,
    give_up_after=64,
    answer_types="plain",
    refuse_undefined_names=True,
    refuse_never_true=True,
    trivial_check="search",
    refuse_always_raises=True,
    lot_skips_checks=False,
    refuse_answer_independent=True,
    verify_repeats=3,
    exact_dedup=True,
    max_per_template=1,
    max_per_cluster=8,
    held_out_similarity=0.85,
    diverse_solutions=True,
    hindsight_attempts=16,
    learnability_weights=True,
)
RECIPES = {recipe.name: recipe for recipe in (PAPER, DEFAULT)}
