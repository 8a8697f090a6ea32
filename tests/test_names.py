"""One import name: packages and files that are named like our folders do not replace them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import selftaught
from tests.wheels import FOLDERS, ROOT, build_sdist, build_wheel

LOOK = f"""
import importlib
from selftaught import Limits, Status, Task, Verdict, Verifier
for name in {FOLDERS}:
    ours, foreign = importlib.import_module("selftaught." + name), importlib.import_module(name)
    assert ours.__doc__ and not hasattr(ours, "FOREIGN") and foreign.FOREIGN, name
with Verifier(workers=1) as verifier:
    print(verifier.verify(Task("", "def sat(x: int): return x == 1", "def sol(): return 1")).status)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of a fresh environment that holds our wheel and foreign packages of our folders' names."""
    folder = tmp_path_factory.mktemp("names")
    environment = folder / "environment"
    venv.create(environment, symlinks=True)
    library = next((environment / "lib").glob("python*/site-packages"))
    made = build_wheel(build_sdist(folder), tmp_path_factory.mktemp("wheel"))
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(library)]
    put = [sys.executable, "-m", "pip", "install", *options, str(made)]
    subprocess.run(put, check=True, capture_output=True, cwd=folder)
    assert {path.name for path in library.iterdir() if path.suffix != ".dist-info"} <= {"selftaught", "bin"}
    for name in FOLDERS:
        (library / name).mkdir()
        (library / name / "__init__.py").write_text("FOREIGN = True\n")
    (library / "needs.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    return environment / "bin" / "python"


@pytest.mark.parametrize("where", ["beside foreign packages", "in a folder with files of these names"])
def test_ours_is_used(installed: Path, tmp_path: Path, where: str) -> None:
    if where == "in a folder with files of these names":
        for name in FOLDERS:
            (tmp_path / f"{name}.py").write_text("FOREIGN = True\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [installed, "-c", LOOK], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("accepted\n", 0), done.stderr
    command = [installed, "-m", "selftaught.sandbox.cli", "loop", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--preset" in done.stdout, done.stderr


def test_nothing_imports_a_bare_name() -> None:
    sources = [path for folder in (*FOLDERS, "selftaught", "tests", "images") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 200
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            assert not [name for name in names if name.partition(".")[0] in FOLDERS], path


def test_the_door_has_every_name_and_no_other() -> None:
    for name in selftaught.__all__:
        assert getattr(selftaught, name) is not None
        assert name in dir(selftaught)
    with pytest.raises(AttributeError, match="Trainer"):
        selftaught.Trainer  # noqa: B018
