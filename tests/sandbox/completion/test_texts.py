"""What models write, in their own styles: the source that is meant is found, and nothing else is."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selftaught.sandbox import completion

TEXTS: list[dict[str, str]] = tomllib.loads(Path(__file__).with_name("texts.toml").read_text())["text"]
NAMES = ("sol", "g")


def meant(text: dict[str, str]) -> str | None:
    return text.get("code")


@pytest.mark.parametrize("text", TEXTS, ids=[text["style"] for text in TEXTS])
def test_the_source_that_is_meant_is_found(text: dict[str, str]) -> None:
    found = completion.code(text["text"], text.get("prompt", ""), NAMES)
    assert found == meant(text) or (found and found.strip("\n") == (meant(text) or "").strip("\n"))


@pytest.mark.parametrize("text", TEXTS, ids=[text["style"] for text in TEXTS])
def test_line_ends_of_another_system_change_nothing(text: dict[str, str]) -> None:
    written = text["text"].replace("\n", "\r\n")
    found = completion.code(written, text.get("prompt", ""), NAMES)
    assert (found or "").split() == (meant(text) or "").split()


FENCED = "```python\ndef sol():\n    return 1\n```"
MESSAGES: dict[str, Any] = {
    "a message": {"role": "assistant", "content": FENCED},
    "messages, of which the assistant's last counts": [
        {"role": "assistant", "content": "```python\ndef sol():\n    return 2\n```"},
        {"role": "assistant", "content": FENCED},
        {"role": "tool", "content": "```python\ndef sol():\n    return 3\n```"},
    ],
    "parts": [{"type": "text", "text": "Sure:\n"}, {"type": "text", "text": FENCED}],
    "parts of which one is a thought": [
        {"type": "thinking", "thinking": "```python\ndef sol():\n    return 2\n```"},
        {"type": "text", "text": FENCED},
    ],
    "reasoning in a field of its own": {"reasoning_content": "def sol():\n    return 2", "content": FENCED},
    "objects": [SimpleNamespace(role="assistant", content=[SimpleNamespace(type="text", text=FENCED)])],
    "items of the Responses API": [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "def sol(): return 2"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": FENCED}]},
    ],
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_a_message_is_read_in_every_shape(message: Any) -> None:
    assert completion.code(message, names=NAMES) == "def sol():\n    return 1\n"


@pytest.mark.parametrize("message", [None, [], {}, {"content": None}, [{"role": "assistant"}], "", "\n \n", 7, [None]])
def test_what_has_no_text_has_no_code(message: Any) -> None:
    assert completion.text(message).strip() == ""
    assert completion.code(message, names=NAMES) is None
    assert completion.code(message) is None


def test_only_a_prompt_of_the_assistant_is_continued() -> None:
    opened = [{"role": "user", "content": "Write.\n```python\ndef sol():\n"}]
    assert completion.code("    return 1\n", opened, NAMES) == "    return 1\n"
    opened[0]["role"] = "assistant"
    assert completion.code("    return 1\n", opened, NAMES) == "def sol():\n    return 1\n"


PROGRAM = "import sys\nfor line in sys.stdin:\n    print(line)\n"
PROGRAMS = {
    "alone": PROGRAM,
    "before what it prints": f"```python\n{PROGRAM}```\nIt prints:\n```\n1\n2\n```",
    "before how it is started": f"```python\n{PROGRAM}```\n```bash\npython main.py\n```",
    "before a test of one of its parts": f"```python\n{PROGRAM}```\n```python\nassert solve('1') == 1\n```",
    "after a sketch": f"```python\nprint(1)\n```\nBut read all:\n```python\n{PROGRAM}```",
    "in prose": f"The program is\n\n{PROGRAM}\nand that is all.",
}


@pytest.mark.parametrize("text", PROGRAMS.values(), ids=PROGRAMS)
def test_without_names_the_program_is_found(text: str) -> None:
    found = completion.code(text)
    assert found and found.strip() == PROGRAM.strip()


def test_a_program_in_two_blocks_is_joined() -> None:
    text = "```python\ndef twice(n):\n    return 2 * n\n```\nthen\n```python\nprint(twice(int(input())))\n```"
    assert completion.code(text) == "def twice(n):\n    return 2 * n\n\nprint(twice(int(input())))\n"
