"""The warden: a trusted process outside the jail's root that takes jobs, has their phases run, and returns the evidence.

Started by `sandbox.backends.local` with an empty environment, without `site`, as ``python __main__.py DESCRIPTOR``. It holds the
batch; no task code ever runs in it. The first message is its configuration, its first answer says whether and how it is ready.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

if __name__ == "__main__":
    _HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    sys.path.append(_HOME)

from sandbox import codec, wire
from sandbox.errors import CannotConfine, WorkerFailed
from sandbox.jail import cgroup, namespaces
from sandbox.wire import End, Job, Outcome
from sandbox.worker import canary
from sandbox.worker.engine import Engine, SupervisorGone
from sandbox.worker.fork import ForkEngine
from sandbox.worker.phase import RUN, SAT, SOL

_CHECKED_BYTES = 1 << 20
"""Larger answers are checked by the judge's process alone, in the jail and on its CPU time: forged ones could cost us seconds."""


def judge(engine: Engine, job: Job) -> list[Outcome]:
    """Run the phases of a task, of an answer only the digest is left in the outcome; or run a program."""
    from hashlib import sha256

    if job.program:
        return [engine.run(RUN, job.sat, job.sol, job.limits, job.seed)]
    first = engine.run(SOL, job.sat, job.sol, job.limits, job.seed)
    if first.end is not End.ANSWER:
        return [first]
    answer, first.payload = first.payload, sha256(first.payload).digest()
    try:
        if len(answer) <= _CHECKED_BYTES:
            codec.check(answer, job.limits.answer_bytes)
    except codec.Malformed as error:
        return [Outcome(End.DIED, f"malformed answer: {error}", 0.0, first.cpu_seconds, first.wall_seconds)]
    return [first, engine.run(SAT, job.sat, answer, job.limits, job.seed)]


def serve(connection: socket.socket, engine: Engine) -> None:
    """Judge jobs in the order they come until the verifier hangs up."""
    frames = wire.Frames()
    while data := connection.recv(1 << 20):
        for message in frames.feed(data):
            outcomes = judge(engine, wire.unpack_job(message))
            connection.sendall(wire.frame(wire.pack_outcomes(outcomes)))


def _first_message(descriptor: int) -> dict[str, Any]:
    """The configuration. Read without a socket object, which the zygote would inherit."""
    frames = wire.Frames()
    while data := os.read(descriptor, 1 << 16):
        for message in frames.feed(data):
            return dict(json.loads(message))
    raise SupervisorGone


def _send(descriptor: int, content: dict[str, Any]) -> None:
    with open(descriptor, "wb", closefd=False) as file:
        file.write(wire.frame(json.dumps(content).encode()))


def main(descriptor: int) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the verifier's to handle
    ready, engine = False, None
    group: cgroup.Member | None = None
    try:
        config = _first_message(descriptor)
        full = config["level"] == "full"
        group = cgroup.Member(config["cgroup"])
        outside = namespaces.identity()
        if full:
            namespaces.enter()
        syscalls = {int(number): name for number, name in config["syscalls"].items()}
        program = bytes.fromhex(config["filter"])
        engine = ForkEngine(full, program, syscalls, descriptor, group.add, group.oom_kills)
        proof = canary.prove(engine, full, outside)
        _send(descriptor, {"engine": engine.name, "proof": proof})
        ready = True
        serve(socket.socket(fileno=descriptor), engine)
    except (SupervisorGone, BrokenPipeError, ConnectionResetError):
        pass  # nobody is left to tell
    except (CannotConfine, WorkerFailed, OSError) as error:
        if not ready:  # later, the end of the connection says it all
            _send(descriptor, {"error": f"{error}", "kind": type(error).__name__})
    finally:
        if engine is not None:
            engine.close()
        if group is not None:
            group.remove()
    return 0


if __name__ == "__main__":
    sys.path.remove(_HOME)
    sys.exit(main(int(sys.argv[1])))
