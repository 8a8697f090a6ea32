"""Every program of examples/ runs, is short, and does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unreached

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "examples").glob("*.py"))
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
}


def run(name: str, *arguments: str, folder: Path, seconds: float = 300) -> str:
    """Return what an example prints on standard output, started in a folder of its own."""
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    environment = os.environ | OFFLINE | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
    if "CannotConfine" in done.stderr:
        unreached("restricted", "auto", done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """Return the URL of a daemon that is started for the test."""
    path = tmp_path / "socket"
    command = [sys.executable, "-m", "selftaught.sandbox.cli", "serve", "--uds", str(path), "--require", "restricted"]
    with subprocess.Popen([*command, "--workers", "1"], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = next((line for line in process.stderr if "level" in line and "workers" in line), None)
        if line is None:  # it has ended
            unreached("restricted", "auto", "the daemon does not start")
        yield f"unix:{path}"
        process.terminate()
        process.stderr.read()


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Return a folder with a transformer so small that it trains in seconds; it knows nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        plain = Tokenizer(models.BPE({letter: number for number, letter in enumerate(["<end>", *letters])}, []))
        plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        plain.decoder = decoders.ByteLevel()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<end>")
        shape = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=4096, bos_token_id=None, eos_token_id=0, pad_token_id=0,
        )  # fmt: skip
        folder = tmp_path / "model"
        LlamaForCausalLM(shape).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_an_example_is_short_says_what_it_does_and_is_tried_here(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert text.startswith('"""')
    assert f'"{path.name}"' in Path(__file__).read_text()


def test_a_file_is_judged(tmp_path: Path) -> None:
    printed = run("judge_file.py", folder=tmp_path)
    assert re.search(r"^right +accepted", printed, re.M)
    assert printed.endswith("{'accepted': 1, 'rejected': 1, 'time_limit': 1}\n")
    (tmp_path / "one.jsonl").write_text(json.dumps({"id": 1, "sat": "def sat(x: int): return x == 1", "sol": "1"}))
    assert run("judge_file.py", "one.jsonl", folder=tmp_path).endswith("{'accepted': 1}\n")


def test_functions_and_programs_are_judged(tmp_path: Path) -> None:
    printed = [re.split(r"  +", line) for line in run("judge_tests.py", folder=tmp_path).splitlines()]
    assert {line[0]: line[1] for line in printed} == {
        "tests": "accepted",
        "tests, cheated": "wrong_type",
        "cases": "accepted",
        "cases, in part": "rejected",
        "program": "accepted",
        "program, by a checker": "accepted",
    }
    assert printed[3][-1] == "3 of 4, score 0.75"


def test_verls_signature_scores(tmp_path: Path) -> None:
    assert [line[:3] for line in run("verl_score.py", folder=tmp_path).splitlines()] == ["1.0", "1.0", "0.0", "0.0"]


def test_a_daemon_is_asked(daemon: str, tmp_path: Path) -> None:
    lines = run("daemon_client.py", daemon, folder=tmp_path).splitlines()
    assert lines[0].startswith("level ")
    assert lines[1:] == ["accepted", "{'accepted': 10, 'rejected': 90}", "hello, world"]


def test_self_play_learns(tmp_path: Path) -> None:
    solved = [int(share) for share in re.findall(r"(\d+)% solved", run("self_play.py", folder=tmp_path))]
    assert len(solved) == 5
    assert solved[0] < 40
    assert solved[-1] > 80


def test_a_cluster_loses_nothing_with_a_node() -> None:
    """ "ray_nodes.py" runs in tests/sandbox/cluster, where there is no network but a loopback."""
    assert "ray_nodes.py" in (ROOT / "tests/sandbox/cluster/test_cluster.py").read_text()


def test_own_puzzles_are_checked(tmp_path: Path) -> None:
    (kept,) = run("own_puzzles.py", folder=tmp_path).splitlines()
    assert "listen" in json.loads(kept)["sat"]


def test_trl_takes_a_step_of_grpo(model: str, tmp_path: Path) -> None:
    assert "step 1: solved 0%" in run("trl_grpo.py", model, "1", folder=tmp_path)
