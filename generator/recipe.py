"""How pairs are made: one table of switches. `PAPER` is Haluptzok et al. 2023; `DEFAULT` is meant to be better; in between lies
an ablation, ``replace(DEFAULT, hindsight=False)``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["DEFAULT", "PAPER", "RECIPES", "Recipe", "replace"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The switches. The defaults are the paper's.

    Sampling. prompts: of puzzles, in a wave. samples: puzzles for each prompt. temperature, top_p: of puzzles and solutions;
    solution_temperature: of solutions alone (0: the same). puzzle_tokens, solution_tokens: at most so many new ones. attempts: at
    most so many for a puzzle, in rounds of `round`. enough: a puzzle with so many distinct passes gets no more rounds (0:
    never). hopeless: nor does one without any after so many attempts (0: never).

    Filters. answer_types: ``paper`` (int, float, str, nested lists of these and bool) or ``plain`` (also tuples, sets,
    dicts, optionals). bound: refuse a puzzle that reads a name which nothing defines. may_hold: refuse one that
    can't return True, as its form tells. trivial: ``paper`` (fixed small answers), ``search`` (also constants of the source
    and what is near them) or ``off``. exempt: share of trivial puzzles kept, by lot. depends: refuse a puzzle that accepts every changed answer. repeat: a pass must be judged the same so often.

    Novelty. per_template: puzzles with one canonical form (0: any number; puzzles that are exactly known never count
    twice unless `exact_dedup` is off). per_cluster: near-duplicates, that is puzzles whose MinHash similarity reaches `near`
    (0: not looked at). contamination: refuse puzzles that are as similar as this to a held-out one (those of the same
    canonical form are refused under every recipe).

    Selection. keep: distinct solutions of a puzzle, shortest first. diverse: rather one of each canonical form before
    a second of any. hindsight: answers to other puzzles that are tried on each unsolved one of the same type.
    learnability: weight pairs by their puzzle's pass rate.

    Derivation (see `selftaught.generator.derivation`). retarget: ask an unsolved equation again, with a target that a failed attempt reached.
    chains: so many times in a wave, chain two solved equations into a harder one.
    """

    name: str = "paper"
    prompts: int = 1
    samples: int = 64
    temperature: float = 0.9
    solution_temperature: float = 0.0
    top_p: float = 1.0
    puzzle_tokens: int = 200
    solution_tokens: int = 150
    attempts: int = 128
    round: int = 128
    enough: int = 0
    hopeless: int = 0
    answer_types: str = "paper"
    bound: bool = False
    may_hold: bool = False
    trivial: str = "paper"
    exempt: float = 0.05
    depends: bool = False
    repeat: int = 1
    exact_dedup: bool = False
    per_template: int = 0
    per_cluster: int = 0
    near: float = 0.85
    contamination: float = 1.0
    keep: int = 8
    diverse: bool = False
    hindsight: int = 0
    learnability: bool = False
    retarget: bool = False
    chains: int = 0

    def __post_init__(self) -> None:
        for name in ("prompts", "samples", "attempts", "round", "puzzle_tokens", "solution_tokens", "repeat", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name, allowed in (("answer_types", ("paper", "plain")), ("trivial", ("paper", "search", "off"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for name in ("exempt", "near", "contamination"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """The switches as plain data."""
        return dataclasses.asdict(self)

    def changed(self, *settings: str) -> Recipe:
        """The recipe with some switches set, each as ``NAME=VALUE``. Raises ValueError."""
        values: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            if not equals or name not in {field.name for field in dataclasses.fields(self)}:
                names = ", ".join(field.name for field in dataclasses.fields(self))
                raise ValueError(f"{setting!r} sets nothing: give NAME=VALUE, NAME one of {names}")
            kind = type(getattr(self, name))
            try:
                values[name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
            except (ValueError, KeyError):
                raise ValueError(f"{setting!r}: {name} is of type {kind.__name__}") from None
        return replace(self, **values)


_BOOLEANS = {"true": True, "false": False, "on": True, "off": False, "yes": True, "no": False, "1": True, "0": False}

PAPER = Recipe()
DEFAULT = replace(
    PAPER,
    name="default",
    prompts=4,
    samples=16,
    round=16,
    enough=8,
    hopeless=64,
    answer_types="plain",
    bound=True,
    may_hold=True,
    trivial="search",
    depends=True,
    repeat=3,
    exact_dedup=True,
    per_template=1,
    per_cluster=8,
    contamination=0.85,
    diverse=True,
    hindsight=16,
    learnability=True,
)
RECIPES = {recipe.name: recipe for recipe in (PAPER, DEFAULT)}
