"""The machine-written puzzles."""

from __future__ import annotations

from itertools import islice

from selftaught.generator import puzzle
from selftaught.sandbox import Limits, Task, Verifier
from selftaught.trainer.tiny import corpus
from selftaught.trainer.tiny.corpus import Noise


def test_the_same_seed_gives_the_same_documents() -> None:
    assert list(islice(corpus.documents(3), 100)) == list(islice(corpus.documents(3), 100))
    assert list(islice(corpus.documents(3), 100)) != list(islice(corpus.documents(4), 100))


def test_every_document_is_a_puzzle_that_reads_its_argument_and_defines_all_names() -> None:
    for document in islice(corpus.documents(5), 500):
        made = puzzle.parse(document.sat)
        assert made.uses_argument and not made.undefined_names
        assert document.sol.startswith(f"def g({made.parameters}):")


def test_the_right_solutions_are_right_and_most_of_the_noisy_ones_are_not() -> None:
    documents = list(islice(corpus.documents(6), 150))
    limits = Limits(cpu_seconds=0.5, memory_bytes=128 << 20)
    with Verifier(limits=limits, require="restricted") as verifier:
        right = [one.accepted for one in verifier.verify_many(Task("", one.sat, one.right) for one in documents)]
        noisy = [one.accepted for one in verifier.verify_many(Task("", one.sat, one.sol) for one in documents)]
    assert all(right)
    assert 0.02 < sum(noisy) / len(noisy) < 0.25


def test_without_noise_every_solution_is_the_right_one() -> None:
    silent = Noise(correct=1.0, other_puzzle=0.0, extra_operation=0.0)
    assert all(one.sol == one.right for one in islice(corpus.documents(7, silent), 300))
