"""Serve a model by a command of the user's, such as vLLM's, for as long as it is asked."""

from __future__ import annotations

import hashlib
import re
import shlex
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from selftaught.generator.models import ModelFailed
from selftaught.generator.models.server import headers
from selftaught.trainer.watchdog import Watched

_POLL_SECONDS = 0.5
_WEIGHTS = (".safetensors", ".bin", ".gguf")


class Server:
    """A server process that serves one model.

    It runs in a process group of its own, which ends with `stop`, and with this process however that ends.

    Args:
        command: The command: ``{model}`` and ``{port}`` in its words are replaced. It is not given to a shell.
        urls: Base addresses that must answer, with commas between them; ``{port}`` is replaced.
        model: The model's folder or name.
        log: File to which the server's output is appended.
        ready_seconds: How long it may take until all addresses answer.
        patience: Seconds from SIGTERM to SIGKILL when it is stopped.

    Attributes:
        address: The base addresses, as `selftaught.generator.models.load` takes them.

    Raises:
        ModelFailed: The command can't be run, ends, or is not ready in time. The message has the end of its output.
    """

    def __init__(
        self, command: str, urls: str, model: str, log: Path, ready_seconds: float, patience: float = 60.0
    ) -> None:
        values = {"model": model, "port": str(_free_port())}
        words = [_filled(word, values) for word in shlex.split(command)]
        self.address, self._log, self._patience = _filled(urls, values), log, patience
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as output:
            output.write(f"$ {shlex.join(words)}\n".encode())
            output.flush()
            self._process = Watched(words, output)
        try:
            self._wait(ready_seconds)
        except BaseException:
            self.stop()
            raise

    def _wait(self, seconds: float) -> None:
        """Return when every address answers. Raises ModelFailed."""
        end = time.monotonic() + seconds
        for url in self.address.split(","):
            while not _answers(url.strip().rstrip("/")):
                if (code := self._process.exit_code()) is not None:
                    raise ModelFailed(f"the server ended with exit code {code} before it was ready{self._tail()}")
                if time.monotonic() > end:
                    raise ModelFailed(f"the server does not answer at {url} after {seconds:.0f} s{self._tail()}")
                time.sleep(_POLL_SECONDS)

    def _tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
        return "; the end of its output, from {}:\n{}".format(self._log, "\n".join(lines))

    def stop(self) -> None:
        """Terminate the process group, and kill what is left of it in the end."""
        self._process.stop(self._patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def digest(model: str) -> str:
    """Return a digest of the weights in a folder, or of a name; a server's own address changes with every start."""
    total = hashlib.sha256()
    files: Sequence[Path] = sorted(one for one in Path(model).glob("*") if one.suffix in _WEIGHTS)
    for path in files:
        total.update(path.name.encode())
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    if not files:
        total.update(model.encode())
    return total.hexdigest()


def _filled(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(model|port)\}", lambda found: values[found[1]], text)  # once: a model's name may have {port}


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _answers(url: str) -> bool:
    """Return True if a server answers at the address: with its models, or by saying that it has no such list."""
    request = urllib.request.Request(f"{url}/models", headers=headers())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403, 404)
    except (OSError, ValueError):
        return False
