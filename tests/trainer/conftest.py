"""A verifier for the trainer's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selftaught.sandbox import Limits, Verifier


@pytest.fixture(scope="session")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, limits=Limits(cpu_seconds=0.5), require="restricted") as made:
        yield made
