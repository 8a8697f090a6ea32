"""The Docker backend: each worker is a container with a supervisor, and with the jail of level ``restricted`` inside.

A container has no network, no capabilities, no writable file but those of its scratch folder, which is in memory, and
the seccomp profile ``seccomp.json``. A call that the profile does not list is passed to a tracer (SCMP_ACT_TRACE), and
since there is none, it fails. This action has a lower precedence than the notification by the jail's own filter: the
supervisor still learns what a task tries, and verdicts are the same as with other backends.

Verifier and supervisor communicate through the container's standard input and output, so that the container engine may
be on another machine, and the runtime may be any whose kernel has what the jail needs. If the verifier dies, standard
input ends, the supervisor ends, and the engine removes the container. A container that was created but never started
has its owner's identity in a label, and the next verifier to start removes it.
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
from selftaught.sandbox import packages
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.backends.worker import COMMAND, ENVIRONMENT, INTERPRETER_OPTIONS, KEPT_VARIABLES, Worker
from selftaught.sandbox.errors import CannotConfine, WorkerFailed
from selftaught.sandbox.jail import owner, scratch
from selftaught.sandbox.jail.namespaces import NOBODY
from selftaught.sandbox.task import Limits

IMAGE = f"selftaught-worker:{selftaught.__version__}"
VERSION_LABEL = "selftaught.version"
OWNER_LABEL = "selftaught.owner"
HOME = "/opt/selftaught"
"""The folder of the package in every image for workers."""

_START = f"""
import os, sys
kept = {{name: os.environ[name] for name in {KEPT_VARIABLES} if name in os.environ}}
os.execve(sys.executable, [sys.executable, *sys.argv[1:]], {ENVIRONMENT} | kept)
"""
"""Starts the supervisor without the image's environment, whose strings a task could read from its stack."""

_PROFILE = (Path(__file__).parent / "seccomp.json").read_text()
_PROCESSES = 512
"""More than the jail needs (`selftaught.sandbox.jail.cgroup.PROCESSES`): for the runtime's process, and for runtimes
whose kernel is made of threads (gVisor).
"""

_OVERHEAD_BYTES = 256 << 20
"""Memory of two interpreters, and kernel memory for them."""

_OPTIONS = f"rw,noexec,nosuid,nodev,mode=0700,uid={NOBODY},gid={NOBODY}"
_TMPFS = {
    scratch.CONTAINER: f"{_OPTIONS},size={scratch.BYTES},nr_inodes={scratch.ENTRIES}",
    scratch.UNNAMED: _OPTIONS,
}
"""The only places in a container that can be written to."""

_HEAD = struct.Struct(">BxxxL")
_STANDARD_OUTPUT = 1
_ERROR_OUTPUT_BYTES = 2000


class Docker:
    """The Docker backend; see `selftaught.sandbox.backends.worker.Backend`.

    The container engine is the one that DOCKER_HOST names, or this machine's.

    Args:
        config: The worker configuration. Its image must be one that `make images` has built, or one like it; its
            runtime an OCI runtime of the container engine, or None for the engine's default.

    Raises:
        CannotConfine: The container engine can't be reached or does not have the image.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self.config, self.image = config, config.image or IMAGE
        client = connect()
        try:
            _check(self.image, client.images.get(self.image))
            sweep(client)
        except ImageNotFound:
            raise CannotConfine(
                f"the container engine has no image {self.image}: build it with `make images` in the project's "
                "repository, or name another"
            ) from None
        except _FAILURES as error:
            raise CannotConfine(f"container engine: {error}") from error
        finally:
            client.close()

    def start(self, level: str, limits: Limits, processor: int | None = None) -> Worker:
        """See `Backend.start`. The container is restricted to the processor."""
        config = self.config
        try:
            extra = packages.MEMORY_BYTES if config.packages else 0
            container = _Container(self.image, config.runtime, limits, processor, extra)
            wanted = {"names": config.packages, "site": config.site} if config.packages else packages.NONE
            return Worker(container, level, config.engine, wanted)
        except (APIError, ImageNotFound) as error:
            raise CannotConfine(f"container: {error.explanation or error}") from error
        except (*_FAILURES, OSError) as error:
            raise WorkerFailed(f"container: {error}") from error


_FAILURES = (DockerException, requests.RequestException)


def connect() -> docker.DockerClient:
    """Return a client of the container engine. Raises CannotConfine if none answers."""
    if os.environ.get("DOCKER_HOST", "").startswith("ssh:") or os.environ.get("DOCKER_TLS_VERIFY"):
        raise CannotConfine(
            "a container engine behind ssh or TLS is not supported: forward its socket "
            "(ssh -nNTL /tmp/engine.sock:/var/run/docker.sock HOST) and set DOCKER_HOST=unix:///tmp/engine.sock"
        )
    try:
        _probe(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
        return docker.from_env()
    except (*_FAILURES, OSError) as error:
        raise CannotConfine(
            f"no container engine answers ({error}): start one (systemctl start docker), make sure that this user "
            "may use its socket, or set DOCKER_HOST"
        ) from error


def _probe(host: str) -> None:
    """Raise OSError with a plain reason if nothing listens at this socket. The SDK would also leak a descriptor."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))


def _check(name: str, image: Image) -> None:
    version = image.labels.get(VERSION_LABEL)
    if version != selftaught.__version__:
        problem = f"contains selftaught {version}, not {selftaught.__version__}" if version else "is no worker's image"
        raise CannotConfine(f"{name} {problem}: build it with `make images` in the project's repository")


def sweep(client: docker.DockerClient) -> list[str]:
    """Remove the containers of dead verifiers of this machine and pid namespace; return their ids."""
    removed = []
    for container in client.containers.list(all=True, ignore_removed=True, filters={"label": OWNER_LABEL}):
        if owner.is_gone(container.labels[OWNER_LABEL]):
            with suppress(APIError):  # it is gone, or another verifier is removing it
                container.remove(force=True)
                removed.append(str(container.id))
    return removed


class _Container:
    """A container; see `selftaught.sandbox.backends.worker.Host`."""

    outer_filter = False  # the profile's errors have a lower precedence than the jail's filter
    groups: list[str] = []  # noqa: RUF012
    libraries: dict[str, str] | None = None

    def __init__(
        self, image: str, runtime: str | None, limits: Limits, processor: int | None, extra_bytes: int = 0
    ) -> None:
        self._client = connect()
        self._extra_bytes = extra_bytes
        self._memory_bytes = _memory_bytes(limits) + extra_bytes
        self._stream, self._errors = bytearray(), b""
        self._attached: Any = None
        try:
            self._container = self._create(image, runtime, processor)
        except BaseException:
            self._client.close()
            raise
        try:
            # A duplicate, since the SDK's object is a file that belongs to a response which never ends.
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
            tmpfs=_TMPFS,
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
        """Return the supervisor's process id, or 0 if it runs on another machine."""
        try:
            self._container.reload()
            pid = int(self._container.attrs["State"]["Pid"])
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except (NotFound, OSError):  # it has ended, or runs elsewhere
            return 0
        return pid if str(self._container.id) in groups else 0

    def demultiplex(self, data: bytes) -> bytes:
        """See `Host.demultiplex`. The engine sends frames: a stream's number, a length, and so many bytes of it."""
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
                self._errors = (self._errors + content)[-_ERROR_OUTPUT_BYTES:]
            at = end
        del stream[:at]
        return b"".join(parts)

    def raise_memory_limit(self, limits: Limits) -> None:
        needed = _memory_bytes(limits) + self._extra_bytes
        if needed > self._memory_bytes:
            try:
                self._container.update(mem_limit=needed, memswap_limit=needed)
            except _FAILURES as error:
                raise WorkerFailed(f"container: {error}") from error
            self._memory_bytes = needed

    def error_output(self) -> str:
        return self._errors.decode("utf-8", "replace").strip()

    def abandon(self) -> None:
        self.connection.close()
        self._close_client()

    def end(self, timeout_seconds: float) -> None:
        del timeout_seconds  # removing the container ends all its processes at once
        self.connection.close()
        self._remove()

    def _remove(self) -> None:
        try:
            self._container.remove(force=True)
        except NotFound:
            pass  # the supervisor has ended, and the engine removed its container
        except APIError:  # or is removing it
            with suppress(*_FAILURES):
                self._container.wait(condition="removed", timeout=10)
        except _FAILURES:
            pass  # the engine does not answer: the next verifier removes the container
        finally:
            self._close_client()

    def _close_client(self) -> None:
        if self._attached is not None:
            self._attached._response.close()  # closing the file alone would leave its connection open
        self._client.close()


def _memory_bytes(limits: Limits) -> int:
    return 2 * limits.memory_bytes + 4 * limits.answer_bytes + _OVERHEAD_BYTES  # tests beside a solution
