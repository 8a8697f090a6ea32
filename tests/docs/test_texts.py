"""The texts: lines that can be read, links that lead somewhere, and configuration that parses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import selftaught

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/*.md")})
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
SETTINGS = sorted(
    {
        *ROOT.glob(".github/**/*.yml"),
        *ROOT.glob(".pre-commit-config.yaml"),
        ROOT / "CITATION.cff",
        ROOT / "zensical.toml",
    }
)
_WRITTEN = "*.py *.c *.h *.md *.toml *.cff *.yml *.yaml *.html *.js *.css *.sh *.Dockerfile Makefile run".split()
_FOLDERS = "sandbox generator trainer selftaught tests docs examples images .ci .github".split()
TEXTS = sorted(
    path
    for pattern in _WRITTEN
    for path in (*ROOT.glob(pattern), *(path for folder in _FOLDERS for path in (ROOT / folder).rglob(pattern)))
    if path.is_file()
)
LONGEST = 120
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", _FENCED.sub("", path.read_text()), re.M):
        found.add(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"))
    return found


def test_lines_are_short() -> None:
    """Of every text that people write: data (JSON Lines) and pictures are none."""
    long = [
        f"{name(path)}:{number}"
        for path in TEXTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LONGEST
    ]
    assert not long, f"lines of more than {LONGEST} characters"


def test_old_words_are_gone() -> None:
    """Names that were replaced by those of the field occur nowhere in the packages, but for a note of the change."""
    old = re.compile(
        r"warden|supervisorgone|\b_?lanes?\b|\bdesks?\b|\btwins?\b|\bbrief|\battic|astray|meanwhile|\btrips?\b", re.I
    )
    found = [
        f"{name(path)}: {match[0]}"
        for path in TEXTS
        if path.relative_to(ROOT).parts[0] in ("sandbox", "generator", "trainer", "selftaught", "images", "docs")
        and path.suffix != ".jsonl"
        for match in old.finditer(path.read_text())
    ]
    assert not found


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in _LINK.findall(_FENCED.sub("", path.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        assert there.exists(), f"{name(path)}: {link}"
        if anchor:
            assert anchor in anchors(there), f"{name(path)}: {link}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_links_into_the_repository_name_files_that_exist(path: Path) -> None:
    for target in re.findall(r"https://github\.com/[\w-]+/selftaught/blob/main/([^\s)#]+)", path.read_text()):
        assert (ROOT / target).exists(), target


def test_the_readme_names_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    pages = {name(path) for path in ROOT.glob("docs/**/*.md")} - {"docs/index.md", "docs/changelog.md", "docs/api.md"}
    assert {page for page in pages if f"({page})" not in readme} == set()


@pytest.mark.parametrize("path", SETTINGS, ids=name)
def test_settings_parse(path: Path) -> None:
    text = path.read_text()
    assert tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)


@pytest.mark.parametrize("path", WORKFLOWS, ids=name)
def test_a_workflow_has_pinned_actions_few_rights_and_no_secret(path: Path) -> None:
    text = path.read_text()
    jobs: dict[str, Any] = yaml.safe_load(text)["jobs"]
    assert "secrets." not in text
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    for job in jobs.values():
        assert job["timeout-minutes"]
        assert set(job.get("permissions", {})) <= {"id-token"}
        for needed in [job["needs"]] if "needs" in job else []:
            assert needed in jobs
        for step in job["steps"]:
            assert len({"uses", "run"} & set(step)) == 1, step
            assert "uses" not in step or re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", step["uses"])


def test_workflows_call_targets_that_exist() -> None:
    targets = set(re.findall(r"^([\w./-]+|\$\(VENV\)/installed):", (ROOT / "Makefile").read_text(), re.M))
    called = {target for path in WORKFLOWS for target in re.findall(r"run: make (\S+)", path.read_text())}
    assert called - {"dist"} <= {target.replace("$(VENV)", ".venv") for target in targets}


def test_every_python_that_is_declared_is_tried() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    tried = jobs["test"]["strategy"]["matrix"]["python"]
    declared = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert set(declared) <= set(tried)


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == selftaught.__version__
    assert f"## [{selftaught.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert {"cff-version", "title", "message", "authors", "preferred-citation"} <= set(citation)


def test_the_changelog_has_known_sections() -> None:
    kinds = set(re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Renamed settings"}


def test_the_map_names_every_module() -> None:
    text = (ROOT / "DESIGN.md").read_text()
    files = [path for folder in ("sandbox", "generator", "trainer") for path in (ROOT / folder).rglob("*.py")]
    folders = {"jail", "cases", "corpus", "page", "heldout"}  # described as a whole
    missing = [
        name(path)
        for path in files
        if path.name != "__init__.py" and path.parent.name not in folders and not re.search(rf"\b{path.name}", text)
    ]
    assert not missing
    known = {path.name for path in files} | {path.name for path in ROOT.glob("tests/**/*.py")}
    assert {found for found in re.findall(r"\b\w+\.py\b", text) if found not in known} <= {"__main__.py"}
