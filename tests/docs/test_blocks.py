"""What a reader pastes runs: the Python blocks of the texts, and the commands in them.

The blocks of a page are run in order, as one program. A comment ``<!-- needs: ... -->`` before a block says what this
machine may lack: such a block is compiled, and those of its imports are done that can be. What a comment behind a
`print` says must be printed.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest

from selftaught.sandbox import CannotConfine, Verifier
from selftaught.sandbox.cli import main
from selftaught.trainer import rewards
from tests.conftest import unreached

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
_BLOCK = re.compile(r"(?:^<!-- needs: (.+) -->\n)?^```(python|console)\n(.*?)^```$", re.M | re.S)
_PRINTED = re.compile(r"^print\(.*\)  # (.+)$|^    print\(.*\)  # (.+)$", re.M)


def blocks(kind: str) -> dict[str, list[tuple[str, str]]]:
    """Return what each block of a kind needs, and its text, by page."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in PAGES:
        for needs, language, text in _BLOCK.findall(path.read_text()):
            if language == kind:
                found.setdefault(path.relative_to(ROOT).as_posix(), []).append((needs, text))
    return found


PYTHON, CONSOLE = blocks("python"), blocks("console")


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    try:
        made = Verifier(workers=1, require="restricted")
    except CannotConfine as error:
        unreached("restricted", "auto", error)
    with made:
        yield made


@pytest.fixture
def rewarding(verifier: Verifier) -> Iterator[None]:
    """Let rewards ask this verifier, and close what a page brings instead."""
    rewards.use(verifier)
    yield
    if rewards.current() is not verifier:
        rewards.current().close()
    rewards.use(verifier)


def import_only(text: str) -> None:
    """Do the imports of a block whose modules are installed, ours in any case, unless they need what is not."""
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            module = statement.module if isinstance(statement, ast.ImportFrom) else statement.names[0].name
            if module and (module.split(".")[0] == "selftaught" or find_spec(module.split(".")[0])):
                try:
                    exec(compile(ast.Module([statement], []), "block", "exec"), {})
                except ModuleNotFoundError as error:
                    if not error.name or error.name.split(".")[0] == "selftaught":
                        raise


def levelled(text: str) -> str:
    """Return the text without the name of a level, which depends on the host."""
    return re.sub(r"\b(full|restricted)\b", "LEVEL", text)


@pytest.mark.parametrize("page", PYTHON)
def test_the_blocks_of_a_page_run(page: str, rewarding: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for number, (needs, text) in enumerate(PYTHON[page], 1):
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as printed:
            warnings.simplefilter("ignore")
            code = compile(text, f"{page}, block {number}", "exec")
            if needs:
                import_only(text)
            else:
                exec(code, names)
        expected = ["".join(found) for found in _PRINTED.findall(text)]
        if not needs and expected:
            assert levelled(printed.getvalue()).splitlines() == [levelled(line) for line in expected], page


def commands() -> list[tuple[str, str]]:
    """Return every command of ours in the texts, with its page."""
    found = []
    for page, texts in CONSOLE.items():
        for _, text in texts:
            for line in text.replace("\\\n", " ").splitlines():
                if line.startswith("selftaught "):
                    found.append((page, line.partition("  #")[0]))
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_of_the_texts_has_these_options(page: str, line: str) -> None:
    _, name, *words = shlex.split(line)
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if re.match(r"-+[a-zA-Z]", word)} <= known


def test_every_page_of_a_framework_starts_with_the_lines_to_paste() -> None:
    for path in ROOT.glob("docs/rewards/*.md"):
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("<!--")]
        assert lines[1].startswith("```") or "Put this line" in lines[1], path
