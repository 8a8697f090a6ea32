"""What several daemons have in common, and in what they differ."""

from __future__ import annotations

from typing import Any

import pytest

from selftaught.sandbox import Client
from selftaught.sandbox.client.configuration import combined, differences
from tests.sandbox.client.conftest import (
    CONFIG,
)
from tests.sandbox.server.conftest import Daemon


def test_one_configuration_is_what_may_be_relied_on_whoever_judges() -> None:
    one = {**CONFIG, "packages": {"numpy": "2", "sympy": "1"}, "limits": {"cpu_seconds": 1.0, "memory_bytes": 9}}
    two = {**CONFIG, "level": "restricted", "packages": {"numpy": "2", "sympy": "2"}, "workers": 3,
           "limits": {"cpu_seconds": 2.0, "memory_bytes": 5}, "required_isolation": "process",
           "version": "1"}  # fmt: skip
    found = combined([one, two])
    assert (found["level"], found["workers"], found["required_isolation"]) == ("restricted", 4, "process")
    assert found["packages"] == {"numpy": "2"}
    assert found["limits"] == {"cpu_seconds": 1.0, "memory_bytes": 5}
    told = differences({"http://a": one, "http://b": two})
    assert "the daemons have different versions: http://a: 0; http://b: 1" in told
    assert "the daemons have different packages: http://a: numpy 2, sympy 1; http://b: numpy 2, sympy 2" in told
    assert differences({"http://a": one, "http://b": one}) == []


def test_versions_that_differ_are_named(fakes: list[Daemon], scripted: Any, caplog: pytest.LogCaptureFixture) -> None:
    other = scripted(503, readyz={}, config=CONFIG)
    with Client([other.url, fakes[0].url]) as client:
        client.wait_until_ready(20)
    (text,) = [record.message for record in caplog.records if "different versions" in record.message]
    assert f"{other.url}: 0; {fakes[0].url}: " in text
