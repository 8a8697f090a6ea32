"""In generated test files fixtures are made and finished, and tests are run, in the order in which pytest does it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from tests.sandbox.worker.inside.pair import judge, judge_shared

SOL = "def f(x): return x * 2\n"
FILES = 120
SCOPES = ("module", "class", "function")
HOOKS = {
    "": (
        "def setup_module(): LOG.append('setup_module')",
        "def setup_function(function): LOG.append(function.__name__)",
        "def teardown_function(): LOG.append('teardown_function')",
    ),
    "    ": (
        "@classmethod\n    def setup_class(cls): LOG.append('setup_class')",
        "@classmethod\n    def teardown_class(cls): LOG.append('teardown_class')",
        "def setup_method(self): LOG.append('setup_method')",
        "def teardown_method(self, method): LOG.append(method.__name__)",
    ),
}
MARKS = (
    '@pytest.mark.parametrize("p", [1, 2, pytest.param(3, marks=pytest.mark.skip)])',
    '@pytest.mark.parametrize("q, r", [(1, 2), (3, 4)])',
    "@pytest.mark.skip",
    "@pytest.mark.xfail",
    '@pytest.mark.skipif("1 > 2")',
)


class Generator:
    """Writes a test file whose every step adds to a list, which the last step writes to a file.

    A fixture is its name and scope. One that overrides another has the same scope.
    """

    def __init__(self, seed: int, log: Path) -> None:
        self._chance = random.Random(seed)
        self._lines = ["import json, pytest", SOL, "LOG = []"]
        self._hooks("", 0.3)
        fixtures: dict[str, str] = {}
        for number in range(self._chance.randrange(4)):
            self._fixture(f"fixture{number}", "", fixtures)
        for number in range(self._chance.randrange(1, 4)):
            if self._chance.random() < 0.5:
                self._test(f"test_{number}", "", fixtures)
            else:
                self._class(number, dict(fixtures))
        self._lines.append(f"def teardown_module():\n    open({str(log)!r}, 'w').write(json.dumps(LOG))")

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _hooks(self, indent: str, share: float) -> None:
        self._lines += [indent + hook for hook in HOOKS[indent] if self._chance.random() < share]

    def _some(self, names: list[str], share: float) -> list[str]:
        return [name for name in names if self._chance.random() < share]

    def _class(self, number: int, fixtures: dict[str, str]) -> None:
        self._lines.append(f"class Test{number}:")
        self._hooks("    ", 0.3)
        own = self._some([f"own{number}", *(name for name in fixtures if fixtures[name] != "module")], 0.4)
        for name in own:
            self._fixture(name, "    ", fixtures)
        for test in range(self._chance.randrange(1, 3)):
            self._test(f"test_{number}_{test}", "    ", fixtures)

    def _fixture(self, name: str, indent: str, fixtures: dict[str, str]) -> None:
        chance = self._chance
        scope = fixtures.get(name) or chance.choice(SCOPES[bool(indent) :])
        uses = [one for one in fixtures if SCOPES.index(fixtures[one]) <= SCOPES.index(scope)]
        uses = self._some([one for one in uses if one != name or indent], 0.4)
        parameters = chance.choice([None, None, "[1, 2]"]) if scope == "function" else None
        settings = [f"scope={scope!r}", f"params={parameters}", f"autouse={chance.random() < 0.25}"]
        taken = (["self"] if indent else []) + uses + ["request"]
        tag = f"{name}{' of a class' if indent else ''}"
        self._lines += [
            f"{indent}@pytest.fixture({', '.join(settings)})",
            f"{indent}def {name}({', '.join(taken)}):",
            f"{indent}    LOG.append([{tag!r}, getattr(request, 'param', None), {', '.join(uses)}])",
            *chance.choice(
                [
                    [f"{indent}    return {tag!r}"],
                    [f"{indent}    yield {tag!r}", f"{indent}    LOG.append('end of {tag}')"],
                    [
                        f"{indent}    request.addfinalizer(lambda: LOG.append('end of {tag}'))",
                        f"{indent}    return {tag!r}",
                    ],
                ]
            ),
        ]
        fixtures[name] = scope

    def _test(self, name: str, indent: str, fixtures: dict[str, str]) -> None:
        marks = [mark for mark in MARKS if self._chance.random() < 0.2]
        marks += [f'@pytest.mark.usefixtures("{one}")' for one in self._some([*fixtures], 0.15)]
        taken = self._some([*fixtures], 0.35)
        taken += [one for one in "pqr" if any(f'"{one}' in mark or f" {one}" in mark for mark in marks[:2])]
        self._lines += [indent + mark for mark in marks]
        self._lines += [
            f"{indent}def {name}({', '.join((['self'] if indent else []) + taken)}):",
            f"{indent}    LOG.append([{name!r}, {', '.join(taken)}])",
            f"{indent}    assert f(1) == 2",
        ]


def test_generated_tests_take_the_steps_that_pytest_takes(tmp_path: Path) -> None:
    sources = {tmp_path / f"test_{seed}.py": str(Generator(seed, tmp_path / f"{seed}.json")) for seed in range(FILES)}
    for path, source in sources.items():
        path.write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    compared = 0
    for path, source in sources.items():
        log = tmp_path / f"{path.stem.removeprefix('test_')}.json"
        expected = json.loads(log.read_text()) if log.exists() else None
        for judged in (judge, judge_shared):
            log.unlink(missing_ok=True)
            report = judged(SOL, source)
            assert report.code == "T", (report, source)
            if expected is not None:
                assert json.loads(log.read_text()) == expected, source
                compared += 1
    assert compared > FILES
