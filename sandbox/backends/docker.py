"""Workers in containers: each hosts a supervisor, and the jail of level ``restricted`` inside it.

A container has no network, no capability, no writable file, and a seccomp profile of ours (``seccomp.json``). What the profile does not
list it hands to a tracer, of which there is none, so the call fails. That is an answer which ranks below the jail's own filter: of
what a task tries, the supervisor hears first, and verdicts are the same as elsewhere.

The conversation goes through the container's standard input and output, so that the engine may be on another machine and the runtime
any whose kernel has what the jail needs. If the verifier dies the input ends, the supervisor with it, and the engine removes the container. What is left all the
same (a container that was created but not started) carries its owner's identity in a label and is removed at the next start.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.images import Image

import selftaught
from selftaught.sandbox.backends import Placement
from selftaught.sandbox.backends.worker import COMMAND, ENVIRONMENT, INTERPRETER_OPTIONS, KEPT_VARIABLES, Worker
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import owner
from selftaught.sandbox.jail.namespaces import NOBODY
from selftaught.sandbox.task import Limits

IMAGE = f"selftaught-worker:{selftaught.__version__}"
VERSION_LABEL = "selftaught.version"
OWNER_LABEL = "selftaught.owner"
HOME = "/opt/selftaught"
"""Where every image for workers has it."""

_START = f"""
import os, sys
kept = {{name: os.environ[name] for name in {KEPT_VARIABLES} if name in os.environ}}
os.execve(sys.executable, [sys.executable, *sys.argv[1:]], {ENVIRONMENT} | kept)
"""
"""Starts the supervisor without the image's environment, of which a task could find the strings on its stack."""

_PROFILE = (Path(__file__).parent / "seccomp.json").read_text()
_PROCESSES = 256
"""The supervisor, the zygote and a child. The rest is for what starts a container, and for runtimes with a kernel of threads (gVisor)."""

_OVERHEAD_BYTES = 256 << 20
"""Two interpreters, and what the kernel needs for them."""

_HEAD = struct.Struct(">BxxxL")
_STANDARD_OUTPUT = 1
_LAST_WORDS_BYTES = 2000


class Docker:
    """The backend; see `selftaught.sandbox.backends.worker.Backend`.

    placement.image: one that `make images` has built, or one like it. placement.runtime: an OCI runtime that the container
    engine knows; None is its own default. That engine is the one that DOCKER_HOST names, or this machine's. Raises
    CannotConfine if it can't be reached or lacks the image.
    """

    def __init__(self, placement: Placement) -> None:
        self.placement, self.image = placement, placement.image or IMAGE
        client = connect()
        try:
            _check(self.image, client.images.get(self.image))
            sweep(client)
        except ImageNotFound:
            raise CannotConfine(
                f"the container engine has no image {self.image}: build it with `make images` in the project's repository, "
                "or name another"
            ) from None
        except _FAILURES as error:
            raise CannotConfine(f"container engine: {error}") from error
        finally:
            client.close()

    def start(self, level: str, limits: Limits, processor: int | None = None) -> Worker:
        """See `Backend.start`; the container may use no other processor."""
        place = self.placement
        try:
            return Worker(_Place(self.image, place.runtime, limits, processor), level, place.engine)
        except (APIError, ImageNotFound) as error:
            raise CannotConfine(f"container: {error.explanation or error}") from error
        except (*_FAILURES, OSError) as error:
            raise WorkerFailed(f"container: {error}") from error


_FAILURES = (DockerException, requests.RequestException)


def connect() -> docker.DockerClient:
    """A client of the engine. Raises CannotConfine where none answers."""
    if os.environ.get("DOCKER_HOST", "").startswith("ssh:") or os.environ.get("DOCKER_TLS_VERIFY"):
        raise CannotConfine(
            "a container engine behind ssh or TLS is not supported: forward its socket (ssh -nNTL /tmp/engine.sock:/var/run/docker.sock "
            "HOST) and set DOCKER_HOST=unix:///tmp/engine.sock"
        )
    try:
        _probe(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
        return docker.from_env()
    except (*_FAILURES, OSError) as error:
        raise CannotConfine(
            f"no container engine answers ({error}): start one (systemctl start docker), see that this user may use its "
            "socket, or set DOCKER_HOST"
        ) from error


def _probe(host: str) -> None:
    """Raise OSError, with a plain reason, if nobody listens at this socket; the SDK would lose a descriptor as well."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))


def _check(name: str, image: Image) -> None:
    version = image.labels.get(VERSION_LABEL)
    if version != selftaught.__version__:
        held = (
            f"holds selftaught {version}, not {selftaught.__version__}" if version else "is not an image of our worker"
        )
        raise CannotConfine(f"{name} {held}: build it with `make images` in the project's repository")


def sweep(client: docker.DockerClient) -> list[str]:
    """Remove the containers of verifiers of this machine and pid namespace that are gone; returns their ids."""
    removed = []
    for container in client.containers.list(all=True, ignore_removed=True, filters={"label": OWNER_LABEL}):
        if owner.is_gone(container.labels[OWNER_LABEL]):
            with suppress(APIError):  # it is gone, or somebody else is removing it
                container.remove(force=True)
                removed.append(str(container.id))
    return removed


class _Place:
    """A container; see `selftaught.sandbox.backends.worker.Place`."""

    below_filter = False  # one that answers with errors, that is
    groups: list[str] = []  # noqa: RUF012
    libraries: dict[str, str] | None = None

    def __init__(self, image: str, runtime: str | None, limits: Limits, processor: int | None) -> None:
        self._client = connect()
        self._memory_bytes = _memory_bytes(limits)
        self._stream, self._words = bytearray(), b""
        self._attached: Any = None
        try:
            self._container = self._create(image, runtime, processor)
        except BaseException:
            self._client.close()
            raise
        try:
            # A socket of our own: the library's is a file, bound to an answer that never ends.
            self._attached = self._client.api.attach_socket(
                str(self._container.id), {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            )
            self.connection = socket.socket(fileno=os.dup(self._attached.fileno()))
            self.connection.settimeout(None)
            self._container.start()
            self.pid = self._find_pid()
        except BaseException:
            self._remove()
            raise

    def _create(self, image: str, runtime: str | None, processor: int | None) -> Container:
        return self._client.containers.create(
            image,
            entrypoint=["python3", "-I", "-S", "-c", _START],
            command=[*INTERPRETER_OPTIONS, "-c", COMMAND, "container"],
            labels={OWNER_LABEL: owner.identity()},
            stdin_open=True,
            auto_remove=True,
            runtime=runtime,
            network_mode="none",
            ipc_mode="none",
            hostname="sandbox",
            working_dir=HOME,
            read_only=True,
            user=f"{NOBODY}:{NOBODY}",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges", f"seccomp={_PROFILE}"],
            pids_limit=_PROCESSES,
            mem_limit=self._memory_bytes,
            memswap_limit=self._memory_bytes,
            nano_cpus=None if processor is not None else 1_000_000_000,
            cpuset_cpus=None if processor is None else str(processor),
            log_config=docker.types.LogConfig(type="none"),
        )

    def _find_pid(self) -> int:
        """The supervisor's number, if the engine's machine is this one."""
        try:
            self._container.reload()
            pid = int(self._container.attrs["State"]["Pid"])
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except (NotFound, OSError):  # it has ended already, or runs elsewhere
            return 0
        return pid if str(self._container.id) in groups else 0

    def unwrap(self, data: bytes) -> bytes:
        """The engine's frames: a stream's number and a length, then what was written to that stream."""
        stream, at, parts = self._stream, 0, []
        stream += data
        while len(stream) - at >= _HEAD.size:
            number, size = _HEAD.unpack_from(stream, at)
            end = at + _HEAD.size + size
            if end > len(stream):
                break
            content = bytes(stream[at + _HEAD.size : end])
            if number == _STANDARD_OUTPUT:
                parts.append(content)
            else:
                self._words = (self._words + content)[-_LAST_WORDS_BYTES:]
            at = end
        del stream[:at]
        return b"".join(parts)

    def allow_memory(self, limits: Limits) -> None:
        wanted = _memory_bytes(limits)
        if wanted > self._memory_bytes:
            try:
                self._container.update(mem_limit=wanted, memswap_limit=wanted)
            except _FAILURES as error:
                raise WorkerFailed(f"container: {error}") from error
            self._memory_bytes = wanted

    def last_words(self) -> str:
        return self._words.decode("utf-8", "replace").strip()

    def abandon(self) -> None:
        self.connection.close()
        self._close_client()

    def end(self, patience_seconds: float) -> None:
        del patience_seconds  # the container's first process takes the others with it
        self.connection.close()
        self._remove()

    def _remove(self) -> None:
        try:
            self._container.remove(force=True)
        except NotFound:
            pass  # the supervisor has ended, and the engine removed its container
        except APIError:  # or is about to
            with suppress(*_FAILURES):
                self._container.wait(condition="removed", timeout=10)
        except _FAILURES:
            pass  # the engine is gone; what it left is swept at the next start
        finally:
            self._close_client()

    def _close_client(self) -> None:
        if self._attached is not None:
            self._attached._response.close()  # closing the file alone leaves its connection open
        self._client.close()


def _memory_bytes(limits: Limits) -> int:
    return limits.memory_bytes + 4 * limits.answer_bytes + _OVERHEAD_BYTES
