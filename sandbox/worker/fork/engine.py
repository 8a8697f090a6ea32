"""The fork engine: each phase runs in a new fork of the zygote.

How a phase starts. The supervisor writes one byte to the zygote and the job to the job pipe. The zygote reads the
byte and calls clone, which the filter does not allow, so the call waits for the supervisor. The supervisor lets it
pass because a child is due and the caller is the zygote. The child (the supervisor's own, by CLONE_PARENT) reads the
job, closes both pipes, sets its limits and calls prctl for its death signal. The filter does not allow that call
either, so the supervisor learns from the kernel that the child is ready, and its process id. From then on the next
call that reaches the supervisor ends the phase.

What the supervisor trusts: that process id, the child's CPU clock, its resource usage when it is reaped, the kernel's
counts of its memory, and how it died. The first complete report ends the phase. Before the next fork the supervisor
kills and reaps the child and empties its pipes.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from selftaught.sandbox import wire
from selftaught.sandbox.errors import WorkerFailed
from selftaught.sandbox.job import Job
from selftaught.sandbox.outcome import Counters, End, Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.worker.engine import do_nothing
from selftaught.sandbox.worker.fork.calls import Calls
from selftaught.sandbox.worker.fork.channel import Channel
from selftaught.sandbox.worker.fork.child import Child
from selftaught.sandbox.worker.fork.program import ProgramChild
from selftaught.sandbox.worker.fork.streams import Streams
from selftaught.sandbox.worker.jailed import MAIN, JailedProcesses
from selftaught.sandbox.worker.phases import Step, TaskExecutor
from selftaught.sandbox.worker.session import Request, Session

_MOST_SOURCE_BYTES = 8 << 20
"""A larger program is in no file: it would leave too little room in the folder."""


class ForkEngine:
    """Runs each phase in a new fork of the zygote. Implements `Engine`.

    Attributes:
        jailed: the jailed processes.
        poll: watches their pipes, the listener, and the pipes of the child that has the turn.
        client: descriptor of the connection to the verifier.
        spawning: the child that the zygote is to fork, until it is ready.
        children: living children by process id.
    """

    name = "fork"

    def __init__(self, jailed: JailedProcesses, client: int, oom_kills: Callable[[], int]) -> None:
        """Watch the pipes of the jailed processes.

        Args:
            jailed: the jailed processes, already inside the jail. The engine closes them.
            client: descriptor of the connection to the verifier; the engine stops with ClientGone when it hangs up.
            oom_kills: returns how many processes the kernel has killed for lack of memory so far.
        """
        self.jailed, self.client = jailed, client
        self.counters = Counters()
        self.on_slow_phase: Callable[[], None] = do_nothing
        self._calls = Calls(jailed)
        self.executor = TaskExecutor(self._run_step, self.open, self.run_request, self.others_wait)
        self.spawning: Child | None = None
        self.children: dict[int, Child] = {}
        self._oom_kills, self._kills_seen = oom_kills, 0
        self.poll = select.poll()
        for descriptor in (jailed.listener.descriptor, jailed.pidfd):
            self.poll.register(descriptor, select.POLLIN)
        self.poll.register(client, select.POLLRDHUP)

    def execute(self, frames: bytes) -> Iterator[bytes]:
        """See `Engine.execute`."""
        messages = list(wire.cut(frames))
        for number, message in enumerate(messages, 1):
            outcomes = self._execute(wire.unpack_job(message), number < len(messages))
            yield wire.frame(wire.pack_counters(self.counters) + wire.pack_outcomes(outcomes))

    def _execute(self, job: Job, others_wait: bool) -> list[Outcome]:
        if others_wait and job.turn.is_preemptible:
            return [Outcome(End.UNFINISHED, observed=1.0)]
        with self.turn(job):
            return self.executor.execute(job)

    @contextmanager
    def turn(self, job: Job) -> Iterator[None]:
        """While the job runs, be interrupted by the next one if it is preemptible."""
        watched = select.POLLRDHUP | (select.POLLIN if job.turn.is_preemptible else 0)
        self.poll.modify(self.client, watched)
        try:
            yield
        finally:
            self.poll.modify(self.client, select.POLLRDHUP)

    def others_wait(self) -> bool:
        """Return True if the next job has come."""
        return bool(select.select([self.client], [], [], 0)[0])

    def _run_step(self, job: Job, step: Step, limits: Limits) -> Outcome:
        phase, payload = step
        return self.run_request(Request(phase, job.sat, payload, limits, job.seed, files=job.files))

    def run(self, phase: Phase, sat: bytes, payload: bytes, limits: Limits, seed: int) -> Outcome:
        """Run a phase to its end.

        Args:
            phase: what to do. `Phase.RUN` runs a program: no verdict depends on it.
            sat: source of the puzzle, or of the program.
            payload: source of the solution, the answer's encoding, or the program's standard input.
            limits: limits of this phase.
            seed: seed of the `random` module; 0 leaves it as the zygote has seeded it.

        Returns:
            The evidence of the phase.

        Raises:
            WorkerFailed: the jailed processes are no longer usable.
            ClientGone: the verifier has closed the connection.
        """
        return self.run_request(Request(phase, sat, payload, limits, seed))

    def run_request(self, request: Request) -> Outcome:
        """Do the same for a request."""
        try:
            if request.phase is Phase.RUN:
                return self._run_program(request)
            return self._open(request, has_messages=False).execute()
        finally:
            self.jailed.scratch.empty()

    def _run_program(self, request: Request) -> Outcome:
        scratch = self.jailed.scratch
        files, fetch = wire.unpack_files(request.files)
        source = request.source or request.sat
        if len(source) <= _MOST_SOURCE_BYTES:
            files[MAIN] = source
        scratch.put(files)
        streams = Streams(request.payload, request.limits.output_bytes, scratch.unnamed)
        try:
            child = ProgramChild(self, replace(request, payload=request.source), streams)
            outcome = child.execute()
            outcome.payload = streams.pack(scratch.fetch(fetch), child.return_code)
            return outcome
        finally:
            streams.close()

    def open(self, request: Request) -> Session:
        """Return a session, not yet started."""
        return self._open(request, has_messages=True)

    def _open(self, request: Request, has_messages: bool) -> Child:
        return Child(self, request, channel=Channel(has_messages))

    def receive_call(self) -> None:
        """Receive a system call that waits for the supervisor, and have its process's child object decide.

        Raises:
            WorkerFailed: the zygote, or a process that is nobody's, made it.
        """
        call = self.jailed.listener.receive()
        if call is None:
            return
        if self.jailed.is_spawn(call):
            if self.spawning is None or self.spawning.forked:
                raise WorkerFailed("the zygote forked twice")
            self.spawning.forked = True
            self.jailed.listener.allow(call)
            return
        child = self._caller(call.pid)
        if not self.jailed.listener.is_valid(call):
            return  # it has died, and who it was can't be known any more
        if child is None:
            raise WorkerFailed("a process that is no child made a system call")
        self._calls.decide(child, call)

    def _caller(self, pid: int) -> Child | None:
        """Return the child that a process or a thread is, or belongs to; one that nobody knows yet is being spawned."""
        if child := self.children.get(pid):
            return child
        return next((child for child in self.children.values() if child.threads.include(pid)), self.spawning)

    def oom_killed(self) -> bool:
        """Return True if the kernel has killed a process for lack of memory since the last call."""
        kills, before = self._oom_kills(), self._kills_seen
        self._kills_seen = max(kills, before)
        return kills > before

    def idle(self) -> bool:
        """See `Engine.idle`. There is nothing to prepare: children are forked when they are needed."""
        return False

    def close(self) -> None:
        """See `Engine.close`."""
        self.jailed.close()
