"""What a training says while it runs: a line of JSON for every logged step, and experiment trackers if wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import transformers
from accelerate import tracking
from transformers.integrations import get_available_reporting_integrations

StepCallback = Callable[[int, int, float], None]
FILE = "log.jsonl"


def names(report_to: str) -> list[str]:
    """Return the trackers that a setting names.

    Args:
        report_to: ``none``, ``all`` (the installed ones), or names with commas between them, such as
            ``wandb,tensorboard``.

    Raises:
        ValueError: A tracker is not installed.
    """
    installed = get_available_reporting_integrations()
    if report_to in ("none", "all"):
        return installed if report_to == "all" else []
    wanted = [name.strip() for name in report_to.split(",")]
    for name in wanted:
        if name not in installed:
            have = ", ".join(installed) or "none"
            raise ValueError(f"report_to: {name!r} is not installed (pip install {name}); installed trackers: {have}")
    return wanted


class Log(transformers.TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Writes every logged step of a trainer as a line of a file: ``step``, ``epoch``, ``loss`` and what else it logs.

    A training that continues from a checkpoint removes the lines of later steps, which it repeats.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            write(self._path, [line for line in read(self._path) if line["step"] <= state.global_step])

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        if logs and state.is_world_process_zero:
            with open(self._path, "ab") as file:
                file.write(orjson.dumps({"step": state.global_step, **logs}, option=orjson.OPT_APPEND_NEWLINE))


class Progress(transformers.TrainerCallback):  # type: ignore[misc]
    """Calls a function with the step, the number of steps and the loss, in the main process."""

    def __init__(self, on_step: StepCallback) -> None:
        self._on_step = on_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs and state.is_world_process_zero:
            self._on_step(state.global_step, state.max_steps, logs["loss"])


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; none if there is no file. A last line without its end is left out."""
    if not path.exists():
        return []
    return [orjson.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def write(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines))


class Trackers:
    """Experiment trackers that get the figures of a loop, in one run with the folder's name.

    Args:
        report_to: See `names`.
        folder: The run's folder; trackers that keep files do so in ``trackers`` there.
        config: Settings to show with the run: numbers, texts and booleans.

    Raises:
        ValueError: A tracker is not installed, or takes no figures of a loop.
    """

    def __init__(self, report_to: str, folder: Path, config: Mapping[str, Any]) -> None:
        self._open: dict[str, Any] = {}
        kinds = {name: tracking.LOGGER_TYPE_TO_CLASS.get(name) for name in names(report_to)}
        for name, kind in kinds.items():
            if kind is None:
                known = ", ".join(tracking.LOGGER_TYPE_TO_CLASS)
                raise ValueError(f"report_to: {name} takes no figures of a loop; these do: {known}")
            place = {"logging_dir": str(folder / "trackers")} if kind.requires_logging_directory else {}
            self._open[name] = kind(folder.name, **place)
            self._open[name].start()
            self._open[name].store_init_configuration(dict(config))

    def log(self, iteration: int, figures: Mapping[str, float]) -> None:
        """Send the figures of an iteration."""
        for name, tracker in self._open.items():
            # The trainings write to the same run of wandb, which drops what comes with an earlier step.
            step = None if name == "wandb" else iteration
            tracker.log({"iteration": iteration, **figures}, step=step)

    def close(self) -> None:
        """End the run."""
        for tracker in self._open.values():
            tracker.finish()
        self._open.clear()
