"""Verifiers that several tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Verifier


@pytest.fixture
def two_workers() -> Iterator[Verifier]:
    with Verifier(workers=2, require="restricted") as verifier:
        yield verifier
