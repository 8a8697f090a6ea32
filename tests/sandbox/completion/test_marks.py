"""Reasoning and special tokens are no part of an answer, unless code or quotes have them."""

from __future__ import annotations

import pytest

from selftaught.sandbox import completion

RIGHT, WRONG = "def g():\n    return 1\n", "def g():\n    return 2\n"
BLOCK, DRAFT = f"```python\n{RIGHT}```\n", f"```python\n{WRONG}```\n"
TAGS = [
    ("<think>", "</think>"), ("<THINK>", "</THINK>"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"), ("<reflection>", "</reflection>"), ("<scratchpad>", "</scratchpad>"),
    ("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>"), ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]  # fmt: skip
ENDS = [
    "<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>", "</s>", "<eos>",
    "<end_of_turn>", "<\uff5cend▁of▁sentence\uff5c>", "<|end▁of▁sentence|>", "<|return|>", "<pad>", "<EOT>",
    "<|END_OF_TURN_TOKEN|>", "<|user|>", "<|observation|>", "[/INST]", "<seed:eos>", "[|endofturn|]", "<file_sep>",
]  # fmt: skip


def read(text: str, prompt: str = "") -> str | None:
    return completion.code(text, prompt, ("g",))


@pytest.mark.parametrize(("opening", "closing"), TAGS, ids=[opening for opening, _ in TAGS])
def test_what_stands_in_reasoning_is_no_answer(opening: str, closing: str) -> None:
    assert read(f"{opening}\n{DRAFT}{closing}\n{BLOCK}") == RIGHT
    assert read(f"{opening}\n{WRONG}{closing}\n{RIGHT}") == RIGHT
    assert read(f"{opening}\n{BLOCK}") is None, "it never ended"
    assert completion.answer(f"{opening}\n{BLOCK}") == ""


@pytest.mark.parametrize(("opening", "closing"), TAGS[:-1], ids=[opening for opening, _ in TAGS[:-1]])
def test_a_prompt_may_have_opened_the_reasoning(opening: str, closing: str) -> None:
    assert read(f"{DRAFT}{closing}\n{BLOCK}") == RIGHT, "it isn't known, but the end shows it"
    prompt = f"<|im_start|>assistant\n{opening}\n"
    assert read(f"{DRAFT}{closing}\n{BLOCK}", prompt) == RIGHT
    assert read(BLOCK, prompt) is None
    assert read(BLOCK, prompt + closing + "\n\n") == RIGHT


SURVIVING = {
    "in a string": 'def g():\n    return "<think>" + "</think>"\n',
    "in a string in single quotes": "def g():\n    print('<think>it</think>')\n    return f'</s>'\n",
    "in a string of several lines": 'def g():\n    return """\n<think>\nx\n</think>\n<|im_end|>\n"""\n',
    "in a comment": "def g():\n    # ends at <|endoftext|> or </think>\n    return 1\n",
    "as an end token in a table": 'ENDS = ["<|endoftext|>", "</s>", "<eos>"]\n\ndef g():\n    return ENDS\n',
    "as an index": "def g(d={1: 2}, inst=1, think=1):\n    return d[inst] + d[think]\n",
}


@pytest.mark.parametrize("code", SURVIVING.values(), ids=SURVIVING)
def test_code_that_has_the_tags_survives(code: str) -> None:
    assert read(f"```python\n{code}```\nIt shows `<think>` and `</s>`.") == code
    assert read(f"<think>\n{DRAFT}</think>\n\n```python\n{code}```") == code
    found = read(code)
    assert found and found.rstrip() == code.rstrip()


def test_a_block_that_shows_the_tags_ends_nothing() -> None:
    assert read(f"{BLOCK}Formats look so:\n```xml\n<think>\nx\n</think>\n```\n") == RIGHT


def test_a_mention_in_a_thought_does_not_end_it() -> None:
    assert read(f'<think>I end with `</think>`, or "</think>".\n{DRAFT}</think>\n{BLOCK}') == RIGHT


def test_an_apostrophe_quotes_nothing() -> None:
    assert read(f"<think>I don't see</think>It's this:\n{BLOCK}") == RIGHT


@pytest.mark.parametrize("text", [f"{BLOCK}<think>Was it right", f"<think>a</think>{BLOCK}<think>b</think>\nDone."])
def test_what_came_before_a_later_thought_is_an_answer(text: str) -> None:
    assert read(text.replace("</think>```", "</think>\n```")) == RIGHT


@pytest.mark.parametrize("end", ENDS)
def test_an_answer_ends_at_the_first_end_of_text(end: str) -> None:
    for body in ("    return 1", RIGHT.rstrip(), f"```python\n{RIGHT.rstrip()}"):
        found = read(f"{body}{end}\n\nHuman: next\n{DRAFT}")
        assert found and found.rstrip() == body.removeprefix("```python\n")
    assert read(BLOCK.rstrip() + end * 3) == RIGHT
    assert completion.answer(f"yes{end}no") == "yes"


STARTS = [
    "<s>", "<bos>", "<|begin_of_text|>", "<pad><pad><s>", "<|im_start|>assistant\n", "<start_of_turn>model\n",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
]  # fmt: skip


@pytest.mark.parametrize("start", STARTS)
def test_padding_and_a_role_before_the_answer_are_left_out(start: str) -> None:
    assert completion.answer(f"{start}    return 1") == "    return 1"
    assert read(f"{start}{BLOCK}</s><pad>") == RIGHT
