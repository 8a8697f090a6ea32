"""The tiny transformer: the function that it computes, its training, and sampling from it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from selftaught.generator.models import ModelFailed  # noqa: E402
from selftaught.trainer.tiny import corpus, tokenizer, training  # noqa: E402
from selftaught.trainer.tiny.completer import Tiny  # noqa: E402
from selftaught.trainer.tiny.corpus import Noise  # noqa: E402
from selftaught.trainer.tiny.model import Config, Transformer  # noqa: E402
from selftaught.trainer.tiny.sampling import choose, sample  # noqa: E402

SMALL = Config(
    len(tokenizer.VOCABULARY),
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=48,
    max_position_embeddings=128,
)


def model(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(SMALL)


def test_transformers_computes_the_same_from_the_saved_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    made = model()
    Tiny(made).save(tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.randint(3, SMALL.vocab_size, (3, 20))
    with torch.no_grad():
        assert torch.allclose(made(ids), theirs(ids).logits, atol=1e-4)


def test_a_saved_model_comes_back_the_same(tmp_path: Path) -> None:
    made = Tiny(model())
    made.save(tmp_path)
    assert Tiny.load(tmp_path).digest == made.digest
    assert Tiny(model(1)).digest != made.digest


def test_sampling_without_heat_writes_what_the_whole_model_finds_most_likely() -> None:
    made = model()
    prompt = [tokenizer.END, *tokenizer.encode("def f(x: int, a=3):")]
    ((_, [written]),) = sample(made, [prompt], 1, temperature=0, new_tokens=12, stops=[tokenizer.END], seed=0)
    with torch.no_grad():
        likely = made(torch.tensor([prompt + written])).argmax(-1)[0, len(prompt) - 1 : -1]
    assert written == likely.tolist()


def test_every_prompt_gets_its_samples_whatever_their_lengths_and_the_same_seed_gives_the_same() -> None:
    made = Tiny(model())
    asked = ["def f(", "def f(x: int, a=3):", "def f(", "def f(x: str):"]
    options = {"samples": 300, "max_new_tokens": 15, "temperature": 1.0}
    first, again, other = (dict(made.complete(asked, seed=seed, **options)) for seed in (1, 1, 2))
    assert sorted(first) == [0, 1, 2, 3] and all(len(texts) == 300 for texts in first.values())
    assert first == again != other


def test_skipped_prompts_and_those_that_do_not_fit_change_nothing_for_the_others() -> None:
    made, told = Tiny(model()), []
    asked = ["def f(", "def f(x: int, a=3):", "def f(x: int):\n" * made.context, "def f(x: str):"]
    options = {"samples": 5, "max_new_tokens": 15, "temperature": 1.0, "seed": 1}
    whole = dict(made.complete(asked, **options, on_refusal=lambda number, reason: told.append(number)))
    assert sorted(whole) == [0, 1, 3] and told == [2]
    for done in ({0}, {1, 2}, {0, 1, 2, 3}):
        found = dict(made.complete(asked, **options, skip=done, on_refusal=lambda number, reason: told.append(number)))
        assert found == {number: texts for number, texts in whole.items() if number not in done}
    assert told == [2, 2], "a prompt that is skipped is not refused again"
    with pytest.raises(ModelFailed, match="longer than"):
        list(made.complete(asked, **options))


def test_a_hotter_choice_is_more_varied_and_follows_the_probabilities() -> None:
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]])).repeat(20_000, 1)
    generator = torch.Generator().manual_seed(0)
    shares = torch.bincount(choose(logits, 1.0, generator), minlength=3) / 20_000
    assert torch.allclose(shares, torch.tensor([0.7, 0.2, 0.1]), atol=0.02)
    assert (choose(logits, 0.2, generator) == 0).float().mean() > 0.99
    few = torch.bincount(choose(logits, 1.0, generator, top_k=2), minlength=3)
    assert few[logits[0].argmin()] == 0 and few.count_nonzero() == 2


def test_loss_is_on_all_tokens_or_on_the_solution_alone() -> None:
    one = training.example("def f(x: int, a=3):\n    return x - a == 4", "def g(a=3):\n    return 4 + a")
    ids, targets, weights = training.collate([one], 0.0)
    assert tokenizer.decode(targets[0][weights[0] > 0].tolist()) == "\n    return 4 + a\n\nassert f(g())"
    _, _, everywhere = training.collate([one], 1.0)
    assert everywhere.all() and len(ids[0]) == len(one.ids) - 1


def test_batches_have_every_example_once_and_few_tokens_too_many() -> None:
    import random

    examples = [training.example(one.sat, one.sol) for one in islice(corpus.documents(1), 300)]
    made = training.batches(examples, 400, random.Random(0))
    assert sorted(one.ids for batch in made for one in batch) == sorted(one.ids for one in examples)
    assert all(max(len(one.ids) for one in batch) * len(batch) <= 400 for batch in made if len(batch) > 1)


@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_training_makes_what_was_read_likelier(muon: float) -> None:
    examples = [training.example(one.sat, one.sol) for one in islice(corpus.documents(1, Noise(correct=1)), 200)]
    losses: list[float] = []
    made = model()
    settings = training.Settings(muon_learning_rate=muon, num_train_epochs=6, warmup_steps=5)
    training.train(made, examples, settings, 0, lambda step, steps, loss: losses.append(loss))
    inputs, targets, _ = training.collate(examples[:1], 1.0)
    with torch.no_grad():
        after = torch.nn.functional.cross_entropy(made(inputs)[0], targets[0])
    assert after < losses[0] - 1


def test_training_twice_with_one_seed_gives_one_model() -> None:
    examples = [training.example(one.sat, one.sol) for one in islice(corpus.documents(1), 50)]
    digests = set()
    for _ in range(2):
        made = model()
        training.train(made, examples, training.Settings(), 7)
        digests.add(Tiny(made).digest)
    assert len(digests) == 1
