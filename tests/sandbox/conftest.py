"""What several tests share: verifiers, and the two codecs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selftaught.sandbox import Verifier
from tests.sandbox.codecs import codec

__all__ = ["codec"]


@pytest.fixture
def two_workers() -> Iterator[Verifier]:
    with Verifier(workers=2, require="restricted") as verifier:
        yield verifier
