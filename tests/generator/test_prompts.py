"""Prompts: what they show, where they end, and how what comes back is cut and read."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from selftaught.generator import prompts, seeds
from selftaught.generator.models.scripted import Scripted
from selftaught.generator.novelty import Contaminated, HeldOut
from selftaught.generator.prompts import BARE, SHOTS, Style, Unindented
from selftaught.generator.puzzle import NotAPuzzle, parse
from selftaught.generator.seeds import Seed
from selftaught.sandbox import Task, Verifier

SEEDS = seeds.read(seeds.CORPUS)
NOBODY = HeldOut()


def model(context: int = 4000, chat: bool = False) -> Scripted:
    return Scripted(lambda prompt, rng: "", context=context, chat=chat)


def test_every_worked_pair_is_right() -> None:
    with Verifier(workers=1, require="restricted") as verifier:
        for number, (puzzle, solution) in enumerate(SHOTS, 1):
            names = {f"f{number}": "f", f"g{number}": "g"}
            assert puzzle.startswith(f"def f{number}(")
            assert solution.startswith(f"def g{number}({parse(puzzle).parameters}):")
            task = Task(
                "",
                *(text.replace(old, new) for text, (old, new) in zip((puzzle, solution), names.items(), strict=True)),
            )
            assert verifier.verify(task).accepted


def test_a_puzzle_prompt_numbers_its_puzzles_and_ends_where_the_next_begins() -> None:
    prompt = prompts.for_puzzle(SEEDS, model(), Style(), random.Random(1), 3800, NOBODY)
    numbers = [int(number) for number in re.findall(r"^def f(\d+)\(", prompt.text, re.M)]
    assert numbers == list(range(1, len(prompt.parents) + 2))
    assert prompt.text.endswith(f"\n\ndef f{numbers[-1]}(")
    assert prompt.number == str(numbers[-1])
    assert len(set(prompt.parents)) == len(prompt.parents) > 5


def test_a_prompt_shows_code_alone_unless_docstrings_are_asked_for() -> None:
    def text(style: Style) -> str:
        return prompts.for_puzzle(SEEDS, model(), style, random.Random(1), 3800, NOBODY).text

    assert '"""' not in text(Style())
    assert text(Style(docstrings=True)).count('"""') > 10


@pytest.mark.parametrize("context", [300, 1000, 4000, 100_000])
def test_as_many_puzzles_are_packed_as_leave_room_for_the_answer(context: int) -> None:
    small = model(context)
    prompt = prompts.for_puzzle(SEEDS, small, Style(), random.Random(2), context - 200, NOBODY)
    assert small.tokens(prompt.text) + 200 <= context
    assert len(prompt.parents) == len(SEEDS) or small.tokens(prompt.text) > context - 200 - 700


def test_a_prompt_shows_one_instance_of_each_problem() -> None:
    puzzles = [parse(f"def sat(x: int, a={number}):\n    return x == a") for number in range(9)]
    instances = [Seed(str(number), "", f"problem {number % 3}", puzzle) for number, puzzle in enumerate(puzzles)]
    shown = [
        prompts.for_puzzle(instances, model(), Style(), random.Random(number), 3800, NOBODY).parents
        for number in range(20)
    ]
    assert all({int(one) % 3 for one in parents} == {0, 1, 2} and len(parents) == 3 for parents in shown)
    assert len(set(shown)) > 10


def test_a_prompt_shows_each_problems_first_instance_if_asked() -> None:
    puzzles = [parse(f"def sat(x: int, a={number}):\n    return x == a") for number in range(9)]
    instances = [Seed(str(number), "", f"problem {number % 3}", puzzle) for number, puzzle in enumerate(puzzles)]
    shown = [
        prompts.for_puzzle(instances, model(), Style(), random.Random(number), 3800, NOBODY, first_instance=True)
        for number in range(20)
    ]
    assert {frozenset(prompt.parents) for prompt in shown} == {frozenset("012")}
    assert len({prompt.parents for prompt in shown}) > 3, "their order is still random"


def test_a_typed_prompt_begins_with_the_answer_of_a_seed_and_its_completion_is_read_with_it() -> None:
    made = [prompts.for_puzzle(SEEDS, model(), Style(), random.Random(n), 3800, NOBODY, typed=True) for n in range(30)]
    types = Counter(prompt.begun.partition(": ")[2] for prompt in made)
    assert len(types) > 3 and all(prompt.text.endswith(f"({prompt.begun}") for prompt in made)
    begun = next(prompt for prompt in made if prompt.begun.endswith(": int,"))
    name = begun.begun.partition(":")[0]
    read = prompts.read_puzzle(begun, f" a=3):\n    return {name} == a\n\ndef f")
    assert read.source == f"def f({name}: int, a=3):\n    return {name} == a"
    chat = prompts.for_puzzle(SEEDS, model(chat=True), Style(), random.Random(1), 3800, NOBODY, typed=True)
    assert re.search(r"Its first argument is `\w+: [\w\[\], ]+`\.$", chat.text) and not chat.begun


def test_a_held_out_puzzle_never_gets_into_a_prompt() -> None:
    held_out = HeldOut([SEEDS[3].puzzle.named("h").replace("  ", "   ")])
    with pytest.raises(Contaminated, match="held-out"):
        prompts.for_puzzle(SEEDS, model(100_000), Style(), random.Random(1), 99_800, held_out)


def test_a_solution_prompt_ends_in_the_head_with_the_defaults_verbatim() -> None:
    puzzle = parse("def f(s: str, t='a b',  n: int=3):\n    return s == t * n")
    text = prompts.for_solution(puzzle, Style()).text
    assert text.endswith("def f6(s: str, t='a b',  n: int=3):\n    return s == t * n\n\ndef g6(t='a b',  n: int=3):")
    assert text.startswith(SHOTS[0][0] + "\n\n" + SHOTS[0][1] + "\n\n")
    assert prompts.for_solution(puzzle, BARE).text == puzzle.source + "\n\ndef g(t='a b',  n: int=3):"


def test_annotated_prompts_have_the_type_of_the_answer_in_every_signature() -> None:
    puzzle, style = parse("def f(li: List[int], n=3):\n    return len(li) == n"), Style(annotated=True)
    text = prompts.for_solution(puzzle, style).text
    heads = re.findall(r"^def g\d.*:$", text, re.MULTILINE)
    assert heads[-1] == "def g6(n=3) -> List[int]:" and len(heads) == len(SHOTS) + 1
    assert all(head.endswith(f" -> {parse(shown).annotation}:") for head, (shown, _) in zip(heads, SHOTS, strict=False))
    assert [head.endswith(") -> bool:") for head in re.findall(r"^def f\d.*:$", text, re.MULTILINE)] == [True] * 6
    assert re.sub(r" -> [^:]+:$", ":", text, flags=re.MULTILINE) == prompts.for_solution(puzzle, Style()).text
    asked = prompts.for_solution(puzzle, style, chat=True)
    assert "`def g(n=3) -> List[int]:`" in asked.text
    assert all(" -> " in answer for _, answer in asked.turns)


def test_annotated_seeds_say_that_they_return_bool_and_what_a_model_says_of_that_is_dropped() -> None:
    annotated = prompts.for_puzzle(SEEDS, model(), Style(annotated=True), random.Random(1), 3800, NOBODY)
    plain = prompts.for_puzzle(SEEDS, model(), Style(), random.Random(1), 3800, NOBODY)
    assert annotated.text.count(") -> bool:") > 10 and " -> " not in plain.text
    for said in ("", " -> bool", " -> List[int]"):
        read = prompts.read_puzzle(plain, f"x: int, a=(3)){said}:\n    return x == a")
        assert read.source == "def f(x: int, a=(3)):\n    return x == a" or said, "written in an unusual way"
        read = prompts.read_puzzle(plain, f"x: int, a=3){said}:\n    return x == a")
        assert read.source == "def f(x: int, a=3):\n    return x == a"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("\n    return 1\n\ndef g7():", "\n    return 1"),
        (" return 1\nprint(2)", " return 1"),
        ("\n    a = 1\n\n    return a\n\n", "\n    a = 1\n\n    return a"),
        ("x: int):\n\treturn x\n# done", "x: int):\n\treturn x"),
        ("", ""),
        ("\nreturn 1", ""),
    ],
)
def test_an_answer_is_cut_at_the_first_line_that_is_not_indented(text: str, kept: str) -> None:
    assert prompts.cut(text) == kept


def test_a_completion_stops_as_soon_as_such_a_line_begins_and_not_before() -> None:
    stop, text = Unindented(), "\n    return 1\n\ndef"
    stops = [end for end in range(len(text) + 1) if stop(text[:end])]
    assert text[: stops[0]] == "\n    return 1\n\nd"
    assert not stop("\n    return 1\n    \n")
    assert all(not string.strip() or stop("\n    return 1" + string) for string in stop.strings)


def test_what_a_model_wrote_is_read_under_the_plain_names() -> None:
    prompt = prompts.Prompt("", "12")
    puzzle = prompts.read_puzzle(
        prompt, "n: int, k=3):\n    return n > 0 and (n < 9 or f12(n // 10)) and n % k == 0\n\ndef f13("
    )
    assert puzzle.source == "def f(n: int, k=3):\n    return n > 0 and (n < 9 or f(n // 10)) and n % k == 0"
    solution = prompts.read_solution(puzzle, prompt, "\n    return next(n for n in range(9, 99) if f12(n, k))\nx")
    assert solution == "def g(k=3):\n    return next(n for n in range(9, 99) if f(n, k))"
    with pytest.raises(NotAPuzzle):
        prompts.read_solution(puzzle, prompt, "\n    return (")


def test_in_a_chat_the_worked_pairs_are_turns_before_the_puzzle() -> None:
    puzzle = parse("def f(x: int, a=17):\n    return x + 1 == a")
    prompt = prompts.for_solution(puzzle, Style(), chat=True)
    assert not isinstance(prompt.content, str)
    assert [message["role"] for message in prompt.content] == [*("user", "assistant") * len(SHOTS), "user"]
    for (shown, solution), asked, answer in zip(SHOTS, prompt.content[::2], prompt.content[1::2], strict=False):
        example = parse(shown)
        assert example.parameters in asked["content"] and "def f(" in asked["content"]
        written = prompts.read_solution(example, prompt, answer["content"])
        assert written == re.sub(r"^def g\d+", "def g", solution)
    assert puzzle.source in prompt.content[-1]["content"]
    bare = prompts.for_solution(puzzle, BARE, chat=True)
    assert bare.content == bare.text == prompt.text
    assert len({prompt.sha256, bare.sha256}) == 2
