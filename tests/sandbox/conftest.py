"""What several tests share: verifiers, and the two codecs, strict and extended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selftaught.sandbox import Verifier
from tests.sandbox.codecs import codec, extended

__all__ = ["codec", "extended"]


@pytest.fixture
def two_workers() -> Iterator[Verifier]:
    with Verifier(workers=2, require="restricted") as verifier:
        yield verifier
