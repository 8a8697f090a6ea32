"""A snapshot process and its upkeep: put back after each job, compared now and then, replaced when it has to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from selftaught.sandbox.outcome import Counters
from selftaught.sandbox.worker.snapshot.attempt import Attempt
from selftaught.sandbox.worker.snapshot.memory import Unrestorable
from selftaught.sandbox.worker.snapshot.process import SnapshotProcess

CHECK_EVERY = 1024
CHECK_GIVEN_UP, CHECK_SUSPENDED = 16, 8
RECYCLE_EVERY = 100_000
"""Jobs after which a snapshot process is replaced in any case."""

_LEARN_AT, _LEARN_EVERY, _HOT_SHARE, _MAX_HOT = (25, 200, 1000), 8192, 0.1, 1000
"""Written pages are counted after these jobs of every so many; a page that this share of them wrote becomes hot."""


class Upkeep:
    """One snapshot process after another, for jobs of one sort.

    Attributes:
        process: the process, or None until the next job.
        is_used: True once a job has needed one.
        counters: counts of the whole engine.
    """

    def __init__(
        self, spawn: Callable[[], SnapshotProcess], counters: Counters, on_end: Callable[[], None] = lambda: None
    ) -> None:
        """Keep the functions; no process is spawned yet.

        Args:
            spawn: returns a new process.
            counters: counts of the whole engine.
            on_end: called when a process has ended.
        """
        self._spawn, self.counters, self._on_end = spawn, counters, on_end
        self.process: SnapshotProcess | None = None
        self.is_used = False
        self._writes: Counter[int] = Counter()
        self._jobs = self._checked_at = self._learnt = self._interrupted = 0
        self._hot: frozenset[int] = frozenset()

    def ready(self) -> SnapshotProcess:
        """Return the process, a new one if there is none."""
        if self.process is None:
            self.process, self.is_used = self._spawn(), True
            self._jobs = self._checked_at = 0
            try:
                self.process.memory.set_hot(self._hot)
            except Unrestorable:  # its memory is laid out differently
                self._hot, self._learnt = frozenset(), 0
                self.process.memory.set_hot(self._hot)
        return self.process

    def add_jobs(self, jobs: int) -> None:
        """Count jobs after which the process has been put back already."""
        self._jobs += jobs

    def restore(self, attempt: Attempt, given_up: bool) -> bool:
        """Restore the process after an attempt, or replace it. Return False if a comparison found a difference."""
        if attempt.must_replace:
            self.replace()
            return True
        suspect = (
            attempt.timed_out or attempt.process.suspect or (given_up and self.counters.given_up % CHECK_GIVEN_UP == 0)
        )
        if attempt.suspended:
            self._interrupted += 1
            suspect = self._interrupted % CHECK_SUSPENDED == 0
        return self.restore_and_check(attempt.restored, suspect, 1)

    def restore_and_check(self, restored: bool, suspect: bool, jobs: int) -> bool:
        """Do the same for a process that has run so many jobs since, and may have been restored already."""
        process = self.ready()
        self._jobs += jobs
        if self._jobs >= RECYCLE_EVERY:
            self.replace()
            return True
        try:
            if not restored:
                process.restore()
            self._learn(process, jobs)
            if not suspect and self._jobs - self._checked_at < CHECK_EVERY:
                return True
            self.counters.checked += 1
            self._checked_at = self._jobs
            if not process.differences():
                process.release()
                return True
        except (Unrestorable, OSError):
            self.replace()
            return True
        self.counters.mismatches += 1
        self.replace()
        return False

    def idle(self) -> bool:
        """Use the time while there is no job: have a new process if there was one, and return memory to the kernel.

        Returns:
            True if something was done.
        """
        if self.process is None:
            if self.is_used:
                self.ready()
            return self.is_used
        try:
            return self.process.release()
        except OSError:
            self.replace()
            return True

    def jobs_until_due(self) -> int:
        """Return the number of jobs until a comparison, a replacement or a count of written pages is due."""
        learnt = self._learnt % _LEARN_EVERY
        until_count = next((at for at in _LEARN_AT if at > learnt), _LEARN_EVERY) - learnt
        return min(CHECK_EVERY + self._checked_at - self._jobs, RECYCLE_EVERY - self._jobs, until_count)

    def _learn(self, process: SnapshotProcess, jobs: int) -> None:
        """Count which pages jobs write, for the first jobs and from time to time; those written often become hot."""
        before = self._learnt % _LEARN_EVERY
        self._learnt += jobs
        if before >= _LEARN_AT[-1]:
            return
        self._writes.update(process.memory.written())
        number = before + jobs
        if not any(before < at <= number for at in _LEARN_AT):
            return
        most = _MAX_HOT - len(self._hot)
        often = [page for page, times in self._writes.most_common(most) if times >= _HOT_SHARE * number]
        self._writes.clear()
        if often:
            self._hot |= frozenset(often)
            process.memory.set_hot(self._hot)

    def replace(self) -> None:
        """End the process; the next job gets another."""
        self.end()
        self.counters.replaced += 1

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self.process is not None:
            self.process.end()
            self.process = None
            self._on_end()
