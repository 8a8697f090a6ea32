"""report.html: a run's report with its pictures, and pairs to read, in one file that needs no other."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt

from selftaught.generator.example import Example
from selftaught.generator.novelty import HeldOut
from selftaught.generator.puzzle import canonical
from selftaught.generator.selection import evenly_spaced

PAIRS = 20
"""Pairs shown of each iteration."""

_PICTURE = re.compile(r'src="([\w-]+\.png)"')
_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; --note: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem; text-align: left; }
img { max-width: 100%; background: white; }
pre { background: var(--soft); padding: .7rem 1rem; overflow-x: auto; border-radius: .4rem; margin: .3rem 0; }
figure { margin: 1.2rem 0; }
figcaption { color: var(--note); font-size: .85rem; }
summary { cursor: pointer; font-size: 1.2rem; font-weight: 600; margin: 1rem 0; }
"""


def write(folder: Path, examples: Sequence[Example], seeds: Sequence[str]) -> None:
    """Write report.html.

    Args:
        folder: The run's folder, with report.md and its pictures.
        examples: All pairs of the run, in the order in which they were kept.
        seeds: Sources of the puzzles that prompts are made of.
    """
    text = (folder / "report.md").read_text(encoding="utf-8")
    report = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    report = _PICTURE.sub(lambda match: f'src="{_inlined(folder / match[1])}"', report)
    title = html.escape(text.partition("\n")[0].lstrip("# "))
    parts = [report, *_firsts(examples), *_pairs(examples, HeldOut(seeds))]
    content = "\n".join(parts)
    (folder / "report.html").write_text(
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>\n'
        f"<body>\n{content}\n</body></html>\n",
        encoding="utf-8",
    )


def _inlined(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def _firsts(examples: Sequence[Example]) -> Iterator[str]:
    """Yield the first pair of each type of answer."""
    first: dict[str, Example] = {}
    for one in examples:
        first.setdefault(one.answer_type, one)
    if first:
        yield "<h2>The first puzzles that were solved, of each type of answer</h2>"
    for kind, one in sorted(first.items()):
        yield _pair(one, f"{kind}, in iteration {one.iteration}")


def _pairs(examples: Sequence[Example], seeds: HeldOut) -> Iterator[str]:
    """Yield some pairs of each iteration, evenly spaced over those that it kept."""
    for number in sorted({one.iteration for one in examples}):
        kept = [one for one in examples if one.iteration == number]
        shown = [kept[place] for place in evenly_spaced(len(kept), PAIRS)]
        alike = [seeds.similarity(canonical(one.puzzle)) for one in shown] if len(seeds) else []
        yield f"<details open><summary>Iteration {number}: {len(shown)} of {len(kept):,} pairs</summary>"
        if alike:
            yield (
                f"<p>Similarity of their canonical forms to the nearest seed (estimated, 0 to 1): median "
                f"{sorted(alike)[len(alike) // 2]:.2f}, least {min(alike):.2f}, most {max(alike):.2f}.</p>"
            )
        near = [f"; similarity to the nearest seed {score:.2f}" for score in alike] or [""] * len(shown)
        for one, note in zip(shown, near, strict=True):
            yield _pair(one, _origin(one) + note)
        yield "</details>"


def _origin(one: Example) -> str:
    """Return how a pair came to be, in words."""
    if one.puzzle_sampling.model:
        puzzle = "written by the model"
    else:
        puzzle = "chained of two solved ones" if len(one.puzzle_sampling.parents) == 2 else "given another target"
    solution = "; its solution was written for another puzzle" if one.borrowed_from else ""
    return f"{puzzle}; {one.passes} of {one.attempts} attempts right{solution}"


def _pair(one: Example, note: str) -> str:
    code = html.escape(f"{one.puzzle}\n\n{one.solution}")
    return f"<figure><pre><code>{code}</code></pre><figcaption>{html.escape(note)}</figcaption></figure>"
