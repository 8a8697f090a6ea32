"""Rewards in all frameworks: 1 if correct, 0 if wrong, never a number for a solution that was not judged."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selftaught.generator import prompts as forms
from selftaught.generator.puzzle import parse
from selftaught.sandbox import FunctionTask, Status, StdioTask, Task, Verdict, Verifier
from selftaught.sandbox.dropin import process
from selftaught.trainer import rewards, rows
from selftaught.trainer.rewards import NotJudged
from tests.sandbox.fake_worker import fake_verifier

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from datasets import Dataset
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

PUZZLE = "def sat(x: int, a=17, b=42):\n    return x + a == b"
RIGHT, WRONG = "def g(a=17, b=42):\n    return b - a", "def g(a=17, b=42):\n    return a - b"


@pytest.fixture(scope="module", autouse=True)
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        rewards.use(made)
        yield made


class Failing(Verifier):
    """Judges nothing the first times that it is asked about a task."""

    def __init__(self, verifier: Verifier, times: int) -> None:
        self.verifier, self.left = verifier, times

    def _fail(self, verdict: Verdict) -> Verdict:
        self.left -= 1
        return verdict if self.left < 0 else dataclasses.replace(verdict, status=Status.INTERNAL_ERROR)

    def verify(self, task: Task) -> Verdict:
        return self._fail(self.verifier.verify(task))

    async def averify(self, task: Task) -> Verdict:
        return self._fail(await self.verifier.averify(task))

    def verify_many(self, tasks: Any, ordered: bool = True, repeat: int = 1) -> Iterator[Verdict]:
        return map(self._fail, self.verifier.verify_many(tasks, ordered, repeat))


@pytest.fixture
def failing(verifier: Verifier) -> Iterator[Callable[[int], None]]:
    """Make the verifier fail so many judgements."""
    yield lambda times: rewards.use(Failing(verifier, times))
    rewards.use(verifier)


COMPLETIONS = {
    "a whole function": (RIGHT, 1.0),
    "a wrong one": (WRONG, 0.0),
    "under the puzzle's other name": (RIGHT.replace("def g", "def sol"), 1.0),
    "a program": (
        f"import math\n\ndef h(a, b):\n    return b - a\n\n{RIGHT.replace('b - a', 'h(a, b)')}\n\nassert f(g())",
        1.0,
    ),
    "prose before and after": (f"Here you are:\n\n{RIGHT}\n\nThis works because of algebra.", 1.0),
    "a fenced block": (f"Sure!\n```python\n{RIGHT}\n```\nDone.", 1.0),
    "the last of two blocks": (f"```python\n{WRONG}\n```\nNo, rather:\n```py\n{RIGHT}\n```", 1.0),
    "a block that was not closed": (f"```\n{RIGHT}", 1.0),
    "what follows the head": ("\n    return b - a", 1.0),
    "the same in one line and with more after it": (" return b - a\n\ndef f7(", 1.0),
    "with an end of text": (" return b - a<|im_end|>", 1.0),
    "numbered": ("def g6(a=17, b=42):\n    return next(x for x in range(99) if f6(x, a, b))", 1.0),
    "the body in a block": ("```python\nreturn b - a\n```", 1.0),
    "a longer body in a block": ("```\nx = b - a\nreturn x\n```", 1.0),
    "a thought, then the function": (f"<think>\n{WRONG}\n</think>\n{RIGHT}", 1.0),
    "a thought that never ended": (f"<think>\n```python\n{RIGHT}\n```", None),
    "a call of the puzzle by its own name": ("def sol():\n    return next(x for x in range(99) if sat(x))", 1.0),
    "a call of the puzzle by our name": ("def sol():\n    return next(x for x in range(99) if f(x))", 1.0),
    "another function": ("```python\ndef solve(a=17, b=42):\n    return b - a\n```", 0.0),
    "a function cut off": ("```python\ndef sol(a=17, b=42):\n    return b -", 0.0),
    "no program": ("I can't do that.", None),
    "nothing": ("", None),
    "an endless loop": ("\n    while True: pass", 0.0),
    "an exit": ("\n    import os\n    os._exit(0)", 0.0),
    "a bool": (" return True", 0.0),
}


@pytest.mark.parametrize(("completion", "value"), COMPLETIONS.values(), ids=COMPLETIONS)
def test_a_completion_is_read_in_whatever_form_it_comes(completion: str, value: float | None) -> None:
    chat = [{"role": "assistant", "content": completion}]
    assert (
        rewards.reward(["", [{"role": "user", "content": "?"}]], [completion, chat], puzzle=[PUZZLE] * 2) == [value] * 2
    )


def test_the_number_that_a_prompt_of_ours_ends_in_is_understood() -> None:
    prompt = forms.for_solution(parse(PUZZLE), forms.Style()).text
    completion = "\n    return next(x for x in range(99) if f6(x, a, b))\n\ndef f7("
    assert rewards.reward([prompt], [completion], puzzle=[PUZZLE]) == [1.0]


@pytest.mark.parametrize("name", ["reward", "areward"])
def test_trl_gets_none_for_what_was_not_judged(name: str, failing: Callable[[int], None]) -> None:
    failing(100)
    assert call(name, [RIGHT, WRONG]) == [None, None]


@pytest.mark.parametrize("name", ["reward", "areward"])
def test_a_judgement_that_failed_is_asked_for_again(name: str, failing: Callable[[int], None]) -> None:
    failing(2)
    assert call(name, [RIGHT, WRONG]) == [1.0, 0.0]


def call(name: str, completions: list[str], puzzle: str = PUZZLE) -> list[float | None]:
    made = getattr(rewards, name)([""] * len(completions), completions, puzzle=[puzzle] * len(completions), more=1)
    found: list[float | None] = asyncio.run(made) if asyncio.iscoroutine(made) else made
    return found


ADDS = "Sure:\n```python\ndef f(x):\n    return x + 1\n```"
TASKS: dict[str, Any] = {
    "tests": FunctionTask("", "", "f", tests="def check(candidate): assert candidate(1) == 2"),
    "tests, by fields": {"entry_point": "f", "tests": "def check(candidate): assert candidate(1) == 2"},
    "cases": FunctionTask("", "", "f", cases=[([1], {}, 2)]),
    "cases, by fields": {"id": 1, "entry_point": "f", "cases": [[[1], {}, 2]], "sat": None},
}


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_may_stand_in_place_of_a_puzzle(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_verifier() as verifier:
        monkeypatch.setattr(process, "_verifier", verifier)
        assert rewards.reward([""] * 2, [ADDS, "def f(x): return x"], task=[task] * 2) == [1.0, 0.0]
        assert asyncio.run(rewards.areward([""], [ADDS], puzzle=[task])) == [1.0]
        assert rewards.compute_score("", ADDS, task) == 1.0
        assert asyncio.run(rewards.acompute_score("", ADDS, task)) == 1.0
        assert asyncio.run(rewards.rubric([{"content": ADDS}], task)) == 1.0
        assert asyncio.run(rewards.verified(SimpleNamespace(puzzle=task), SimpleNamespace(last_reply=ADDS))) == 1.0


def test_the_share_of_cases_is_the_reward_if_all_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [["1", "1"], ["2", "2"], ["3", "1"], ["4", "4"]]
    with fake_verifier() as verifier:
        monkeypatch.setattr(process, "_verifier", verifier)
        for all_cases, value in ((True, 0.75), (False, 0.0)):
            task = {"cases": cases, "all_cases": all_cases}
            assert rewards.reward([""], ["print(input())"], task=[task]) == [value]
    right = StdioTask("", "", [("1", "1")], all_cases=True)
    assert rewards._value(right, Verdict("", Status.INTERNAL_ERROR)) is None


def test_a_data_set_without_puzzles_is_an_error_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"needs a column `puzzle`.*it has \['text'\]"):
        rewards.reward([""], [RIGHT], text=["x"])


HELPED = {
    "an import above it": "import math\nfrom typing import List\n\n" + PUZZLE,
    "a helper above it": "def add(x, y):\n    return x + y\n\n" + PUZZLE.replace("x + a", "add(x, a)"),
    "a constant below it": PUZZLE.replace("== b", "== b + ZERO") + "\n\nZERO = 0",
    "no annotation": PUZZLE.replace("x: int", "x"),
    "a decorator": "from functools import lru_cache\n\n@lru_cache\n" + PUZZLE,
    "a keyword argument": PUZZLE.replace("a=17", "*, a=17"),
}


@pytest.mark.parametrize("puzzle", HELPED.values(), ids=HELPED)
def test_a_puzzle_that_the_verifier_judges_is_judged(puzzle: str) -> None:
    for named in (puzzle, puzzle.replace("def sat", "def f")):
        body = "\n    return 42 - 17"
        numbered = "def g7():\n    return 25"
        completions = [RIGHT, WRONG, RIGHT.replace("def g", "def sol"), body, numbered]
        assert call("reward", completions, named) == [1.0, 0.0, 1.0, 1.0, 1.0]


MALFORMED = {
    "a program": "print(1)",
    "a syntax error": "def sat(x: int)\n    return True",
    "another type": 7,
    "broken JSON": '{"inputs": [',
    "a task with a field of another type": {"entry_point": 3, "tests": "def check(f): pass"},
    "fields of nothing": {"a": 1},
}


@pytest.mark.parametrize("name", ["reward", "areward"])
@pytest.mark.parametrize("source", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_row_costs_itself_alone(source: Any, name: str, caplog: pytest.LogCaptureFixture) -> None:
    rows._warned.clear()
    columns = {"puzzle": [PUZZLE, source, source, None, float("nan"), PUZZLE], "id": ["a", "b", "b", "c", "d", "e"]}
    made = getattr(rewards, name)([""] * 6, [RIGHT, RIGHT, WRONG, "#### 4", RIGHT, WRONG], **columns)
    assert (asyncio.run(made) if asyncio.iscoroutine(made) else made) == [1.0, None, None, None, None, 0.0]
    assert len(caplog.records) == 1, "the row is named once"
    assert "'b'" in caplog.text and "no reward" in caplog.text


def test_a_malformed_row_of_a_published_dataset_costs_itself_alone(caplog: pytest.LogCaptureFixture) -> None:
    rows._warned.clear()
    good = {"language": "python", "test_cases": [{"input": "1 2", "output": "3"}]}
    columns = {"verification_info": [good, {"test_cases": 5}, None, good], "task_id": ["a", "b", "c", "d"]}
    assert rewards.reward([""] * 4, [ADD] * 4, **columns) == [1.0, None, None, 1.0]
    assert len(caplog.records) == 1 and "'b'" in caplog.text


def test_what_a_table_has_for_missing_values_and_what_cannot_be_compared_cost_their_rows_alone() -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    others = [pandas.NA, pandas.NaT, numpy.float64("nan"), numpy.array(["a", "b"]), numpy.array(["a", "b"])]
    assert rewards.reward([""] * 7, [RIGHT] * 7, puzzle=[PUZZLE, *others, PUZZLE]) == [1.0, *[None] * 5, 1.0]


def test_rows_of_different_kinds_are_judged_each_by_its_own() -> None:
    columns = {"puzzle": [PUZZLE, None, None], "task": [None, {"cases": [["1 2", "3"]]}, None],
               "ground_truth": [None, None, TRUTH]}  # fmt: skip
    assert rewards.reward([""] * 3, [RIGHT, ADD, THREE], **columns) == [1.0, 1.0, 0.0]


def single(name: str) -> Callable[[str], float]:
    """A framework's function, asked about one completion."""
    functions: dict[str, Callable[[str], Any]] = {
        "verl": lambda text: rewards.compute_score("p", text, PUZZLE, {}, reward_router_address=None),
        "verl, a coroutine": lambda text: asyncio.run(rewards.acompute_score("p", text, PUZZLE)),
        "verifiers": lambda text: asyncio.run(
            rewards.verified(SimpleNamespace(puzzle=PUZZLE), SimpleNamespace(last_reply=text))
        ),
        "a rubric": lambda text: asyncio.run(
            rewards.rubric([{"role": "assistant", "content": text}], PUZZLE, state={})
        ),
        "OpenRLHF": lambda text: float(rewards.reward_func(["<s>ask" + text], ["<s>ask"], [PUZZLE])["rewards"][0]),
    }
    return functions[name]


NAMES = ("verl", "verl, a coroutine", "verifiers", "a rubric", "OpenRLHF")


@pytest.mark.parametrize("name", NAMES)
def test_every_framework_learns_right_from_wrong(name: str) -> None:
    assert single(name)(RIGHT) == 1.0
    assert single(name)(WRONG) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_frameworks_that_know_no_none_get_an_exception_never_a_zero(name: str, failing: Callable[[int], None]) -> None:
    failing(100)
    for text in (RIGHT, WRONG):
        with pytest.raises(NotJudged):
            single(name)(text)


@pytest.mark.parametrize("name", NAMES)
def test_frameworks_that_know_no_none_get_an_exception_for_what_is_no_answer(name: str) -> None:
    with pytest.raises(rewards.Unanswered):
        single(name)("I can't.")
    with pytest.raises(rewards.Unanswered):
        single(name)(f"<think>{RIGHT}")


def test_who_wants_may_give_a_number_to_what_is_no_answer(failing: Callable[[int], None]) -> None:
    given = {"unanswered": -1.0}
    assert rewards.compute_score("p", "I can't.", PUZZLE, **given) == -1.0
    assert asyncio.run(rewards.acompute_score("p", "I can't.", PUZZLE, **given)) == -1.0
    assert asyncio.run(rewards.rubric("I can't.", PUZZLE, **given)) == -1.0
    found = rewards.reward_func(["qNo.", "q" + RIGHT, "q" + WRONG], ["q"] * 3, [PUZZLE] * 3, **given)
    assert found["rewards"].tolist() == [-1.0, 1.0, 0.0]
    failing(100)
    with pytest.raises(NotJudged):
        rewards.compute_score("p", RIGHT, PUZZLE, **given)


@pytest.mark.parametrize("truth", [None, "4", "print(1)", {"a": 1}, float("nan")])
def test_a_ground_truth_that_is_none_is_not_judged(truth: Any) -> None:
    with pytest.raises(NotJudged, match="nothing judges the completion"):
        rewards.compute_score("gsm8k", RIGHT, truth)


def test_openrlhf_puts_padding_round_the_prompt() -> None:
    prompt = f"Write.\n```python\n{WRONG}\n```\n"
    queries = ["<pad><pad><s>" + prompt + RIGHT + "</s><pad>", "<s>" + prompt + "No.</s>"]
    found = rewards.reward_func(queries, [prompt] * 2, [PUZZLE] * 2, unanswered=0.5)
    assert found["rewards"].tolist() == [1.0, 0.5]


def test_openrlhf_gets_a_tensor_for_each_key_it_reads() -> None:
    found = rewards.reward_func(["q" + RIGHT, "q" + WRONG], ["q", "q"], [PUZZLE, PUZZLE])
    assert {key: found[key].tolist() for key in ("rewards", "scores")} == {"rewards": [1, 0], "scores": [1, 0]}
    assert found["extra_logs"]["verified"].tolist() == [1, 0]


TRUTH = {"inputs": ["1 2", "3 4"], "outputs": ["3", "7"]}
ADD = "Sure:\n```python\na, b = map(int, input().split())\nprint(a + b)\n```"
THREE = "```python\nprint(3)\n```"
COLUMNS: dict[str, dict[str, Any]] = {
    "verl": {"reward_model": {"style": "rule", "ground_truth": json.dumps(TRUTH)}, "data_source": "apps"},
    "taco": {"input_output": json.dumps(TRUTH)},
    "primeintellect": {
        "verification_info": repr(
            {"language": "python", "test_cases": [{"input": "1 2", "output": "3"}, {"input": "3 4", "output": "7"}]}
        )
    },
    "openr1": {
        "verification_info": {
            "language": "python",
            "test_cases": [{"input": "1 2", "output": "3"}, {"input": "3 4", "output": "7"}],
        }
    },
    "a puzzle's column": {"puzzle": json.dumps(TRUTH)},
}


@pytest.mark.parametrize("row", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("name", ["reward", "areward"])
def test_trl_may_have_the_columns_of_a_published_dataset(name: str, row: dict[str, Any]) -> None:
    columns = {key: [value] * 2 for key, value in row.items()}
    made = getattr(rewards, name)([[{"role": "user", "content": "?"}]] * 2, [ADD, THREE], **columns, step=1)
    assert (asyncio.run(made) if asyncio.iscoroutine(made) else made) == [1.0, 0.0]


def test_a_completion_continues_the_prompt_that_a_dataset_has() -> None:
    columns = {"entry_point": ["f"], "test": ["def check(candidate):\n    assert candidate(1) == 2\n"]}
    assert rewards.reward(["def f(x):\n"], ["    return 2\n"], **columns) == [1.0]


def test_the_share_of_tests_that_pass_can_be_the_reward() -> None:
    columns = {"ground_truth": [TRUTH] * 2}
    assert rewards.passed_share(["", ""], [ADD, THREE], **columns) == [1.0, 0.5]
    assert rewards.compute_score("taco", THREE, TRUTH, continuous=True) == 0.5
    assert asyncio.run(rewards.acompute_score("taco", THREE, json.dumps(TRUTH), continuous=True)) == 0.5


@pytest.mark.parametrize("truth", [TRUTH, json.dumps(TRUTH)], ids=["an object", "a text"])
def test_every_framework_takes_a_ground_truth(truth: Any) -> None:
    assert rewards.compute_score("taco", ADD, truth) == 1.0
    assert rewards.compute_score("taco", THREE, truth) == 0.0
    task, trace = SimpleNamespace(puzzle=truth), SimpleNamespace(last_reply=ADD)
    assert asyncio.run(rewards.verified(task, trace)) == 1.0
    assert asyncio.run(rewards.rubric(THREE, truth)) == 0.0


def test_a_verifier_is_made_when_first_needed(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Verifier] = []
    monkeypatch.setattr(process, "_verifier", None)
    monkeypatch.setattr(process, "Verifier", lambda: made.append(verifier) or verifier)
    assert rewards.current() is rewards.current() is verifier
    assert made == [verifier]


@pytest.mark.parametrize(("text", "value"), [(" return b - a", 1.0), (" return a - b", 0.0)])
@pytest.mark.parametrize("function", [rewards.reward, rewards.areward])
def test_trl_trains_with_it(function: Any, text: str, value: float, tmp_path: Path) -> None:
    """A step of the real GRPOTrainer, on a model that always writes the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = train(function, text, tmp_path)
    assert [entry[key] for entry in log for key in entry if key == f"rewards/{function.__name__}/mean"] == [value]


def train(function: Any, text: str, folder: Path) -> list[dict[str, float]]:
    """The log of a training step. text: a token of its own, and the only one that the model writes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {letter: number for number, letter in enumerate(["<end>", *letters])}
    plain = Tokenizer(models.BPE(words, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<end>")
    tokenizer.add_tokens([text])
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    for weight in model.parameters():
        weight.data.zero_()
    for weight in (model.model.embed_tokens.weight, model.model.norm.weight, model.lm_head.weight[-1]):
        weight.data.fill_(1)  # every state is all ones, so the last token has a logit of 16, the others 0
    settings = GRPOConfig(
        output_dir=str(folder), max_steps=1, per_device_train_batch_size=4, num_generations=4, max_completion_length=1,
        temperature=0.1, report_to=[], logging_steps=1, use_cpu=True, save_strategy="no", disable_tqdm=True, bf16=False,
    )  # fmt: skip
    prompt = forms.for_solution(parse(PUZZLE), forms.BARE).text
    data = Dataset.from_list([{"prompt": prompt, "puzzle": PUZZLE}] * 4)
    trainer = GRPOTrainer(model, reward_funcs=function, args=settings, train_dataset=data, processing_class=tokenizer)
    trainer.train()
    log: list[dict[str, float]] = trainer.state.log_history
    return log
