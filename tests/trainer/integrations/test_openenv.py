"""The environment over OpenEnv's own server and client, as released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.trainer.integrations import released

SERVED = """
import asyncio, contextlib, json, socket, threading, time
import uvicorn
from selftaught import Verifier
from selftaught.sandbox.dropin import process
from selftaught.trainer.integrations import openenv
from selftaught.trainer.integrations.openenv import CodeAction, SelftaughtEnv

PUZZLE = "def sat(x: int, a=17, b=42):\\n    return x + a == b"
RIGHT, WRONG = "def g(a=17, b=42):\\n    return b - a", "def g(a=17, b=42):\\n    return a - b"

@contextlib.contextmanager
def served(**settings):
    with socket.socket() as listener, Verifier(workers=2, require="restricted") as verifier:
        process.use(verifier)
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(openenv.app(**settings), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()
"""


def ask(tmp_path: Path, program: str) -> Any:
    """Return what a program prints that may start the server."""
    return released.run("openenv", SERVED + program, folder=tmp_path)


def test_an_episode_is_a_reset_programs_and_a_solution(tmp_path: Path) -> None:
    found = ask(
        tmp_path,
        """
with served() as url, SelftaughtEnv(base_url=url).sync() as env:
    asked = env.reset(index=3, episode_id="one")
    ran = env.step(CodeAction(tool="run", code="print(int(input()) * 2)", stdin="21"))
    own = env.reset(puzzle=PUZZLE)
    unread = env.step(CodeAction(code="I don't know."))
    wrong = env.step(CodeAction(code=f"So:\\n```python\\n{WRONG}\\n```"))
    try:
        env.step(CodeAction(code=RIGHT))
    except RuntimeError as error:
        ended = str(error)
    env.reset(puzzle=PUZZLE, episode_id="two")
    right = env.step(CodeAction(code=RIGHT))
    state = env.state()
    print(json.dumps({
        "asked": [asked.observation.prompt, asked.reward, asked.done],
        "ran": [ran.observation.output, ran.reward, ran.done],
        "own": own.observation.prompt,
        "unread": [unread.observation.message, unread.reward, unread.done],
        "wrong": [wrong.observation.status, wrong.reward, wrong.done],
        "ended": ended,
        "right": [right.observation.status, right.reward, right.done],
        "state": [state.episode_id, state.step_count],
    }))
""",
    )
    assert "Write a Python function `g`" in found["asked"][0] and found["asked"][1:] == [None, False]
    assert found["ran"] == ["42", None, False]
    assert "return x + a == b" in found["own"]
    assert "no code is understood" in found["unread"][0] and found["unread"][1:] == [None, False]
    assert found["wrong"] == ["rejected", 0.0, True]
    assert "has ended" in found["ended"]
    assert found["right"] == ["accepted", 1.0, True]
    assert found["state"] == ["two", 1]


def test_what_was_not_judged_is_an_error_and_can_be_tried_again(tmp_path: Path) -> None:
    found = ask(
        tmp_path,
        """
import dataclasses
from selftaught import Status

class Failing(Verifier):
    failing = True
    async def averify(self, task):
        verdict = await super().averify(task)
        return dataclasses.replace(verdict, status=Status.INTERNAL_ERROR) if self.failing else verdict

with served() as url, SelftaughtEnv(base_url=url).sync() as env, Failing(workers=1, require="restricted") as failing:
    process.use(failing)
    env.reset(puzzle=PUZZLE)
    try:
        error = env.step(CodeAction(code=RIGHT)).reward
    except RuntimeError as raised:
        error = str(raised)
    failing.failing = False
    print(json.dumps([error, env.step(CodeAction(code=RIGHT)).reward]))
""",
    )
    assert "internal_error" in found[0] and found[1] == 1.0


def test_64_sessions_at_once_keep_to_themselves(tmp_path: Path) -> None:
    found = ask(
        tmp_path,
        """
async def session(url, number, arrived):
    async with SelftaughtEnv(base_url=url) as env:
        await env.reset(puzzle=f"def sat(x: int, a={number}):\\n    return x == a * a", episode_id=str(number))
        arrived.append(number)
        while len(arrived) < 64:  # every session is open before any goes on
            await asyncio.sleep(0.01)
        ran = await env.step(CodeAction(tool="run", code=f"print({number} ** 2)"))
        answer = int(ran.observation.output) + number % 2
        result = await env.step(CodeAction(code=f"def g(a={number}):\\n    return {answer}"))
        state = await env.state()
        return [state.episode_id, state.step_count, result.reward]

async def sessions(url):
    arrived = []
    return await asyncio.gather(*(session(url, number, arrived) for number in range(64)))

with served() as url:
    print(json.dumps(asyncio.run(sessions(url))))
""",
    )
    assert found == [[str(number), 2, 1.0 - number % 2] for number in range(64)]


def test_openenv_validates_the_running_server(tmp_path: Path) -> None:
    found = ask(
        tmp_path,
        """
from openenv.cli._validation import validate_running_environment
with served() as url:
    report = validate_running_environment(url)
    print(json.dumps([report["passed"], [one["id"] for one in report["criteria"] if not one["passed"]]]))
""",
    )
    assert found == [True, []]


def test_a_reset_without_a_question_says_why(tmp_path: Path) -> None:
    found = ask(
        tmp_path,
        """
rows = [{"prompt": "?"}, {"puzzle": "def sat("}, {"index": 100000}]
with served() as url, SelftaughtEnv(base_url=url).sync() as env:
    reasons = []
    for row in rows:
        try:
            reasons.append(env.reset(**row).done)
        except RuntimeError as error:
            reasons.append(str(error))
    print(json.dumps(reasons))
""",
    )
    for reason, expected in zip(found, ("nothing judges", "never closed", "there is no question"), strict=True):
        assert expected in reason


def test_openenv_accepts_the_folder_of_the_example(tmp_path: Path) -> None:
    folder = released.ROOT / "examples" / "openenv_environment"
    found = ask(
        tmp_path,
        f"""
from pathlib import Path
from openenv.validation import Level, run_validation
report = run_validation(Path({str(folder)!r}), max_level=Level.STATIC)
print(json.dumps([report.verdict.value, [one.check_id for one in report.results]]))
""",
    )
    assert found == ["pass", ["static.manifest"]]
