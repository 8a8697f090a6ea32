"""verl's own client for SandboxFusion against a daemon with a small queue: no score is lost to load.

`python -m tests.benchmarks.verl_scores` does the same with a thousand programs.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.server import verl_client

CASES = 40
PROGRAMS = 25
"""So many programs have a thousand runs."""


@pytest.fixture(scope="module")
def compute_score(tmp_path_factory: pytest.TempPathFactory) -> Any:
    try:
        return verl_client.load(tmp_path_factory.mktemp("peers"))
    except verl_client.NotInstalled as error:
        pytest.skip(str(error))


def test_every_score_is_right_though_the_queue_is_small(start: Any, compute_score: Any) -> None:
    daemon = start("--workers", "2", "--queue", "4")
    found = list(verl_client.scores(daemon, compute_score, PROGRAMS, side_by_side=8, cases=CASES))
    assert [score.given for score in found] == [score.right for score in found], found


def test_endless_loops_of_others_cost_no_score(start: Any, compute_score: Any) -> None:
    daemon = start("--workers", "2", "--queue", "4")
    with verl_client.endless_loops(daemon, 14):
        found = list(verl_client.scores(daemon, compute_score, 5, side_by_side=5, cases=CASES))
    assert [score.given for score in found] == [score.right for score in found], found
