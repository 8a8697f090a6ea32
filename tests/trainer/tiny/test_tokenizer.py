"""The tiny model's tokenizer."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.generator import prompts, puzzle
from selftaught.trainer.tiny import corpus, tokenizer


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_printable_text_comes_back_as_it_was(text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_character_outside_the_vocabulary_is_unknown_and_nothing_else_changes() -> None:
    ids = tokenizer.encode("aéb")
    assert ids[1] == tokenizer.UNKNOWN and tokenizer.decode(ids) == "ab"


def test_no_token_reaches_over_the_end_of_a_prompt() -> None:
    for document in islice(corpus.documents(1), 200):
        whole = tokenizer.encode(document.text)
        made = prompts.for_solution(puzzle.parse(document.sat), prompts.BARE)
        for prompt in ("def f(", made.text):
            assert document.text.startswith(prompt)
            ids = tokenizer.encode(prompt)
            assert whole[: len(ids)] == ids


def test_transformers_makes_the_same_tokens_of_the_saved_tokenizer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer.save(tmp_path)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for document in islice(corpus.documents(2), 50):
        ids = loaded(document.text).input_ids
        assert ids == [tokenizer.END, *tokenizer.encode(document.text)]
        assert loaded.decode(ids, skip_special_tokens=True) == document.text
