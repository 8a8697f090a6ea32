"""`selftaught evaluate` as a user meets it: long runs that are killed, refused prompts, chats, and given samples."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import passk
from selftaught.trainer import evaluation
from tests.generator.model_server import ModelServer, luck, serving

SELFTAUGHT = str(Path(sys.executable).with_name("selftaught"))
PUZZLES = [
    {"id": f"p{n}", "sat": f"def sat(x: int, n={n}):\n    return x * n == {7919 * n} and n > 0"} for n in range(1, 13)
]
QUICK = ("--workers", "1", "--require", "restricted")


def guess(prompt: str, seed: int) -> str:
    """Right for about a third of the seeds, and more often the longer the prompt; deterministic."""
    texts = ["\n    return 7919\n\ndef f9(", "\n    return 7919 * n", "\n    return (", "\n    return n - 7919"]
    return texts[luck(prompt, seed) % 4]


def in_chat(prompt: str, seed: int) -> str:
    return f"Here it is:\n\n```python\ndef g(n=1):{guess(prompt, seed).partition(chr(10) * 2)[0]}\n```\n"


def lines(path: Path, *records: object) -> Path:
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in records))
    return path


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [SELFTAUGHT, "evaluate", *map(str, arguments), *QUICK]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def figures(path: Path) -> dict[str, Any]:
    return evaluation.summary(list(evaluation.read(path)))


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving(guess) as made:
        yield made


@pytest.fixture
def puzzles(tmp_path: Path) -> Path:
    return lines(tmp_path / "puzzles.jsonl", *PUZZLES)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_evaluation_resumed_has_the_figures_of_one_that_was_not(
    server: ModelServer, puzzles: Path, tmp_path: Path, number: int
) -> None:
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    given = (f"{server.address}#m", "--puzzles", puzzles, "-n", 4, "-T", 0.8, "-T", 0.3)
    assert run(*given, "-o", whole).returncode == 0
    asked, server.seen[:] = len(server.seen), []
    server.block_after = 17
    command = [SELFTAUGHT, "evaluate", *map(str, given), "-o", str(killed), *QUICK]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + 60
        while (not killed.exists() or killed.read_bytes().count(b"\n") < 16) and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(number)
        _, said = running.communicate(timeout=20)
    assert running.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[signal.Signals(number)]
    kept = killed.read_bytes().count(b"\n")
    assert kept == 16, "what was answered is kept, and the second temperature had begun"
    assert number == signal.SIGKILL or f"{kept} results: the same command with --resume continues" in said
    with open(killed, "ab") as file:
        file.write(whole.read_bytes()[:40])  # a line that was cut
    server.block_after, server.seen[:] = 10**9, []
    done = run(*given, "-o", killed, "--resume")
    assert done.returncode == 0, done.stderr
    assert "32 of 96 attempts now" in done.stderr
    assert len(server.seen) == asked - kept, "nothing is asked twice"
    assert figures(killed) == figures(whole) and figures(whole)["pass_at_k"]["1"]["value"] not in (0, 1)
    assert done.stdout == run(*given, "-o", whole, "--resume").stdout


@pytest.mark.parametrize("lines_left", [0, 1, 5, 12])
def test_a_file_cut_anywhere_is_completed_to_the_same_results(puzzles: Path, tmp_path: Path, lines_left: int) -> None:
    texts = [" return 7919", " return n", " return ("]
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"ends": f"g6(n={n}):", "texts": texts} for n in range(1, 13)]))
    given = (f"scripted:{script}", "--puzzles", puzzles, "-n", 6)
    assert run(*given, "-o", tmp_path / "whole.jsonl").returncode == 0
    content = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(content[:lines_left]) + b"".join(content[lines_left:])[:50])
    assert run(*given, "-o", tmp_path / "cut.jsonl", "--resume").returncode == 0
    key = json.JSONEncoder(sort_keys=True).encode
    ended = [sorted(key(json.loads(line)) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines())
             for name in ("whole", "cut")]  # fmt: skip
    assert ended[0] == ended[1] and len(ended[0]) == 12


def test_an_output_is_neither_replaced_nor_continued_unasked_nor_with_other_settings(
    server: ModelServer, puzzles: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    given = (f"{server.address}#m", "--puzzles", puzzles, "-o", out)
    run(*given, "-n", 2)
    before = out.read_bytes()
    again = run(*given, "-n", 2)
    assert again.returncode == 2 and "use --resume to continue it, or --force" in again.stderr
    for changed, word in (
        (("-n", 3), "attempts was 2, is 3"),
        (("-n", 2, "--bare"), "bare was false, is true"),
        (("-n", 2, "--seed", 1), "seed was 0, is 1"),
        (("-n", 2, "--puzzles", lines(tmp_path / "other.jsonl", *PUZZLES[1:])), "puzzles was"),
    ):
        other = run(*given, *changed, "--resume")
        assert other.returncode == 2 and word in other.stderr, other.stderr
    assert out.read_bytes() == before
    old = lines(out, {"id": "p1", "group": "", "trivial": False, "temperature": 0.8, "statuses": {}, "solutions": {}})
    assert "has no settings" in run(*given, "-n", 2, "--resume").stderr
    assert run(*given, "-n", 2, "--force").returncode == 0 and old.read_bytes().count(b"\n") == 12


def test_a_refused_prompt_is_one_result_apart_and_no_wrong_answer(
    server: ModelServer, tmp_path: Path, puzzles: Path
) -> None:
    server.answer = lambda prompt, seed: "\n    return 7919"
    server.refuses = "POISON"
    poison = {"id": "long", "sat": "def sat(x: int, s='POISON'):\n    return x == len(s) + 1"}
    out, given = tmp_path / "out.jsonl", lines(puzzles, *PUZZLES[:4], poison, *PUZZLES[4:])
    done = run(f"{server.address}#m", "--puzzles", given, "-n", 2, "-o", out)
    assert done.returncode == 1, done.stderr
    assert "2 attempts are refused" in done.stderr and "long: " in done.stderr and "context length" in done.stderr
    results = {one.id: one for one in evaluation.read(out)}
    assert results["long"].statuses == {"refused": 2} and results["long"].score.attempts == 0
    assert len(results) == 13 and "all 12" in done.stdout and "100.0%" in done.stdout


def test_a_refused_prompt_is_asked_again_when_the_evaluation_is_resumed(
    server: ModelServer, tmp_path: Path, puzzles: Path
) -> None:
    server.answer, server.refuses = (lambda prompt, seed: "\n    return 7919"), "n=7)"
    out = tmp_path / "out.jsonl"
    given = (f"{server.address}#m", "--no-chat", "--puzzles", puzzles, "-n", 2, "-o", out)
    assert run(*given).returncode == 1
    for refuses, code in (("n=7)", 1), ("\0", 0), ("\0", 0)):  # refused again, then answered, then done
        server.refuses, server.seen[:] = refuses, []
        done = run(*given, "--resume")
        assert done.returncode == code, done.stderr
        assert len(server.seen) == (1 if "made again, since they were refused" in done.stderr else 0)
        assert ("2 attempts are refused" in done.stderr) is (code == 1)
        assert f"{2 * len(server.seen)} of 24 attempts now" in done.stderr
    assert "all 12" in done.stdout and "100.0%" in done.stdout
    assert figures(out)["statuses"] == {"accepted": 24}
    assert {one.id: one.refusal for one in evaluation.read(out)}["p7"] == ""


def test_a_server_that_fails_for_good_leaves_what_was_done(server: ModelServer, puzzles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    server.faults = []
    answer = server.answer
    server.answer = lambda prompt, seed: answer(prompt, seed) if len(server.seen) < 9 else broken(server)
    done = run(f"{server.address}#m", "--puzzles", puzzles, "-n", 2, "-o", out)
    assert done.returncode == 2 and "HTTP 418" in done.stderr
    assert "the same command with --resume continues" in done.stderr
    assert 0 < out.read_bytes().count(b"\n") < 12


def broken(server: ModelServer) -> str:
    server.faults = [(418, {})] * 100
    return "\n    return 1"


def test_nothing_of_a_users_file_is_left_out_without_a_line(server: ModelServer, tmp_path: Path) -> None:
    alike = [{"id": n, "sat": f"def sat(x: int, n={n}):\n    return x == n + 6"} for n in (1, 2, 3, 3)]
    given = lines(tmp_path / "p.jsonl", *alike, {"id": "odd", "sat": "def sat("}, "no json", {"sol": "x"})
    done = run(f"{server.address}#m", "--puzzles", given, "-n", 1, "-o", tmp_path / "all.jsonl")
    assert done.returncode == 1
    assert "3 records are left out" in done.stderr
    for number in (5, 6, 7):
        assert f"p.jsonl:{number}" in done.stderr
    assert [one.id for one in evaluation.read(tmp_path / "all.jsonl")] == ["1", "2", "3", "3#2"]
    first = run(
        f"{server.address}#m", "--puzzles", given, "-n", 1, "-o", tmp_path / "1.jsonl", "--first-instance"
    ).stderr
    assert "3 records are left out: it is a further instance of a problem; --every-instance keeps it" in first


@pytest.mark.parametrize("paths", [("/v1/chat/completions",), ("/v1/chat/completions", "/v1/completions")])
def test_a_server_with_nothing_but_a_chat_is_asked_in_messages(
    tmp_path: Path, puzzles: Path, paths: tuple[str, ...]
) -> None:
    with serving(in_chat, *paths) as server:
        given = (f"{server.address}#m", "--puzzles", puzzles, "-n", 4, "-o", tmp_path / "out.jsonl")
        done = run(*given, *(["--chat"] if len(paths) == 2 else []))
        assert done.returncode == 0, done.stderr
        (found,) = figures(tmp_path / "out.jsonl")["pass_at_k"].values()
        assert 0 < found["value"] < 1
        asked = server.seen[-1]
        assert "def f(x: int" in asked["messages"][-1]["content"] and "stop" not in asked


def test_a_server_that_is_no_model_server_is_named_with_what_it_lacks(tmp_path: Path, puzzles: Path) -> None:
    with serving(guess, "/v1/embeddings") as server:
        done = run(f"{server.address}#m", "--puzzles", puzzles, "-o", tmp_path / "out.jsonl")
    assert done.returncode == 2 and "neither /completions nor /chat/completions" in done.stderr


SAMPLES = [
    {"id": "p1", "solution": "def sol(n=1):\n    return 7919"},
    {"id": "p1", "solution": "def sol(n=1):\n    return 1"},
    {"id": "p2", "completion": "Sure:\n```python\ndef g(n=2):\n    return 7919\n```\n"},
    {"id": "p2", "completion": "    return n\n\ndef f9("},
    {"id": "p3", "completion": ["\n    return 7919", "I give up."]},
]


def test_given_samples_are_scored_and_more_of_them_later(tmp_path: Path, puzzles: Path) -> None:
    samples, out = lines(tmp_path / "samples.jsonl", *SAMPLES), tmp_path / "out.jsonl"
    given = ("--samples", samples, "--puzzles", puzzles, "-o", out)
    done = run(*given)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 attempts now" in done.stderr and "9 of 12 problems have no sample" in done.stderr
    assert figures(out)["pass_at_k"]["1"]["value"] == 0.5
    lines(samples, *SAMPLES, {"id": "p4", "solution": "def sol(n=4):\n    return 7919"})
    done = run(*given, "--resume")
    assert done.returncode == 0 and "1 of 7 attempts now" in done.stderr, done.stderr
    assert figures(out)["pass_at_k"]["1"]["value"] == (0.5 * 3 + 1) / 4
    lines(samples, SAMPLES[1], *SAMPLES)
    changed = run(*given, "--resume")
    assert changed.returncode == 2 and "new samples are added at the end" in changed.stderr


def test_a_sample_that_a_fault_kept_from_being_judged_is_judged_when_resumed(tmp_path: Path, puzzles: Path) -> None:
    samples, out = lines(tmp_path / "samples.jsonl", *SAMPLES), tmp_path / "out.jsonl"
    given = ("--samples", samples, "--puzzles", puzzles, "-o", out)
    run(*given)
    whole = out.read_bytes().splitlines()
    fault = json.loads(whole[1])
    (solution,) = fault["solutions"]
    fault |= {"statuses": {"internal_error": 1}, "solutions": {solution: "internal_error"}}
    lines(out, *(json.loads(one) for one in whole[:1]), fault, *(json.loads(one) for one in whole[2:4]))
    done = run(*given, "--resume")
    assert done.returncode == 0 and "or, by a fault, not judged: 1\n" in done.stderr
    assert "3 of 6 attempts now" in done.stderr
    assert out.read_bytes().count(b"\n") == 7
    assert figures(out)["pass_at_k"]["1"]["value"] == 0.5 and "internal_error" not in figures(out)["statuses"]
    assert "0 of 6 attempts now" in run(*given, "--resume").stderr


def test_samples_without_a_problem_are_counted_and_named(tmp_path: Path, puzzles: Path) -> None:
    samples = lines(tmp_path / "samples.jsonl", *SAMPLES, {"id": "nobody", "solution": "x"}, "no json", {"id": "p1"})
    done = run("--samples", samples, "--puzzles", puzzles, "-o", tmp_path / "out.jsonl")
    assert done.returncode == 1 and "3 attempts are invalid" in done.stderr
    for word in ("there is no problem 'nobody'", "samples.jsonl:7: not JSON", "it has no solution"):
        assert word in done.stderr
    assert "all 3" in done.stdout


HUMANEVAL = {"task_id": "H/0", "prompt": "def inc(x):\n", "entry_point": "inc",
             "test": "def check(candidate):\n    assert candidate(1) == 2\n"}  # fmt: skip
OF_HUMANEVAL = [
    {"task_id": "H/0", "completion": "    return x + 1\n"},
    {"task_id": "H/0", "completion": "```python\ndef inc(x):\n    return x + 1\n```"},
    {"task_id": "H/0", "completion": "    return x\n"},
]


@pytest.mark.parametrize("problems", [PUZZLES, [HUMANEVAL]], ids=["puzzles", "a dataset"])
def test_evaluate_and_verify_agree_on_samples(tmp_path: Path, problems: list[dict[str, str]]) -> None:
    given = lines(tmp_path / "problems.jsonl", *problems)
    samples = lines(tmp_path / "samples.jsonl", *(SAMPLES if problems is PUZZLES else OF_HUMANEVAL))
    out, verdicts = tmp_path / "out.jsonl", tmp_path / "verdicts.jsonl"
    assert run("--samples", samples, "--puzzles", given, "-o", out).returncode == 0
    verify = [SELFTAUGHT, "verify", str(given), "--samples", str(samples), "-o", str(verdicts), "--summary", *QUICK]
    said = subprocess.run(verify, capture_output=True, text=True, timeout=120, check=False).stderr
    statuses = [json.loads(line)["status"] for line in verdicts.read_text().splitlines()]
    found = figures(out)
    assert found["statuses"] == {status: statuses.count(status) for status in statuses}
    value = found["pass_at_k"]["1"]
    assert f"Pass@1: {value['value']:.1%} [{value['low']:.1%}, {value['high']:.1%}]" in said


SQUARE = {"task_id": 5, "text": "Square a number.", "code": "", "test_list": ["assert sq(3) == 9", "assert sq(0) == 0"]}
CUBE = {**SQUARE, "task_id": 600, "text": "Cube a number.", "test_list": ["assert sq(3) == 27"]}


def of_functions(prompt: str, seed: int) -> str:
    wrong = luck(prompt, seed) % 2
    if prompt.endswith("[BEGIN]"):
        return f"\ndef sq(x):\n    return x * x + {wrong}\n[DONE]\n\nYou are"
    return f"    return x + {1 + wrong}\n\nprint(inc(1))"


def in_blocks(prompt: str, seed: int) -> str:
    name, value = ("inc", "x + 1") if "def inc" in prompt else ("sq", "x * x")
    return f"<think>\nEasy.\n</think>\n```python\ndef {name}(x):\n    return {value}\n```\n"


@pytest.mark.parametrize("chat", [False, True])
def test_a_benchmark_is_asked_in_its_own_way_and_judged_by_its_tests(tmp_path: Path, chat: bool) -> None:
    given, out = lines(tmp_path / "problems.jsonl", HUMANEVAL, SQUARE, CUBE), tmp_path / "out.jsonl"
    with serving(in_blocks if chat else of_functions) as server:
        arguments = (f"{server.address}#m", "--benchmark", given, "-n", 6, "-o", out, "--chat" if chat else "--no-chat")
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        results = {one.id: one for one in evaluation.read(out)}
        assert {one.settings["cpu_seconds"] for one in results.values()} == {3.0}, "as the dataset's judge has it"
        assert results["600"].score == passk.Score(6, 0) and results["600"].group == "MBPP validation part"
        right = {ident: results[ident].score.correct for ident in ("H/0", "5")}
        assert right == {"H/0": 6, "5": 6} if chat else all(0 < one < 6 for one in right.values())
        asked = len(server.seen)
        again = run(*arguments, "--resume")
        assert again.returncode == 0 and again.stdout == done.stdout and len(server.seen) == asked
        other = run(*arguments, "--resume", "--format", "mbpp")
        assert other.returncode == 2 and "format was not there" in other.stderr


def test_a_file_of_the_other_kind_says_which_option_takes_it(tmp_path: Path, puzzles: Path) -> None:
    given, out = lines(tmp_path / "problems.jsonl", HUMANEVAL), tmp_path / "out.jsonl"
    lacking = lines(tmp_path / "lacking.jsonl", {**HUMANEVAL, "test": None, "other": 1, "prompt": 3})
    for option, file, word in (
        ("--puzzles", given, "its records look like humaneval: --benchmark asks those"),
        ("--benchmark", puzzles, "a puzzle: those are given with --puzzles"),
        ("--benchmark", lacking, "the field 'test' is missing"),
    ):
        done = run("scripted:/nowhere", option, file, "-o", out)
        assert done.returncode == 2 and word in done.stderr, done.stderr
    assert not out.exists()


def test_samples_of_a_benchmark_are_compared_as_asked(tmp_path: Path) -> None:
    half = {"problem_id": 1, "question": "Halve.", "input_output": json.dumps({"inputs": ["1"], "outputs": ["0.5"]})}
    given, out = lines(tmp_path / "problems.jsonl", half), tmp_path / "out.jsonl"
    samples = lines(tmp_path / "samples.jsonl", {"problem_id": 1, "solution": "print(float(input()) / 2 + 1e-10)"})
    for compare, right in (("exact", 0), ("approx", 1)):
        arguments = ("--samples", samples, "--benchmark", given, "--format", "apps", "--compare", compare, "-o", out)
        done = run(*arguments, "--force")
        assert done.returncode == 0, done.stderr
        assert [one.score for one in evaluation.read(out)] == [passk.Score(1, right)]
    again = run(*arguments[:-4], "--compare", "exact", "-o", out, "--resume")
    assert again.returncode == 2 and 'compare was "approx", is "exact"' in again.stderr


def test_a_model_and_samples_exclude_each_other(tmp_path: Path) -> None:
    for arguments, word in (
        ((), "name a MODEL, or give --samples"),
        (("MODEL", "--samples", "x"), "and not both"),
        (("--samples", "x", "-n", "5"), "leave out -n"),
        (("MODEL", "--benchmark", "x", "--puzzles", "y"), "leave out --puzzles"),
        (("MODEL", "--compare", "exact"), "--compare is for --benchmark or --samples"),
        (("MODEL", "--benchmark", "humaneval"), "takes the file with the dataset's problems"),
        (("MODEL", "--benchmark", "x", "--format", "humanevil"), "'humanevil' is not one of auto, "),
    ):
        done = run(*arguments, "-o", tmp_path / "out.jsonl")
        assert done.returncode == 2 and word in done.stderr
