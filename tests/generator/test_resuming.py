"""Runs that break: they go on where they were, ask nothing twice, and leave other runs' folders alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from selftaught.generator.folder import Mismatch
from selftaught.sandbox import Verifier
from tests.generator.scripted_run import Counting, Killed, kept, records, run, script


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        yield made


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_run_that_breaks_goes_on_where_it_was_and_asks_nothing_twice(
    tmp_path: Path, verifier: Verifier, after: int
) -> None:
    """after: calls of the model that succeed before the first one that doesn't."""
    whole, calls = Counting(script), Counting(script)
    run(tmp_path / "whole", verifier, model=whole)
    calls.left = after
    with pytest.raises(Killed):
        run(tmp_path / "broken", verifier, model=calls)
    calls.left = 1000
    run(tmp_path / "broken", verifier, model=calls, resume=True)
    assert kept(tmp_path / "broken") == kept(tmp_path / "whole")
    assert records(tmp_path / "broken") == records(tmp_path / "whole")
    answered = [key for key, count in Counter(calls.answered).items() if count > 1]
    assert not answered


def test_what_was_written_after_the_last_wave_is_cut_off(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path / "a", verifier)
    run(tmp_path / "b", verifier)
    with open(tmp_path / "b" / "pairs.jsonl", "a") as file:
        file.write('{"id": "torn')
    run(tmp_path / "b", verifier, resume=True)
    assert kept(tmp_path / "b") == kept(tmp_path / "a")


def test_a_folder_of_another_run_is_left_alone(tmp_path: Path, verifier: Verifier) -> None:
    run(tmp_path, verifier)
    before = (tmp_path / "pairs.jsonl").read_bytes()
    with pytest.raises(Mismatch, match="--resume"):
        run(tmp_path, verifier)
    with pytest.raises(Mismatch, match="seed was 0, is 5"):
        run(tmp_path, verifier, resume=True, seed=5)
    assert (tmp_path / "pairs.jsonl").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(Mismatch, match="is not the folder of a run"):
        run(tmp_path / "other", verifier)


def test_a_folder_with_settings_of_another_version_is_refused_with_their_names(
    tmp_path: Path, verifier: Verifier
) -> None:
    run(tmp_path, verifier)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"chains_per_wave"', '"chains"'))
    with pytest.raises(Mismatch, match=r"another version of selftaught.*: chains\. Continue it with that version"):
        run(tmp_path, verifier, resume=True)
