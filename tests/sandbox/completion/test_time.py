"""Reading takes time linear in the text, whatever the text is."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest

from selftaught.sandbox import completion

CODE = "def g(a=17, b=42):\n    return b - a\n"
SMALL, FACTOR, NOISE = 20_000, 4, 2.2
PIECES = {
    "end tokens": "<|im_end|>", "opening tags": "<think>", "closing tags": "</think>", "pairs": "<think></think>\n",
    "backticks": "`", "fences": "```\n", "blocks": f"```python\n{CODE}```\n", "tildes": "~~~ a\n",
    "fences in docstrings": '```python\ndef g():\n    """\n```\nx\n', "quoted fences": "> ```\n> x\n\n",
    "brackets": "[(",
    "list items": "- a\n", "quotes in quotes": "> ", "angle brackets": "<", "half tokens": "<|a", "definitions": CODE,
    "prose": "This is = x (y\n", "assignments": "x = 1\n", "triple quotes": 'x = """\n', "comments": "#\n",
    "spaces": " ", "blank lines": "\n", "indented lines": "    x = 1\n\n", "decorators": "@a\n", "padding": "<pad>",
    "sessions": ">>> x = 1\n", "letters": "a", "channels": "<|channel|>final<|message|>a<|end|>", "braces": "{",
    "calls": "a(", "long tags": "\n<think " + " " * 90, "mentions": "'</s>' \"<think>\" `</think>` ", "ifs": "if x:\n",
    "elses": "else:\n",
}  # fmt: skip
WHOLE: dict[str, Callable[[int], str]] = {
    **{name: lambda size, piece=piece: piece * (size // len(piece)) for name, piece in PIECES.items()},
    "end tokens after code": lambda size: CODE + "<|im_end|>" * (size // 10),
    "one string of end tokens": lambda size: '"' + "</s>" * (size // 4) + '"',
    "one string of them in single quotes": lambda size: "'" + "</s>" * (size // 4) + "'",
    "brackets in a function": lambda size: "def g():\n    return " + "(" * size,
    "backslashes": lambda size: "x = '" + "\\" * size,
    "helpers of helpers": lambda size: "".join(
        f"```python\ndef f{n}(): return f{n + 1}()\n```\n" for n in range(size // 46)
    ),
    "longer and longer fences": lambda size: "".join("`" * n + "\n" for n in range(3, int((2 * size) ** 0.5))),
}


@pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)
def test_a_text_four_times_as_long_takes_about_four_times_as_long(make: Callable[[int], str]) -> None:
    """Quadratic time would be 16 times as long. A ratio of 8.8 is allowed, best of two, above the clock's noise.

    Garbage is not collected meanwhile: that takes time by what the whole process has, at each so many new objects.
    """

    def seconds(size: int) -> float:
        text, best = make(size), float("inf")
        gc.collect()
        gc.disable()
        try:
            for _ in range(2):
                started = time.process_time()
                completion.code(text, names=("g",))
                completion.code(text)
                best = min(best, time.process_time() - started)
        finally:
            gc.enable()
        return best

    assert seconds(SMALL * FACTOR) < FACTOR * NOISE * max(seconds(SMALL), 0.01)
