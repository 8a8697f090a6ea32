"""The contents of a run's metrics.json, gathered from its stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson


def gather(path: Path, iterations: int, config: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of a run.

    Args:
        path: The run's folder.
        iterations: The last iteration to include.
        config: The run's settings.

    Returns:
        ``iterations`` (Pass@k, counts and seconds of each model, from the base model on), and totals: ``seconds``
        (elapsed), ``seconds_verifying`` (CPU time of the verifier) and ``seconds_waiting`` (elapsed, waiting for
        verdicts with no model working).
    """
    entries = [_entry(path, number) for number in range(iterations + 1)]
    # Evaluations during a training delay nothing.
    overlapped = entries[:-1] if config["evaluate_while_training"] else []
    seconds = sum(stage for entry in entries for stage in entry["seconds"].values())
    waiting = sum(sum(entry["seconds_waiting"].values()) for entry in entries)
    return {
        "preset": config["name"],
        "seed": config["seed"],
        "iterations": entries,
        "seconds": seconds - sum(entry["seconds"]["evaluate"] for entry in overlapped),
        "seconds_verifying": sum(entry["seconds_verifying"] for entry in entries),
        "seconds_waiting": waiting - sum(entry["seconds_waiting"]["evaluate"] for entry in overlapped),
    }


def _entry(path: Path, number: int) -> dict[str, Any]:
    names = ["evaluate", "base"] if number == 0 else ["generate", "train", "evaluate"]
    stages = {name: orjson.loads((path / "stages" / f"{number}-{name}.json").read_bytes()) for name in names}
    generated, trained, evaluated = (stages.get(name, {}) for name in ("generate", "train", "evaluate"))
    spent = generated.get("seconds_of", {})
    return {
        "iteration": number,
        **evaluated["summary"],
        "counts": {
            "examples": trained.get("examples", 0),
            "puzzles": trained.get("puzzles", 0),
            "yield": generated.get("stages", {}),
            "refusals": generated.get("refusals", {}),
            "verdicts": generated.get("statuses", {}),
        },
        "seconds": {name: stage["seconds"] for name, stage in stages.items()},
        "seconds_verifying": evaluated["seconds_verifying"] + spent.get("verifier", 0.0),
        "seconds_waiting": {
            "generate": spent.get("elapsed", 0.0) - spent.get("model", 0.0),
            "evaluate": evaluated["seconds_verifying"],
        },
        "seconds_writing": spent.get("model", 0.0),
    }
