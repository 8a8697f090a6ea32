"""`selftaught push` with the real huggingface_hub, against a Hub on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("huggingface_hub")
datasets = pytest.importorskip("datasets")
torch = pytest.importorskip("torch")

from selftaught.generator.models.transformers import Transformers  # noqa: E402
from selftaught.sandbox import Verifier  # noqa: E402
from selftaught.trainer.hub.cleaning import cleaned  # noqa: E402
from selftaught.trainer.loop import Loop  # noqa: E402
from selftaught.trainer.tiny import tokenizer  # noqa: E402
from selftaught.trainer.tiny.completer import Tiny  # noqa: E402
from selftaught.trainer.tiny.model import Config, Transformer  # noqa: E402
from tests.generator.test_commands import QUICK, SCRIPT, selftaught  # noqa: E402
from tests.trainer.hub.fake_hub import READER, TOKEN, Hub, Repository, running  # noqa: E402
from tests.trainer.stub import StubLearner, preset  # noqa: E402

SELFTAUGHT = str(Path(sys.executable).with_name("selftaught"))
REPO = "somebody/puzzles"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as made:
        yield made


def push(hub: Hub | None, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with this Hub and a token that may write. None: with an address where nothing listens."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    address = hub.url if hub else "http://127.0.0.1:9"
    own = {"HF_ENDPOINT": address, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": "/nonexistent"}
    command = [SELFTAUGHT, "push", *map(str, arguments)]
    variables = known | own | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=variables)


def pushed(hub: Hub, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    done = push(hub, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done


def metadata(files: dict[str, bytes]) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    return found


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `selftaught generate`."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "script.json").write_text(json.dumps(SCRIPT))
    model = f"scripted:{folder / 'script.json'}"
    done = selftaught("generate", "--model", model, "-n", 3, "-o", folder / "run", *QUICK)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def save_model(folder: Path) -> None:
    torch.manual_seed(0)
    sizes = Config(len(tokenizer.VOCABULARY), hidden_size=32, num_hidden_layers=1, num_attention_heads=1,
                   intermediate_size=48)  # fmt: skip
    Tiny(Transformer(sizes)).save(folder)


@pytest.fixture(scope="module")
def looped(tmp_path_factory: pytest.TempPathFactory, verifier: Verifier) -> Path:
    """A run of a loop of two iterations, whose last model has weights and what a training leaves beside them."""
    folder = tmp_path_factory.mktemp("looped") / "run"
    Loop(preset(StubLearner()), 2, folder, verifier).run()
    save_model(folder / "iterations/2/model")
    return folder


def test_pairs_are_pushed_and_load_dataset_gives_them_back(hub: Hub, generated: Path, tmp_path: Path) -> None:
    done = pushed(hub, generated, "--repo", REPO, "--license", "mit")
    assert done.stdout == f"{hub.url}/datasets/{REPO}\n"
    folder = hub.write("dataset", REPO, tmp_path / "downloaded")
    with warnings.catch_warnings():
        rows = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    kept = [json.loads(line) for line in (generated / "pairs.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [one["id"] for one in kept]
    assert {"puzzle", "solution", "text", "answer_type", "attempts", "passes", "judgement"} <= set(rows.column_names)
    assert all(row["text"] == f"{row['puzzle']}\n\n{row['solution']}\n\nassert f(g())" for row in rows)
    assert all(row["judgement"]["status"] == "accepted" for row in rows)


def test_nothing_but_pairs_and_card_leaves_a_runs_folder(hub: Hub, generated: Path) -> None:
    pushed(hub, generated, "--repo", REPO)
    assert set(hub.files("dataset", REPO)) == {"README.md", "data/train.jsonl"}


def test_the_datasets_card_tells_size_yield_filters_licence_and_how_it_was_verified(hub: Hub, generated: Path) -> None:
    pushed(hub, generated, "--repo", REPO, "--license", "cc-by-4.0")
    files = hub.files("dataset", REPO)
    told, text = metadata(files), files["README.md"].decode()
    assert told["license"] == "cc-by-4.0" and told["size_categories"] == ["n<1K"]
    assert told["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.jsonl"}]
    progress = json.loads((generated / "progress.json").read_text())
    pairs = [json.loads(line) for line in (generated / "pairs.jsonl").read_text().splitlines()]
    assert f"{len(pairs)} pairs" in text
    assert f"| written | {progress['stages']['written']} |" in text
    assert f"| trivial | {progress['stages']['trivial']} | {progress['refusals'].get('trivial', 0)} |" in text
    assert pairs[0]["judgement"]["verifier"] in text and f"`{pairs[0]['judgement']['level']}`" in text
    assert "recipe `default`" in text and '"samples_per_prompt": 4' in text


def test_a_models_path_and_a_servers_address_stay_here(hub: Hub, generated: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(generated, run)
    names = [str(tmp_path / "my models/qwen"), "http://10.1.2.3:8000/v1#Qwen/Qwen2.5", str(run / "iterations/1/model"),
             "Qwen/Qwen2.5-Coder"]  # fmt: skip
    lines = []
    for line, name in zip((run / "pairs.jsonl").read_text().splitlines(), names, strict=False):
        pair = json.loads(line)
        for key in ("puzzle_sampling", "solution_sampling"):
            pair[key]["model"] = name
        pair["filters"][0]["detail"] = f"could not be judged: {tmp_path}/socket is gone"
        lines.append(json.dumps(pair) + "\n")
    (run / "pairs.jsonl").write_text("".join(lines))
    pushed(hub, run, "--repo", REPO)
    files = hub.files("dataset", REPO)
    for name, content in files.items():
        for secret in (str(tmp_path), "10.1.2.3", str(Path.home())):
            assert secret.encode() not in content, (name, secret)
    models = [json.loads(line)["solution_sampling"]["model"] for line in files["data/train.jsonl"].splitlines()]
    assert models == ["qwen", "Qwen/Qwen2.5", "iterations/1/model", "Qwen/Qwen2.5-Coder"][: len(models)]
    assert len(models) >= 3


def test_what_looks_like_a_token_ends_the_push_before_anything_is_sent(
    hub: Hub, generated: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(generated, run)
    text = (run / "pairs.jsonl").read_text()
    (run / "pairs.jsonl").write_text(text.replace('"recipe":"default"', '"recipe":"hf_' + "a" * 30 + '"', 1))
    done = push(hub, run, "--repo", REPO)
    assert done.returncode == 2 and "data/train.jsonl:1: hf_aaa... looks like a secret" in done.stderr
    assert not hub.asked


def test_a_dry_run_says_what_would_be_uploaded_and_asks_nobody(hub: Hub, generated: Path) -> None:
    done = pushed(hub, generated, "--repo", REPO, "--private", "--dry-run")
    assert not hub.asked
    assert f"would upload to the private dataset {REPO}" in done.stdout
    assert "bytes  data/train.jsonl" in done.stdout and "left out:" in done.stdout and "puzzles.jsonl" in done.stdout
    assert "no licence is stated: --license" in done.stdout and "# Puzzles and solutions" in done.stdout


def test_a_second_push_of_the_same_sends_and_commits_nothing(hub: Hub, generated: Path) -> None:
    pushed(hub, generated, "--repo", REPO)
    commits, uploads = hub.repositories["dataset", REPO].commits, list(hub.uploads)
    done = pushed(hub, generated, "--repo", REPO)
    assert "everything is there already" in done.stderr
    assert (hub.repositories["dataset", REPO].commits, hub.uploads) == (commits, uploads)


def test_a_push_that_broke_off_goes_on_without_sending_a_large_file_again(hub: Hub, looped: Path) -> None:
    folder = looped / "iterations/2/model"
    shutil.copy(folder / "model.safetensors", folder / "model-2.safetensors")
    with open(folder / "model-2.safetensors", "ab") as weights:
        weights.write(b"more")
    try:
        hub.broken = 1
        done = push(hub, folder, "--repo", REPO)
        assert done.returncode == 2 and "the line broke" in done.stderr and len(hub.uploads) == 1
        assert not hub.files("model", REPO)
        hub.broken = None
        pushed(hub, folder, "--repo", REPO)
        assert len(hub.uploads) == len(set(hub.uploads)) == 2
        assert {"model.safetensors", "model-2.safetensors"} <= set(hub.files("model", REPO))
    finally:
        (folder / "model-2.safetensors").unlink()


def test_a_loops_folder_holds_both_so_the_type_is_asked_for(hub: Hub, looped: Path) -> None:
    done = push(hub, looped, "--repo", REPO)
    assert done.returncode == 2 and "give --type dataset or --type model" in done.stderr
    pushed(hub, looped, "--repo", REPO, "--type", "dataset")
    pairs = (looped / "data/train.jsonl").read_bytes()
    assert hub.files("dataset", REPO)["data/train.jsonl"] == pairs


def test_a_loops_model_has_the_exams_figures_on_its_card(hub: Hub, looped: Path) -> None:
    pushed(hub, looped, "--repo", REPO, "--type", "model", "--license", "apache-2.0", "--base-model", "some/base")
    told, text = metadata(hub.files("model", REPO)), hub.files("model", REPO)["README.md"].decode()
    entries = json.loads((looped / "metrics.json").read_text())["iterations"]
    best = entries[2]["pass_at_k"]["1"]
    assert told["base_model"] == "some/base" and told["library_name"] == "transformers"
    metrics = {one["type"]: one["value"] for one in told["model-index"][0]["results"][0]["metrics"]}
    assert metrics["pass@1"] == pytest.approx(best["value"], abs=1e-4)
    base = entries[0]["pass_at_k"]["1"]
    assert f"| Pass@1 | {base['value']:.1%} [{base['low']:.1%}, {base['high']:.1%}] | {best['value']:.1%} [" in text
    assert f"{entries[2]['counts']['examples']} pairs" in text


def test_no_checkpoint_optimiser_log_pickle_or_path_of_a_training_is_uploaded(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "trained"
    save_model(folder)
    (folder / "checkpoints/checkpoint-1").mkdir(parents=True)
    (folder / ".cache").mkdir()
    (folder / "runs").mkdir()
    for name in ("checkpoints/checkpoint-1/model.safetensors", "optimizer.pt", "training_args.bin", "scheduler.pt",
                 "rng_state.pth", ".cache/token", "runs/events.out", ".env", "pytorch_model.bin"):  # fmt: skip
        (folder / name).write_bytes(b"no")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": str(tmp_path / "base")}))
    (folder / "training.json").write_text(json.dumps({"model": str(tmp_path / "base"), "learning_rate": 5e-6}))
    pushed(hub, folder, "--repo", REPO)
    files = hub.files("model", REPO)
    ours = {path.name for path in folder.glob("tokenizer*")}
    assert set(files) == {"README.md", "config.json", "training.json", "model.safetensors", *ours}
    assert not [name for name, content in files.items() if str(tmp_path).encode() in content]
    assert json.loads(files["config.json"])["_name_or_path"] == "base"
    assert "base_model" not in metadata(files) and "It was trained from `base`." in files["README.md"].decode()


@pytest.mark.parametrize("name", ["LICENSE", "tokenizer.json", "vocab.txt", "config.json"])
def test_no_link_in_a_models_folder_has_a_file_from_elsewhere_uploaded(hub: Hub, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "trained"
    save_model(folder)
    (tmp_path / "private").write_text('{"diary": "what nobody should read"}')
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "private")
    done = pushed(hub, folder, "--repo", REPO)
    assert f"links to other folders are left out: {name}" in done.stderr
    assert not [other for other, content in hub.files("model", REPO).items() if b"diary" in content]


def test_a_model_in_the_cache_of_the_hub_is_whole_though_its_files_are_links(hub: Hub, tmp_path: Path) -> None:
    folder, blobs = tmp_path / "snapshots/1", tmp_path / "blobs"
    save_model(folder)
    blobs.mkdir()
    for path in list(folder.iterdir()):
        path.rename(blobs / path.name)
        path.symlink_to(f"../../blobs/{path.name}")
    pushed(hub, folder, "--repo", REPO)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(hub.files("model", REPO))


def test_a_token_in_any_text_of_a_model_ends_the_push(hub: Hub, tmp_path: Path) -> None:
    save_model(tmp_path / "trained")
    for name in ("merges.txt", "chat_template.jinja", "LICENSE.txt"):
        (tmp_path / "trained" / name).write_text("# a note\nkey = github_pat_" + "a" * 40)
        done = push(hub, tmp_path / "trained", "--repo", REPO)
        assert done.returncode == 2 and f"{name}:2: github... looks like a secret" in done.stderr
        (tmp_path / "trained" / name).unlink()
    assert not hub.asked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("file:///home/somebody/model", "model"),
        ("at ws://10.1.2.3:80/v1 and grpc://10.1.2.3", "at a server and a server"),
        ("ftp://somebody:word@10.1.2.3/model", "a server"),
    ],
)
def test_addresses_and_paths_of_every_scheme_are_left_out(text: str, shown: str) -> None:
    assert cleaned({"model": text}, Path("/run")) == {"model": shown}


def test_a_pushed_model_is_loaded_again(hub: Hub, looped: Path, tmp_path: Path) -> None:
    pushed(hub, looped, "--repo", REPO, "--type", "model")
    with warnings.catch_warnings():
        there = Transformers.from_name(str(hub.write("model", REPO, tmp_path)))
        here = Transformers.from_name(str(looped / "iterations/2/model"))
    assert there.digest == here.digest


def test_a_branch_is_made_and_main_is_left_alone(hub: Hub, generated: Path) -> None:
    done = pushed(hub, generated, "--repo", REPO, "--revision", "second")
    assert done.stdout == f"{hub.url}/datasets/{REPO}/tree/second\n"
    assert not hub.files("dataset", REPO)
    assert set(hub.files("dataset", REPO, "second")) == {"README.md", "data/train.jsonl"}


def test_private_is_private_from_the_first_moment_and_never_published_silently(hub: Hub, generated: Path) -> None:
    pushed(hub, generated, "--repo", REPO, "--private")
    assert hub.repositories["dataset", REPO].private
    hub.repositories["dataset", "somebody/public"] = Repository()
    done = push(hub, generated, "--repo", "somebody/public", "--private")
    assert done.returncode == 2 and "exists and is public" in done.stderr
    assert not hub.files("dataset", "somebody/public")


def test_a_repository_of_the_other_type_is_not_shadowed_unless_the_type_is_given(hub: Hub, generated: Path) -> None:
    hub.repositories["model", REPO] = Repository()
    done = push(hub, generated, "--repo", REPO)
    assert done.returncode == 2 and f"{REPO} is a model on {hub.url}, and this is a dataset" in done.stderr
    assert ("dataset", REPO) not in hub.repositories
    pushed(hub, generated, "--repo", REPO, "--type", "dataset")
    assert hub.files("dataset", REPO)


@pytest.mark.parametrize(
    ("environment", "remedy"),
    [
        ({"HF_TOKEN": ""}, "there is no token for {url}: make one"),
        ({"HF_TOKEN": "hf_unknown"}, "{url} does not know the token"),
        ({"HF_TOKEN": READER}, "the token may not write to somebody on {url}"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_a_push_that_may_not_be_says_what_to_do(
    hub: Hub, generated: Path, environment: dict[str, str], remedy: str
) -> None:
    done = push(hub, generated, "--repo", REPO, **environment)
    assert done.returncode == 2, done.stdout
    assert remedy.format(url=hub.url) in done.stderr and "Traceback" not in done.stderr


def test_without_a_network_the_address_is_named(generated: Path) -> None:
    done = push(None, generated, "--repo", REPO)
    assert done.returncode == 2 and "http://127.0.0.1:9 (HF_ENDPOINT) can't be reached" in done.stderr
    assert "the same command goes on" in done.stderr.lower() and "Traceback" not in done.stderr


def test_a_licence_that_the_hub_does_not_know_is_refused_before_files_are_sent(hub: Hub, generated: Path) -> None:
    done = push(hub, generated, "--repo", REPO, "--license", "wtf")
    assert done.returncode == 2 and "Invalid metadata in README.md" in done.stderr
    assert not hub.uploads


@pytest.mark.parametrize(
    ("name", "said"), [("puzzles", "give OWNER/NAME"), ("a/b/c", "give OWNER/NAME"), ("a/..", "--repo")]
)
def test_a_name_that_is_none_is_refused(hub: Hub, generated: Path, name: str, said: str) -> None:
    done = push(hub, generated, "--repo", name)
    assert done.returncode == 2 and said in done.stderr and not hub.asked


def test_a_folder_that_holds_nothing_is_refused_with_what_is_looked_for(hub: Hub, tmp_path: Path) -> None:
    done = push(hub, tmp_path, "--repo", REPO)
    assert done.returncode == 2 and "neither the folder of a run" in done.stderr
