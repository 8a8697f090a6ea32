"""Labels and tags of the images, as registries show them."""

from __future__ import annotations

import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import selftaught
from tests.conftest import unreached

ROOT = Path(__file__).parents[2]
NAMES = {"daemon": "selftaught", "worker": "selftaught-worker"}
WANTED = {"title", "description", "version", "revision", "source", "documentation", "licenses"}
PREFIX = "org.opencontainers.image."


def labels(name: str) -> dict[str, str]:
    """The labels of the last stage of a Dockerfile, as they stand there."""
    text = (ROOT / f"images/{name}.Dockerfile").read_text().replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    lines = re.findall(r"^LABEL (.+)$", last, re.M)
    return dict(part.split("=", 1) for line in lines for part in shlex.split(line))


def builds(*settings: str) -> list[list[str]]:
    """The commands that build the images."""
    printed = subprocess.run(
        ["make", "-n", "images", *settings], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return [shlex.split(line) for line in printed.replace("\\\n", " ").splitlines() if line.startswith("docker build")]


def given(command: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(command) if name == option]


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_labels_that_registries_read(name: str) -> None:
    found = labels(name)
    assert {key.removeprefix(PREFIX) for key in found if key.startswith(PREFIX)} == WANTED
    assert found[PREFIX + "title"] == NAMES[name]
    assert (found[PREFIX + "version"], found[PREFIX + "revision"]) == ("${VERSION}", "${REVISION}")
    assert found[PREFIX + "licenses"] == "MIT" and "MIT License" in (ROOT / "LICENSE").read_text()
    assert f'= "{found[PREFIX + "source"]}"' in (ROOT / "pyproject.toml").read_text()


def test_every_label_from_outside_is_passed_to_the_build() -> None:
    for command in builds():
        passed = dict(one.split("=", 1) for one in given(command, "--build-arg"))
        assert passed["VERSION"] == selftaught.__version__
        assert re.fullmatch(r"[0-9a-f]{40}(-changed)?|", passed["REVISION"])


def test_tags_are_the_version_its_beginning_and_latest() -> None:
    minor = ".".join(selftaught.__version__.split(".")[:2])
    tags = {tag for command in builds() for tag in given(command, "-t")}
    assert tags == {f"{name}:{tag}" for name in NAMES.values() for tag in (selftaught.__version__, minor, "latest")}


def test_a_prefix_names_them_for_a_registry() -> None:
    tags = [tag for command in builds("PREFIX=registry.example/me/") for tag in given(command, "-t")]
    assert len(tags) == 6 and all(tag.startswith("registry.example/me/selftaught") for tag in tags)


@pytest.mark.parametrize("name", NAMES.values())
def test_a_built_image_shows_them(name: str, engine: Any) -> None:
    found = engine.images.list(f"{name}:{selftaught.__version__}")
    if not found:
        unreached("container", "auto", f"no image {name}: make images")
    shown = found[0].labels
    assert {key.removeprefix(PREFIX) for key in shown if key.startswith(PREFIX)} == WANTED
    assert shown[PREFIX + "version"] == selftaught.__version__
