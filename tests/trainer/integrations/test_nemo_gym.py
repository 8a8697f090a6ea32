"""The resources server behind NeMo-Gym's own application and client, as released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.trainer.integrations import released

SERVED = '''
import asyncio, contextlib, json, socket, threading, time
import aiohttp, uvicorn
from nemo_gym.server_utils import ServerClient, get_response_json, raise_for_status
from selftaught import Verifier
from selftaught.sandbox.dropin import process
from selftaught.trainer.integrations.nemo_gym import SelftaughtConfig, SelftaughtResourcesServer

PUZZLE = "def sat(x: int, a=17, b=42):\\n    return x + a == b"
RIGHT, WRONG = "def g(a=17, b=42):\\n    return b - a", "def g(a=17, b=42):\\n    return a - b"

@contextlib.contextmanager
def served(**settings):
    with socket.socket() as listener, Verifier(workers=2, require="restricted") as verifier:
        process.use(verifier)
        listener.bind(("127.0.0.1", 0))
        config = SelftaughtConfig(host="127.0.0.1", port=1, entrypoint="app.py", name="selftaught", **settings)
        server = SelftaughtResourcesServer(config=config, server_client=ServerClient.model_construct())
        app = server.setup_webserver()
        server.setup_exception_middleware(app)
        running = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        running.should_exit = True
        thread.join()

def written(*texts):
    """A response of the Responses API: thoughts first, then a message."""
    output = [{"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": WRONG}]}]
    output += [{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}]} for text in texts]
    return {"id": "x", "created_at": 0.0, "model": "m", "object": "response", "output": output,
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}

async def verify(url, metadata, *texts):
    """What an agent of NeMo-Gym gets: the answer, or the error that it raises."""
    body = {"responses_create_params": {"input": "?"}, "response": written(*texts), "verifier_metadata": metadata}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/verify", json=body) as response:
        try:
            await raise_for_status(response)
        except aiohttp.ClientResponseError as error:
            return [error.status, error.response_content.decode()]
        found = await get_response_json(response)
        return [found["reward"], found["status"], found["passed"], found["total"]]

def asked(url, *given):
    async def all():
        return await asyncio.gather(*(verify(url, *one) for one in given))
    return asyncio.run(all())
'''


def ask(tmp_path: Path, program: str) -> Any:
    """Return what a program prints that may start the server."""
    return released.run("nemo-gym", SERVED + program, folder=tmp_path)


def test_responses_get_rewards(tmp_path: Path) -> None:
    found = ask(
        tmp_path,
        """
tests = {"inputs": ["1\\n", "2\\n"], "outputs": ["1\\n", "3\\n"], "fn_name": None}
echo = "```python\\nprint(input())\\n```"
given = [
    ({"puzzle": PUZZLE}, f"So:\\n```python\\n{RIGHT}\\n```"),
    ({"puzzle": PUZZLE}, WRONG),
    ({"unit_tests": tests}, echo),
    ({"task": {"entry_point": "f", "cases": [[[1], {}, 2]]}}, "def f(x):\\n    return x + 1"),
]
with served() as url:
    whole = asked(url, *given)
with served(all_cases=True) as url:
    print(json.dumps([*whole, *asked(url, ({"unit_tests": tests}, echo))]))
""",
    )
    assert found[:2] == [[1.0, "accepted", 0, 0], [0.0, "rejected", 0, 0]]
    assert found[2][:2] == [0.0, "rejected"] and found[3] == [1.0, "accepted", 1, 1]
    assert found[4] == [0.5, "rejected", 1, 2]


def test_what_was_not_judged_is_an_error_for_the_agent(tmp_path: Path) -> None:
    found = ask(
        tmp_path,
        """
import dataclasses
from selftaught import Status

class Failing(Verifier):
    async def averify(self, task):
        return dataclasses.replace(await super().averify(task), status=Status.INTERNAL_ERROR)

given = [({"puzzle": PUZZLE}, "I don't know."), ({"puzzle": PUZZLE},), ({"other": 1}, RIGHT), ({"puzzle": "?"}, RIGHT)]
with served() as url:
    found = asked(url, *given)
    with Failing(workers=1, require="restricted") as failing:
        process.use(failing)
        found += asked(url, ({"puzzle": PUZZLE}, RIGHT))
with served(unanswered=-0.5) as url:
    print(json.dumps([found, asked(url, *given[:1])]))
""",
    )
    errors, named = found
    assert [status for status, _ in errors] == [422, 422, 422, 422, 503]
    assert "no code is understood" in errors[0][1] and "nothing judges" in errors[2][1]
    assert "internal_error" in errors[4][1]
    assert named == [[-0.5, "unanswered", 0, 0]]
