"""The plots of a run's report, as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from selftaught.generator.candidate import STAGES

_FILTERS = ("written", *STAGES)


def draw(metrics: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Draw all plots of a run.

    Args:
        metrics: The contents of metrics.json.
        folder: Where the PNG files go.

    Returns:
        The name (without ``.png``) and the caption of each plot.
    """
    entries = metrics["iterations"]
    learned = entries[1:]
    pictures: list[tuple[str, str, Callable[[Axes], None]]] = [
        ("pass_at_k",
         "Pass@k on held-out puzzles, each model at its best temperature; bars are 95 % intervals over problems",
         lambda axes: _pass_at_k(axes, entries)),
        ("yield", "Puzzles left after each filter", lambda axes: _yield(axes, learned)),
        ("novelty", "Puzzles written, by what became of them", lambda axes: _novelty(axes, learned)),
        ("verdicts", "Verdicts on attempts at the model's own puzzles", lambda axes: _verdicts(axes, learned)),
        ("time", "Seconds in each stage", lambda axes: _time(axes, entries)),
    ]  # fmt: skip
    if any(len(entry["temperatures"]) > 1 for entry in entries):
        caption = "Pass@k at every temperature that was tried"
        pictures.insert(1, ("temperatures", caption, lambda axes: _temperatures(axes, entries)))
    if any(entry["groups"] for entry in entries):
        pictures.insert(1, ("groups", "Pass@k by group of held-out puzzles", lambda axes: _groups(axes, entries)))
    for name, caption, paint in pictures:
        figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        paint(axes)
        axes.set_title(caption, fontsize=10, wrap=True)
        figure.savefig(folder / f"{name}.png", dpi=110)
        plt.close(figure)
    return [(name, caption) for name, caption, _ in pictures]


def _curve(axes: Axes, places: Sequence[int], found: Sequence[dict[str, Any]], label: str, style: str = "o-") -> None:
    values = [one["value"] for one in found]
    below = [one["value"] - one["low"] for one in found]
    above = [one["high"] - one["value"] for one in found]
    axes.errorbar(places, values, yerr=[below, above], fmt=style, capsize=4, label=label)


def _iterations(axes: Axes, entries: Sequence[dict[str, Any]]) -> list[int]:
    places = [entry["iteration"] for entry in entries]
    axes.set_xticks(places, ["base" if place == 0 else str(place) for place in places])
    axes.set_xlabel("iteration")
    return places


def _pass_at_k(axes: Axes, entries: Sequence[dict[str, Any]]) -> None:
    places = _iterations(axes, entries)
    for k in entries[0]["pass_at_k"]:
        _curve(axes, places, [entry["pass_at_k"][k] for entry in entries], f"Pass@{k}")
    _percent(axes)


def _groups(axes: Axes, entries: Sequence[dict[str, Any]]) -> None:
    places = _iterations(axes, entries)
    for group in entries[0]["groups"]:
        for k, style in zip(entries[0]["groups"][group], ("o-", "s--", "^:"), strict=False):
            _curve(axes, places, [entry["groups"][group][k] for entry in entries], f"{group}, Pass@{k}", style)
    _percent(axes)


def _temperatures(axes: Axes, entries: Sequence[dict[str, Any]]) -> None:
    for entry in entries:
        name = "base" if entry["iteration"] == 0 else f"iteration {entry['iteration']}"
        color = f"C{entry['iteration']}"
        for k, style in zip(entry["pass_at_k"], ("o-", "s--", "^:"), strict=False):
            points = [
                (float(t), one["pass_at_k"][k]["value"])
                for t, one in entry["temperatures"].items()
                if k in one["pass_at_k"]
            ]
            axes.plot(*zip(*points, strict=True), style, color=color, label=f"{name}, Pass@{k}")
    axes.set_xlabel("temperature")
    _percent(axes)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def _percent(axes: Axes) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _yield(axes: Axes, entries: Sequence[dict[str, Any]]) -> None:
    names = [name for name in _FILTERS if any(name in entry["counts"]["yield"] for entry in entries)]
    for entry in entries:
        counts = [entry["counts"]["yield"].get(name, 0) for name in names]
        axes.plot(range(len(names)), counts, "o-", label=f"iteration {entry['iteration']}")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _stacked(axes: Axes, entries: Sequence[dict[str, Any]], parts: Sequence[dict[str, float]]) -> None:
    """Draw one stacked bar for each entry, the largest part at the bottom."""
    total = {name: sum(part.get(name, 0) for part in parts) for part in parts for name in part}
    places, height = _iterations(axes, entries), [0.0] * len(entries)
    for number, name in enumerate(sorted(total, key=lambda name: -total[name])):
        values = [part.get(name, 0) for part in parts]
        axes.bar(places, values, bottom=height, label=name, width=0.6, color=plt.get_cmap("tab20")(number % 20))
        height = [before + value for before, value in zip(height, values, strict=True)]
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def _novelty(axes: Axes, entries: Sequence[dict[str, Any]]) -> None:
    fates = {
        "new": "repeated",
        "held_out": "held out",
        "trivial": "trivial",
        "quota": "over its template's quota",
        "solved": "unsolved",
    }
    parts = []
    for entry in entries:
        refused = entry["counts"]["refusals"]
        named = {text: refused.get(name, 0) for name, text in fates.items()}
        other = sum(refused.values()) - sum(named.values())
        kept = sum(entry["counts"]["yield"].get(name, 0) for name in ("written", "derived")) - sum(refused.values())
        parts.append({"kept": kept, **named, "otherwise refused": other})
    _stacked(axes, entries, parts)


def _verdicts(axes: Axes, entries: Sequence[dict[str, Any]]) -> None:
    _stacked(axes, entries, [entry["counts"]["verdicts"] for entry in entries])


def _time(axes: Axes, entries: Sequence[dict[str, Any]]) -> None:
    _stacked(axes, entries, [entry["seconds"] for entry in entries])
    axes.set_ylabel("seconds")
