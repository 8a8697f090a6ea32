"""The site builds strictly, loads nothing from other hosts, and every link of it leads somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("selftaught", "sandbox", "generator", "trainer")


class Links(HTMLParser):
    """Collect what a page loads, what it links to, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.linked: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.update(value for key in ("id", "name") if (value := given.get(key)))
        if tag == "a":
            self.linked.add(given.get("href") or "")
        elif tag != "link" or "stylesheet" in (given.get("rel") or "") or "icon" in (given.get("rel") or ""):
            self.loaded.update(value for key in ("src", "href") if (value := given.get(key)))


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of the sources that a folder has links to."""
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    environment = os.environ | {"NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@dataclass(frozen=True)
class Site:
    """folder: what the site was built in. pages: its pages, by path in that folder."""

    folder: Path
    pages: dict[str, Links]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    if not find_spec("zensical"):
        pytest.skip("the site needs the extra `docs`: make docs")
    folder = tmp_path_factory.mktemp("docs")
    for name in PACKAGES:
        (folder / name).symlink_to(ROOT / name)
    for name in ("zensical.toml", "CHANGELOG.md"):  # a link to the first one would have the site built where it leads
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = (folder / "site").rglob("*.html")
    return Site(folder, {path.relative_to(folder).as_posix(): Links(path.read_text()) for path in pages})


def test_a_page_loads_nothing_from_other_hosts(site: Site) -> None:
    for name, links in site.pages.items():
        assert not [url for url in links.loaded if urlsplit(url).netloc], name


def test_every_link_and_picture_leads_somewhere(site: Site) -> None:
    folder, pages = site.folder, site.pages
    assert len(pages) > 15
    for name, links in pages.items():
        if name.endswith("404.html"):
            continue
        for url in links.loaded | links.linked:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc or not url:
                continue
            target = ((folder / name).parent / unquote(parts.path)).resolve() if parts.path else folder / name
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{name}: {url}"
            there = pages.get(target.relative_to(folder).as_posix())
            if parts.fragment and there:
                assert unquote(parts.fragment) in there.anchors, f"{name}: {url}"


def test_the_api_page_shows_docstrings(site: Site) -> None:
    text = (site.folder / "site/api/index.html").read_text()
    assert "verify_many" in text
    assert re.search(r"id=\"selftaught\.sandbox\.verifier\.Verifier\"", text)


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    if not find_spec("zensical"):
        pytest.skip("the site needs the extra `docs`: make docs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Home\n\n[nowhere](nowhere.md)\n")
    (tmp_path / "zensical.toml").write_text('[project]\nsite_name = "broken"\n')
    assert build(tmp_path).returncode != 0
