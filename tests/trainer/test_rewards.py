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
from selftaught.generator.example import training_text
from selftaught.generator.puzzle import parse
from selftaught.sandbox import FunctionTask, Status, StdioTask, Task, Verdict, Verifier
from selftaught.sandbox.dropin import process
from selftaught.trainer import rewards
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
    "no program": ("I can't do that.", 0.0),
    "nothing": ("", 0.0),
    "an endless loop": ("\n    while True: pass", 0.0),
    "an exit": ("\n    import os\n    os._exit(0)", 0.0),
    "a bool": (" return True", 0.0),
}


@pytest.mark.parametrize(("completion", "value"), COMPLETIONS.values(), ids=COMPLETIONS)
def test_a_completion_is_read_in_whatever_form_it_comes(completion: str, value: float) -> None:
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


def call(name: str, completions: list[str]) -> list[float | None]:
    made = getattr(rewards, name)([""] * len(completions), completions, puzzle=[PUZZLE] * len(completions), more=1)
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
    with pytest.raises(ValueError, match="needs a column `puzzle`"):
        rewards.reward([""], [RIGHT], text=["x"])
    with pytest.raises(ValueError, match="has something else"):
        rewards.reward([""], [RIGHT], puzzle=["print(1)"])


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


def test_openrlhf_gets_a_tensor_for_each_key_it_reads() -> None:
    found = rewards.reward_func(["q" + RIGHT, "q" + WRONG], ["q", "q"], [PUZZLE, PUZZLE])
    assert {key: found[key].tolist() for key in ("rewards", "scores")} == {"rewards": [1, 0], "scores": [1, 0]}
    assert found["extra_logs"]["verified"].tolist() == [1, 0]


def test_open_r1s_provider_judges_scripts_and_leaves_other_languages_unjudged(failing: Callable[[int], None]) -> None:
    source = parse(PUZZLE).named("f")
    scripts = [training_text(source, RIGHT), training_text(source, WRONG), "fn main() {}"]
    provider = rewards.Provider()
    assert provider.execute_scripts(scripts, ["python", "Python", "rust"]) == [1.0, 0.0, None]
    failing(100)
    assert provider.execute_scripts(scripts[:2], ["python"] * 2) == [None, None]


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


def test_columns_that_judge_nothing_are_an_error_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="of a published dataset; it has \\['text'\\]: no format has these fields"):
        rewards.reward([""], [ADD], text=["x"])


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
