"""The two implementations of the answer codec, for tests of both: those that use the fixture `codec`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest

from selftaught.sandbox.codec import python_check, python_decode, python_encode

try:
    from selftaught.sandbox import _codec
except ImportError:
    _codec = None  # type: ignore[assignment]


class Codec(NamedTuple):
    """The functions of one implementation, for strict or for extended plain data."""

    encode: Callable[[object, int], bytes]
    check: Callable[[bytes, int], None]
    decode: Callable[[bytes], Any]


PYTHON = Codec(python_encode, python_check, partial(python_decode, extended=False))
PYTHON_EXTENDED = Codec(partial(python_encode, extended=True), partial(python_check, extended=True), python_decode)


def native() -> Codec:
    """Return the strict one in C. Skip the test if it was not built."""
    if _codec is None:
        pytest.skip("without a C compiler there is the codec in Python alone")
    return Codec(_codec.encode, _codec.check, partial(_codec.decode, extended=False))


def native_extended() -> Codec:
    """Return the extended one in C. Skip the test if it was not built."""
    native()
    return Codec(partial(_codec.encode, extended=True), partial(_codec.check, extended=True), _codec.decode)


@pytest.fixture(scope="module", params=["python", "native"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return PYTHON if request.param == "python" else native()


@pytest.fixture(scope="module", params=["python", "native"])
def extended(request: pytest.FixtureRequest) -> Codec:
    return PYTHON_EXTENDED if request.param == "python" else native_extended()
