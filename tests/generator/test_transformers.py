"""The transformers backend on a model of a few thousand weights: it must sample what the library's `generate` does."""

from __future__ import annotations

import json
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selftaught.generator import models
from selftaught.generator.models import ModelFailed

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import gguf
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from selftaught.generator.models.transformers import Transformers, _TokenSampler

PROMPTS = ["def f(x):\n    return x", "def f(x):\n    return x + 1\n\ndef g", "def f(", "def f(y, z):"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights and a tokenizer trained on a few lines, saved in the hub's layout."""
    path = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(PROMPTS, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return models.load(str(folder), dtype="float32")


def draw(model: Any, prompts: list[str], **settings: Any) -> dict[int, list[str]]:
    given: dict[str, Any] = {"samples": 1, "max_new_tokens": 12, "temperature": 0.0, "seed": 1, **settings}
    return dict(model.complete(prompts, **given))


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_greedy_completions_are_those_of_generate_however_prompts_are_batched(model: Any, rows: int) -> None:
    expected = []
    for prompt in PROMPTS:
        ids = model.tokenizer(prompt, return_tensors="pt").input_ids
        out = model.model.generate(ids, attention_mask=ids * 0 + 1, max_new_tokens=12, do_sample=False, pad_token_id=0)
        expected.append(model.tokenizer.decode(out[0], skip_special_tokens=True)[len(prompt) :])
    model.batch_size = rows
    assert len(set(expected)) > 1
    assert {number: texts[0] for number, texts in draw(model, PROMPTS).items()} == dict(enumerate(expected))


@pytest.mark.parametrize("rows", [2, 5, 64])
def test_skipped_prompts_change_nothing_for_the_others(model: Any, rows: int) -> None:
    model.batch_size = rows
    asked = {"samples": 4, "temperature": 1.0}
    whole = draw(model, PROMPTS, **asked)
    for done in ({0}, {1, 2}, {0, 1, 3}, {0, 1, 2, 3}):
        assert draw(model, PROMPTS, **asked, skip=done) == {n: whole[n] for n in range(4) if n not in done}


def test_a_prompt_that_does_not_fit_is_refused_alone(model: Any) -> None:
    told: list[tuple[int, str]] = []
    asked = [*PROMPTS[:2], "x" * 300, *PROMPTS[2:]]
    found = draw(model, asked, on_refusal=lambda *one: told.append(one))
    assert sorted(found) == [0, 1, 3, 4]
    assert [number for number, _ in told] == [2] and "don't fit 256" in told[0][1]
    with pytest.raises(ModelFailed, match="don't fit 256"):
        draw(model, asked)


def test_a_chat_template_is_put_round_prompts_if_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="no chat template"):
        models.load(str(folder), chat=True)
    shutil.copytree(folder, tmp_path / "chat")
    (tmp_path / "chat" / "chat_template.jinja").write_text(
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[me]{% endif %}"
    )
    chat, plain = (models.load(str(tmp_path / "chat"), dtype="float32", chat=one) for one in (True, False))
    assert draw(chat, ["def f("]) == draw(plain, ["[user]def f([me]"]) != draw(plain, ["def f("])
    assert chat.tokens("def f(") == plain.tokens("[user]def f([me]")


LONG = "def f(a, b):\n    return a + b\n\n" * 5
FOLLOWING = [LONG + prompt for prompt in PROMPTS] + [LONG + "d", LONG + "def f(s: str, t: str, u: str, v: str):"]


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("shares", [True, False])
def test_a_shared_prefix_changes_nothing(
    model: Any, monkeypatch: pytest.MonkeyPatch, shares: bool, samples: int
) -> None:
    """shares: the prefix is looked at apart, or copied for each row."""
    monkeypatch.setattr(model, "_shares", shares)
    expected = {number: [greedy(model, prompt)] * samples for number, prompt in enumerate(FOLLOWING)}
    attention = model.model.config._attn_implementation
    assert draw(model, FOLLOWING, samples=samples, max_new_tokens=80) == expected
    assert model.model.config._attn_implementation == attention


def test_rows_with_a_shared_prefix_stop_alone(model: Any) -> None:
    full = draw(model, FOLLOWING, max_new_tokens=80)
    for end in (9, 30):
        found = draw(
            model, FOLLOWING, samples=3, max_new_tokens=80, stop=lambda text, end=end: len(text) >= end or "a" in text
        )
        assert all(full[number][0].startswith(text) for number, texts in found.items() for text in texts)


def test_attention_that_cannot_be_split_is_left_as_it_is(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from selftaught.generator.models import prefix

    def refuse(*given: Any, **rest: Any) -> Any:
        raise prefix.Unsupported

    expected = draw(model, FOLLOWING)
    monkeypatch.setattr(model, "_shares", True)
    AttentionInterface.register(prefix._NAME, refuse)
    try:
        assert draw(model, FOLLOWING) == expected
        assert not model._shares
    finally:
        AttentionInterface.register(prefix._NAME, prefix.attention)


def greedy(model: Any, prompt: str) -> str:
    """What the library's own `generate` writes."""
    ids = model.tokenizer(prompt, return_tensors="pt").input_ids
    out = model.model.generate(ids, attention_mask=ids * 0 + 1, max_new_tokens=80, do_sample=False, pad_token_id=0)
    text: str = model.tokenizer.decode(out[0], skip_special_tokens=True)
    return text[len(prompt) :]


def test_samples_follow_the_models_distribution(model: Any) -> None:
    model.batch_size = 64
    prompt = PROMPTS[0]
    with torch.inference_mode():
        logits = model.model(**model.tokenizer(PROMPTS[0], return_tensors="pt")).logits[0, -1]
    expected = torch.softmax(logits / 0.7, -1)
    top = int(expected.argmax())
    texts = draw(model, [prompt, PROMPTS[1]], samples=2000, max_new_tokens=1, temperature=0.7)[0]
    share = Counter(texts)[model.tokenizer.decode([top])] / 2000
    assert abs(share - float(expected[top])) < 0.05


def test_top_p_keeps_the_smallest_set_of_tokens_that_reaches_it(model: Any) -> None:
    assert draw(model, PROMPTS, temperature=1.0, top_p=1e-9) == draw(model, PROMPTS)
    assert draw(model, PROMPTS, temperature=1.0, top_k=1) == draw(model, PROMPTS)


def test_the_same_seed_draws_the_same_and_another_seed_something_else(model: Any) -> None:
    first = draw(model, PROMPTS, samples=8, temperature=1.0)
    assert first == draw(model, PROMPTS, samples=8, temperature=1.0)
    assert first != draw(model, PROMPTS, samples=8, temperature=1.0, seed=2)
    assert {len(texts) for texts in first.values()} == {8}


def test_rows_stop_alone_and_the_others_go_on_unchanged(model: Any) -> None:
    stopped = draw(model, PROMPTS, samples=8, temperature=0.0, max_new_tokens=20, stop=lambda text: len(text) >= 9)
    assert all(9 <= len(text) < 40 for texts in stopped.values() for text in texts)
    greedy = draw(model, PROMPTS, max_new_tokens=20)
    assert all(greedy[number][0].startswith(texts[0]) for number, texts in stopped.items())


def test_a_stop_string_ends_a_completion(model: Any) -> None:
    full = draw(model, PROMPTS[:1], max_new_tokens=30)[0][0]
    middle = full[5:7]
    found = draw(model, PROMPTS[:1], max_new_tokens=30, stop=[middle])[0][0]
    assert full.startswith(found)
    assert found.index(middle) + len(middle) <= len(found) < len(full)


def test_when_memory_runs_out_batches_are_halved_and_nothing_is_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = Transformers.from_name(str(folder), batch_size=16)
    decode, sizes = model._decode, []

    def hungry(prefix: Any, ids: Any, batch: Any, *rest: Any) -> Any:
        sizes.append(sum(count for _, count in batch))
        if sizes[-1] > 4:
            raise torch.OutOfMemoryError("no room")
        return decode(prefix, ids, batch, *rest)

    monkeypatch.setattr(model, "_decode", hungry)
    found = draw(model, PROMPTS, samples=8, temperature=1.0)
    assert {number: len(texts) for number, texts in found.items()} == dict.fromkeys(range(4), 8)
    assert sizes[:3] == [16, 8, 4]


def test_a_prompt_that_leaves_no_room_is_an_error(model: Any) -> None:
    with pytest.raises(ModelFailed, match="don't fit 256"):
        draw(model, ["x " * 300])
    with pytest.raises(ModelFailed, match="don't fit"):
        draw(model, [""])


def test_a_gguf_folder_is_read_like_the_model_it_was_made_from(model: Any, tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", model)
    loaded: Any = models.load(str(tmp_path), dtype="float32")
    assert loaded.context == 256
    assert draw(loaded, PROMPTS) == draw(model, PROMPTS)


PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(path: Path, source: Any) -> None:
    """A model of this file's kind in llama.cpp's format, unquantised."""
    config, out = source.model.config, gguf.GGUFWriter(str(path), "llama")
    out.add_block_count(config.num_hidden_layers)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    out.add_rope_freq_base(10_000.0)
    out.add_vocab_size(config.vocab_size)
    words = sorted(source.tokenizer.get_vocab(), key=source.tokenizer.get_vocab().get)
    out.add_tokenizer_model("gpt2")
    out.add_token_list(words)
    out.add_token_types([3] + [1] * (len(words) - 1))
    out.add_token_merges(
        [" ".join(pair) for pair in json.loads(source.tokenizer.backend_tokenizer.to_str())["model"]["merges"]]
    )
    out.add_bos_token_id(0)
    out.add_eos_token_id(0)
    out.add_add_bos_token(False)
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for key, tensor in source.model.state_dict().items():
        array, name = tensor.float().numpy(), key.removesuffix(".weight")
        if name not in names:
            _, _, block, part = name.split(".", 3)
            names[name] = f"blk.{block}.{PARTS[part]}"
            if count := heads.get(PARTS[part]):  # llama.cpp turns pairs of neighbours, transformers halves
                array = array.reshape(count, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        out.add_tensor(f"{names[name]}.weight", array.copy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def test_the_digest_changes_with_a_weight(folder: Path) -> None:
    first, second = Transformers.from_name(str(folder)), Transformers.from_name(str(folder))
    with torch.no_grad():
        second.model.lm_head.weight[3, 3] += 1
    assert first.digest == Transformers.from_name(str(folder)).digest
    assert first.digest != second.digest


def test_what_is_no_model_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match=str(tmp_path)):
        models.load(str(tmp_path))
    (tmp_path / "a.gguf").write_bytes(b"no")
    with pytest.raises(ModelFailed, match="name the folder"):
        models.load(str(tmp_path / "a.gguf"))
    (tmp_path / "b.gguf").write_bytes(b"no")
    with pytest.raises(ModelFailed, match="several GGUF"):
        models.load(str(tmp_path))


def test_tokens_are_drawn_as_often_as_the_model_says_and_impossible_ones_never() -> None:
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    token = _TokenSampler(1.0, 1.0, torch.Generator().manual_seed(3))(probabilities.log().repeat(20_000, 1))
    found = torch.bincount(token, minlength=6) / 20_000
    assert torch.allclose(found, probabilities, atol=0.02)
    assert not found[probabilities == 0].any()


def test_top_k_leaves_all_but_the_likeliest_tokens_and_their_odds() -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.15, 0.25])
    token = _TokenSampler(1.0, 1.0, torch.Generator().manual_seed(3), 2)(probabilities.log().repeat(20_000, 1))
    found = torch.bincount(token, minlength=4) / 20_000
    assert torch.allclose(found, torch.tensor([0.0, 2 / 3, 0.0, 1 / 3]), atol=0.02)
    everything = _TokenSampler(1.0, 1.0, torch.Generator().manual_seed(3), 50)(probabilities.log().repeat(1_000, 1))
    assert set(everything.tolist()) == {0, 1, 2, 3}


def test_top_p_leaves_out_the_unlikely_tail() -> None:
    probabilities = torch.tensor([0.1, 0.6, 0.3])
    token = _TokenSampler(1.0, 0.7, torch.Generator().manual_seed(3))(probabilities.log().repeat(1_000, 1))
    assert set(token.tolist()) == {1, 2}


def test_a_processor_writes_in_bfloat16_only_where_it_multiplies_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for can, dtype in (
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda can=can: can, raising=False)
        assert models.load(str(folder), device="cpu").model.dtype == dtype
