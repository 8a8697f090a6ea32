"""Models behind servers: which path is asked, what an answer is, what is tried again, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import models, prompts, puzzle
from selftaught.generator.models import ModelFailed, chats
from selftaught.generator.models.openai import OpenAI
from selftaught.generator.models.server import Refused
from tests.generator.model_server import ModelServer, serving

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
PUZZLE = puzzle.parse("def f(x: int, a=17, b=42):\n    return x + a == b")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(lambda prompt, seed: f"{prompt}/{seed}") as made:
        yield made


def complete(model: models.Completer, asked: list[str], **settings: Any) -> dict[int, list[str]]:
    given: dict[str, Any] = {"samples": 2, "max_new_tokens": 7, "temperature": 0.5, "seed": 3, **settings}
    return dict(model.complete(asked, **given))


@pytest.mark.parametrize(("paths", "chat"), [((CHAT,), True), ((TEXT,), False), ((TEXT, CHAT), False)])
def test_a_server_is_asked_at_the_path_that_it_has(paths: tuple[str, ...], chat: bool) -> None:
    with serving(lambda prompt, seed: prompt, *paths) as server:
        model = models.load(server.address)
        assert chats(model) is chat
        assert complete(model, ["p"]) == {0: ["p", "p"]}
        assert ("messages" in server.seen[-1]) is chat


def test_what_is_chosen_is_not_tried_out(server: ModelServer) -> None:
    model = models.load(server.address, chat=True)
    assert chats(model) and not server.seen
    complete(model, ["p"])
    assert [body["messages"] for body in server.seen] == [[{"role": "user", "content": "p"}]]


def test_the_wrong_choice_is_an_error_that_names_the_other() -> None:
    with serving(lambda prompt, seed: prompt, TEXT) as server, pytest.raises(ModelFailed, match="--no-chat"):
        complete(OpenAI(server.address, chat=True), ["p"])
    with serving(lambda prompt, seed: prompt, CHAT) as server, pytest.raises(ModelFailed, match="--chat"):
        complete(OpenAI(server.address, chat=False), ["p"])


def test_a_server_with_neither_path_is_an_error() -> None:
    with (
        serving(lambda prompt, seed: prompt, "/x") as server,
        pytest.raises(ModelFailed, match="usually ends in /v1"),
    ):
        chats(OpenAI(server.address))


def test_reasoning_is_no_part_of_an_answer_and_none_is_an_empty_one(server: ModelServer) -> None:
    server.message = {"reasoning_content": "def g(): return 1"}
    assert complete(OpenAI(server.address, chat=True), ["p"], samples=1) == {0: ["p/3"]}
    server.message = {"reasoning_content": "def g(): return 1", "content": None}
    assert complete(OpenAI(server.address, chat=True), ["p"], samples=1) == {0: [""]}


def test_completions_that_were_cut_are_counted(server: ModelServer) -> None:
    model = OpenAI(server.address)
    complete(model, ["p", "q"])
    assert model.cut == 0
    server.finish_reason = "length"
    complete(model, ["p", "q"])
    assert model.cut == 4


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_prompt_is_told_and_the_others_are_answered(server: ModelServer, status: int) -> None:
    server.refuses = "POISON"
    told: list[tuple[int, str]] = []
    found = complete(OpenAI(server.address), ["a", "POISON", "b"], on_refusal=lambda *one: told.append(one))
    assert sorted(found) == [0, 2]
    assert [number for number, _ in told] == [1] and "context length" in told[0][1]
    server.faults = [(status, {})]
    with pytest.raises(Refused):
        complete(OpenAI(server.address), ["a"])


def test_skipped_prompts_are_not_asked_and_change_nothing(server: ModelServer) -> None:
    model = OpenAI(server.address)
    whole = complete(model, ["a", "b", "c"])
    server.seen.clear()
    assert complete(model, ["a", "b", "c"], skip={0, 2}) == {1: whole[1]}
    assert len(server.seen) == 1


@pytest.mark.parametrize("date", [False, True])
def test_the_server_says_how_long_to_wait(server: ModelServer, date: bool) -> None:
    wait = formatdate(time.time() + 2, usegmt=True) if date else "1"
    server.faults = [(429, {"Retry-After": wait})]
    began = time.monotonic()
    complete(OpenAI(server.address, backoff_factor=0.001), ["p"])
    assert time.monotonic() - began >= 0.9


def test_nobody_waits_longer_than_patience(server: ModelServer) -> None:
    server.faults = [(503, {"Retry-After": "3600"})]
    with pytest.raises(ModelFailed, match="asks to wait 3600 s"):
        complete(OpenAI(server.address, patience=5), ["p"])
    server.faults = [(503, {})] * 1000
    began = time.monotonic()
    with pytest.raises(ModelFailed, match="503"):
        complete(OpenAI(server.address, patience=0.5, backoff_factor=0.01, max_tries=1000), ["p"])
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_a_key_says_where_it_is_read(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    for key, word in (("", "set OPENAI_API_KEY"), ("wrong", "refuses the key in OPENAI_API_KEY")):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        server.faults = [(status, {})]
        with pytest.raises(ModelFailed, match=word):
            complete(OpenAI(server.address), ["p"])


def test_a_reader_that_leaves_does_not_wait_for_the_server(server: ModelServer) -> None:
    server.block_after = 1
    answers = OpenAI(server.address).complete(["a", "b"], samples=1, max_new_tokens=1, temperature=0, seed=0)
    began = time.monotonic()
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", ["g", "sol"])
def test_a_solution_is_read_off_an_answer(name: str) -> None:
    prompt = prompts.for_solution(PUZZLE, prompts.Style(), chat=True)
    assert PUZZLE.source in prompt.text and "def g(a=17, b=42):" in prompt.text and prompt.chat
    answer = f"<think>\ndef g(): return 1\n</think>\nSo:\n\n```python\ndef {name}(a=17, b=42):\n    return b - a\n```\n"
    assert prompts.read_solution(PUZZLE, prompt, answer).strip() == "def g(a=17, b=42):\n    return b - a"
    for unread in ("I can't.", "```python\ndef g(:\n```"):
        with pytest.raises(puzzle.NotAPuzzle):
            prompts.read_solution(PUZZLE, prompt, unread)


def test_a_model_that_chats_writes_puzzles_and_solves_them(tmp_path: Path) -> None:
    def answer(prompt: str, seed: int) -> str:
        if "Write one new programming puzzle" in prompt:
            source = f"def f(x: int, a={seed % 50 + 100}):\n    return x * 3 + 1 == a * 3 + 22"
        else:
            source = f"def g({prompt.rpartition('def g(')[2].partition(')')[0]}):\n    return a + 7"
        return f"<think>hm</think>\n```python\n{source}\n```\n"

    with serving(answer, CHAT) as server:
        command = [
            *(Path(sys.executable).with_name("selftaught"), "generate", "--model", server.address, "-n", "1"),
            *("-o", tmp_path / "out", "--require", "restricted", "--workers", "1", "--set", "samples_per_prompt=4"),
        ]
        run = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, run.stderr
        assert not any("stop" in body for body in server.seen)
    kept = [json.loads(line) for line in (tmp_path / "out" / "pairs.jsonl").read_text().splitlines()]
    assert kept and all(one["solution"].endswith("return a + 7") for one in kept)
