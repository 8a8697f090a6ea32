"""Deduplication, near-duplicates by MinHash, and the held-out set."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from selftaught.generator import example
from selftaught.generator.contamination import HeldOutProblems
from selftaught.generator.index import Index
from selftaught.generator.puzzle import canonical

if TYPE_CHECKING:
    from datasketch import MinHash

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
        self._sketches: Any = None

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
        others = [other.similarity(form) for other in self._others]
        if not self._forms:
            return max(others, default=0.0)
        if self._sketches is None:
            import numpy

            self._sketches = numpy.stack([sketch(one).hashvalues for one in self._forms])
        own = float((self._sketches == sketch(form).hashvalues).mean(axis=1).max())
        return max([own, *others])


class Known:
    """The puzzles written and admitted so far, with their clusters of near-duplicates.

    Args:
        near: See `selftaught.generator.recipe.Recipe.cluster_similarity` (None: there are no clusters).
        index: Where they are kept.
        kind: Which puzzles of the index these are.
    """

    def __init__(self, near: float | None, index: Index | None = None, kind: str = "written") -> None:
        self._near, self._index, self._kind = near, index or Index(), kind

    def add_seen(self, ident: str, wave: int = 0) -> bool:
        """Add the id of a puzzle that was written in a wave; return True if it was seen before."""
        return self._index.add_seen(self._kind, ident, wave)

    def of_template(self, template: str) -> int:
        """Return the number of admitted puzzles with this canonical form."""
        return self._index.count(self._kind, template=template)

    def in_cluster(self, cluster: str) -> int:
        """Return the number of admitted puzzles in this cluster."""
        return self._index.count(self._kind, cluster=cluster)

    def cluster(self, template: str, form: str) -> tuple[str, float]:
        """Return the cluster of a canonical form and the similarity that put it there.

        It is the cluster of the most similar admitted form if their similarity reaches the threshold, else a new one
        named like the template.
        """
        known = self._index.cluster_of(self._kind, template)
        if known is not None or self._near is None:
            return known or template, 1.0 if known else 0.0
        mine = sketch(form)
        scored = [
            (_similarity(mine, values), other, cluster)
            for other, cluster, values in self._index.similar(self._bands(mine))
        ]
        score, _, cluster = max(scored, default=(0.0, "", ""))
        return (cluster, score) if score and score >= self._near else (template, score)

    def admit(self, template: str, form: str, cluster: str, wave: int = 0) -> None:
        """Add an admitted puzzle of a wave."""
        if self._near is None or self._index.cluster_of(self._kind, template) is not None:
            self._index.admit(self._kind, template, cluster, wave, None, ())
        else:
            mine = sketch(form)
            self._index.admit(self._kind, template, cluster, wave, _packed(mine), self._bands(mine))

    def _bands(self, mine: MinHash) -> list[int]:
        """Return the keys under which similar sketches are looked for: one of them is the same for most pairs that
        reach the threshold."""
        assert self._near is not None
        bands, rows = _shape(min(max(self._near, 0.1), 0.99))
        parts = (mine.hashvalues[start : start + rows].tobytes() for start in range(0, bands * rows, rows))
        keys = (f"{self._kind} {band} ".encode() + part for band, part in enumerate(parts))
        return [int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big", signed=True) for key in keys]


@cache
def _shape(threshold: float) -> tuple[int, int]:
    """Return how many bands of how many hash values suit a threshold."""
    from datasketch import MinHashLSH

    made = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
    return made.b, made.r


def _packed(mine: MinHash) -> bytes:
    packed: bytes = mine.hashvalues.astype("<u4").tobytes()
    return packed


def _similarity(mine: MinHash, packed: bytes) -> float:
    import numpy

    return float((mine.hashvalues == numpy.frombuffer(packed, "<u4")).mean())


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
