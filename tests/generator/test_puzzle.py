"""A puzzle's parts and its identity: what is equal, what is not, and sources made to hurt a parser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught.generator.puzzle import MAX_SOURCE, NotAPuzzle, canonical, exact, parse, rename
from selftaught.sandbox import corpus

PUZZLE = "def sat(x: List[int], a=[1, 2], b='q'):\n    return sum(i for i in x if i > 3) == a[0] and len(x) < len(b)"


def test_a_puzzle_has_its_parts() -> None:
    puzzle = parse(f"\n{PUZZLE}\n\n")
    assert (puzzle.name, puzzle.argument, puzzle.annotation) == ("sat", "x", "List[int]")
    assert puzzle.defaults == (("a", "[1, 2]"), ("b", "'q'"))
    assert puzzle.parameters == "a=[1, 2], b='q'"
    assert puzzle.source == PUZZLE


def test_parameters_are_taken_over_verbatim_even_across_lines_and_beyond_ascii() -> None:
    source = 'def sat(s: str, é="ü",\n        n: int=3, t="""a\nb"""  ):\n    return s == é'
    assert parse(source).parameters == 'é="ü",\n        n: int=3, t="""a\nb"""'


@pytest.mark.parametrize(
    ("source", "rule", "line"),
    [
        ("def f(x: int):\n    return (", "parses", 2),
        ("x = 1", "parses", 1),
        ("def f(x: int):\n    return x\nprint(1)", "parses", 3),
        ("async def f(x: int):\n    return x", "parses", 1),
        ("@cache\ndef f(x: int):\n    return x", "parses", 1),
        ("def f(x: int):\n    pass", "parses", 1),
        ("def f(x: int):\n    return", "parses", 1),
        ("def f(x: int):\n    def g():\n        return 1", "parses", 1),
        ("def f():\n    return True", "signature", 1),
        ("def f(x: int, y: int):\n    return True", "signature", 1),
        ("def f(x: int = 3):\n    return True", "signature", 1),
        ("def f(x: int, *y):\n    return True", "signature", 1),
        ("def f(x: int, *, y=1):\n    return True", "signature", 1),
        ("def f(x):\n    return True", "signature", 1),
    ],
)
def test_what_is_no_puzzle_is_refused_with_the_rule_and_the_line(source: str, rule: str, line: int) -> None:
    with pytest.raises(NotAPuzzle) as refused:
        parse(source)
    assert (refused.value.rule, refused.value.line) == (rule, line)
    assert str(refused.value).startswith(f"line {line}: ")


@pytest.mark.parametrize("annotation", ["List[int]", "list[int]", "typing.List[int]", '"List[int]"', "List [ int ]"])
def test_an_annotation_is_read_however_it_is_written(annotation: str) -> None:
    assert parse(f"def f(x: {annotation}):\n    return x").annotation == "List[int]"


SAME = [
    PUZZLE,
    "def f7(answer: list[int], k=[9], t='other'):\n"
    "    return sum(j for j in answer if j > -1) == k[5] and len(answer) < len(t)",
    "def f(x: List[int], a=[1], b=''):\n    '''Doc.'''\n    # why\n"
    "    return (sum(x for x in x if x > 3)\n        == a[0]) and len(x) < len(b)",
]


@pytest.mark.parametrize("other", SAME)
def test_names_constants_docstrings_and_layout_do_not_change_the_canonical_form(other: str) -> None:
    assert canonical(other) == canonical(PUZZLE)


DIFFERENT = [
    PUZZLE.replace("List[int]", "List[str]"),
    PUZZLE.replace(">", ">="),
    PUZZLE.replace("sum", "max"),
    PUZZLE.replace("'q'", "7"),
    PUZZLE.replace("[1, 2]", "['a', 'b']"),
    PUZZLE.replace("a[0]", "b[0]"),
    PUZZLE.replace("i > 3", "x > 3"),
    PUZZLE.replace("i for i in x", "i for i in a"),
    PUZZLE.replace("return", "return not"),
    PUZZLE.replace("== a[0]", "== True"),
]


@pytest.mark.parametrize("other", DIFFERENT)
def test_what_makes_another_puzzle_changes_the_canonical_form(other: str) -> None:
    assert other != PUZZLE
    assert canonical(other) != canonical(PUZZLE)


def test_a_name_means_what_its_scope_says() -> None:
    free = "def f(x: int):\n    return all(i for i in range(x)) and i > 0"
    assert canonical(free) != canonical(free.replace("and i", "and x"))
    lambdas = "def f(x: int):\n    return (lambda n: n + x)(1) > 0"
    assert canonical(lambdas) == canonical("def f(n: int):\n    return (lambda x: x + n)(1) > 0")
    assert canonical(lambdas) != canonical(lambdas.replace("n + x", "x + n"))


def test_an_import_under_another_name_is_the_same() -> None:
    source = "def f(x: int):\n    import math\n    return math.gcd(x, 4) > 2"
    assert canonical(source) == canonical(source.replace("import math", "import math as m").replace("math.", "m."))
    assert canonical(source) != canonical(source.replace("import math", "import cmath as math"))


def test_the_exact_form_keeps_constants_and_forgets_names() -> None:
    assert exact("def f(x: int):\n    return x == 3") == exact("def g(y: int):  # no\n    return y == 3")
    assert exact("def f(x: int):\n    return x == 3") != exact("def f(x: int):\n    return x == 4")
    assert exact("def f(x: int):\n    return x == 1") != exact("def f(x: int):\n    return x == True")
    assert exact("def f(x: int):\n    return x == 1") != exact("def f(x: int):\n    return x == 1.0")


def test_the_identity_that_files_keep_is_this_text_under_every_version_of_python() -> None:
    source = (
        "def f(s: List[str], n=-3):\n    return all(f'{t!r:>4}' and t[:n] for t in s) or {'a': [1, True]} != (y := n)"
    )
    assert canonical(source) == (
        "(def v0 [] 0,2,0,False,False list[str] [<int>] [(Return (BoolOp (Or) [(Call all [(GeneratorExp v1 [[v4 [] 0]] "
        "[(BoolOp (And) [(JoinedStr [(FormattedValue v4 114 (JoinedStr [<str>]))]) "
        "(Subscript v4 (Slice - v2 -))])])] []) "
        "(Compare <dict <str> <list <bool>|<int>>> [(NotEq)] [(NamedExpr v3 v2)])]))])"
    )
    assert exact("def f(x: int):\n    return x == -31") == (
        "(def v0 [] 0,1,0,False,False int [] [(Return (Compare v1 [(Eq)] [(UnaryOp (USub) int:1f)]))])"
    )


def test_renaming_finds_the_function_and_its_calls_and_nothing_else() -> None:
    source = "def sol(n=3):\n    sol_ = 'sat é'; y = obj.sat\n    return [é for é in range(9) if sat(é, n)]"
    renamed = rename(source, {"sat": "f12", "sol": "g"})
    assert renamed == source.replace("def sol", "def g").replace("if sat", "if f12")


def test_every_bundled_puzzle_is_one_and_keeps_its_identity_under_another_name() -> None:
    for record in corpus.records():
        puzzle = parse(record["sat"])
        assert puzzle.annotation == record["answer_type"]
        assert puzzle.uses_argument
        assert exact(puzzle.named("f3")) == exact(record["sat"])


def test_instances_of_a_p3_problem_share_their_canonical_form(p3: Path) -> None:
    puzzles = json.loads(p3.read_text())
    forms: dict[str, set[str]] = {}
    for puzzle in puzzles:
        forms.setdefault(canonical(puzzle["sat"]), set()).add(puzzle["name"].partition(":")[0])
    assert len(puzzles) > 600
    assert len(forms) < 170
    assert sum(len(problems) > 1 for problems in forms.values()) < 5


@pytest.mark.parametrize(
    ("body", "may"),
    [
        ("return x == 3", True),
        ("return not x", True),
        ("return x and x > 2", True),
        ("return True if x else 0", True),
        ("return (x > 1) & (x < 3)", True),
        ("return all(x)", True),
        ("return x.startswith('a')", True),
        ("y = x > 3\n    return y", True),
        ("if x:\n        return True\n    return 0", True),
        ("return sum(x)", False),
        ("return x + 19", False),
        ("return -x", False),
        ("return None", False),
        ("return 1", False),
        ("return [x == 3]", False),
        ("return x == 3, x > 2", False),
        ("return f'{x}'", False),
        ("def inner():\n        return True\n    return len(x)", False),
    ],
)
def test_a_puzzle_that_can_never_return_true_is_seen(body: str, may: bool) -> None:
    assert parse(f"def f(x: int):\n    {body}").can_return_true is may


def test_every_bundled_and_published_puzzle_can_return_true(p3: Path) -> None:
    sources = [record["sat"] for record in corpus.records()] + [puzzle["sat"] for puzzle in json.loads(p3.read_text())]
    assert [source for source in sources if not parse(source).can_return_true] == []


def test_names_that_nothing_defines_are_found() -> None:
    def undefined_names(body: str) -> list[str]:
        return parse(f"def f(x: List[int], a=3):\n    {body}").undefined_names

    assert undefined_names("return sum(i * a for i in x) == len(y) + z") == ["y", "z"]
    assert undefined_names("import math\n    n = math.pi\n    return f(x) or (lambda q: q + n)(1) > Optional[a]") == []
    assert all(parse(record["sat"]).undefined_names == [] for record in corpus.records())


def test_a_puzzle_without_its_docstring_is_the_same_puzzle() -> None:
    for record in corpus.records():
        bare = parse(record["sat"]).without_docstring
        assert '"""' not in bare.source
        assert exact(bare.source) == exact(record["sat"])


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: int):\n    'x'; return x",
        "def f(x: int): 'x'; return x",
        "def f(x: int): return 'x'",
        'def f(x: int):\n    """x\n    y"""; return x',
        "def f(x: int):\n    3\n    return x",
    ],
)
def test_what_is_no_docstring_or_shares_its_line_stays(source: str) -> None:
    assert parse(source).without_docstring.source == source


HOSTILE = {
    "unary minuses": "-" * 19_000 + "1",
    "parentheses": "(" * 19_000,
    "nots": "not " * 4_000 + "1",
    "attributes": "a." * 6_000 + "a",
    "calls": "a" + "()" * 8_000,
    "lambdas": "lambda:" * 2_500 + "1",
    "powers": "a**" * 5_000 + "a",
    "assignments": "a=" * 5_000 + "1",
    "elifs": "if a:\n b\n" + "elif a:\n b\n" * 1_500,
    "nested f-strings": "f'{" * 150,
    "comprehensions": "[x for x in " * 1_500 + "y" + "]" * 1_500,
    "digits": "9" * 19_000,
    "a hexadecimal default": "def f(x: int, a=0x" + "f" * 19_000 + "):\n return x",
    "a hexadecimal annotation": "def f(x: 0x" + "f" * 19_000 + "):\n return x",
    "a deep annotation": "def f(x: " + "-" * 2_900 + "1):\n return x",
    "a long condition": "def f(x: int):\n return " + "x if x else " * 1_400 + "x",
    "a deep body": "def f(x: int):\n return " + "-" * 2_900 + "x",
    "NUL": "def f(x: int):\n return '\0'",
    "a lone surrogate": "def f(x: int):\n return '\ud800'",
    "too long": "#" * (MAX_SOURCE + 1),
}

READ_ALL = """
import sys
from selftaught.generator.puzzle import *
source = eval(sys.stdin.read())
readers = [parse, canonical, exact, lambda source: rename(source, {"f": "h"})]
readers += [
    lambda source: parse(source).uses_argument,
    lambda source: parse(source).undefined_names,
    lambda source: parse(source).can_return_true,
]
for read in readers:
    try:
        read(source)
    except NotAPuzzle:
        pass
"""


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_source_is_read_or_refused_and_never_ends_the_process(source: str) -> None:
    run = subprocess.run([sys.executable, "-c", READ_ALL], input=ascii(source), text=True, timeout=60, check=False)
    assert run.returncode == 0


@given(st.text(alphabet="def f(x: int)=[],'\"\\\n \t0123#@*+-.:lambdarentuif\0é", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse, canonical, exact):
        try:
            read(text)
        except NotAPuzzle as refused:
            assert refused.line >= 0


def test_a_source_with_odd_escapes_says_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    parse("def f(s: str):\n    return s == '\\d'")
    assert capfd.readouterr().err == ""


def test_the_process_keeps_its_limit_on_digits() -> None:
    before = sys.get_int_max_str_digits()
    assert canonical("9" * 9_000) == canonical("7")
    assert sys.get_int_max_str_digits() == before
