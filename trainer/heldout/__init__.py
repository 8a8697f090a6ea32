"""Bundled puzzles to evaluate on, one JSON object a line; nothing here may be trained on or shown in a prompt.

`machine`: machine-written, for the preset `tiny`: `half` is `constants` (templates that its corpus shows, with constants
that it doesn't) or `compositions` (pairs of operations that it never shows). `handwritten`: for pretrained models.
Fields of both: `id`, `sat` and `sol` (a reference solution), `answer_type`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SETS = ("machine", "handwritten")


def path(name: str) -> Path:
    """The file of a set. Raises ValueError for a name that is none of `SETS`."""
    if name not in SETS:
        raise ValueError(f"no held-out set {name!r}: choose from {', '.join(SETS)}")
    return Path(__file__).with_name(f"{name}.jsonl")


def records(name: str) -> list[dict[str, Any]]:
    """The puzzles of a set, in the order of the file."""
    with path(name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
