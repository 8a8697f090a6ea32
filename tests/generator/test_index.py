"""The index of what a run has written and kept: it survives a kill, and follows from the run's other files."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import datasketch  # noqa: F401  # it changes the filters of warnings when it is first imported
import pytest

from selftaught.generator.index import Index
from selftaught.generator.novelty import Known, sketch
from selftaught.sandbox import Verifier
from selftaught.sandbox.output import SymbolicLink
from tests.generator.scripted_run import kept, records, run

WORDS = [f"w{number}" for number in range(40)]


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        yield made


def test_what_waves_that_were_not_complete_added_is_gone_when_it_is_opened_again(tmp_path: Path) -> None:
    index = Index(tmp_path / "index", 0)
    known = Known(0.85, index)
    for wave in (0, 1, 2):
        assert not known.add_seen(f"seen {wave}", wave)
        known.admit(f"template {wave}", " ".join(WORDS[wave * 9 :]), f"cluster {wave}", wave)
        assert not index.add_pair(f"pair {wave}", wave)
        index.commit(wave + 1)
    index.close()
    index = Index(tmp_path / "index", 2)
    known = Known(0.85, index)
    assert not index.is_new
    assert [known.add_seen(f"seen {wave}", 2) for wave in (0, 1, 2)] == [True, True, False]
    assert [known.of_template(f"template {wave}") for wave in (0, 1, 2)] == [1, 1, 0]
    assert [index.add_pair(f"pair {wave}", 2) for wave in (0, 1, 2)] == [True, True, False]
    assert known.cluster("near", " ".join(WORDS[18:]))[0] == "near"  # nothing finds the one that was removed
    assert known.cluster("near", " ".join(WORDS[9:]))[0] == "cluster 1"
    index.close()


def test_what_was_not_committed_is_lost_and_nothing_else(tmp_path: Path) -> None:
    index = Index(tmp_path / "index", 0)
    index.add_seen("written", "a", 0)
    index.commit(1)
    index.add_seen("written", "b", 1)
    index.close()
    index = Index(tmp_path / "index", 1)
    assert index.add_seen("written", "a", 1)
    assert not index.add_seen("written", "b", 1)
    index.close()


@pytest.mark.parametrize("harm", ["missing", "damaged", "behind", "of another version"])
def test_an_index_that_is_no_good_is_made_anew_from_the_runs_files(
    tmp_path: Path, verifier: Verifier, harm: str
) -> None:
    run(tmp_path / "whole", verifier)
    run(tmp_path / "run", verifier, puzzles=32)
    path = tmp_path / "run" / "index.sqlite"
    if harm == "damaged":
        path.write_bytes(b"no database" * 1000)
    else:
        path.unlink()
    if harm == "behind":
        Index(path, 0).close()
    if harm == "of another version":
        index = Index(path, 2)
        index._database.execute("PRAGMA user_version = 99")
        index.commit(2)
        index.close()
    run(tmp_path / "run", verifier, resume=True)
    assert kept(tmp_path / "run") == kept(tmp_path / "whole")
    assert records(tmp_path / "run") == records(tmp_path / "whole")


def test_an_index_is_not_opened_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "index").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SymbolicLink):
        Index(tmp_path / "index", 0)


def test_an_index_that_cant_be_opened_is_an_error_that_names_it_and_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    with pytest.raises(OSError, match="index: the index can't be opened: unable to open"):
        Index(tmp_path / "index", 3)
    in_use = Index(tmp_path / "other", 0)
    in_use.commit(1)
    in_use.add_seen("written", "a", 1)
    with pytest.raises(OSError, match="database is locked"):
        Index(tmp_path / "other", 1)
    in_use.commit(2)
    in_use.close()
    again = Index(tmp_path / "other", 2)
    assert not again.is_new and again.add_seen("written", "a", 2)
    again.close()


def test_the_closest_of_many_admitted_puzzles_gives_the_cluster() -> None:
    rng, known, forms = random.Random(1), Known(0.5), {}
    for number in range(200):
        forms[f"t{number}"] = " ".join(rng.choices(WORDS, k=30))
        known.admit(f"t{number}", forms[f"t{number}"], f"c{number}")
    for number in (3, 77, 150):
        words = forms[f"t{number}"].split()
        near = " ".join([*words[:28], "new", "words"])
        cluster, score = known.cluster("near", near)
        assert cluster == f"c{number}"
        assert score == sketch(near).jaccard(sketch(forms[f"t{number}"])) >= 0.5


def test_kinds_do_not_meet(tmp_path: Path) -> None:
    index = Index()
    written, derived = Known(0.5, index, "written"), Known(0.5, index, "derived")
    form = " ".join(WORDS)
    written.add_seen("a")
    written.admit("t", form, "c")
    assert not derived.add_seen("a")
    assert derived.of_template("t") == derived.in_cluster("c") == 0
    assert derived.cluster("t2", form)[0] == "t2"
    index.close()
