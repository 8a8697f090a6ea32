"""The verifier: runs untrusted puzzles and solutions, and decides which solutions are right.

Example:
    from selftaught import Task, Verifier

    with Verifier() as verifier:
        verdict = verifier.verify(Task(id="1", sat="def sat(x: int): return x > 3", sol="def sol(): return 4"))
        assert verdict.accepted
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selftaught.sandbox.client import AsyncClient, Client
    from selftaught.sandbox.errors import CannotConfine, ServerRefused
    from selftaught.sandbox.program import Ending, Program, Run
    from selftaught.sandbox.task import FunctionTask, Limits, StdioTask, Task
    from selftaught.sandbox.verdict import CaseResult, LimitHit, Status, Usage, Verdict
    from selftaught.sandbox.verifier import Verifier

__all__ = [
    "AsyncClient",
    "CannotConfine",
    "CaseResult",
    "Client",
    "Ending",
    "FunctionTask",
    "LimitHit",
    "Limits",
    "Program",
    "Run",
    "ServerRefused",
    "Status",
    "StdioTask",
    "Task",
    "Usage",
    "Verdict",
    "Verifier",
]

_MODULES = {
    "AsyncClient": "client",
    "CannotConfine": "errors",
    "Client": "client",
    "CaseResult": "verdict",
    "Ending": "program",
    "FunctionTask": "task",
    "Limits": "task",
    "Program": "program",
    "Run": "program",
    "ServerRefused": "errors",
    "Status": "verdict",
    "StdioTask": "task",
    "Task": "task",
    "LimitHit": "verdict",
    "Usage": "verdict",
    "Verdict": "verdict",
    "Verifier": "verifier",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use: a worker needs few of these modules and starts faster without the others."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
