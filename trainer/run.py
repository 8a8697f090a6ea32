"""The folder of a run: its settings, its complete stages, and its files.

config.json                the settings and the seed; only a run with the same settings continues
stages/NAME.json           a complete stage: its result, and its seconds
iterations/N/model/        the model after N iterations; 0 is the base model
iterations/N/generation/   what the previous model wrote (see `selftaught.generator.folder`)
iterations/N/train.jsonl   what the model was trained on
iterations/N/evaluation.jsonl
iterations/N/server.log    the output of the server that served the model, if a command starts one
log.jsonl                  figures of each iteration (see `selftaught.trainer.tracking`)
metrics.json, report.md, report.html, README.md (the dataset card), *.png
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from selftaught.generator import settings
from selftaught.sandbox.output import replace_json


class Mismatch(ValueError):
    """The folder belongs to a run with other settings. The message says which."""


class RunFolder:
    """A run's folder.

    Args:
        path: The folder; it is created.
        config: The run's settings, as plain data.

    Raises:
        Mismatch: The folder has a run with other settings, or other files.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        config = orjson.loads(orjson.dumps(config))
        if (path / "config.json").exists():
            _same(path, orjson.loads((path / "config.json").read_bytes()), config)
        elif path.exists() and any(path.iterdir()):
            raise Mismatch(f"{path} is not empty and is not the folder of a run: name another folder")
        (path / "stages").mkdir(parents=True, exist_ok=True)
        if not (path / "config.json").exists():
            replace_json(path / "config.json", config)

    def iteration(self, number: int) -> Path:
        """Return the folder of an iteration; it is created."""
        folder = self.path / "iterations" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def done(self, name: str) -> bool:
        """Return True if a stage is complete."""
        return (self.path / "stages" / f"{name}.json").exists()

    def stage(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result of a stage, from its file if it is complete.

        A stage that was interrupted runs again. Its recorded seconds are those of the process that completed it.

        Args:
            name: The stage's name.
            work: Runs the stage.
        """
        done = self.path / "stages" / f"{name}.json"
        if done.exists():
            found: dict[str, Any] = orjson.loads(done.read_bytes())
            return found
        started = time.perf_counter()
        result = {**work(), "seconds": time.perf_counter() - started}
        replace_json(done, result)
        return result


def _same(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    unknown = settings.unknown_names(old, new)
    if unknown:
        raise Mismatch(
            f"{path} is the run of another version of selftaught, whose settings this one does not have: "
            f"{', '.join(unknown)}. Continue it with that version, or name another folder"
        )
    different = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    if different:
        details = "; ".join(f"{name} was {old.get(name)!r}, is {new.get(name)!r}" for name in different)
        raise Mismatch(f"{path} belongs to another run: {details}. Give the same settings, or another folder")
