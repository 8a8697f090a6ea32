"""Bundled puzzles for evaluation, one JSON object a line. None may be trained on or shown in a prompt.

`machine` is machine-written, for the preset `tiny`. Its field `half` is `constants` (templates that the preset's corpus
contains, with other constants) or `compositions` (pairs of operations that the corpus does not contain). `handwritten`
is for pretrained models, and so is `oneliners`: short problems, two instances of each, made of oneliners.toml by
``python -m selftaught.generator.templates``. Fields of all: `id`, `sat`, `sol` (a reference solution) and
`answer_type`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SETS = ("machine", "handwritten", "oneliners")


def path(name: str) -> Path:
    """Return the file of a set. Raises ValueError if there is no such set."""
    if name not in SETS:
        raise ValueError(f"no held-out set {name!r}: choose from {', '.join(SETS)}")
    return Path(__file__).with_name(f"{name}.jsonl")


def records(name: str) -> list[dict[str, Any]]:
    """Return the puzzles of a set in the order of the file. Raises ValueError if there is no such set."""
    with path(name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
