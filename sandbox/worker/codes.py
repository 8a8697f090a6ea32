"""Code of the sources that many jobs share: tests that judge several solutions, and programs with several cases."""

from __future__ import annotations

import struct
from collections import OrderedDict

from selftaught.sandbox import wire
from selftaught.sandbox.outcome import End, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.session import Request, Run

_ENTRY = struct.Struct("<II")
"""Header of a compiled source: length of the code, and nanoseconds that compiling took."""
_MOST, _MOST_BYTES = 4096, 16 << 20
"""Sources that are kept with their code, and bytes of all."""
_MOST_OF_ONE = _MOST_BYTES // 4
"""Bytes of a source with its code, above which it is not kept: it would displace the others, and itself."""
_TESTS, _PROGRAM = "<tests>", "main.py"


class Codes:
    """Keeps the code of sources that were seen last. Code that is empty: the source is run as it is."""

    def __init__(self, run: Run) -> None:
        """Keep the function.

        Args:
            run: runs a phase to its end.
        """
        self._run = run
        self._codes: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()
        self._bytes = 0

    def of_tests(self, source: bytes) -> bytes | None:
        """Return the code of tests; None if their process is to send it, for `keep_tests`."""
        if len(source) > _MOST_OF_ONE:
            return b""
        return self._look_up((_TESTS, source))

    def keep_tests(self, source: bytes, code: bytes) -> None:
        """Keep the code of tests, which their process has sent before it ran anything of them."""
        self._add((_TESTS, source), code)

    def of_program(self, source: bytes, limits: Limits) -> bytes:
        """Return the code of a program, which is compiled in a phase of its own within these limits."""
        key = _PROGRAM, source
        code = self._look_up(key)
        if code is None:
            code = self._compile(source, limits)
            self._add(key, code)
        return code

    def _look_up(self, key: tuple[str, bytes]) -> bytes | None:
        if key in self._codes:
            self._codes.move_to_end(key)
        return self._codes.get(key)

    def _compile(self, source: bytes, limits: Limits) -> bytes:
        outcome = self._run(Request(Phase.COMPILE, wire.frame(source), _PROGRAM.encode(), limits))
        if outcome.end is not End.ANSWER or len(outcome.payload) < _ENTRY.size:
            return b""
        size, _ = _ENTRY.unpack_from(outcome.payload)
        code = outcome.payload[_ENTRY.size :]
        return code if len(code) == size else b""

    def _add(self, key: tuple[str, bytes], code: bytes) -> None:
        if len(key[1]) > _MOST_OF_ONE:
            return
        if len(key[1]) + len(code) > _MOST_OF_ONE:
            code = b""
        self._bytes += len(key[1]) + len(code) - self._size(key)
        self._codes[key] = code
        while len(self._codes) > _MOST or self._bytes > _MOST_BYTES:
            oldest = next(iter(self._codes))
            self._bytes -= self._size(oldest)
            del self._codes[oldest]

    def _size(self, key: tuple[str, bytes]) -> int:
        return len(key[1]) + len(self._codes[key]) if key in self._codes else 0
