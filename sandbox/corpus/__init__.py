"""The bundled corpus: original puzzles, each with a reference solution, one JSON object a line.

Fields: `id`, `area`, `answer_type` (as annotated in the puzzle), `sat` and `sol` (source code).
"""

from __future__ import annotations

import json
from pathlib import Path


def path() -> Path:
    """Return the path of the bundled file."""
    return Path(__file__).with_name("puzzles.jsonl")


def records() -> list[dict[str, str]]:
    """Return the puzzles, in the order of the file."""
    with path().open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
