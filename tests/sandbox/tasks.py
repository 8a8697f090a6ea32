"""Tasks that several tests judge."""

from __future__ import annotations

from selftaught.sandbox import Limits, Task

SLEEPER = Task("sleeper", "def sat(x): return True", "import time\ndef sol(): time.sleep(60)", Limits(wall_seconds=30))


def task(number: int, sol: str | None = None) -> Task:
    return Task(
        str(number), f"def sat(x: int, a={number}): return x == a + 1", sol or f"def sol(a={number}): return a + 1"
    )
