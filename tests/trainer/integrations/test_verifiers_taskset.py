"""The task set in verifiers' own commands and rollouts, as released."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.trainer.integrations import released

PUZZLE = "def sat(x: int, a=17, b=42):\n    return x + a == b"
FIRST = f"""
import asyncio, json, os, sys
sys.path.append({str(released.ROOT / "examples" / "verifiers_environment")!r})
from selftaught import Verifier
from selftaught.sandbox.dropin import process

verifier = Verifier(workers=1, require="restricted")
process.use(verifier)
"""


def ask(tmp_path: Path, program: str) -> Any:
    """Return what a program prints that may import the package of the example."""
    return released.run("verifiers", FIRST + program, folder=tmp_path)


def validate(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    """Return what vf-validate finds of each task."""
    arguments = ["selftaught-tasks", "--runtime.type", "subprocess", "--rich", "false", "--run.dir", "run", *options]
    program = f"from verifiers.v1.cli.validate import main\nmain({arguments!r})\nprint(json.dumps(None))"
    ask(tmp_path, program)
    lines = (tmp_path / "outputs" / "run" / "results.jsonl").read_text().splitlines()
    return sorted(map(json.loads, lines), key=lambda row: row["index"])


def test_vf_validate_accepts_the_bundled_puzzles(tmp_path: Path) -> None:
    found = validate(tmp_path, "-n", "12")
    assert len(found) == 12 and all(row["valid"] for row in found), found
    assert {(row["gold"]["reason"], row["noop"]["reason"], row["noop"]["reward"]) for row in found} == {
        ("valid", "valid", 0.0)
    }


def test_vf_validate_finds_what_is_wrong_with_rows(tmp_path: Path) -> None:
    rows = [
        {"prompt": "?", "puzzle": PUZZLE, "sol": "def sol(a=17, b=42):\n    return b - a"},
        {"prompt": "?", "puzzle": PUZZLE, "sol": "def sol(a=17, b=42):\n    return a - b"},
        {"prompt": "?", "puzzle": PUZZLE},
        {"prompt": "?", "inputs": ["1\n"], "outputs": [""]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = validate(tmp_path, "--taskset.problems", "rows.jsonl")
    assert [row["gold"]["reason"] for row in found] == ["valid", "invalid", "unchecked", "unchecked"]
    assert [row["noop"]["reason"] for row in found] == ["valid", "valid", "valid", "invalid"]


SCORED = f"""
import verifiers.v1 as vf
from selftaught_tasks import SelftaughtTaskset
from verifiers.v1.graph import MessageNode
from verifiers.v1.trace import Trace, TraceTask

PUZZLE = {PUZZLE!r}
RIGHT, WRONG = "def sol(a=17, b=42):\\n    return b - a", "def sol(a=17, b=42):\\n    return a - b"

def tasks(row, **settings):
    with open("rows.jsonl", "w") as file:
        print(json.dumps(row), file=file)
    made = SelftaughtTaskset.__orig_bases__[0].__args__[1](
        id="selftaught-tasks", problems="rows.jsonl", task=settings)
    return list(vf.load_taskset(made))

async def score(task, reply):
    trace = Trace(task=TraceTask(type="SelftaughtTask", data=task.data, key=task.key, hash=task.hash),
                  agent=vf.AgentInfo(config=vf.AgentConfig(), name="agent", trainable=True))
    trace.nodes.append(MessageNode(message=vf.AssistantMessage(content=reply), sampled=True))
    try:
        await task.score(trace)
        error = None
    except vf.TaskError as raised:
        error = str(raised)
    return [trace.rewards["verified"].score if trace.rewards["verified"] else None, error]
"""


def test_a_reply_is_rewarded_or_an_error_never_a_zero(tmp_path: Path) -> None:
    found = ask(
        tmp_path,
        SCORED
        + """
(task,) = tasks({"puzzle": PUZZLE})
replies = [f"```python\\n{RIGHT}\\n```", WRONG, "<think>It must be 25, or", "I don't know."]
found = [asyncio.run(score(task, reply)) for reply in replies]
(lenient,) = tasks({"puzzle": PUZZLE}, unanswered=0.0)
found.append(asyncio.run(score(lenient, "I don't know.")))
(parts,) = tasks({"prompt": "?", "inputs": ["1\\n", "2\\n"], "outputs": ["1\\n", "3\\n"]}, all_cases=True)
found.append(asyncio.run(score(parts, "```python\\nprint(input())\\n```")))
verifier.close()
found.append(asyncio.run(score(task, RIGHT)))
print(json.dumps([found, task.data.prompt]))
""",
    )
    scores, prompt = found
    assert "Write a Python function `g`" in prompt
    assert [score for score, _ in scores] == [1.0, 0.0, None, None, 0.0, 0.5, None]
    assert all("Unanswered" in scores[place][1] for place in (2, 3))
    assert scores[-1][1]
