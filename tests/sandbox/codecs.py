"""The two implementations of the answer codec, for tests of both: those that use the fixture `codec`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from selftaught.sandbox.codec import python_check, python_decode, python_encode

try:
    from selftaught.sandbox import _codec
except ImportError:
    _codec = None  # type: ignore[assignment]


class Codec(NamedTuple):
    """The functions of one implementation."""

    encode: Callable[[object, int], bytes]
    check: Callable[[bytes, int], None]
    decode: Callable[[bytes], Any]


PYTHON = Codec(python_encode, python_check, python_decode)


def native() -> Codec:
    """Return the one in C. Skip the test if it was not built."""
    if _codec is None:
        pytest.skip("without a C compiler there is the codec in Python alone")
    return Codec(_codec.encode, _codec.check, _codec.decode)


@pytest.fixture(scope="module", params=["python", "native"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return PYTHON if request.param == "python" else native()
