"""The server backend against a server on this machine that speaks the protocol, and misbehaves on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from selftaught.generator import models
from selftaught.generator.models import ModelFailed
from selftaught.generator.models.openai import OpenAI


class Stub(ThreadingHTTPServer):
    """Answers ``/v1/completions`` with PROMPT/SEED/INDEX. faults: statuses to give first. most: choices at once."""

    faults: list[int]
    most = 100
    tokenizes = False
    seen: list[dict[str, Any]]
    keys: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Stub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, {"data": [{"id": "small", "max_model_len": 512}, {"id": "large"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.append(self.headers.get("Authorization"))
        if self.path == "/tokenize" and self.server.tokenizes:
            return self._answer(200, {"count": len(body["prompt"].split())})
        if self.path != "/v1/completions":
            return self._answer(404, {})
        self.server.seen.append(body)
        if self.server.faults:
            return self._answer(self.server.faults.pop(0), {"error": {"message": "out of sorts"}})
        count = min(body["n"], self.server.most)
        texts = [f"{body['prompt']}/{body['seed']}/{index}" for index in range(count)]
        return self._answer(200, {"choices": [{"index": index, "text": text} for index, text in enumerate(texts)]})

    def _answer(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub(("127.0.0.1", 0), Handler)
    server.faults, server.seen, server.keys = [], [], []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(stub: Stub) -> str:
    return f"http://127.0.0.1:{stub.server_address[1]}/v1"


def complete(model: models.Completer, prompts: list[str], **settings: Any) -> dict[int, list[str]]:
    given: dict[str, Any] = {"samples": 2, "max_new_tokens": 7, "temperature": 0.5, "seed": 3, **settings}
    return dict(model.complete(prompts, **given))


def test_the_first_listed_model_is_taken_with_its_context(stub: Stub) -> None:
    model = models.load(address(stub))
    assert model.name == f"{address(stub)}#small"
    assert model.context == 512
    assert models.load(f"{address(stub)}#large").context == 2048


def test_every_prompt_gets_its_samples_with_the_settings_asked_for(stub: Stub) -> None:
    prompts = [f"p{number}" for number in range(20)]
    texts = complete(OpenAI(address(stub)), prompts, top_p=0.9, stop=("\ndef", "#"))
    assert {number: [text.split("/")[0] for text in found] for number, found in texts.items()} == {
        number: [prompt, prompt] for number, prompt in enumerate(prompts)
    }
    assert {(body["max_tokens"], body["temperature"], body["top_p"], body["n"]) for body in stub.seen} == {
        (7, 0.5, 0.9, 2)
    }
    assert stub.seen[0]["stop"] == ["\ndef", "#"]
    assert not any("top_k" in body for body in stub.seen)


def test_top_k_is_sent_if_it_is_asked_for(stub: Stub) -> None:
    complete(OpenAI(address(stub)), ["p"], top_k=50)
    assert stub.seen[-1]["top_k"] == 50


def test_the_same_seed_gives_the_same_texts_and_prompts_differ_in_theirs(stub: Stub) -> None:
    model = OpenAI(address(stub))
    first = complete(model, ["p", "p"])
    assert first == complete(model, ["p", "p"])
    assert first != complete(model, ["p", "p"], seed=4)
    assert first[0] != first[1]


def test_a_server_that_gives_one_choice_at_a_time_is_asked_until_there_are_enough(stub: Stub) -> None:
    stub.most = 1
    (texts,) = complete(OpenAI(address(stub)), ["p"], samples=3).values()
    assert len(set(texts)) == 3


def test_a_stop_function_sends_its_strings(stub: Stub) -> None:
    def stop(text: str) -> bool:
        return "\ndef" in text

    stop.strings = ("\ndef",)  # type: ignore[attr-defined]
    complete(OpenAI(address(stub)), ["p"], stop=stop)
    complete(OpenAI(address(stub)), ["p"], stop=lambda text: False)
    assert [body.get("stop") for body in stub.seen] == [["\ndef"], None]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_tried_again(stub: Stub, status: int) -> None:
    stub.faults = [status, status]
    assert len(complete(OpenAI(address(stub), backoff_factor=0.001), ["p"])[0]) == 2


def test_a_lasting_fault_is_an_error_with_the_servers_words(stub: Stub) -> None:
    stub.faults = [400]
    with pytest.raises(ModelFailed, match=r"HTTP 400.*out of sorts"):
        complete(OpenAI(address(stub)), ["p"])
    stub.faults = [503] * 3
    with pytest.raises(ModelFailed, match="503"):
        complete(OpenAI(address(stub), max_tries=2, backoff_factor=0.001), ["p"])


def test_a_server_that_is_not_there_or_lacks_the_model_is_an_error(stub: Stub) -> None:
    with pytest.raises(ModelFailed, match="has no model 'tiny'; it has: small, large"):
        models.load(f"{address(stub)}#tiny")
    with pytest.raises(ModelFailed, match="does a server run there"):
        OpenAI("http://127.0.0.1:9/v1", max_tries=1)


def test_tokens_are_counted_by_the_server_or_else_estimated_from_above(stub: Stub) -> None:
    assert OpenAI(address(stub)).tokens("a b c d") == 4
    stub.tokenizes = True
    assert OpenAI(address(stub)).tokens("three little words") == 3


def test_the_key_comes_from_the_environment(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(OpenAI(address(stub)), ["p"])
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    complete(OpenAI(address(stub)), ["p"])
    assert stub.keys == [None, "Bearer k"]
