"""A session on a snapshot process: it stops at each message until the supervisor has an answer, and is put back at the
end.
"""

from __future__ import annotations

from typing import NoReturn

from selftaught.sandbox.outcome import End, Outcome
from selftaught.sandbox.worker.engine import SLOW_PHASE_SECONDS, Preempted
from selftaught.sandbox.worker.native import shared
from selftaught.sandbox.worker.native.shared import Stop
from selftaught.sandbox.worker.session import MOST_CASES, OVERHEAD_BYTES, GivenUp, Relayed, Request, Session
from selftaught.sandbox.worker.snapshot.attempt import Attempt, Context
from selftaught.sandbox.worker.snapshot.process import fits
from selftaught.sandbox.worker.snapshot.upkeep import Upkeep


class SnapshotSession:
    """A session on the process of an upkeep. Implements `Session`."""

    def __init__(self, context: Context, upkeep: Upkeep, request: Request) -> None:
        """Prepare the session.

        Args:
            context: what all attempts of the engine share.
            upkeep: has the process, which belongs to the session until it is closed.
            request: the phase.
        """
        self._upkeep, self._request = upkeep, request
        most = request.limits.answer_bytes + request.limits.output_bytes + OVERHEAD_BYTES
        self._attempt = Attempt(context, upkeep.ready(), request.limits, max_message_bytes=most)
        self._lapped = (0.0, 0.0)
        self._closed = False
        self._peak = 0

    def start(self) -> bytes | Outcome:
        """See `Session.start`."""
        job = self._request.pack(0)
        if not fits(job, self._request.limits):
            self._give_up()
        return self._take_turn(self._attempt.run(job))

    def send(self, message: bytes) -> bytes | Outcome:
        """See `Session.send`."""
        if not self._attempt.process.can_take(message):
            self._give_up()
        return self._take_turn(self._attempt.answer(message))

    def _take_turn(self, found: Outcome | bytes | None) -> bytes | Outcome:
        if isinstance(found, bytes):
            return found
        if found is None:
            self._give_up()
        self._put_back(given_up=False)
        if found.end is End.UNFINISHED:
            raise Preempted
        cpu, _ = used = self._attempt.used
        if cpu - self._attempt.begun[0] > self._request.limits.cpu_seconds:
            found.end, found.detail, found.payload = End.CPU, "", b""
        if found.end is End.CPU:
            found.observed = cpu - self._attempt.begun[0]
        self._fill(found, used)
        found.peak_memory_bytes = self._peak
        return found

    def relay(self, solution: Session, case: int) -> Relayed | None:
        """See `Session.relay`."""
        if not isinstance(solution, SnapshotSession):
            return None
        mine, theirs = self._attempt, solution._attempt
        seconds = min(mine.left(), theirs.left(), SLOW_PHASE_SECONDS)
        calls = shared.Relayed(number=case, most=self._request.limits.answer_bytes, most_cases=MOST_CASES)
        try:
            stop = mine.process.relay(theirs.process, calls, seconds)
        except OSError:
            mine.must_replace = theirs.must_replace = True
            self._give_up()
        if stop is Stop.UNFIT:
            return None
        used = self._charge(solution, calls)
        pair, last = (self, solution), int(calls.is_solution)
        stopped, other = pair[last], pair[1 - last]
        stopped._attempt.discount(calls.ran_ns[last] * 1e-9)
        other._attempt.pause(calls.ran_ns[1 - last] * 1e-9)
        found = stopped._take_turn(stopped._attempt.go_on(stop))
        return Relayed(found, bool(last), calls.number, used)

    def _charge(self, solution: SnapshotSession, calls: shared.Relayed) -> list[tuple[int, float, float]]:
        """Return what the cases that ended have used: the first of them since the last lap."""
        count = calls.cases
        if not count:
            return []
        cpu_first = wall_first = 0.0
        for which, session in enumerate((self, solution)):
            (cpu, wall), (cpu_before, wall_before) = session._attempt.used, session._lapped
            cpu_first += max(0.0, cpu - cpu_before)
            wall_first += max(0.0, wall - wall_before)
            session._lapped = cpu + calls.charged_cpu_ns[which] * 1e-9, wall + calls.charged_wall_ns[which] * 1e-9
        times = zip(calls.numbers[:count], calls.cpu_ns[:count], calls.wall_ns[:count], strict=True)
        used = [(number, cpu * 1e-9, wall * 1e-9) for number, cpu, wall in times]
        number, cpu, wall = used[0]
        used[0] = number, cpu + cpu_first, wall + wall_first
        return used

    def begin(self) -> None:
        """See `Session.begin`."""
        self._attempt.begin()

    def lap(self) -> Outcome:
        """See `Session.lap`."""
        return self._fill(Outcome(End.ACCEPTED), self._attempt.used)

    def _fill(self, outcome: Outcome, used: tuple[float, float]) -> Outcome:
        (cpu, wall), (cpu_before, wall_before) = used, self._lapped
        self._lapped = used
        outcome.cpu_seconds, outcome.wall_seconds = max(0.0, cpu - cpu_before), max(0.0, wall - wall_before)
        outcome.engine, outcome.phase = "snapshot", self._request.phase
        return outcome

    def _give_up(self) -> NoReturn:
        self._put_back(given_up=True)
        raise GivenUp

    def close(self) -> int:
        """See `Session.close`."""
        if not self._closed:
            self._put_back(given_up=False)
        return self._peak

    def _put_back(self, given_up: bool) -> None:
        """Put the process back, which stands at a message or at what ended the phase."""
        self._closed = True
        process = self._attempt.process
        if not self._upkeep.restore(self._attempt, given_up):
            raise GivenUp  # a comparison has found a difference
        self._peak = process.peak_memory_bytes
