"""Is a puzzle new? And is it far from what a model will be examined on?"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from selftaught.generator import example
from selftaught.generator.puzzle import canonical

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

_PERMUTATIONS = 128
_SHINGLE = 4
"""Tokens of a canonical form that are compared together."""


class Contaminated(ValueError):
    """A held-out puzzle is where it must not be: in a prompt, or among the seeds."""


class HeldOut:
    """Puzzles kept for examination: never in a prompt, never kept. Matched by canonical form; `similarity` looks further."""

    def __init__(self, sources: Iterable[str] = ()) -> None:
        forms = [canonical(source) for source in sources]
        self._templates = {example.digest(form) for form in forms}
        self._forms = forms
        self._sketches: list[MinHash] | None = None

    def __len__(self) -> int:
        return len(self._templates)

    @property
    def digest(self) -> str:
        """Changes with the set."""
        return example.digest(*sorted(self._templates))

    def contains(self, source: str) -> bool:
        """Whether a puzzle of the same canonical form is held out. Raises NotAPuzzle."""
        return example.template(source) in self._templates

    def check(self, source: str) -> None:
        """Raises Contaminated for a puzzle that is held out."""
        if self.contains(source):
            raise Contaminated(f"a held-out puzzle must not be shown to a model: {source.splitlines()[0]}")

    def similarity(self, form: str) -> float:
        """The largest estimated Jaccard similarity of a canonical form with a held-out one, from 0 to 1."""
        if self._sketches is None:
            self._sketches = [sketch(form) for form in self._forms]
        mine = sketch(form)
        return max((mine.jaccard(other) for other in self._sketches), default=0.0)


class Known:
    """The puzzles met and admitted so far, to tell repetitions and near-duplicates. near: see `Recipe.near`."""

    def __init__(self, near: float) -> None:
        self._near = near
        self._ids: set[str] = set()
        self._templates: Counter[str] = Counter()
        self._clusters: Counter[str] = Counter()
        self._cluster_of: dict[str, str] = {}
        self._sketches: dict[str, MinHash] = {}
        self._index: MinHashLSH | None = None

    def add_seen(self, ident: str) -> bool:
        """Whether exactly this puzzle was met before; from now on it was."""
        before = ident in self._ids
        self._ids.add(ident)
        return before

    def of_template(self, template: str) -> int:
        """How many admitted puzzles have this canonical form."""
        return self._templates[template]

    def in_cluster(self, cluster: str) -> int:
        """How many admitted puzzles are in this cluster."""
        return self._clusters[cluster]

    def cluster(self, template: str, form: str) -> tuple[str, float]:
        """The cluster of a canonical form, with the similarity that put it there: that of the most similar admitted form, if
        it reaches `near`, or else one of its own (named like its template)."""
        if template in self._cluster_of:
            return self._cluster_of[template], 1.0
        if self._index is None:
            return template, 0.0
        mine = sketch(form)
        scored = [(mine.jaccard(self._sketches[other]), other) for other in self._index.query(mine)]
        score, closest = max(scored, default=(0.0, ""))
        return (self._cluster_of[closest], score) if score >= self._near else (template, score)

    def admit(self, template: str, form: str, cluster: str) -> None:
        """Count a puzzle in."""
        self._templates[template] += 1
        self._clusters[cluster] += 1
        if template not in self._cluster_of:
            self._cluster_of[template] = cluster
            if self._index is None:
                from datasketch import MinHashLSH

                self._index = MinHashLSH(threshold=min(max(self._near, 0.1), 0.99), num_perm=_PERMUTATIONS)
            self._sketches[template] = sketch(form)
            self._index.insert(template, self._sketches[template])


def sketch(form: str) -> MinHash:
    """The MinHash of a canonical form's shingles."""
    from datasketch import MinHash

    tokens = re.findall(r"[()\[\]]|[^\s()\[\]]+", form)
    words = [token for token in tokens if token not in "()[]"]
    shingles = {
        " ".join(words[start : start + _SHINGLE]).encode() for start in range(max(1, len(words) - _SHINGLE + 1))
    }
    made = MinHash(_PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
    made.update_batch(sorted(shingles))
    return made
