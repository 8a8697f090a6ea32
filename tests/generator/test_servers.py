"""Several servers of one model: how requests are spread, what happens when one fails, and how many are in flight."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import models
from selftaught.generator.models import ConcurrentCompleter, ModelFailed
from selftaught.generator.models.openai import OpenAI
from selftaught.generator.models.window import FIRST, MOST, Window
from tests.generator.model_server import ModelServer, serving


@pytest.fixture
def servers() -> Iterator[list[ModelServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(lambda prompt, seed: f"{prompt}/{seed}")) for _ in range(3)]


def addresses(servers: list[ModelServer]) -> str:
    return ",".join(server.address for server in servers)


def complete(model: models.Completer, number: int, **settings: Any) -> dict[int, list[str]]:
    given: dict[str, Any] = {"samples": 2, "max_new_tokens": 7, "temperature": 0.5, "seed": 3, **settings}
    return dict(model.complete([f"p{one}" for one in range(number)], **given))


def test_several_servers_share_the_prompts_and_give_what_one_gives(servers: list[ModelServer]) -> None:
    found = complete(OpenAI(addresses(servers), chat=False, concurrency=3), 60)
    assert found == complete(OpenAI(servers[0].address, chat=False), 60)
    counts = [len(server.seen) for server in servers[1:]]
    assert min(counts) >= 10


def test_the_server_with_the_fewest_open_requests_is_asked(servers: list[ModelServer]) -> None:
    servers[0].block_after = 0
    model = OpenAI(addresses(servers), chat=False, concurrency=6)
    answers = model.complete([f"p{n}" for n in range(40)], samples=1, max_new_tokens=1, temperature=0, seed=0)
    assert len([next(answers) for _ in range(38)]) == 38  # two wait at the first server, and no more are sent there
    assert len(servers[0].seen) == 2
    servers[0].released.set()
    assert len(list(answers)) == 2


def test_a_server_that_dies_is_left_out_and_nothing_is_lost(
    servers: list[ModelServer], caplog: pytest.LogCaptureFixture
) -> None:
    model = OpenAI(addresses(servers), chat=False, concurrency=6, backoff_factor=0.01)
    whole = complete(model, 30)
    servers[1].shutdown()
    servers[1].server_close()
    servers[1].faults = [(503, {})] * 10**6  # on connections that are still open
    with caplog.at_level(logging.WARNING):
        assert complete(model, 30) == whole
    assert f"{servers[1].address} is left out for now" in caplog.text


def test_a_server_that_comes_back_is_asked_again(servers: list[ModelServer], caplog: pytest.LogCaptureFixture) -> None:
    model = OpenAI(addresses(servers), chat=False, concurrency=6, backoff_factor=0.01)
    servers[2].faults = [(503, {})]
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            complete(model, 30)
            if len(servers[2].seen) > 20:
                break
    assert len(servers[2].seen) > 20
    assert f"{servers[2].address} answers again" in caplog.text


def test_a_server_that_is_not_there_at_first_is_left_out_unless_it_is_the_only_one(
    servers: list[ModelServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selftaught.generator.models.openai._AT_FIRST", 0.1)
    gone = "http://127.0.0.1:9/v1"
    assert len(complete(OpenAI(f"{gone},{servers[0].address}", chat=False), 5)) == 5
    with pytest.raises(ModelFailed, match="does a server run there"):
        OpenAI(f"{gone},{gone}")


def test_servers_of_different_models_are_an_error(servers: list[ModelServer]) -> None:
    servers[1].model = "other"
    with pytest.raises(ModelFailed, match="different models"):
        OpenAI(addresses(servers))
    with pytest.raises(ModelFailed, match="has no model 'm'; it has: other"):
        OpenAI(addresses(servers), "m")


def test_a_request_that_fails_everywhere_is_given_up(servers: list[ModelServer]) -> None:
    for server in servers:
        server.faults = [(500, {})] * 1000
    with pytest.raises(ModelFailed, match="HTTP 500"):
        complete(OpenAI(addresses(servers), chat=False, max_tries=4, backoff_factor=0.001), 3)


def test_as_many_requests_are_in_flight_as_are_asked_for(servers: list[ModelServer]) -> None:
    servers[0].block_after = 0
    model = OpenAI(servers[0].address, chat=False, concurrency=200)
    done = threading.Event()
    asking = threading.Thread(target=lambda: (complete(model, 300, samples=1), done.set()))
    asking.start()
    for _ in range(1000):
        if len(servers[0].seen) >= 200:
            break
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(servers[0].seen) == 200
    servers[0].released.set()
    asking.join(60)
    assert done.is_set()


def test_prompts_of_older_waves_are_sent_first(servers: list[ModelServer]) -> None:
    servers[0].block_after = 0
    model = OpenAI(servers[0].address, chat=False, concurrency=1)
    assert isinstance(model, ConcurrentCompleter)

    async def ask(priority: int) -> None:
        await model.acomplete(f"wave {priority}", samples=1, max_new_tokens=1, temperature=0, seed=0, priority=priority)

    async def ask_all() -> None:
        asking = [asyncio.create_task(ask(priority)) for priority in (0, 7, 5, 6)]
        while len(servers[0].seen) < 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        servers[0].released.set()
        await asyncio.gather(*asking)

    asyncio.run(ask_all())
    assert [body["prompt"] for body in servers[0].seen] == ["wave 0", "wave 5", "wave 6", "wave 7"]


def flood(window: Window, rounds: int, rate: Any) -> None:
    """Let a server answer at a rate that depends on the requests in flight."""
    now = 1.0
    for _ in range(rounds):
        for _ in range(window.size):
            now += 1 / rate(window.size)
            window.count(now, is_full=True)


def test_a_window_grows_while_that_raises_the_throughput_and_no_further() -> None:
    free, limited = Window(), Window()
    flood(free, 60, lambda size: 10 * size)
    flood(limited, 60, lambda size: 10 * min(size, 100))
    assert free.size == MOST
    assert 100 <= limited.size <= 4 * 100


def test_a_window_shrinks_when_the_server_pushes_back_and_a_fixed_one_stays() -> None:
    window, fixed = Window(), Window(500)
    for one in (window, fixed):
        one.push_back()
        flood(one, 1, lambda size: 1)
    assert window.size <= FIRST
    assert fixed.size == 500


def test_a_window_does_not_grow_while_nobody_waits() -> None:
    window = Window()
    for number in range(10_000):
        window.count(1.0 + number / 1000, is_full=False)
    assert window.size == FIRST


def test_texts_are_sent_as_token_ids_by_the_models_own_tokenizer(servers: list[ModelServer], tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    servers[0].answer = lambda prompt, seed: "!"
    model = OpenAI(servers[0].address, chat=False, tokenizer=str(tmp_path))
    assert model.tokens("a b") == 2
    given: dict[str, Any] = {"samples": 1, "max_new_tokens": 7, "temperature": 0.5, "seed": 3}
    assert dict(model.complete(["a b"], **given)) == {0: ["!"]}
    assert servers[0].seen[-1]["prompt"] == [0, 1]
    servers[0].takes_ids = False
    assert dict(model.complete(["a b"], **given)) == {0: ["!"]}
    assert servers[0].seen[-1]["prompt"] == "a b"
    servers[0].tokens = [5, 5]
    with pytest.raises(ModelFailed, match="is not the tokenizer of the served model"):
        OpenAI(servers[0].address, tokenizer=str(tmp_path))


def test_a_model_that_is_recorded_under_another_name_is_asked_for_under_its_own(servers: list[ModelServer]) -> None:
    model = OpenAI(servers[0].address, chat=False)
    model.name = "out/run/iterations/3/model"
    complete(model, 1)
    assert servers[0].seen[-1]["model"] == "m"


@pytest.mark.parametrize(
    "listed",
    [
        {"data": 5},
        {"data": "abc"},
        {"data": {"a": 1}},
        {"data": [5]},
        {"data": [{}]},
        {"data": [{"id": None}]},
        {"data": [{"id": "m", "max_model_len": "many"}]},
        {"data": [{"id": "m", "max_model_len": [1]}]},
        {"data": [{"id": "m", "max_model_len": -5}]},
        b"[" * 100_000,
    ],
)
def test_a_server_that_lists_what_are_no_models_is_named(servers: list[ModelServer], listed: object) -> None:
    servers[0].listed = listed
    with pytest.raises(ModelFailed, match=servers[0].address):
        OpenAI(servers[0].address)


@pytest.mark.parametrize(
    "made",
    [[{"text": None}], [{"text": 5}], [{"text": {"a": 1}}], [{"text": ["x"]}], [None], 5, "abc", b"[" * 100_000, b"{"],
)
def test_what_is_no_text_is_never_taken_for_a_completion(servers: list[ModelServer], made: object) -> None:
    servers[0].made = made
    with pytest.raises(ModelFailed, match=servers[0].address):
        complete(OpenAI(servers[0].address, chat=False), 1)


def test_an_endless_answer_is_not_read_to_its_end(servers: list[ModelServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selftaught.generator.models.server.MOST_BYTES", 1 << 20)
    servers[0].made = b" " * (1 << 20) + b'{"choices": [{"text": "x"}, {"text": "y"}]}'
    with pytest.raises(ModelFailed, match="answered more than 1 MiB"):
        complete(OpenAI(servers[0].address, chat=False), 1)
