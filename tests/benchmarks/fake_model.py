"""A model server that costs next to nothing: it speaks OpenAI's protocol and answers from texts that are made before.

python -m tests.benchmarks.fake_model PORT [--seconds N] serves until it is killed. `--seconds` is how long an answer
takes; any number of requests is answered at once.
"""

from __future__ import annotations

import argparse
import asyncio
import random

import orjson

MODEL = "fake"
_ROOM = 64
"""Texts that are made before."""


def puzzle(rng: random.Random) -> str:
    """A continuation of `def f7(`: a puzzle of one line, nearly always of a form of its own."""
    expression = "x"
    for _ in range(rng.randrange(4, 8)):
        left, right = rng.choice("xab"), rng.choice(("x", "a", "b", "abs(x)", "max(x, a)", "min(x, b)", "len(str(x))"))
        expression = f"({expression} {rng.choice('+-*')} {left}) {rng.choice(('+', '-', '*', '%', '//', '^'))} {right}"
    head = f"x: int, a={rng.randrange(2, 10**4)}, b={rng.randrange(2, 10**4)}"
    return f"{head}):\n    return {expression} == b\n\n\ndef g"


def solutions(rng: random.Random) -> list[str]:
    """Continuations of `def g7(...):`."""
    bodies = (
        "\n    return {0} - {1}",
        "\n    found = []\n    for i in range({0} % 9):\n        found.append(i * {1})\n    return found",
        "\n    text = 'a' * ({0} % 12)\n    return text + str({1})\n\n\ndef f8(",
        " return [int(c) for c in str({0})]",
    )
    return [rng.choice(bodies).format(rng.randrange(10**6), rng.randrange(10**6)) for _ in range(_ROOM)]


class Connection(asyncio.Protocol):
    """One connection, with requests one after the other."""

    texts: list[str]
    seconds = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._came = transport, b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n")) >= 0:
            head = self._came[:end].lower()
            size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self._came) < end + 4 + size:
                return
            body, self._came = self._came[end + 4 : end + 4 + size], self._came[end + 4 + size :]
            if head.startswith(b"get"):
                self._send({"data": [{"id": MODEL, "max_model_len": 16384}]})
            elif b" /v1/completions" in head:
                asyncio.get_running_loop().call_later(self.seconds, self._complete, orjson.loads(body))
            else:
                self._send({}, b"404 Not Found")

    def _complete(self, request: dict[str, object]) -> None:
        number, rng = int(str(request.get("n", 1))), random.Random(int(str(request.get("seed", 0))))
        asks_puzzle = str(request["prompt"]).endswith("(")
        texts = [puzzle(rng) for _ in range(number)] if asks_puzzle else rng.choices(self.texts, k=number)
        self._send({"choices": [{"index": n, "text": t, "finish_reason": "stop"} for n, t in enumerate(texts)]})

    def _send(self, content: object, status: bytes = b"200 OK") -> None:
        data = orjson.dumps(content)
        kind = b"Content-Type: application/json"
        self._transport.write(b"HTTP/1.1 %b\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (status, kind, len(data), data))


async def serve(port: int, seconds: float) -> None:
    """Serve until the process ends."""
    Connection.texts, Connection.seconds = solutions(random.Random(1)), seconds
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=0.0)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.seconds))
