"""A model server on this machine that speaks OpenAI's protocol, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[str, int], str]
"""Returns the completion of a prompt with a seed."""


class ModelServer(ThreadingHTTPServer):
    """Attributes:

    paths: What it has: ``/v1/completions`` and ``/v1/chat/completions``.
    answer: Makes the completions.
    refuses: A prompt that contains this is answered with HTTP 400.
    block_after: Requests after so many are not answered before `released`.
    faults: Statuses to answer first, each with headers.
    seen: The bodies of the requests.
    model: The model that it lists.
    takes_ids: It takes a prompt of token ids.
    listed: What it answers about its models (None: that it has `model`).
    made: The choices of every answer (None: those of `answer`); or the whole body.
    tokens: What ``/tokenize`` makes of any text; None: it has no such path.
    """

    daemon_threads = True
    request_queue_size = 512
    block_on_close = False

    def __init__(self, answer: Answer, *paths: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.paths = answer, paths or ("/v1/completions", "/v1/chat/completions")
        self.refuses, self.block_after, self.released = "\0", 10**9, threading.Event()
        self.faults: list[tuple[int, dict[str, str]]] = []
        self.seen: list[dict[str, Any]] = []
        self.message: dict[str, Any] = {}
        self.finish_reason = "stop"
        self.model, self.takes_ids = "m", True
        self.tokens: list[int] | None = None
        self.listed: object = None
        self.made: object = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(200, self.server.listed or {"data": [{"id": self.server.model, "max_model_len": 8192}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize" and self.server.tokens is not None:
            return self._send(200, {"count": len(self.server.tokens), "tokens": self.server.tokens})
        if self.path not in self.server.paths:
            return self._send(404, {"error": {"message": "Unknown path"}})
        if self.server.faults:
            status, headers = self.server.faults.pop(0)
            return self._send(status, {"error": {"message": "out of sorts"}}, headers)
        self.server.seen.append(body)
        chat = self.path.endswith("/chat/completions")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        if isinstance(prompt, list):
            if not self.server.takes_ids:
                return self._send(422, {"error": {"message": "prompt: a string is wanted"}})
            prompt = " ".join(map(str, prompt))
        if self.server.refuses in prompt:
            return self._send(400, {"error": {"message": "maximum context length is 8192 tokens"}})
        if len(self.server.seen) > self.server.block_after:
            self.server.released.wait(60)
        if self.server.made is not None:
            made = self.server.made
            return self._send(200, made if isinstance(made, bytes) else {"choices": made})
        texts = [self.server.answer(prompt, body.get("seed", 0) + index) for index in range(body.get("n", 1))]
        made = [{"message": {"role": "assistant", "content": text, **self.server.message}} if chat else {"text": text}
                for text in texts]  # fmt: skip
        return self._send(200, {"choices": [{**one, "finish_reason": self.server.finish_reason} for one in made]})

    def _send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client is gone

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(answer: Answer, *paths: str) -> Iterator[ModelServer]:
    """Serve in a thread."""
    server = ModelServer(answer, *paths)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def luck(prompt: str, seed: int) -> int:
    """Return a number that depends on the prompt and the seed alone."""
    return hashlib.sha256(f"{seed} {prompt}".encode()).digest()[0]
