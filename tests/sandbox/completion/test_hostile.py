"""Whatever a model writes is read: as source, or as nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught.sandbox import completion

PIECES = [
    "<think>", "</think>", "```", "```python\n", "\n", "    ", "def g():\n", "return 1\n", "<|im_end|>", "'",
    '"', '"""',
    "`", "# x", "(", ")", "- ", "> ", "~~~", "x = 1\n", "[THINK]", "<answer>", "{", "}", ":", "@a\n", "\t", "1. ",
    ">>> ",
    "<|channel|>final<|message|>", "\0", "\ud800", "é", "class Solution:\n", "\r\n", "\r", "\f", "\u2028", "analysisA",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60)


@settings(max_examples=600, deadline=None)
@given(TEXTS, TEXTS)
def test_no_text_is_too_much_for_the_reader(text: str, prompt: str) -> None:
    for names in ((), ("g",)):
        found = completion.code(text, prompt, names)
        assert found is None or (found.strip() and isinstance(completion.continued("def g():", found), str))
