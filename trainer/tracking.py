"""Logs of trainings and loops: a file of JSON Lines always, and experiment trackers if wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

FILE = "log.jsonl"


def names(report_to: str) -> list[str]:
    """Return the trackers that a setting names.

    Args:
        report_to: ``none``, ``all`` (the installed ones), or names with commas between them, such as
            ``wandb,tensorboard``.

    Raises:
        ValueError: A tracker is not installed.
    """
    if report_to == "none":
        return []
    from transformers.integrations import get_available_reporting_integrations

    installed: list[str] = get_available_reporting_integrations()
    if report_to == "all":
        return installed
    wanted = [name.strip() for name in report_to.split(",")]
    for name in wanted:
        if name not in installed:
            have = ", ".join(installed) or "none"
            raise ValueError(f"report_to: {name!r} is not installed (pip install {name}); installed trackers: {have}")
    return wanted


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
        wanted = names(report_to)
        if not wanted:
            return
        from accelerate import PartialState, tracking

        PartialState()  # which trackers ask whether this is the first process
        for name in wanted:
            kind = tracking.LOGGER_TYPE_TO_CLASS.get(name)
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


def figures(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of an iteration that are worth a curve, from its entry in metrics.json."""
    # Not pass@1: MLflow takes no such name, and TensorBoard changes it.
    passes = {f"pass_at_{k}": one["value"] for k, one in entry["pass_at_k"].items()}
    counts = {name: entry["counts"][name] for name in ("examples", "puzzles")}
    return {**passes, **counts, **{f"seconds/{name}": spent for name, spent in entry["seconds"].items()}}
