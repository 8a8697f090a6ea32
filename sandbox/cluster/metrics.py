"""Metrics of a driver, in Ray's own exporter (``selftaught_tasks``, ``selftaught_task_seconds``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray.util.metrics import Counter, Histogram

from selftaught.sandbox.program import Run
from selftaught.sandbox.verdict import Verdict

if TYPE_CHECKING:
    from selftaught.sandbox.cluster.nodes import Node

_SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]
_TOGETHER = 256
"""How many results are counted before Ray is told: a call costs as much as judging a small task."""


class Metrics:
    """Counts verdicts and runs by node and status, and their CPU time. Used in one thread."""

    def __init__(self) -> None:
        self._tasks = Counter("selftaught_tasks", "Judged tasks and programs that ran.", ("node", "status"))
        self._seconds = Histogram("selftaught_task_seconds", "CPU time of one in 16.", _SECONDS, ("node",))
        self._counted: dict[tuple[str, str], int] = {}
        self._untold = self._seen = 0

    def count(self, node: Node, result: Verdict | Run) -> None:
        """Count a result of a node."""
        status = result.ending if isinstance(result, Run) else result.status
        key = node.address, status.value
        self._counted[key] = self._counted.get(key, 0) + 1
        self._untold += 1
        self._seen += 1
        if self._seen % 16 == 0:
            self._seconds.observe(result.usage.cpu_seconds, {"node": node.address})
        if self._untold >= _TOGETHER:
            self.tell()

    def tell(self) -> None:
        """Pass on what was counted."""
        for (address, name), number in self._counted.items():
            self._tasks.inc(number, {"node": address, "status": name})
        self._counted.clear()
        self._untold = 0
