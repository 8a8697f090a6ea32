"""A verifier for programs that language models write, and the loop in which a model teaches itself with it.

from selftaught import Task, Verifier

with Verifier() as verifier:
    verdict = verifier.verify(Task(id="1", sat="def sat(x: int): return x > 3", sol="def sol(): return 4"))
    assert verdict.accepted

`selftaught.sandbox` is the verifier, `selftaught.generator` asks a model for puzzles, `selftaught.trainer` learns from
what was verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selftaught import sandbox

if TYPE_CHECKING:
    from selftaught.sandbox import *  # noqa: F403  # its list is the list of both

__version__ = "0.1.0"

__all__ = ["__version__"]
__all__ += sandbox.__all__


def __getattr__(name: str) -> Any:
    """Import on first use: a worker, which needs only its own modules, starts faster and holds less."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(sandbox, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
