"""A word-level tokenizer of code pieces and characters.

No piece reaches over the end of a prompt (`def f(` or `...):`): sampling starts where reading would have a boundary, too.
"""

from __future__ import annotations

import re

_KEYWORDS = "def f(|\n\ndef g(|):|\n    return |\n\nassert f(g())|x: int|x: str|x: float|x: List[int]|x: List[str]"
_OPERATORS = ", | + | - | * | // | / | ** | % | ^ | << | >> | == | != | > | < | >= | <= | and | or | not | in | for i in | if | else "
_CALLS = (
    "len(|str(|int(|sum(|max(|min(|set(|abs(|sorted(|list(|range(|chr(|ord(|hex(|bin(|.join(|.split(|.count(|.upper()|.lower()|"
    ".swapcase()|.startswith(|.endswith(|[::-1]|[1:]|[:-1]|[:-|[0]|[-1]|''"
)
_ASSIGNED = "abcdnmkstuwlpqrvz"
SPECIAL = ("<|pad|>", "<|end|>", "<|unknown|>")
PAD, END, UNKNOWN = range(3)
PIECES = (
    *_KEYWORDS.split("|"),
    *(piece for piece in _OPERATORS.split("|")),
    *_CALLS.split("|"),
    *(f", {name}=" for name in _ASSIGNED),
    *(f"{name}=" for name in _ASSIGNED),
)
_CHARACTERS = ("\n", *map(chr, range(32, 127)))
VOCABULARY = {piece: number for number, piece in enumerate((*SPECIAL, *PIECES, *_CHARACTERS))}
PATTERN = "|".join(re.escape(piece) for piece in sorted(PIECES, key=len, reverse=True)) + r"|[\s\S]"
_PIECES = re.compile(PATTERN)
_TEXT = [*SPECIAL, *PIECES, *_CHARACTERS]


def encode(text: str) -> list[int]:
    """Ids of the text's pieces; a character outside the vocabulary is `UNKNOWN`."""
    return [VOCABULARY.get(piece, UNKNOWN) for piece in _PIECES.findall(text)]


def decode(ids: list[int]) -> str:
    """The text of the ids, special tokens left out."""
    return "".join(_TEXT[number] for number in ids if number >= len(SPECIAL))
