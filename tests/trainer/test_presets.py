"""Settings of the loop from files and the command line."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import selftaught.trainer.pretrained  # noqa: F401  # what it imports changes filters of warnings
from selftaught.trainer import heldout, presets
from selftaught.trainer.presets.configuration import read

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's and transformers' own
PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_several_exams_are_each_a_group_and_all_held_out() -> None:
    changes = ["model.name=m", "exam.puzzles=heldout:oneliners,heldout:handwritten"]
    made = presets.make("pretrained", settings=changes)
    groups = Counter(problem.group for problem in made.problems())
    assert groups == {name: len(heldout.records(name)) for name in ("oneliners", "handwritten")}
    assert len({problem.id for problem in made.problems()}) == groups.total()
    held_out = made.held_out()
    assert all(held_out.contains(problem.puzzle.source) for problem in made.problems()[::50])


def test_annotations_are_one_switch_for_prompts_and_training_texts() -> None:
    for annotated in (True, False):
        made = presets.make("pretrained", settings=["model.name=m", f"loop.annotated={annotated}"])
        assert made.style.annotated is annotated
        assert made.to_dict()["learner"]["settings"]["annotated"] is annotated


@pytest.mark.parametrize("name", ["tiny", "pretrained"])
def test_a_bundled_file_is_a_preset(name: str) -> None:
    made = presets.make(name, settings=["model.name=some/model"] if name == "pretrained" else [])
    assert made.name == name and made.problems() and made.to_dict()["exam"]


def test_a_split_chooses_of_files_and_leaves_bundled_exams_alone(tmp_path: Path) -> None:
    names = ["A:0", "B:0", "B:1"]
    rows = [{"name": name, "sat": f"def sat(x: int, a={n}):\n    return x == a", "sol_bodies": []}
            for n, name in enumerate(names)]  # fmt: skip
    (tmp_path / "puzzles.json").write_text(json.dumps(rows))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["A"], "test": ["B"]}))
    split = f"exam.split={tmp_path / 'split.json'}"
    exam = f"exam.puzzles=heldout:handwritten,{tmp_path / 'puzzles.json'}"
    found = presets.make("pretrained", settings=["model.name=m", exam, split]).problems()
    groups = Counter(one.group for one in found)
    assert groups[str(tmp_path / "puzzles.json")] == 1 and groups["handwritten"] == 123
    with pytest.raises(ValueError, match=r"name its puzzles.json in exam.puzzles"):
        presets.make("pretrained", settings=["model.name=m", split])


def test_the_exam_is_held_out(tmp_path: Path) -> None:
    puzzle = "def sat(x: int):\n    return x * 7919 == 103 * 7919"
    (tmp_path / "exam.jsonl").write_text('{"sat": "' + puzzle.replace("\n", "\\n") + '"}\n')
    made = presets.make("pretrained", settings=["model.name=m", f"exam.puzzles={tmp_path / 'exam.jsonl'}"])
    assert len(made.problems()) == 1 and made.held_out().contains(puzzle.replace("sat(", "f("))
    assert made.to_dict()["exam"] != presets.make("pretrained", settings=["model.name=m"]).to_dict()["exam"]


def test_a_setting_is_changed_in_its_table_and_keeps_its_type() -> None:
    changes = [
        "model.name=m",
        "max_attempts=3",
        "recipe.temperature=1",
        "training.lora_r=8",
        "exam.temperatures=0.2,1",
        "loop.bare=yes",
    ]
    made = presets.make("pretrained", settings=changes).to_dict()
    assert (made["recipe"]["max_attempts"], made["recipe"]["temperature"]) == (3, 1.0)
    assert made["learner"]["settings"]["lora_r"] == 8 and list(made["eval_temperatures"]) == [0.2, 1.0]
    assert presets.make("tiny", settings=["tiny.finetuning.learning_rate=1e-3"]).to_dict()["learner"][
        "finetuning"]["learning_rate"] == 1e-3  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[loop]\nbares = true", "bares"),
        ("[loops]", "loops"),
        ("[exam]\nattempts = 'many'", "exam.attempts"),
        ("[recipe]\nbase = 'best'", "recipe.base"),
        ("[recipe]\nmax_attempts = 0", "max_attempts"),
        ("[tiny]\n[model]\nname = 'm'", "in place of"),
        ("[loop", "mine.toml"),
        ("", "--model"),
        ("[model]\nname = 'm'\n[exam]\npuzzles = 'none.jsonl'", "none.jsonl"),
        ("[model]\nname = 'm'\n[loop]\nevaluate_while_training = true\n[serve]\ncommand = 's'", "evaluate_while"),
        ("[model]\nname = 'm'\nprocesses = 2\n[loop]\nevaluate_while_training = true", "evaluate_while"),
        ("[model]\nname = 'm'\n[loop]\nbase_writes_puzzles = true\n[serve]\ncommand = 's'", "base_writes_puzzles"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises((ValueError, OSError), match=said):
        presets.from_file(tmp_path / "mine.toml")


def test_an_unknown_table_or_setting_on_the_command_line_is_refused_with_those_there_are() -> None:
    for change, said in (("exams.attempts=1", "exam"), ("training.lora=8", "lora_r"), ("training.lora_r=x", "int")):
        with pytest.raises(ValueError, match=said):
            presets.make("pretrained", settings=["model.name=m", change])


def test_the_files_in_the_texts_can_be_read(tmp_path: Path) -> None:
    found = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
    assert len(found) == 2
    for number, text in enumerate(found):
        (tmp_path / f"{number}.toml").write_text(text)
        chosen = read(tmp_path / f"{number}.toml")
        assert chosen.serve.command and chosen.loop.launcher
