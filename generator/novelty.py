"""Deduplication, near-duplicates by MinHash, and the held-out set."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from selftaught.generator import example
from selftaught.generator.contamination import HeldOutProblems
from selftaught.generator.puzzle import canonical

if TYPE_CHECKING:
    from datasketch import MinHash, MinHashLSH

_PERMUTATIONS = 128
_SHINGLE = 4
"""Number of consecutive tokens of a canonical form in one shingle."""


class Contaminated(ValueError):
    """A held-out puzzle is in a prompt or among the seeds."""


class HeldOut:
    """Puzzles and problems for evaluation only: never in a prompt, never kept.

    Puzzles are matched by canonical form, problems of benchmarks by their solutions and words.

    Args:
        sources: The puzzles' sources.
        others: Sets with rules of their own that are held out too.
        problems: Problems of benchmarks.
    """

    def __init__(
        self, sources: Iterable[str] = (), others: Iterable[HeldOut] = (), problems: HeldOutProblems | None = None
    ) -> None:
        forms = [canonical(source) for source in sources]
        self._templates = {example.digest(form) for form in forms}
        self._forms = forms
        self._others = list(others)
        self._problems = problems or HeldOutProblems()
        self._sketches: list[MinHash] | None = None

    def __len__(self) -> int:
        return len(self._templates) + len(self._problems) + sum(map(len, self._others))

    @property
    def digest(self) -> str:
        """Digest of the set."""
        further = [*(other.digest for other in self._others), *self._problems.digests]
        return example.digest(*sorted(self._templates), *further)

    def reason(self, source: str) -> str:
        """Return why a puzzle must not be kept; empty if it may be. Raises NotAPuzzle."""
        if example.template(source) in self._templates:
            return "its canonical form is held out"
        found = (other.reason(source) for other in self._others)
        return next(filter(None, found), "") or self._problems.reason(source)

    def reason_of_solution(self, solution: str) -> str:
        """Return why a solution must not be kept: it has that of a held-out problem; empty if it may be. Raises
        NotAPuzzle."""
        return self._problems.reason(solution)

    def contains(self, source: str) -> bool:
        """Return True if a puzzle is held out. Raises NotAPuzzle."""
        return bool(self.reason(source))

    def check(self, source: str) -> None:
        """Raise Contaminated if a puzzle is held out."""
        if reason := self.reason(source):
            raise Contaminated(f"a held-out puzzle must not be shown to a model ({reason}): {source.splitlines()[0]}")

    def similarity(self, form: str) -> float:
        """Return the largest estimated Jaccard similarity of a canonical form to a held-out one, from 0 to 1."""
        if self._sketches is None:
            self._sketches = [sketch(form) for form in self._forms]
        mine = sketch(form)
        own = max((mine.jaccard(other) for other in self._sketches), default=0.0)
        return max([own, *(other.similarity(form) for other in self._others)])


class Known:
    """The puzzles written and admitted so far, with their clusters of near-duplicates.

    Args:
        near: See `selftaught.generator.recipe.Recipe.cluster_similarity`.
    """

    def __init__(self, near: float) -> None:
        self._near = near
        self._ids: set[str] = set()
        self._templates: Counter[str] = Counter()
        self._clusters: Counter[str] = Counter()
        self._cluster_of: dict[str, str] = {}
        self._sketches: dict[str, MinHash] = {}
        self._index: MinHashLSH | None = None

    def add_seen(self, ident: str) -> bool:
        """Add the id of a puzzle that was written; return True if it was seen before."""
        before = ident in self._ids
        self._ids.add(ident)
        return before

    def of_template(self, template: str) -> int:
        """Return the number of admitted puzzles with this canonical form."""
        return self._templates[template]

    def in_cluster(self, cluster: str) -> int:
        """Return the number of admitted puzzles in this cluster."""
        return self._clusters[cluster]

    def cluster(self, template: str, form: str) -> tuple[str, float]:
        """Return the cluster of a canonical form and the similarity that put it there.

        It is the cluster of the most similar admitted form if their similarity reaches the threshold, else a new one
        named like the template.
        """
        if template in self._cluster_of:
            return self._cluster_of[template], 1.0
        if self._index is None:
            return template, 0.0
        mine = sketch(form)
        scored = [(mine.jaccard(self._sketches[other]), other) for other in self._index.query(mine)]
        score, closest = max(scored, default=(0.0, ""))
        return (self._cluster_of[closest], score) if score >= self._near else (template, score)

    def admit(self, template: str, form: str, cluster: str) -> None:
        """Add an admitted puzzle to the counts."""
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
    """Return the MinHash of a canonical form's shingles."""
    from datasketch import MinHash

    tokens = re.findall(r"[()\[\]]|[^\s()\[\]]+", form)
    words = [token for token in tokens if token not in "()[]"]
    shingles = {
        " ".join(words[start : start + _SHINGLE]).encode() for start in range(max(1, len(words) - _SHINGLE + 1))
    }
    made = MinHash(_PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
    made.update_batch(sorted(shingles))
    return made
