"""Metrics for Prometheus: a wrapper that counts and times verdicts, and gauges read at each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

import selftaught
from selftaught.sandbox.outcome import Counters
from selftaught.sandbox.program import Ending, Run
from selftaught.sandbox.server.admission import Admission, Item
from selftaught.sandbox.verdict import Status, Verdict
from selftaught.sandbox.verifier import Verifier

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_SNAPSHOT = {
    "given_up": "Phases that the snapshot engine passed to the fork engine.",
    "replaced": "Processes of the snapshot engine that were replaced.",
    "checked": "Full comparisons of a restored process with its snapshot.",
    "mismatches": "Comparisons that found a difference; more than 0 is a bug of the verifier.",
}


class Measured:
    """Wraps a verifier and counts and times its results; see `selftaught.sandbox.server.admission.TaskVerifier`.

    Args:
        verifier: The verifier.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self.workers, self.limits = verifier.workers, verifier.limits
        self.registry = CollectorRegistry()
        verdicts = Counter("selftaught_verdicts", "Verdicts by status.", ["status"], registry=self.registry)
        programs = Counter(
            "selftaught_programs", "Programs run, by how they ended.", ["ending"], registry=self.registry
        )
        self._by_status = {status: verdicts.labels(status.value) for status in Status}
        self._by_ending = {ending: programs.labels(ending.value) for ending in Ending}
        self._queue = Histogram(
            "selftaught_queue_seconds",
            "Time from admission until a worker starts on the task.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._run = Histogram(
            "selftaught_run_seconds", "Elapsed time of all phases of a task.", buckets=_SECONDS, registry=self.registry
        )
        self.answers = Counter(
            "selftaught_http_responses",
            "HTTP responses by path and status.",
            ["path", "status"],
            registry=self.registry,
        )

    @property
    def level(self) -> str:
        """See `Verifier.level`."""
        return self._verifier.level

    def submit(self, item: Item, done: Callable[[Any], None], repeat: int = 1) -> Callable[[], None]:
        """See `Verifier.submit`."""
        began = time.monotonic()

        def measure(found: Verdict | Run) -> None:
            if isinstance(found, Verdict):
                self._by_status[found.status].inc()
            else:
                self._by_ending[found.ending].inc()
            ran = found.usage.wall_seconds
            if ran:
                self._run.observe(ran)
                self._queue.observe(max(time.monotonic() - began - ran, 0.0))
            done(found)

        return self._verifier.submit(item, measure, repeat)

    def count_duplicate(self, verdict: Verdict) -> None:
        """See `selftaught.sandbox.server.admission.TaskVerifier.count_duplicate`."""
        self._by_status[verdict.status].inc()

    def watch(self, admission: Admission) -> None:
        """Add gauges for the state of admission and workers."""
        self.registry.register(_State(self._verifier, admission))

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _State(Collector):
    """Gauges whose values are read at each scrape."""

    def __init__(self, verifier: Verifier, admission: Admission) -> None:
        self._verifier, self._admission = verifier, admission

    def collect(self) -> Iterator[Any]:
        """Yield the samples."""
        try:
            alive, queued, restarts = len(self._verifier.worker_pids()), self._verifier.queued, self._verifier.restarts
            counters = self._verifier.counters
        except ValueError:  # the verifier is closed
            alive = queued = restarts = 0
            counters = Counters()
        yield GaugeMetricFamily("selftaught_queue_depth", "Tasks that no worker has yet.", queued)
        yield GaugeMetricFamily(
            "selftaught_tasks", "Tasks admitted and not answered.", self._admission.admitted + self._admission.waiting
        )
        yield GaugeMetricFamily(
            "selftaught_tasks_limit", "The most tasks that are admitted at a time.", self._admission.capacity
        )
        memory = self._admission.memory
        yield GaugeMetricFamily(
            "selftaught_buffered_bytes",
            "Bytes of requests in memory, and of responses that clients have not read.",
            memory.used,
        )
        yield GaugeMetricFamily(
            "selftaught_buffered_bytes_limit", "The limit on selftaught_buffered_bytes.", memory.limit
        )
        yield GaugeMetricFamily("selftaught_workers", "Workers alive; an idle one may not have been started.", alive)
        yield CounterMetricFamily(
            "selftaught_worker_restarts", "Workers that died or were killed, and were replaced.", restarts
        )
        for name, meaning in _SNAPSHOT.items():
            yield CounterMetricFamily(f"selftaught_snapshot_{name}", meaning, getattr(counters, name))
        info = GaugeMetricFamily("selftaught_info", "Version and confinement level.", labels=["version", "level"])
        info.add_metric([selftaught.__version__, self._level()], 1)
        yield info

    def _level(self) -> str:
        try:
            return self._verifier.level
        except ValueError:
            return ""
