"""Tasks of published sets, which are no part of this project.

They are in $SELFTAUGHT_BENCHMARKS or in ``shared/benchmarks`` beside the checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from selftaught.sandbox.formats.joining import REFERENCE, Dataset
from selftaught.sandbox.task import FunctionTask


def file(name: str) -> Path:
    """Return the path of a set's file; skip the test if it is not there."""
    default = Path(__file__).parents[3] / "shared" / "benchmarks"
    path = Path(os.environ.get("SELFTAUGHT_BENCHMARKS", default)) / name
    if not path.exists():
        pytest.skip(f"no {path}: set SELFTAUGHT_BENCHMARKS to the folder that holds {name}")
    return path


def tasks(name: str, form: str = "auto") -> list[FunctionTask]:
    """Return the tasks of a set's own solutions; skip the test if the set is not there."""
    dataset = Dataset([str(file(name))], REFERENCE, form)
    found = [record.task for record in dataset.samples()]
    assert not dataset.malformed and not dataset.unanswered
    return [task for task in found if isinstance(task, FunctionTask)]
