"""The results of a run for readers: report.md with plots, the dataset with its card, and a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selftaught.generator.example import Example
from selftaught.sandbox.passk import Score, ratio
from selftaught.trainer.benchmarks import measurement
from selftaught.trainer.evaluation import Result, scores, shown


def gains(
    first: Sequence[Result], last: Sequence[Result], before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    """Return the ratio of Pass@k of the last model to the first, each at its own best temperature.

    Args:
        first: Results of the first model.
        last: Results of the last model.
        before: `pass_at_k` of the first model's summary.
        after: `pass_at_k` of the last model's summary.

    Returns:
        ``{k: {"value": ..., "low": ..., "high": ...}}``, without those k at which the first model solves nothing.
    """
    found: dict[str, Any] = {}
    for k in before:
        old, new = scores(first, before[k]["temperature"]), scores(last, after[k]["temperature"])
        both: tuple[list[Score], list[Score]] = ([old[ident] for ident in old], [new[ident] for ident in old])
        gain = ratio(*both, int(k))
        if gain:
            found[k] = {"value": gain.value, "low": gain.low, "high": gain.high}
    return found


def sentence(metrics: dict[str, Any]) -> str:
    """Return the run's result as one sentence."""
    first, last = metrics["iterations"][0], metrics["iterations"][-1]
    parts = []
    for k, before in first["pass_at_k"].items():
        gain = metrics.get("gains", {}).get(k)
        times = f", {gain['value']:.1f} times [{gain['low']:.1f}, {gain['high']:.1f}]" if gain else ""
        parts.append(f"Pass@{k} from {shown(before)} to {shown(last['pass_at_k'][k])}{times}")
    rounds = "iteration" if last["iteration"] == 1 else "iterations"
    return (
        f"After {last['iteration']} {rounds} on its own verified pairs ({last['counts']['examples']:,}) the model "
        f"goes, on {first['problems']} held-out puzzles and at each model's best temperature, " + "; ".join(parts) + "."
    )


def write(metrics: dict[str, Any], folder: Path, notes: str = "") -> None:
    """Write report.md and its plots.

    Args:
        metrics: The contents of metrics.json.
        folder: The run's folder.
        notes: What the figures mean (see `selftaught.trainer.presets.Preset`).
    """
    from selftaught.trainer import plots

    entries = metrics["iterations"]
    lines = [f"# {metrics['preset']}, seed {metrics['seed']}", "", sentence(metrics), ""]
    if notes:
        lines += [notes, ""]
    ks = list(entries[0]["pass_at_k"])
    lines += [
        "| iteration | pairs | puzzles | " + " | ".join(f"Pass@{k} (T)" for k in ks) + " |",
        "|---" * (3 + len(ks)) + "|",
    ]
    for entry in entries:
        cells = [f"{shown(entry['pass_at_k'][k])} ({entry['pass_at_k'][k]['temperature']:g})" for k in ks]
        counts = entry["counts"]
        name = "base" if entry["iteration"] == 0 else str(entry["iteration"])
        lines.append(f"| {name} | {counts['examples']:,} | {counts['puzzles']:,} | " + " | ".join(cells) + " |")
    lines += ["", *_groups(entries, ks)]
    if measured := metrics.get("benchmarks"):
        lines += measurement.table(measured)
    trivial = entries[-1]["trivial"]
    if trivial["problems"]:
        best = ", ".join(f"Pass@{k} {shown(one)}" for k, one in trivial["pass_at_k"].items())
        lines += [f"Reported separately, {trivial['problems']} problems that a trivial answer solves: {best}.", ""]
    seconds = max(metrics["seconds"], 1e-9)
    lines += [
        f"The run took {seconds / 60:.1f} minutes. During {metrics['seconds_waiting'] / seconds:.0%} of them it waited "
        f"for the verifier with no model working. Verification took {metrics['seconds_verifying']:.0f} seconds of "
        f"processor time ({metrics['seconds_verifying'] / seconds:.0%}), mostly while a model was writing.",
        "",
    ]
    for name, caption in plots.draw(metrics, folder):
        lines += [f"## {caption}", "", f"![{caption}]({name}.png)", ""]
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")


def _groups(entries: Sequence[dict[str, Any]], ks: Sequence[str]) -> list[str]:
    groups = list(entries[0]["groups"])
    if not groups:
        return []
    lines = ["| group | iteration | " + " | ".join(f"Pass@{k}" for k in ks) + " |", "|---" * (2 + len(ks)) + "|"]
    for group in groups:
        for entry in (entries[0], entries[-1]):
            name = "base" if entry["iteration"] == 0 else str(entry["iteration"])
            cells = [shown(entry["groups"][group][k]) for k in ks]
            lines.append(f"| {group} | {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def dataset(examples: Sequence[Example], metrics: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    """Write all pairs of a run as data/train.jsonl, and the dataset card as README.md.

    Args:
        examples: The pairs.
        metrics: The contents of metrics.json.
        config: The run's settings.
        folder: The run's folder.
    """
    from selftaught.trainer.hub import dataset as pairs
    from selftaught.trainer.hub.contents import Run

    facts = pairs.Facts()
    pairs.write_pairs(facts.seen(examples, folder), folder / pairs.DATA, folder)
    (folder / "README.md").write_text(pairs.card(Run(folder, config, metrics), facts), encoding="utf-8")
