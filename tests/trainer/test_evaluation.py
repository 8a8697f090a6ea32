"""Evaluation with a model that recites, and the real verifier."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import prompts, puzzle
from selftaught.generator.calls import Calls
from selftaught.sandbox import Limits, Verifier
from selftaught.sandbox.passk import Score
from selftaught.trainer import evaluation, problems
from selftaught.trainer.evaluation import Problem, Result, VerdictCache

SAT = "def f(x: int, a=417, b=1342):\n    return x + a == b"
WORD = "def f(s: str, t='melon'):\n    return s == t * 3"


class Reciter:
    """Gives each prompt the same answers, in turn; the hotter, the more of the later ones."""

    name, digest, context = "reciter", "0", 4096

    def __init__(self, *answers: str) -> None:
        self.answers = answers

    def tokens(self, text: str) -> int:
        return len(text)

    def complete(self, prompts: Sequence[str], *, samples: int, **_: object) -> Iterator[tuple[int, list[str]]]:
        for number in reversed(range(len(prompts))):
            yield number, [self.answers[sample % len(self.answers)] for sample in range(samples)]


def attempt(
    model: Reciter, verifier: Verifier, attempts: int, *sources: str, cache: VerdictCache | None = None
) -> list[Result]:
    asked = [Problem(f"p{number}", puzzle.parse(source)) for number, source in enumerate(sources)]
    return evaluation.evaluate(
        model,
        asked,
        cache or VerdictCache(verifier),
        attempts=attempts,
        temperature=0.8,
        max_new_tokens=50,
        style=prompts.BARE,
        seed=0,
    )


def test_right_wrong_and_unparsed_attempts_are_counted_for_the_right_problem(verifier: Verifier) -> None:
    model = Reciter("\n    return b - a", "\n    return (", "\n    return a")
    first, second = attempt(model, verifier, 6, SAT, WORD)
    assert first.score == Score(6, 2) and first.statuses["unparsed"] == 2 and first.statuses["rejected"] == 2
    assert second.score == Score(6, 0) and second.statuses["solution_error"] == 4


def test_an_attempt_is_judged_once_however_often_it_is_written(verifier: Verifier) -> None:
    cache = VerdictCache(verifier)
    model = Reciter("\n    return b - a")
    for _ in range(2):
        (result,) = attempt(model, verifier, 30, SAT, cache=cache)
        assert result.score == Score(30, 30)
    assert cache.verified == 1


def test_verdicts_of_an_earlier_process_are_taken_over_but_not_failures_of_the_verifier(verifier: Verifier) -> None:
    cache = VerdictCache(verifier)
    cache.add(
        SAT, {"def g(a=417, b=1342):\n    return b - a": "rejected", "def g():\n    return 925": "internal_error"}
    )
    (result,) = attempt(Reciter("\n    return b - a"), verifier, 2, SAT, cache=cache)
    assert result.statuses["rejected"] == 2 and cache.verified == 0
    asked = Problem("p", puzzle.parse(SAT))
    assert cache.verify([(asked, "def g():\n    return 925")]) == {(SAT, "def g():\n    return 925"): "accepted"}


def test_what_was_not_judged_counts_neither_for_nor_against() -> None:
    result = Result("p", "", False, 0.8)
    result.statuses.update(accepted=1, rejected=2, unparsed=1, internal_error=3, cancelled=1, invalid=2, refused=5)
    assert result.score == Score(4, 1)


def test_what_no_verdict_exists_of_is_not_taken_for_one(verifier: Verifier) -> None:
    cache = VerdictCache(verifier)
    cache.add(SAT, {"def g(): return 925": "invalid", "def g(): return 1": "internal_error"})
    asked = Problem("p", puzzle.parse(SAT))
    pairs = [(asked, "def g(): return 925"), (asked, "def g(): return 1")]
    assert list(cache.verify(pairs).values()) == ["accepted", "rejected"] and cache.verified == 2


def collect(model: Any, verifier: Verifier, asked: list[Problem], done: Collection[str] = ()) -> dict[str, Result]:
    found: dict[str, Result] = {}
    evaluation.attempt(
        model,
        asked,
        VerdictCache(verifier),
        lambda result: found.__setitem__(result.id, result),
        attempts=6,
        temperature=0.8,
        max_new_tokens=30,
        style=prompts.BARE,
        seed=5,
        done=done,
    )
    return found


def test_results_that_come_one_by_one_are_those_that_come_together(verifier: Verifier) -> None:
    model = Reciter("\n    return b - a", "\n    return (", "\n    return a")
    asked = [Problem("p0", puzzle.parse(SAT)), Problem("p1", puzzle.parse(WORD))]
    assert results_of(collect(model, verifier, asked)) == results_of(
        {one.id: one for one in attempt(model, verifier, 6, SAT, WORD)}
    )


def results_of(found: dict[str, Result]) -> dict[str, tuple[object, ...]]:
    return {name: (one.statuses, one.solutions, one.score) for name, one in found.items()}


def test_a_tiny_model_goes_on_with_the_same_attempts(verifier: Verifier) -> None:
    torch = pytest.importorskip("torch")
    from selftaught.trainer.tiny import tokenizer
    from selftaught.trainer.tiny.completer import Tiny
    from selftaught.trainer.tiny.model import Config, Transformer

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    model = Tiny(Transformer(Config(len(tokenizer.VOCABULARY), **sizes, max_position_embeddings=128)))
    asked = [Problem(f"p{n}", puzzle.parse(f"def f(x: int, a={n}):\n    return x - a == 4")) for n in (1, 22, 333, 4)]
    whole = collect(model, verifier, asked)
    assert len(whole) == 4
    for done in (["p1"], ["p22", "p4"], ["p1", "p22", "p333"]):
        rest = collect(model, verifier, asked, done)
        assert rest.keys() == whole.keys() - set(done)
        assert rest == {name: whole[name] for name in rest}


def test_an_interruption_ends_it_soon_and_hands_over_nothing_more() -> None:
    class Interrupted(Reciter):
        def complete(self, prompts: Sequence[str], *, samples: int, **_: object) -> Iterator[tuple[int, list[str]]]:
            yield 0, ["\n    while True: pass"] * samples
            yield 1, ["\n    return 1"] * samples
            raise KeyboardInterrupt

    began, found = time.monotonic(), dict[str, Result]()
    asked = [Problem(f"p{n}", puzzle.parse(SAT)) for n in range(2)]
    with (
        Verifier(workers=1, require="restricted", limits=Limits(cpu_seconds=30)) as slow,
        pytest.raises(KeyboardInterrupt),
    ):
        found = collect(Interrupted(), slow, asked)
    assert time.monotonic() - began < 15 and not found


def test_the_best_temperature_is_chosen_for_each_k_and_all_are_reported() -> None:
    def result(temperature: float, problem: str, right: int) -> Result:
        made = Result(problem, "", False, temperature)
        made.statuses.update(accepted=right, rejected=20 - right)
        return made

    sharp = [result(0.2, "a", 20), result(0.2, "b", 0)]
    wide = [result(1.0, "a", 6), result(1.0, "b", 6)]
    found = evaluation.summary([*sharp, *wide])
    assert found["pass_at_k"]["1"]["temperature"] == 0.2 and found["pass_at_k"]["1"]["value"] == 0.5
    assert found["pass_at_k"]["10"]["temperature"] == 1.0 and found["pass_at_k"]["10"]["value"] > 0.9
    assert set(found["temperatures"]) == {"0.2", "1"}


def test_an_evaluation_that_was_stopped_asks_for_the_rest_alone_and_gives_the_same(
    verifier: Verifier, tmp_path: Path
) -> None:
    class Counting(Reciter):
        asked = 0

        def complete(  # type: ignore[override]
            self, prompts: Sequence[str], *, skip: Collection[int] = (), **settings: Any
        ) -> Iterator[tuple[int, list[str]]]:
            for number, texts in super().complete(prompts, **settings):
                if number not in skip:
                    self.asked += 1
                    yield number, texts

    model, answered = Counting("\n    return b - a", "\n    return a"), list[int]()
    asked = [Problem(f"p{number}", puzzle.parse(source)) for number, source in enumerate([SAT, WORD, SAT])]

    def evaluate(calls: Calls | None, stopped: Callable[[], bool] = lambda: False) -> list[Result]:
        return evaluation.evaluate(
            model, asked, VerdictCache(verifier), attempts=4, temperature=0.8, max_new_tokens=50, style=prompts.BARE,
            seed=0, calls=calls, on_answered=answered.append, stopped=stopped,
        )  # fmt: skip

    whole = evaluate(None)
    with pytest.raises(evaluation.Stopped):
        evaluate(Calls(tmp_path / "calls"), lambda: model.asked == 3 + 2)
    assert model.asked == 3 + 2 and answered == [1, 2, 3, 1]
    assert evaluate(Calls(tmp_path / "calls")) == whole
    assert model.asked == 3 + 2 + 2 and answered[4:] == [2, 3]


class Refuser(Reciter):
    def complete(  # type: ignore[override]
        self, prompts: Sequence[str], *, on_refusal: Callable[[int, str], None], **settings: Any
    ) -> Iterator[tuple[int, list[str]]]:
        for number, texts in super().complete(prompts, **settings):
            if number:
                yield number, texts
            else:
                on_refusal(number, "too long")


def test_a_problem_whose_prompt_is_refused_is_no_wrong_answer_and_ends_nothing(verifier: Verifier) -> None:
    refused, other = attempt(Refuser("\n    return b - a"), verifier, 4, WORD, SAT)
    assert refused.statuses == {"refused": 4} and refused.refusal == "too long" and refused.score == Score(0, 0)
    assert other.score == Score(4, 4)
    assert evaluation.summary([refused, other])["pass_at_k"]["1"]["value"] == 1


def test_trivially_solvable_problems_are_reported_apart(verifier: Verifier) -> None:
    easy = "def f(x: int):\n    return x * x == 49"
    asked = problems.mark_trivial([Problem("hard", puzzle.parse(SAT)), Problem("easy", puzzle.parse(easy))], verifier)
    assert [problem.trivial for problem in asked] == [False, True]
    results = evaluation.evaluate(
        Reciter("\n    return 7"),
        asked,
        VerdictCache(verifier),
        attempts=4,
        temperature=0.5,
        max_new_tokens=9,
        style=prompts.BARE,
        seed=0,
    )
    found = evaluation.summary(results)
    assert found["problems"] == 1 and found["pass_at_k"]["1"]["value"] == 0
    assert found["trivial"]["problems"] == 1 and found["trivial"]["pass_at_k"]["1"]["value"] == 1


def test_results_come_back_from_their_file(verifier: Verifier, tmp_path: Path) -> None:
    results = attempt(Reciter("\n    return b - a", "\n    return a"), verifier, 4, SAT)
    evaluation.write(results, tmp_path / "evaluation.jsonl")
    assert list(evaluation.read(tmp_path / "evaluation.jsonl")) == results
    (tmp_path / "broken.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ValueError, match=r"broken.jsonl:1: no result"):
        list(evaluation.read(tmp_path / "broken.jsonl"))


def test_p3s_files_give_one_instance_of_each_test_problem(p3: Path, tmp_path: Path) -> None:
    names = sorted({entry["name"].partition(":")[0] for entry in json.loads(p3.read_text())})
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": names[10:], "test": names[:10]}))
    found = problems.read(str(p3), str(split))
    assert len(found) == 10 and sorted({one.id.partition(":")[0] for one in found}) == names[:10]
    assert len(problems.read(str(p3), str(split), every_instance=True)) > 10


def test_both_bundled_sets_can_be_read() -> None:
    assert len(problems.read("heldout:machine")) >= 300
    assert len(problems.read("heldout:handwritten")) >= 100
    with pytest.raises(ValueError, match="choose from machine, handwritten"):
        problems.read("heldout:none")
