"""A model of transformers in several processes, each with a part of every call's prompts.

On processors the small multiplications of a language model do not fill several threads, and threads wait for each other
at every one of them; processes do not. On GPUs each process has one of them.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import transformers

from selftaught.generator.models import Conversation, ModelFailed, OnRefusal, Stop, is_complete
from selftaught.generator.models.transformers import PromptTokens, Transformers, tokenizer_of

_POLL_SECONDS = 0.2


class Processes:
    """Completes prompts as `Transformers` does, in several processes. The texts depend on the number of processes.

    The processes end with this one, or with `close`.

    Args:
        name: A folder or name that transformers loads.
        number: How many processes (0: one for each GPU, or else for each processor).
        options: Keyword arguments of `Transformers`, for each process.

    Raises:
        ModelFailed: The model can't be loaded.
    """

    def __init__(self, name: str, number: int = 0, **options: Any) -> None:
        self.name, self.chat = name, bool(options.get("chat", False))
        self._tokens = PromptTokens(tokenizer_of(name), name, self.chat, options.get("chat_template_kwargs"))
        number, self._devices = _number_and_devices(number)
        self._options, self._calling = options, threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._connections: list[Connection] = []
        try:
            for place in range(number):
                self._start(place, number)
            said = [self._receive(place) for place in range(number)]
        except BaseException:
            self.close()
            raise
        for kind, *rest in said:
            if kind == "failed":
                self.close()
                raise ModelFailed(rest[0])
        self.digest, self.context = said[0][1:]

    def _start(self, place: int, number: int) -> None:
        ours, theirs = socket.socketpair()
        threads = max(1, len(os.sched_getaffinity(0)) // number)
        with theirs:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", __name__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                )
            )
        self._connections.append(Connection(ours.detach()))
        self._connections[-1].send((self.name, self._devices[place], self._options))

    def tokens(self, text: str | Conversation) -> int:
        """Return the number of tokens that the tokenizer makes, those of the chat template included."""
        return self._tokens.count(text)

    def complete(
        self,
        prompts: Sequence[str | Conversation],
        *,
        samples: int,
        seed: int,
        stop: Stop = (),
        skip: Container[int] = (),
        on_refusal: OnRefusal | None = None,
        **drawing: Any,
    ) -> Iterator[tuple[int, list[str]]]:
        """Sample completions (see `selftaught.generator.models.Completer`). A predicate `stop` that is true of an empty
        text ends the call."""
        found: dict[int, dict[int, list[str]]] = defaultdict(dict)
        refused: set[int] = set()
        with self._calling:
            if not self._connections:
                raise ModelFailed(f"{self.name}: the model is closed")
            parts = _parts(prompts, samples, len(self._connections))
            for place, (numbers, count) in enumerate(parts):
                asked = {"samples": count, "seed": seed * len(parts) + place, "stop": stop, **drawing}
                asked["skip"] = {local for local, number in enumerate(numbers) if number in skip}
                self._send(place, ([prompts[number] for number in numbers], asked))
            busy = set(range(len(parts)))
            try:
                for place, (kind, *rest) in self._answers(busy, stop):
                    if kind == "done":
                        continue
                    if kind == "failed":
                        raise ModelFailed(rest[0])
                    number = parts[place][0][rest[0]]
                    if kind == "refused":
                        if on_refusal is None:
                            raise ModelFailed(f"{self.name}: {rest[1]}")
                        if number not in refused:
                            refused.add(number)
                            on_refusal(number, rest[1])
                        continue
                    found[number][place] = rest[1]
                    texts = [text for _, part in sorted(found[number].items()) for text in part]
                    if len(texts) == samples:
                        del found[number]
                        yield number, texts
            finally:
                self._interrupt(busy)

    def _answers(self, busy: set[int], stop: Stop) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Yield what busy processes say, until none is busy or the call is to end."""
        places = {connection: place for place, connection in enumerate(self._connections)}
        while busy and not is_complete("", stop):
            for connection in wait([self._connections[place] for place in busy], _POLL_SECONDS):
                place = places[connection]  # type: ignore[index]  # one of the connections that were given
                message = self._receive(place)
                if message[0] in ("done", "failed"):
                    busy.remove(place)
                yield place, message

    def _interrupt(self, busy: set[int]) -> None:
        """End what is left of a call."""
        for place in busy:
            with contextlib.suppress(ModelFailed):
                self._send(place, "stop")
        for place in busy:
            with contextlib.suppress(ModelFailed):
                while self._receive(place)[0] not in ("done", "failed"):
                    pass

    def _send(self, place: int, message: object) -> None:
        try:
            self._connections[place].send(message)
        except OSError as error:
            raise self._ended(place) from error

    def _receive(self, place: int) -> tuple[Any, ...]:
        try:
            message: tuple[Any, ...] = self._connections[place].recv()
        except (EOFError, OSError) as error:
            raise self._ended(place) from error
        return message

    def _ended(self, place: int) -> ModelFailed:
        code = self._processes[place].wait()
        return ModelFailed(
            f"{self.name}: a process of the model has ended with exit code {code}"
            + (": is there memory for so many? Take fewer processes, or a smaller batch" if code == -9 else "")
        )

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.wait()
        self._connections, self._processes = [], []


def _number_and_devices(number: int) -> tuple[int, list[str]]:
    """Return how many processes there are, and the device of each."""
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = number or gpus or len(os.sched_getaffinity(0))
    return number, [f"cuda:{place % gpus}" if gpus else "cpu" for place in range(number)]


def _parts(prompts: Sequence[str | Conversation], samples: int, number: int) -> list[tuple[list[int], int]]:
    """Return the prompts of each process, and how many samples it makes of them: parts of about the same length."""
    if len(prompts) >= number:
        order = sorted(range(len(prompts)), key=lambda one: len(str(prompts[one])))
        return [(order[place::number], samples) for place in range(number)]
    counts = [samples // number + (place < samples % number) for place in range(number)]
    return [(list(range(len(prompts))), count) for count in counts if count]


def main() -> None:
    """Serve calls on a socket, whose number is the first argument; end when it is closed."""
    connection = Connection(int(sys.argv[1]))
    name, device, options = connection.recv()
    transformers.utils.logging.disable_progress_bar()  # of loading, once for each process
    try:
        model = Transformers.from_name(name, device=device, **options)
        connection.send(("loaded", model.digest, model.context))
    except ModelFailed as error:
        connection.send(("failed", str(error)))
        return
    calls: queue.Queue[Any] = queue.Queue()
    stopped = threading.Event()
    threading.Thread(target=_listen, args=(connection, calls, stopped), daemon=True).start()
    while True:
        prompts, asked = calls.get()
        _answer(model, connection, prompts, asked, stopped)


def _listen(connection: Connection, calls: queue.Queue[Any], stopped: threading.Event) -> None:
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # whoever asked is gone
        if message == "stop":
            stopped.set()
        else:
            stopped.clear()
            calls.put(message)


def _answer(
    model: Transformers, connection: Connection, prompts: list[Any], asked: dict[str, Any], stopped: threading.Event
) -> None:
    asked["stop"] = _Stop(asked["stop"], stopped)
    try:
        for number, texts in model.complete(
            prompts, on_refusal=lambda number, reason: connection.send(("refused", number, reason)), **asked
        ):
            if stopped.is_set():
                break
            connection.send(("answer", number, texts))
        connection.send(("done",))
    except ModelFailed as error:
        connection.send(("failed", str(error)))
    except Exception:
        connection.send(("failed", f"{model.name}: a fault in a process of the model:\n{traceback.format_exc()}"))


class _Stop:
    """Stops where another does, and everywhere when an event is set."""

    def __init__(self, stop: Stop, stopped: threading.Event) -> None:
        self._stop, self._stopped = stop, stopped

    def __call__(self, text: str) -> bool:
        return self._stopped.is_set() or is_complete(text, self._stop)


if __name__ == "__main__":
    main()
