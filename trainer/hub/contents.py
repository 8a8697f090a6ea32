"""What a folder holds that can be pushed: the pairs of a run, or a trained model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from selftaught.generator import example
from selftaught.generator.example import Example
from selftaught.generator.folder import Tally

DATASET, MODEL = "dataset", "model"


class NothingToPush(ValueError):
    """The folder holds nothing that can be pushed, or both a dataset and models. The message names the remedy."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What would be uploaded.

    Attributes:
        kind: ``dataset`` or ``model``.
        files: Name in the repository -> content, or the file that has it.
        left_out: Names in the folder that are not uploaded.
        notes: What the user should know.
    """

    kind: str
    files: dict[str, bytes | Path]
    left_out: list[str]
    notes: list[str] = field(default_factory=list)

    def size(self, name: str) -> int:
        """Return the number of bytes of a file."""
        content = self.files[name]
        return content.stat().st_size if isinstance(content, Path) else len(content)


@dataclass(frozen=True, slots=True)
class Run:
    """A folder of `selftaught generate` or `selftaught loop`.

    Attributes:
        path: The folder.
        config: Its config.json.
        metrics: Its metrics.json; empty for a generation, and before the first iteration is complete.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def recipe(self) -> dict[str, Any]:
        """The switches of its recipe."""
        return dict(self.config["recipe"])

    @property
    def base_model(self) -> str:
        """The model that a loop began with, as its user named it; empty if it was trained from scratch."""
        return str(self.config.get("learner", {}).get("model") or "")

    def generations(self) -> list[Path]:
        """Return the folders of its generations, in order."""
        if (self.path / "pairs.jsonl").exists():
            return [self.path]
        found = [path.parent for path in self.path.glob("iterations/*/generation/pairs.jsonl")]
        return sorted(found, key=lambda path: int(path.parent.name))

    def examples(self) -> Iterator[Example]:
        """Yield all pairs, each once. Raises Unreadable."""
        return example.distinct(folder / "pairs.jsonl" for folder in self.generations())

    def tally(self) -> Tally:
        """Return the counts of its generations together."""
        total = Tally()
        for folder in self.generations():
            if (folder / "progress.json").exists():
                total.add(Tally.from_dict(orjson.loads((folder / "progress.json").read_bytes())))
        return total

    def last_model(self) -> Path | None:
        """Return the folder of the last trained model; ``None`` if there is none."""
        found = [path for path in self.path.glob("iterations/*/model") if is_model(path) and path.parent.name != "0"]
        return max(found, key=lambda path: int(path.parent.name), default=None)


def is_model(folder: Path) -> bool:
    """Return True if a folder has weights and their config."""
    described = any((folder / name).exists() for name in ("config.json", "adapter_config.json"))
    return described and any(folder.glob("*.safetensors"))


def run_of(folder: Path) -> Run | None:
    """Return the run that is in a folder; ``None`` if there is none."""
    try:
        config = orjson.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict) or not isinstance(config.get("recipe"), dict):
        return None
    metrics = folder / "metrics.json"
    return Run(folder, config, orjson.loads(metrics.read_bytes()) if metrics.exists() else {})


def find(folder: Path, kind: str | None) -> tuple[str, Path, Run | None]:
    """Return what is pushed of a folder: the kind, the folder that has it, and the run that it belongs to.

    Args:
        folder: The folder of a run, or of a trained model.
        kind: ``dataset`` or ``model`` (None: what the folder holds).

    Raises:
        NothingToPush: It does not hold that, or it holds both and `kind` is not given.
    """
    if not folder.is_dir():
        raise NothingToPush(f"{folder} is not a folder")
    if is_model(folder):
        if kind == DATASET:
            raise NothingToPush(f"{folder} is a model: leave out --type {kind}, or name the folder of a run")
        return MODEL, folder, _run_above(folder)
    run = run_of(folder)
    if run is None:
        raise NothingToPush(
            f"{folder} is neither the folder of a run (config.json with pairs.jsonl or iterations/) nor a trained "
            "model (config.json with *.safetensors)"
        )
    model, pairs = run.last_model(), bool(run.generations())
    if kind is None and model and pairs:
        raise NothingToPush(f"{folder} holds pairs and models: give --type dataset or --type model")
    if kind == MODEL or (kind is None and model):
        if model is None:
            raise NothingToPush(f"{folder} holds no trained model in iterations/N/model")
        return MODEL, model, run
    if not pairs:
        raise NothingToPush(f"{folder} holds no pairs yet")
    return DATASET, folder, run


def _run_above(folder: Path) -> Run | None:
    """Return the run of a loop in whose iterations/N/model a folder is."""
    whole = folder.resolve()
    return run_of(whole.parents[2]) if whole.name == "model" and whole.parents[1].name == "iterations" else None
