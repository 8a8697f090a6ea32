"""The environment in a real step of TRL's GRPOTrainer, on a model that knows nothing and whose answers are written."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import Status, Verdict, Verifier
from selftaught.sandbox.dropin import process
from selftaught.trainer.integrations import trl_environment
from selftaught.trainer.integrations.trl_environment import CodeEnvironment, RewardingEnvironment

PUZZLE = "def sat(x: int, a=17, b=42):\n    return x + a == b"
RIGHT, WRONG = "def sol(a=17, b=42):\n    return b - a", "def sol(a=17, b=42):\n    return a - b"
ROW = {"prompt": [{"role": "user", "content": "Write sol."}], "puzzle": PUZZLE}


@pytest.fixture(scope="module", autouse=True)
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=1, require="restricted") as made:
        process.use(made)
        yield made


def call(name: str, **arguments: str) -> str:
    """Return a tool's call as a model of the family of Qwen3 writes it."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call><|im_end|>"


ROLLOUTS = [
    [call("run", code="print(42 - 17)"), call("submit", solution=RIGHT), "Done.<|im_end|>"],
    [call("submit", solution=WRONG), "Done.<|im_end|>"],
    [f"```python\n{RIGHT}\n```<|im_end|>"],
    ["I don't know.<|im_end|>"],
]
"""What four rollouts of one prompt say, turn by turn: right, wrong, right without a tool, no answer."""


def step(folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Any:
    """Return a trainer that has taken one step in which the model says `ROLLOUTS`."""
    import trl
    from datasets import Dataset
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import chat_template_utils

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: number for number, letter in enumerate([*special, *letters])}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left"
    )
    tokenizer.chat_template = chat_template_utils.qwen3_chat_template
    shape = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=8192, bos_token_id=None, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    arguments = trl.GRPOConfig(
        output_dir=str(folder), max_steps=1, num_generations=4, per_device_train_batch_size=4,
        max_completion_length=2048, report_to=[], bf16=False, use_cpu=True, save_strategy="no", logging_steps=1,
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        LlamaForCausalLM(shape), args=arguments, processing_class=tokenizer, train_dataset=Dataset.from_list([ROW]),
        **settings,
    )  # fmt: skip
    turns = itertools.count()

    def say(prompt_ids: list[list[int]], *rest: Any, **more: Any) -> Any:
        """Stand in for the model: say what comes next in each rollout that has not ended."""
        turn = next(turns)
        texts = [rollout[turn] for rollout in ROLLOUTS if len(rollout) > turn]
        assert len(texts) == len(prompt_ids)
        return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts], None

    monkeypatch.setattr(trainer, "_generate_single_turn", say)
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        (
            "reward",
            {"environment_factory": CodeEnvironment, "reward_funcs": trl_environment.reward},
            [1.0, 0.0, 1.0, None],
        ),
        ("RewardingEnvironment", {"environment_factory": RewardingEnvironment}, [1.0, 0.0, None, None]),
    ],
)
def test_a_step_of_grpo_learns_from_what_was_judged_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: Any, expected: list[float | None]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = step(tmp_path, monkeypatch, **settings)
    given = [None if value != value else value for value in trainer._logs["rewards"][name]]
    assert given == expected
    judged = [value for value in expected if value is not None]
    (entry,) = (entry for entry in trainer.state.log_history if "reward" in entry)
    assert entry["reward"] == pytest.approx(sum(judged) / len(judged))
    for value, advantage in zip(given, trainer._logs["advantages"], strict=True):
        assert (advantage == 0) if value is None else (advantage > 0) == (value == 1.0)
    assert entry["tools/call_frequency"] == pytest.approx(3 / 4) and entry["tools/failure_frequency"] == 0
    told = [message["content"] for message in trainer._logs["completion"][0] if message["role"] == "tool"]
    assert told == ["25", "Noted. Submit again if you find a better one."]


def test_a_batch_is_judged_at_once(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    whole = verifier.verify_many

    def many(tasks: Any, **settings: Any) -> Any:
        tasks = list(tasks)
        batches.append(len(tasks))
        return whole(tasks, **settings)

    monkeypatch.setattr(verifier, "verify_many", many)
    environments = [CodeEnvironment() for _ in range(8)]
    for environment in environments:
        environment.reset(**ROW)
        environment.submit(RIGHT)
    found = trl_environment.reward([ROW["prompt"]] * 8, [[]] * 8, environments, puzzle=[PUZZLE] * 8)
    assert found == [1.0] * 8 and batches[0] == 8


def test_a_failure_of_the_verifier_is_no_reward(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = Verdict("", Status.INTERNAL_ERROR, retryable=True)
    monkeypatch.setattr(verifier, "verify_many", lambda tasks: [failed for _ in tasks])
    environment = CodeEnvironment()
    environment.reset(**ROW)
    environment.submit(RIGHT)
    assert trl_environment.reward([ROW["prompt"]], [[]], [environment], puzzle=[PUZZLE]) == [None]


def test_the_last_submission_counts_and_a_reset_forgets_it() -> None:
    environment = CodeEnvironment()
    environment.reset(**ROW)
    environment.submit(WRONG)
    environment.submit(RIGHT)
    assert trl_environment.reward([ROW["prompt"]], [[]], [environment], puzzle=[PUZZLE]) == [1.0]
    environment.reset(**ROW)
    assert trl_environment.reward([ROW["prompt"]], [[]], [environment], puzzle=[PUZZLE]) == [None]


def test_environments_of_others_get_no_reward_of_ours() -> None:
    text = [{"role": "assistant", "content": RIGHT}]
    assert trl_environment.reward([ROW["prompt"]], [text], [object()], puzzle=[PUZZLE]) == [None]


def test_a_program_is_confined_and_its_end_is_told() -> None:
    environment = CodeEnvironment()
    assert environment.run("print(input())", stdin="hello") == "hello"
    assert environment.run("x = 1") == "[no output]"
    assert environment.run("import sys; sys.exit(3)") == "[exit code 3]"
    assert "ZeroDivisionError" in environment.run("1 / 0")
    assert "forbidden" in environment.run("import socket; socket.socket()").lower()
    assert environment.run("print('x' * 100000)").endswith("more characters]")
