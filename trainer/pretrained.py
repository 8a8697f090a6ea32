"""The learner of pretrained models: sampled from here or by a server, and fine-tuned here or by a launcher."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selftaught.generator import example, models
from selftaught.generator.example import Example
from selftaught.generator.models import Completer, ModelFailed
from selftaught.generator.models.processes import Processes
from selftaught.trainer import serving, sft, tracking
from selftaught.trainer.presets.preset import StepCallback
from selftaught.trainer.presets.tables import ServeTable
from selftaught.trainer.watchdog import Watched


@dataclass(frozen=True, slots=True)
class PretrainedLearner:
    """A pretrained model, fine-tuned from its own weights in every iteration (see
    `selftaught.trainer.presets.Learner`).

    Attributes:
        model: A folder or name that transformers loads.
        settings: Settings of the fine-tuning.
        batch_size: Maximum number of sequences that are sampled at once (None: see `Transformers`).
        processes: Processes that sample, without a server (0: one for each GPU, or else for each processor).
        context: Tokens of prompt and completion (None: what the model was trained with).
        chat: Ask in messages.
        serve: How a server is started that samples from a model (no command: this process samples).
        launcher: Command that starts trainings in processes of their own, such as ``accelerate launch`` (empty: this
            process trains; with a server, a process of its own, so that the device is free when it ends).
    """

    model: str
    settings: sft.Settings
    batch_size: int | None = 64
    processes: int = 1
    context: int | None = None
    chat: bool = False
    serve: ServeTable = field(default_factory=ServeTable)
    launcher: str = ""
    _running: dict[str, serving.Server] = field(default_factory=dict, init=False, repr=False, compare=False)
    _sampling: dict[str, Processes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def make_base(self, folder: Path, seed: int, on_step: StepCallback | None = None) -> None:
        """Record the name of the base model, which is not copied."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "base.json").write_text(json.dumps({"model": self.model}) + "\n")

    def load(self, folder: Path) -> Completer:
        """Return the model in a folder for sampling, from a server if there is a command for one. Such a server runs
        until another model is loaded, or one is trained; the processes that sample, until one is trained.

        Raises:
            ModelFailed: The model can't be loaded or served.
        """
        name = self._name(folder)
        options: dict[str, Any] = {"context": self.context} if self.context else {}
        if self.serve.command:
            return self._served(name, folder.parent / "server.log", options)
        options |= {"chat": self.chat, "batch_size": self.batch_size}
        if self.processes == 1:
            return models.load(name, **options)
        if name not in self._sampling:
            self._sampling[name] = Processes(name, self.processes, **options)
        return self._sampling[name]

    def _served(self, name: str, log: Path, options: dict[str, Any]) -> Completer:
        if name not in self._running:
            self.close()
            command, urls, seconds = self.serve.command, self.serve.urls, self.serve.ready_seconds
            self._running[name] = serving.Server(command, urls, name, log, seconds)
        more = {"concurrency": self.serve.concurrency} if self.serve.concurrency else {}
        served = models.load(self._running[name].address, chat=self.chat or None, **options, **more)
        # The same when the run continues at another port. A server's model has attributes for both.
        vars(served).update(name=name, digest=serving.digest(name))
        return served

    def train(
        self, base: Path, examples: Sequence[Example], folder: Path, seed: int, on_step: StepCallback | None = None
    ) -> dict[str, Any]:
        """Fine-tune the base model on examples; the server is stopped before.

        Raises:
            ModelFailed: The launcher's command failed.
        """
        self.close()
        launcher = self.launcher or (f"{shlex.quote(sys.executable)} -m" if self.serve.command else "")
        if not launcher:
            return sft.train(self._name(base), examples, folder, self.settings, seed, on_step)
        folder.mkdir(parents=True, exist_ok=True)
        data, log = folder / "examples.jsonl", folder / "training.log"
        with open(data, "wb") as out:
            for one in examples:
                example.write(one, out)
        command = [*_module(launcher), "train", str(data), "--model", self._name(base), "-o", str(folder)]
        command.append("--unverified")  # what it learns from is chosen already, in a control without verdicts
        for name, value in dataclasses.asdict(self.settings).items():
            command += ["--set", f"{name}={value}"]
        with open(log, "ab") as output:
            running = Watched([*command, "--seed", str(seed)], output)
        try:
            code = running.exit_code(wait=True)
        finally:
            running.stop()
        if code:
            raise ModelFailed(f"the training ended with exit code {code}: {shlex.join(command)}; see {log}")
        data.unlink()
        last = tracking.read(folder / tracking.FILE)[-1]
        return {"steps": last["step"], "loss": last["train_loss"]}

    def close(self) -> None:
        """Stop the server, or the processes that sample."""
        for name in list(self._running):
            self._running.pop(name).stop()
        for name in list(self._sampling):
            self._sampling.pop(name).close()

    def to_dict(self) -> dict[str, object]:
        """Return the settings that decide what is learnt, as plain data."""
        return {
            "model": self.model,
            "settings": dataclasses.asdict(self.settings),
            "batch_size": self.batch_size,
            "processes": self.processes,
            "context": self.context,
            "chat": self.chat,
        }

    def _name(self, folder: Path) -> str:
        noted = folder / "base.json"
        return str(json.loads(noted.read_text())["model"]) if noted.exists() else str(folder)


def _module(launcher: str) -> list[str]:
    """Return the words that start the trainer's commands: a launcher may end in -m, as Python's must."""
    words = shlex.split(launcher)
    return [*words, *([] if words[-1] == "-m" else ["-m"]), "selftaught.trainer.cli"]
