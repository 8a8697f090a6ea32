"""Stands for a model server: `python -m tests.trainer.fake_server serve MODEL --port PORT`.

It has vLLM's paths, as far as they are used, and the stub's skill: more for a model that was trained. It starts a
process of its own, as vLLM does, and answers its first questions as servers do that still load.
"""

from __future__ import annotations

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.trainer.stub import StubModel

_, _, MODEL, _, PORT = sys.argv
LOADING = 2


class Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        Handler.asked += 1
        if Handler.asked <= LOADING:
            self._answer({}, 503)
        else:
            self._answer({"data": [{"id": MODEL, "max_model_len": 4096}]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            self._answer({}, 404)
        else:
            self._answer({"choices": [{"text": text, "finish_reason": "stop"} for text in complete(request)]})

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def complete(request: dict[str, Any]) -> list[str]:
    prompt, samples = request["prompt"], request.get("n", 1)
    if prompt == "1":  # asked by a client that wants to know whether there is such a path
        return [""]
    model = StubModel(0.8 if "iterations" in MODEL else 0.3)
    settings = {name: request[name] for name in ("temperature", "seed")}
    ((_, texts),) = model.complete([prompt], samples=samples, max_new_tokens=request["max_tokens"], **settings)
    return texts


if __name__ == "__main__":
    worker = subprocess.Popen(["sleep", "1000"])
    print(f"serves {MODEL}, worker {worker.pid}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
