"""The warden: a trusted process outside the jail's root that takes jobs, has their phases run, and returns the evidence.

Started by a backend with an empty environment, without `site`, it speaks through its standard input and output. It holds the
batch; no task code ever runs in it. The first message is its configuration, its first answer says whether and how it is ready.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any

if __name__ == "__main__":
    _HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.append(_HOME)

from sandbox import wire
from sandbox.errors import CannotConfine, WorkerFailed
from sandbox.jail import cgroup, landlock, namespaces
from sandbox.worker import canary
from sandbox.worker.cell import Cell
from sandbox.worker.engine import TOGETHER_SECONDS, Engine, SupervisorGone
from sandbox.worker.fork.engine import ForkEngine
from sandbox.worker.snapshot.engine import SnapshotEngine
from sandbox.worker.trials import Trials

_REST_MILLISECONDS = 20
"""Without a job for so long the engine may use the time: longer than a busy verifier takes between two of them."""


def serve(source: int, sink: int, engine: Engine) -> None:
    """Judge jobs in the order they come until the verifier hangs up.

    Outcomes go out together, but none waits for long: not for the job after it, if that takes more than a moment and is of another puzzle.
    """
    frames, answer, coming, trials = wire.Frames(), _Answer(sink), select.poll(), Trials(engine)
    coming.register(source, select.POLLIN)
    engine.meanwhile = answer.send
    while data := _next_bytes(source, coming, engine):
        for told in trials.hold(frames.whole(data)):
            answer.add(told)
        answer.send()


def _next_bytes(source: int, coming: select.poll, engine: Engine) -> bytes:
    """What the verifier sends, empty if it has hung up. If that takes a while the engine gets ready meanwhile."""
    while not coming.poll(_REST_MILLISECONDS) and engine.rest():
        pass
    return os.read(source, 1 << 16)


class _Answer:
    """Outcomes on their way to the verifier."""

    def __init__(self, sink: int) -> None:
        self._sink, self._held = sink, bytearray()
        self._sent = time.monotonic()

    def add(self, frames: bytes) -> None:
        self._held += frames
        if time.monotonic() - self._sent > TOGETHER_SECONDS:
            self.send()

    def send(self) -> None:
        held, self._held = self._held, bytearray()
        while held:
            del held[: os.write(self._sink, held)]
        self._sent = time.monotonic()


def _fastest(wanted: str, fork: ForkEngine, supervisor: int) -> tuple[Engine, str]:
    """The engine asked for, or of ``auto`` the best that this host can do, and why it is none better.

    Raises CannotConfine if the one asked for can't be had.
    """
    if wanted == "fork":
        return fork, "asked for"
    reasons: list[str] = []
    for accelerated in (True, False):
        try:
            return prove(SnapshotEngine(fork, supervisor, accelerated)), "; ".join(reasons)
        except (OSError, WorkerFailed, CannotConfine) as error:
            reasons.append(str(error))
    if wanted == "snapshot":
        raise CannotConfine(f"snapshot engine: {'; '.join(reasons)}")
    return fork, "; ".join(dict.fromkeys(reasons))


def prove(engine: SnapshotEngine) -> SnapshotEngine:
    """The engine, once it has shown that it puts everything back. Raises CannotConfine and what `Engine.run` raises, with no runner left."""
    try:
        canary.prove_rollback(engine)
    except BaseException:
        engine.end_runner()
        raise
    return engine


def _conversation() -> tuple[int, int]:
    """Take the conversation off descriptors 0 and 1, where a stray read or print would spoil it."""
    source, sink = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return source, sink


def _first_message(source: int) -> dict[str, Any]:
    """The configuration."""
    frames = wire.Frames()
    while data := os.read(source, 1 << 16):
        for message in frames.feed(data):
            return dict(json.loads(message))
    raise SupervisorGone


def _send(sink: int, body: bytes) -> None:
    rest = memoryview(wire.frame(body))
    while len(rest):
        rest = rest[os.write(sink, rest) :]


def _send_object(sink: int, content: dict[str, Any]) -> None:
    _send(sink, json.dumps(content).encode())


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the verifier's to handle
    source, sink = _conversation()
    ready = False
    engine: Engine | None = None
    group: cgroup.Member | None = None
    try:
        config = _first_message(source)
        full = config["level"] == "full"
        landlock.abi()  # a kernel without it lacks other things too: say the plainest
        group = cgroup.Member(config["cgroup"])
        outside = namespaces.identity() if full else {}
        if full:
            namespaces.enter()
        syscalls = {int(number): name for number, name in config["syscalls"].items()}
        filters = bytes.fromhex(config["filter"]), bytes.fromhex(config["traced_filter"])
        cell = Cell(full, *filters, syscalls, group.add)
        engine = fork = ForkEngine(cell, source, group.oom_kills)
        proof = canary.prove(fork, full, outside)
        if config["level"] == "container":
            proof += canary.prove_container(fork)
        engine, reason = _fastest(config["engine"], fork, source)
        python = f"{sys.implementation.name}/{sys.version.split()[0]}".replace("cpython", "CPython")
        ready_with = {"engine": engine.name, "reason": reason, "python": python, "proof": proof}
        _send_object(sink, {"dialect": wire.dialect(), **ready_with})
        ready = True
        serve(source, sink, engine)
    except (SupervisorGone, BrokenPipeError, ConnectionResetError):
        pass  # nobody is left to tell
    except (CannotConfine, WorkerFailed, OSError) as error:
        if not ready:  # later, the end of the connection says it all
            _send_object(sink, {"error": f"{error}", "kind": type(error).__name__})
    finally:
        if engine is not None:
            engine.close()
        if group is not None:
            group.remove()
    return 0


if __name__ == "__main__":
    sys.path.remove(_HOME)
    sys.exit(main())
