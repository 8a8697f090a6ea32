"""A solution and stand-ins for it in this process, connected without pipes."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator

from selftaught.sandbox.worker.inside.from_tests import FromTests
from selftaught.sandbox.worker.inside.relay import Relay
from selftaught.sandbox.worker.inside.serving import RelayedCalls
from selftaught.sandbox.worker.inside.solution import Solution


@contextlib.contextmanager
def standins(
    sol: str, replies: Callable[[bytes], bytes] | None = None, answer_bytes: int = 1 << 25
) -> Iterator[tuple[FromTests, Relay]]:
    """Give what makes stand-ins for a solution, and the relay.

    Args:
        sol: the solution.
        replies: changes what the solution's side answers.
        answer_bytes: largest reply.
    """
    modules = sys.modules.copy()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        try:
            solution = Solution()
            solution.load_prelude(b"")
            solution.load(sol.encode(), "")
            answer = RelayedCalls(solution, answer_bytes).answer

            def exchange(message: bytes) -> bytes:
                reply = answer(b"X" + message[5:])
                return replies(reply) if replies else reply

            relay = Relay(exchange)
            yield FromTests(relay, solution.kinds(), "", {}), relay
        finally:
            for name in sys.modules.keys() - modules.keys():
                del sys.modules[name]
