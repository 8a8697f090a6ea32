"""A run of self-play: what it keeps, what it rewards, and how it goes on after it was interrupted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from selftaught.generator.absolute_zero import play
from selftaught.generator.absolute_zero.command import self_play
from selftaught.generator.absolute_zero.play import SelfPlay, Settings, learnability
from selftaught.generator.absolute_zero.triplet import Kind
from selftaught.generator.folder import Mismatch
from selftaught.generator.models.scripted import Scripted
from selftaught.sandbox import Verifier

SETTINGS = Settings(prompts_per_wave=2, samples_per_prompt=3, attempts=4)


def answer(prompt: str, rng: random.Random) -> str:
    """Propose sums, and answer as a model that is right now and then."""
    last = prompt.rsplit("\n\n", 1)[-1]
    if last == "#":
        return f" adds\nassert f4({rng.randrange(50)}) == 0\nassert f4({rng.randrange(50, 99)}) == 0\n"
    if last.startswith("def "):
        name = last[4:-1]
        return rng.choice([
            f"n):\n    return n + {rng.randrange(9)}\n\nassert {name}({rng.randrange(99)}) == 0\n\n",
            f"n):\n    return n / 0\n\nassert {name}(1) == 0\n", "n):\n    what\n",
        ])  # fmt: skip
    return rng.choice(["1\n", " 10\n", "7)\n", "nonsense\n"])


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(workers=2, require="restricted") as made:
        yield made


def lines(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "tasks.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize(("right", "judged", "reward"), [(0, 4, 0.0), (4, 4, 0.0), (1, 4, 0.75), (3, 4, 0.25)])
def test_who_proposes_is_rewarded_for_what_is_solved_seldom_but_sometimes(
    right: int, judged: int, reward: float
) -> None:
    assert learnability(right, judged) == reward
    assert learnability(0, 0) is None, "what was not judged says nothing"


def test_a_run_keeps_new_tasks_of_each_kind_and_counts_what_was_lost(verifier: Verifier, tmp_path: Path) -> None:
    counts = SelfPlay(Scripted(answer), verifier, tmp_path / "run", SETTINGS).run(30)
    found = lines(tmp_path / "run")
    assert len(found) == counts["tasks"] >= 30 and {one["kind"] for one in found} == set(Kind)
    assert counts["proposed"] > counts["readable"] > counts["valid"] >= counts["new"]
    assert sum(one["right"] for one in found) == counts["right"] > 0
    assert all(one["attempts"] == 4 and bool(one["right"]) == bool(one["solution"]) for one in found)
    assert len({one["id"] for one in found}) == len(found)
    assert next(play.read(str(tmp_path / "run" / "tasks.jsonl")))[0] == found[0]["kind"]


def test_what_prompts_show_is_not_new(verifier: Verifier, tmp_path: Path) -> None:
    def parrot(prompt: str, rng: random.Random) -> str:
        name = prompt.rsplit("\n\n", 1)[-1][4:-1]
        return f"words, size):\n    return [word for word in words if len(word) > size]\n\nassert {name}([], 4) == []\n"

    settings = Settings(kinds="deduction,abduction", prompts_per_wave=1, samples_per_prompt=2)
    counts = SelfPlay(Scripted(parrot), verifier, tmp_path / "run", settings).run(5, patience=2)
    assert counts["valid"] == 4 and counts["new"] == counts["tasks"] == 0


def test_an_interrupted_run_goes_on_after_its_last_whole_wave_as_if_nothing_had_been(
    verifier: Verifier, tmp_path: Path
) -> None:
    whole = SelfPlay(Scripted(answer), verifier, tmp_path / "whole", SETTINGS).run(40)

    class Killed(Exception):
        pass

    def kill(counts: Any) -> None:
        if counts["tasks"] > 10:
            raise Killed

    with pytest.raises(Killed):
        SelfPlay(Scripted(answer), verifier, tmp_path / "cut", SETTINGS, on_progress=kill).run(40)
    with open(tmp_path / "cut" / "tasks.jsonl", "ab") as file:
        file.write(b'{"id": "of a wave that is not complete"}\n{"id":')
    with pytest.raises(Mismatch, match="--resume"):
        SelfPlay(Scripted(answer), verifier, tmp_path / "cut", SETTINGS)
    with pytest.raises(Mismatch, match="attempts differ"):
        other = Settings(prompts_per_wave=2, samples_per_prompt=3, attempts=5)
        SelfPlay(Scripted(answer), verifier, tmp_path / "cut", other, resume=True)
    assert SelfPlay(Scripted(answer), verifier, tmp_path / "cut", SETTINGS, resume=True).run(40) == whole
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_the_command_says_when_a_model_proposes_nothing(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text('[{"ends": "#", "texts": ["nothing"]}]')
    arguments = ["--model", f"scripted:{tmp_path / 'script.json'}", "-n", "5", "-o", str(tmp_path / "out"),
                 "--require", "restricted", "--workers", "1"]  # fmt: skip
    done = CliRunner().invoke(self_play, arguments)
    assert done.exit_code == 1 and "too few tasks: 0 of 5" in done.output
    done = CliRunner().invoke(self_play, [*arguments, "--set", "kinds=intuition"])
    assert done.exit_code == 2 and "'intuition' is no kind of task" in done.output
