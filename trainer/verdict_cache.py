"""Verdicts that an evaluation knows already."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable

from selftaught.sandbox import Status, Verifier
from selftaught.trainer.question import Question
from selftaught.trainer.results import UNJUDGED


class VerdictCache:
    """Verdicts by question and solution: a solution is verified once, however many models write it.

    It remembers digests of the sources, not the sources. It may be used from several threads.

    Args:
        verifier: The verifier.

    Attributes:
        verified: Number of pairs that were sent to the verifier.
        seconds: Time spent waiting for it, added up over threads.
    """

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier
        self._known: dict[bytes, str] = {}
        self._lock = threading.Lock()
        self.verified, self.seconds = 0, 0.0

    def add(self, source: str, statuses: dict[str, str]) -> None:
        """Add verdicts of an earlier process: statuses of solutions of one question, by its `source`. Failures of the
        verifier are ignored."""
        self._known |= {_digest(source, sol): one for sol, one in statuses.items() if one not in UNJUDGED}

    def verify(self, pairs: Iterable[tuple[Question, str]]) -> dict[tuple[str, str], str]:
        """Return the status of each pair of a question's `source` and a solution."""
        started, statuses = time.perf_counter(), {}
        asked = {(question.source, solution): question for question, solution in pairs}
        digests = {pair: _digest(*pair) for pair in asked}
        fresh = [pair for pair, digest in digests.items() if digest not in self._known]
        tasks = (asked[pair].task(str(number), pair[1]) for number, pair in enumerate(fresh))
        for pair, verdict in zip(fresh, self._verifier.verify_many(tasks), strict=True):
            statuses[pair] = str(verdict.status)
            if verdict.judged or verdict.status is Status.INVALID:
                self._known[digests[pair]] = statuses[pair]
        with self._lock:
            self.verified += len(fresh)
            self.seconds += time.perf_counter() - started
        return {pair: self._known.get(digest) or statuses[pair] for pair, digest in digests.items()}

    def stop(self) -> None:
        """Close the verifier: what is being verified is cancelled."""
        self._verifier.close()


def _digest(source: str, sol: str) -> bytes:
    return hashlib.sha256(f"{len(source)} {source}{sol}".encode("utf-8", "surrogatepass")).digest()[:16]
