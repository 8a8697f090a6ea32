"""Where memory comes from: with a C library that can't be told there is no snapshot engine, and everything else works."""

from __future__ import annotations

import pytest

from sandbox.worker import heap


def test_without_glibc_there_is_nothing_to_arrange_and_no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_mallopt", None)
    heap.gather()
    heap.scatter()
    with pytest.raises(OSError, match="mallopt"):
        heap.reserve(1 << 20)
