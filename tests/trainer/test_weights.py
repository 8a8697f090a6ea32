"""The weights that are trained: what a small step changes, what is saved, and what needs less memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from selftaught.trainer import grpo, rewards, sft, weights  # noqa: E402
from tests.trainer.small import examples, save_base  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the trainers' own, about settings that a processor has no use for
Weights = dict[str, Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose weights are in bfloat16, as those of most published ones."""
    folder = tmp_path_factory.mktemp("base")
    model = transformers.AutoModelForCausalLM.from_pretrained(save_base(folder))
    model.to(torch.bfloat16).save_pretrained(folder)
    return str(folder)


def read(folder: str | Path, dtype: str = "float32") -> Weights:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    return dict(model.state_dict())


def changed(before: Weights, after: Weights) -> float:
    """Return the share of weights that differ."""
    total = sum(one.numel() for one in before.values())
    return sum(int((before[name] != after[name]).sum()) for name in before) / total


def one_step(base: str, folder: Path, **settings: Any) -> Weights:
    chosen = sft.Settings(**{"num_train_epochs": 1, "per_device_train_batch_size": 64, **settings})
    assert sft.train(base, examples(40), folder, chosen)["steps"] == 1
    return read(folder)


def test_a_step_at_the_default_rate_changes_as_many_weights_as_in_float32(base: str, tmp_path: Path) -> None:
    before = read(base)
    whole = changed(before, one_step(base, tmp_path / "whole", bf16="false"))
    assert changed(before, one_step(base, tmp_path / "mixed", bf16="true")) == pytest.approx(whole, abs=0.02)
    assert whole > 0.9


def test_a_step_in_bfloat16_alone_loses_most_changes_which_the_count_would_tell(base: str) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    ids = torch.arange(20).unsqueeze(0)
    model(input_ids=ids, labels=ids).loss.backward()
    torch.optim.AdamW(model.parameters(), lr=sft.Settings().learning_rate, weight_decay=0.0).step()
    assert changed(before, model.state_dict()) < 0.5


def test_a_step_of_grpo_at_its_default_rate_changes_as_many_weights_as_in_float32(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    from selftaught.generator import prompts, puzzle

    def reward(completions: list[str], **_: object) -> list[float]:
        return [float(number % 2) for number in range(len(completions))]

    monkeypatch.setattr(rewards, "reward", reward)
    before, shares = read(base), {}
    for bf16 in ("false", "true"):
        settings = grpo.Settings(
            num_generations=2, per_device_train_batch_size=4, max_completion_length=8, max_steps=1, bf16=bf16
        )
        grpo.train(base, [puzzle.parse(one.puzzle) for one in examples(2)], tmp_path / bf16, settings, prompts.BARE)
        shares[bf16] = changed(before, read(tmp_path / bf16))
    assert shares["true"] == pytest.approx(shares["false"], abs=0.05)
    assert shares["false"] > 0.5


@pytest.mark.parametrize(("bf16", "dtype"), [("true", "bfloat16"), ("false", "float32")])
def test_what_is_multiplied_is_in_bfloat16_and_what_is_trained_and_its_optimiser_is_not(
    bf16: str, dtype: str, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, set[str]] = {"multiplied": set(), "trained": set(), "optimiser": set()}
    step = torch.optim.AdamW.step

    def observed(self: Any, *given: Any, **named: Any) -> Any:
        done = step(self, *given, **named)
        for parameter, state in self.state.items():
            seen["trained"].add(str(parameter.dtype))
            seen["optimiser"] |= {str(one.dtype) for name, one in state.items() if name.startswith("exp_avg")}
        return done

    def watched(model: Any, settings: sft.Settings) -> Any:
        model.model.layers[0].mlp.up_proj.register_forward_hook(
            lambda module, given, out: seen["multiplied"].add(str(out.dtype))
        )
        return model

    monkeypatch.setattr(torch.optim.AdamW, "step", observed)
    monkeypatch.setattr(sft, "_adapted", watched)
    one_step(base, tmp_path, bf16=bf16)
    assert seen == {
        "multiplied": {f"torch.{dtype}"},
        "trained": {"torch.float32"},
        "optimiser": {"torch.float32"},
    }


def test_adapters_are_in_float32_and_a_small_step_survives_their_merging(base: str, tmp_path: Path) -> None:
    after = one_step(base, tmp_path, lora_r=4, learning_rate=5e-6, bf16="true", num_train_epochs=1)
    before = read(base)
    adapted = {name for name in before if "_proj" in name}
    kept = {name: before[name] for name in adapted}
    assert adapted and changed(kept, {name: after[name] for name in adapted}) > 0.9
    rest = before.keys() - adapted
    assert all(torch.equal(before[name], after[name]) for name in rest)


def test_adapters_beside_a_base_in_bfloat16_are_in_float32(base: str) -> None:
    model = sft._adapted(weights.load(base, bf16=True, lora_r=4).model, sft.Settings(lora_r=4))
    dtypes = {trained: set[str]() for trained in (True, False)}
    for parameter in model.parameters():
        dtypes[parameter.requires_grad].add(str(parameter.dtype))
    assert dtypes == {True: {"torch.float32"}, False: {"torch.bfloat16"}}


@pytest.mark.parametrize("lora_r", [0, 4])
def test_a_model_is_saved_in_the_dtype_that_was_asked_for_and_float32_by_default(
    lora_r: int, base: str, tmp_path: Path
) -> None:
    for name, settings in (("float32", {}), ("bfloat16", {"save_dtype": "bfloat16"})):
        one_step(base, tmp_path / name, lora_r=lora_r, **settings)
        assert json.loads((tmp_path / name / "config.json").read_text())["dtype"] == name
        found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name)  # in the dtype of its file
        assert {str(one.dtype) for one in found.parameters()} == {f"torch.{name}"}
    rounded = {name: one.to(torch.bfloat16).float() for name, one in read(tmp_path / "float32").items()}
    assert changed(rounded, read(tmp_path / "bfloat16")) == 0


@pytest.mark.parametrize("lora_r", [0, 4])
def test_gradient_checkpointing_computes_layers_twice_and_learns_the_same(
    lora_r: int, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    adapted: Callable[..., Any] = sft._adapted

    def counted(model: Any, settings: sft.Settings) -> Any:
        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1

        model.model.layers[0].mlp.register_forward_pre_hook(count)
        return adapted(model, settings)

    monkeypatch.setattr(sft, "_adapted", counted)
    common = {"lora_r": lora_r, "learning_rate": 1e-3, "bf16": "false"}
    plain, once = one_step(base, tmp_path / "plain", **common), calls
    again = one_step(base, tmp_path / "again", gradient_checkpointing=True, **common)
    assert calls - once == 2 * once
    assert all(torch.allclose(plain[name], again[name], atol=1e-6) for name in plain)


def test_settings_that_cannot_be_used_are_refused_with_the_remedy(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    for settings, remedy in (
        ({"load_in_4bit": True}, "lora_r=16"),
        ({"load_in_4bit": True, "lora_r": 8}, "pip install bitsandbytes"),
        ({"bf16": "maybe"}, "auto, true or false"),
        ({"save_dtype": "int8"}, "float32, bfloat16"),
        ({"report_to": "nothing"}, "pip install nothing"),
    ):
        with pytest.raises(ValueError, match=remedy):
            sft.train(base, examples(1), tmp_path / "x", sft.Settings(**settings))  # type: ignore[arg-type]
    for more, remedy in (
        ({"use_vllm": True}, "pip install vllm"),
        ({"vllm_mode": "remote"}, "colocate or server"),
        ({"vllm_server_base_url": "http://node:8000"}, "use_vllm=true vllm_mode=server"),
    ):
        monkeypatch.setattr(grpo, "find_spec", lambda name: None)
        with pytest.raises(ValueError, match=remedy):
            grpo.train(base, [], tmp_path / "x", grpo.Settings(**more))  # type: ignore[arg-type]
    assert not (tmp_path / "x" / "config.json").exists()


def test_trl_gets_the_settings_of_its_vllm(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    chosen = {
        "use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": "http://node:8000",
        "vllm_gpu_memory_utilization": 0.4, "vllm_tensor_parallel_size": 2, "vllm_max_model_length": 4096,
    }  # fmt: skip
    made = grpo._grpo_config(tmp_path, grpo.Settings(**chosen), 0)  # type: ignore[arg-type]
    assert {name: getattr(made, name) for name in chosen} == chosen
    assert grpo._grpo_config(tmp_path, grpo.Settings(), 0).vllm_max_model_length is None
