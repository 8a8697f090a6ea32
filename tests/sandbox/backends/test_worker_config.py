"""WorkerConfig: one value that is checked when it is created."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from selftaught.sandbox import Verifier
from selftaught.sandbox.backends import WorkerConfig
from selftaught.sandbox.client.shared import _options
from selftaught.sandbox.options import _names, worker_config
from selftaught.sandbox.task import Limits
from tests.sandbox.tasks import task


@pytest.mark.parametrize(
    ("fields", "levels"),
    [
        ({}, ("full",)),
        ({"require": "full"}, ("full",)),
        ({"require": "restricted"}, ("full", "restricted")),
        ({"level": "restricted"}, ("restricted",)),
        ({"level": "full", "require": "restricted"}, ("full",)),
        ({"backend": "docker"}, ("container",)),
    ],
    ids=str,
)
def test_levels_are_tried_from_the_strongest_down_to_the_one_required(
    fields: dict[str, str], levels: tuple[str, ...]
) -> None:
    assert WorkerConfig(**fields).levels == levels


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"require": "container"}, "no level 'container' with backend 'local'"),
        ({"level": "full", "backend": "docker"}, "no level 'full' with backend 'docker'"),
        ({"level": ""}, "no level ''"),
        ({"engine": "steam"}, "unknown engine 'steam'"),
        ({"backend": "podman"}, "unknown backend 'podman'"),
        ({"image": "some"}, "backend='docker'"),
        ({"runtime": "some"}, "backend='docker'"),
        ({"packages": "numpy"}, r"must be a list of names, such as \['numpy'\]"),
        ({"packages": ["numpy>=2"]}, "'numpy>=2' is no name of a package"),
        ({"site": "/some"}, "name the packages too"),
    ],
    ids=str,
)
def test_contradictory_fields_are_refused(fields: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        WorkerConfig(**fields)


def test_a_verifier_uses_its_config() -> None:
    with Verifier.from_config(WorkerConfig(level="restricted", engine="fork"), workers=1) as verifier:
        assert (verifier.level, verifier.engine, verifier.workers) == ("restricted", "fork", 1)
        assert verifier.verify(task(1)).accepted


def test_the_options_of_a_shared_daemon_give_the_same_config() -> None:
    for config in (
        WorkerConfig(),
        WorkerConfig(require="restricted", engine="fork"),
        WorkerConfig(level="restricted"),
        WorkerConfig(backend="docker", image="image", runtime="runtime"),
        WorkerConfig(packages=["numpy", "python-dateutil"], site="/some/site-packages"),
    ):
        options = _options(config, 1, Limits(), 60.0)
        given: dict[str, Any] = dict(zip(options[::2], options[1::2], strict=True))
        given["--packages"] = _names((given.get("--packages", ""),))
        asked = worker_config({name.removeprefix("--"): value for name, value in given.items()})
        assert (asked.levels, asked.engine, asked.backend) == (config.levels, config.engine, config.backend)
        assert (asked.image, asked.runtime) == (config.image, config.runtime)
        assert (asked.packages, asked.site) == (config.packages, config.site)


def test_names_of_packages_are_compared_as_package_indexes_do() -> None:
    assert WorkerConfig(packages=["Python_DateUtil", "numpy", "NumPy"]).packages == ("numpy", "python-dateutil")


@pytest.mark.parametrize("command", [["doctor"], ["serve", "--port", "0"], ["verify", "corpus:"]], ids=" ".join)
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--backend", "docker", "--require", "full"], "no level 'full' with backend 'docker'"),
        (["--image", "some"], "image and runtime are for containers"),
    ],
    ids=["level", "image"],
)
def test_commands_refuse_an_invalid_config_as_wrong_usage(command: list[str], options: list[str], reason: str) -> None:
    line = [sys.executable, "-m", "selftaught.sandbox.cli", *command, *options]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, reason in done.stderr) == (2, True), done.stderr
