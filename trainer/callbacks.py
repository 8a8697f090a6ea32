"""What a trainer of transformers or TRL says while it runs: a line of JSON for every logged step, and its progress."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import transformers

from selftaught.trainer.presets.preset import StepCallback
from selftaught.trainer.tracking import FILE, read, write


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
