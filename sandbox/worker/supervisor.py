"""The supervisor: a trusted process outside the jail that receives tasks and returns the evidence of their phases.

No task code ever runs in it. The first message it receives is its configuration. The first it sends says that it is
ready, or why it is not.
"""

from __future__ import annotations

import json
import os
import select
import sys
import sysconfig
import time
from typing import Any

from selftaught.sandbox import wire
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import cgroup, landlock, libraries, scratch
from selftaught.sandbox.packages import Chosen
from selftaught.sandbox.worker import canary
from selftaught.sandbox.worker.engine import BATCH_SECONDS, ClientGone, Engine
from selftaught.sandbox.worker.fork.engine import ForkEngine
from selftaught.sandbox.worker.inside import heap
from selftaught.sandbox.worker.jailed import JailedProcesses
from selftaught.sandbox.worker.snapshot.engine import SnapshotEngine

_IDLE_MILLISECONDS = 20
"""Time without a task after which the engine may prepare: longer than a busy verifier takes between two tasks."""


def serve(source: int, sink: int, engine: Engine) -> None:
    """Run tasks in the order they come until the verifier hangs up.

    Outcomes are sent together, but none waits long: not for the next task if that is slow.

    Args:
        source: descriptor that the verifier's frames come from.
        sink: descriptor for frames to the verifier.
        engine: runs the tasks.
    """
    frames, results, readable = wire.Frames(), _Results(sink), select.poll()
    readable.register(source, select.POLLIN)
    engine.on_slow_phase = results.send
    while data := _next_bytes(source, readable, engine):
        for result in engine.execute(frames.whole(data)):
            results.add(result)
        results.send()


def _next_bytes(source: int, readable: select.poll, engine: Engine) -> bytes:
    """Return what the verifier sends, b"" if it has hung up. The engine prepares while there is nothing."""
    while not readable.poll(_IDLE_MILLISECONDS) and engine.idle():
        pass
    return os.read(source, 1 << 16)


class _Results:
    """Buffers frames of outcomes on their way to the verifier."""

    def __init__(self, sink: int) -> None:
        self._sink, self._unsent = sink, bytearray()
        self._sent = time.monotonic()

    def add(self, frames: bytes) -> None:
        """Add frames, and send them if the last were sent long ago."""
        self._unsent += frames
        if time.monotonic() - self._sent > BATCH_SECONDS:
            self.send()

    def send(self) -> None:
        """Send all frames."""
        unsent, self._unsent = self._unsent, bytearray()
        while unsent:
            del unsent[: os.write(self._sink, unsent)]
        self._sent = time.monotonic()


def _choose_engine(requested: str, fork: ForkEngine, client: int) -> tuple[Engine, str]:
    """Return the engine to use, and why it is not the faster one.

    Args:
        requested: ``fork``, ``snapshot``, or ``auto`` for the faster one that this host can run.
        fork: the fork engine.
        client: descriptor of the connection to the verifier.

    Raises:
        CannotConfine: the engine asked for is not available.
    """
    if requested == "fork":
        return fork, ""
    try:
        return prove(SnapshotEngine(fork, client)), ""
    except (OSError, WorkerFailed, CannotConfine) as error:
        if requested == "snapshot":
            raise CannotConfine(f"snapshot engine: {error}") from error
        return fork, str(error)


def prove(engine: SnapshotEngine) -> SnapshotEngine:
    """Check that the engine puts everything back, and return it.

    Raises:
        CannotConfine: it does not. Its snapshot process has ended then; so it has after any other error of
            `engine.run`.
    """
    try:
        canary.prove_rollback(engine)
    except BaseException:
        engine.end_process()
        raise
    return engine


def _first_message(source: int) -> dict[str, Any]:
    """Return the configuration."""
    frames = wire.Frames()
    while data := os.read(source, 1 << 16):
        for message in frames.feed(data):
            return dict(json.loads(message))
    raise ClientGone


def _packages(config: dict[str, Any]) -> Chosen:
    """Return what tasks may import. In a container it is chosen here, from what the image has. Raises CannotConfine."""
    if "names" not in config:
        return config  # type: ignore[return-value]
    from selftaught.sandbox.distributions import choose  # it takes some memory

    installed = sysconfig.get_path("purelib"), sysconfig.get_path("platlib")
    try:
        return choose(config["names"], [config["site"]] if config["site"] else installed)
    except CannotConfine as error:
        raise CannotConfine(f"{error} (in the container's image, whose packages are used)") from error


def _send(sink: int, body: bytes) -> None:
    rest = memoryview(wire.frame(body))
    while len(rest):
        rest = rest[os.write(sink, rest) :]


def _send_object(sink: int, content: dict[str, Any]) -> None:
    _send(sink, json.dumps(content).encode())


def run(level: str, source: int, sink: int, jailed: JailedProcesses | OSError) -> None:
    """Run the supervisor until the verifier hangs up.

    Args:
        level: confinement level: ``full``, ``container`` or ``restricted``.
        source: descriptor that the verifier's frames come from.
        sink: descriptor for frames to the verifier.
        jailed: the jailed processes, or why they can't be started: sent to the verifier then.
    """
    ready = False
    engine: Engine | None = None
    group: cgroup.Member | None = None
    try:
        config = _first_message(source)
        if isinstance(jailed, OSError):
            raise jailed
        landlock.abi()  # first: a kernel without it lacks other things too, and this error is the clearest
        group = cgroup.Member(config["cgroup"])
        syscalls = {int(number): name for number, name in config["syscalls"].items()}
        filters = bytes.fromhex(config["filter"]), bytes.fromhex(config["traced_filter"])
        chosen = _packages(config["packages"])
        shared = (config["libraries"] or libraries.needed()) | chosen["libraries"]
        folder = scratch.prepare(level, config["temporary"])
        jailed.enter(*filters, syscalls, group.add, shared, chosen, folder)
        engine = fork = ForkEngine(jailed, source, group.oom_kills)
        proof = canary.prove(fork, level == "full", config["namespaces"])
        if level == "container":
            proof += canary.prove_container(fork)
        engine, reason = _choose_engine(config["engine"], fork, source)
        python = f"{sys.implementation.name}/{sys.version.split()[0]}".replace("cpython", "CPython")
        ready_with = {"engine": engine.name, "reason": reason, "python": python, "proof": proof}
        _send_object(sink, {"dialect": wire.dialect(), "packages": chosen["versions"], **ready_with})
        ready = True
        heap.trim()
        serve(source, sink, engine)
    except (ClientGone, BrokenPipeError, ConnectionResetError):
        pass  # nobody reads it
    except (CannotConfine, WorkerFailed, OSError) as error:
        if not ready:  # later the verifier sees the connection end
            _send_object(sink, {"error": f"{error}", "kind": type(error).__name__})
    finally:
        if engine is not None:
            engine.close()
        elif isinstance(jailed, JailedProcesses):
            jailed.close()
        if group is not None:
            group.remove()
