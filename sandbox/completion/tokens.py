"""The answer in a text: what is neither reasoning nor a special token, nor comes after an end of text."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from selftaught.sandbox.completion import markdown, source
from selftaught.sandbox.completion.markdown import Block

_NAMES = "think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis|seed:think"
_WRAPPERS = (
    r"</?(?:answer|solution|response|pre|code|python)>|<\|(?:begin|end)_of_(?:solution|box)\|>"
    r"|<\|(?:START|END)_RESPONSE\|>"
)
_BAR = "\uff5c"  # DeepSeek's tokens have a wide vertical line
_TOKENS = (
    rf"<\|\w[\w▁.-]{{0,60}}\|>|<{_BAR}[\w▁]{{1,60}}{_BAR}>|<\|?\w{{0,40}}▁[\w▁]{{1,60}}\|?>"
    r"|</s>|<eos>|<pad>|<EOT>|<(?:end|start)_of_turn>|(?-i:\[/?INST\])|<seed:[be]os>|\[\|\w{1,30}\|\]|<file_sep>"
)
_TAG = re.compile(
    rf"(?P<open><(?:{_NAMES})(?:\s[^<>\n]{{0,99}})?>|(?-i:\[THINK\])|<\|begin_of_thought\|>|<\|START_THINKING\|>"
    r"|◁think▷|<\|inner_prefix\|>|<\|channel>thought)"
    rf"|(?P<close></(?:{_NAMES})>|(?-i:\[/THINK\])|<\|end_of_thought\|>|<\|END_THINKING\|>"
    r"|◁/think▷|<\|inner_suffix\|>|<channel\|>)"
    rf"|(?P<wrapper>{_WRAPPERS})"
    rf"|(?P<end>{_TOKENS})",
    re.I,
)
"""Whatever is no part of an answer; `end` are special tokens, after which an answer does not go on."""

_ROLE = r"(?:(?:assistant|model)(?=[\s<]))?"
_START = re.compile(
    rf"(?!{_WRAPPERS}|<\|(?:begin_of_thought|START_THINKING|inner_prefix)\|>)(?:{_TOKENS}|<s>|<bos>)", re.I
)
_HEADER = re.compile(rf"\s*{_START.pattern}{_ROLE}", re.I)
_OPENED = re.compile(rf"(?:<(?:{_NAMES})>|(?-i:\[THINK\])|<\|\w+\|>|◁think▷|<\|channel>thought)\s*\Z", re.I)

_LINE_END = re.compile(r"\r\n?")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<\n]{0,200}(?:<\|\w+\|>[^<\n]{0,99})?<\|message\|>")
_CHANNEL_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_CHANNELS = re.compile(r"\Aanalysis(?=[A-Z\"'(*`])")
_BARE_FINAL = re.compile(r"assistantfinal")


def answer(text: str, prompt: str = "") -> str:
    """Return the answer in a text that continues a prompt (see `selftaught.sandbox.completion.answer`)."""
    text = _LINE_END.sub("\n", text).lstrip("\ufeff\u200b")
    channels = _final_channel(text, prompt)
    if channels is not None:
        text = channels.lstrip("\n")
    text = _without_start(text)
    found = list(_TAG.finditer(text))
    reasoning = bool(opened(prompt))
    if not found:
        return "" if reasoning else text
    if not reasoning and source.Source(text).is_code:
        return text  # they stand in strings and comments
    text, tags = _until_end(text, _real(text, found))
    return _without_reasoning(text, tags, reasoning)


def turn(prompt: str) -> str:
    """Return what a prompt has after its last special token and the role that follows: where an answer begins."""
    last = _last(_START, prompt)
    if not last:
        return prompt
    return re.sub(r"\A(?:assistant|model)(?=\s|\Z)\n?", "", prompt[last.end() :])


def opened(prompt: str) -> str:
    """Return the tag of reasoning that a prompt ends with; empty if it ends with none."""
    before = turn(prompt)
    found = _OPENED.search(before)
    return found[0] if found and _reasons(before) else ""


def open_fence(prompt: str) -> str:
    """Return the fence that a prompt leaves open, with what stands in it; empty if it leaves none open."""
    tail = _LINE_END.sub("\n", turn(prompt))
    if "```" not in tail and "~~~" not in tail:
        return ""
    found = [block for block in markdown.blocks(tail) if block.fenced]
    if not found or found[-1].closed:
        return ""
    return "\n".join(tail.split("\n")[found[-1].first :])


def _reasons(before: str) -> bool:
    """Return True if the last tag of a prompt opens reasoning."""
    last = _last(_TAG, before)
    return last is not None and last.lastgroup == "open"


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return max(pattern.finditer(text), key=lambda found: found.start(), default=None)


def _final_channel(text: str, prompt: str) -> str | None:
    """Return the final channel of gpt-oss, empty if the text ends before it; None for a text without channels."""
    opened = re.search(r"<\|channel\|>[^<]{0,200}<\|message\|>[^<]*\Z", prompt[-2000:])
    head = _HEADER.match(text)
    if not opened and not (head and "<|channel|>" in text[: head.end() + 60]):
        if not _BARE_CHANNELS.match(text):  # special tokens were left out: analysis...assistantfinal...
            return None
        finals = list(_BARE_FINAL.finditer(text))
        return text[finals[-1].end() :] if finals else ""
    text = (opened[0] if opened else "") + text
    finals = [one for one in _CHANNEL.finditer(text) if one[1] == "final"]
    if not finals:
        return ""
    end = _CHANNEL_END.search(text, finals[-1].end())
    return text[finals[-1].end() : end.start() if end else len(text)]


def _without_start(text: str) -> str:
    """Return the text without padding, a beginning of text and a role before it."""
    place = 0
    while head := _HEADER.match(text, place):
        place = head.end()
    return text[place:].lstrip("\n") if place else text


@dataclass(frozen=True, slots=True)
class _Mark:
    """A tag or special token that is no text of the answer.

    Attributes:
        kind: ``open``, ``close``, ``wrapper`` or ``end``.
        start: Where it begins.
        end: Where it ends.
        block: The block that it stands in; None outside of blocks.
    """

    kind: str
    start: int
    end: int
    block: Block | None


def _real(text: str, found: list[re.Match[str]]) -> list[_Mark]:
    """Return those that stand neither between quotes nor in a block of Python."""
    has_blocks = "```" in text or "~~~" in text
    fences = [block for block in markdown.blocks(text) if block.fenced] if has_blocks else []
    lines, starts = markdown.offsets(text), [block.first for block in fences]
    python: dict[int, bool] = {}
    quotes, marks = _Quotes(text), []
    for one in found:
        line = bisect_right(lines, one.start()) - 1
        number = bisect_right(starts, line) - 1
        block = fences[number] if number >= 0 and line < fences[number].end else None
        if block:
            if number not in python:
                python[number] = source.parse(block.content) is not None
            if python[number] and block.first < line < block.end - block.closed:
                continue
        if not quotes.around(one.start(), one.end()):
            marks.append(_Mark(one.lastgroup or "", one.start(), one.end(), block))
    return marks


_MARKS = {'"': re.compile('"'), "`": re.compile("(?<!`)`{1,2}(?!`)"), "'": re.compile("'")}
"""What quotes on one line; three backticks are a fence, wherever they stand."""


class _Quotes:
    """Tells what stands between quotes on its line. Asked about places in ascending order, it reads the text once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place, self._line_end = 0, -1
        self._odd = {'"': False, "`": False}
        self._last = -1  # of single quotes on this line
        self._next: dict[str, int] = {}

    def around(self, start: int, end: int) -> bool:
        """Return True if quotes of one kind open before `start` and close after `end`, on the same line."""
        text = self._text
        if start > self._line_end:
            self._place = text.rfind("\n", self._place, start) + 1 or self._place
            self._line_end = text.find("\n", start)
            self._line_end = len(text) if self._line_end < 0 else self._line_end
            self._odd, self._last = dict.fromkeys(self._odd, False), -1
        for quote in self._odd:
            self._odd[quote] ^= sum(1 for _ in _MARKS[quote].finditer(text, self._place, start)) % 2 == 1
        last = text.rfind("'", self._place, start)
        self._last = last if last >= 0 else self._last
        self._place = start
        if any(odd and self._after(quote, end) for quote, odd in self._odd.items()):
            return True
        return self._last >= 0 and self._opens(self._last) and self._after("'", end)

    def _after(self, quote: str, end: int) -> bool:
        """Return True if the quote is on the rest of the line."""
        found = self._next.get(quote, -1)
        if found < end:
            next_one = _MARKS[quote].search(self._text, end)
            self._next[quote] = found = next_one.start() if next_one else len(self._text)
        return found < self._line_end

    def _opens(self, place: int) -> bool:
        """Return True if a single quote begins a string, and is no apostrophe."""
        before = self._text[max(place - 3, 0) : place]
        return re.search(r"(?:\A|[^\w'\\])[rbfuRBFU]{0,2}\Z", before) is not None


def _until_end(text: str, marks: list[_Mark]) -> tuple[str, list[_Mark]]:
    """Return the text up to the first end of text, and the tags before it."""
    for number, mark in enumerate(marks):
        if mark.kind == "end":
            return text[: mark.start], marks[:number]
    return text, marks


def _without_reasoning(text: str, tags: list[_Mark], reasoning: bool) -> str:
    """Return the text without what stands between tags, and without the tags.

    Args:
        text: The text.
        tags: Its tags.
        reasoning: The text begins in reasoning.
    """
    kept: list[str] = []
    place = 0
    starts = markdown.offsets(text)
    shown: Block | None = None  # a block that shows how reasoning is tagged
    for tag in tags:
        inside = tag.block is not None and tag.block.closed and starts[tag.block.first] >= place
        if reasoning:
            if tag.kind == "close":
                reasoning, place = False, tag.end
        elif inside and tag.kind != "close":
            shown = tag.block
        elif tag.kind == "close" and inside and tag.block is shown:
            pass
        elif tag.kind == "close":  # the prompt had opened it, or it was opened twice
            kept, place = [], tag.end
        else:
            kept.append(text[place : tag.start])
            reasoning, place = tag.kind == "open", tag.end
            kept += ["\n"] * reasoning  # what follows is no part of the same line
    if not reasoning:
        kept.append(text[place:])
    found = "".join(kept)
    return found.lstrip("\n") if tags else found
