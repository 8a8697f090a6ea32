"""What the verifier says of the tasks that a format makes of solutions."""

from __future__ import annotations

import atexit
from functools import cache

from selftaught.sandbox import FunctionTask, StdioTask, Verifier


@cache
def verifier() -> Verifier:
    """Return the one verifier of these tests."""
    made = Verifier(workers=1, require="restricted")
    atexit.register(made.close)
    return made


def accepts(task: FunctionTask | StdioTask) -> bool:
    """Return True if the solution is right."""
    return verifier().verify(task).accepted
