"""The daemon's image: level `restricted` in an ordinary container with the engine's own seccomp profile."""

from __future__ import annotations

import json
import os
import re
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import selftaught
from tests.conftest import open_verifier, unreached
from tests.sandbox.test_cases import CASES

IMAGE = f"selftaught:{selftaught.__version__}"
REPOSITORY = Path(__file__).parents[2]
ORDINARY: dict[str, Any] = {"network_mode": "none", "user": "65534:65534"}
STRICT: dict[str, Any] = {
    **ORDINARY,
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
"""What the Kubernetes manifest asks for."""
PROFILE = json.loads((REPOSITORY / "images/seccomp.json").read_text())
PROFILED: dict[str, Any] = {**STRICT, "security_opt": ["no-new-privileges", f"seccomp={json.dumps(PROFILE)}"]}
"""What the documented command and the compose file ask for."""


@pytest.fixture(scope="session", autouse=True)
def image(engine: Any) -> None:
    if not engine.images.list(IMAGE):
        unreached("container", "auto", f"no image {IMAGE}: make images")


def run(engine: Any, command: list[str], **options: Any) -> tuple[int, str]:
    """Exit code and standard output."""
    container = engine.containers.create(IMAGE, command, **options)
    try:
        container.start()
        code = int(container.wait(timeout=300)["StatusCode"])
        return code, container.logs(stdout=True, stderr=code != 0).decode()
    finally:
        container.remove(force=True)


@pytest.mark.parametrize("options", [ORDINARY, STRICT, PROFILED], ids=["ordinary", "strict", "with our profile"])
def test_the_level_restricted_is_reached(engine: Any, options: dict[str, Any]) -> None:
    code, printed = run(engine, ["doctor", "--json", "--require", "restricted"], **options)
    assert code == 0, printed
    found = json.loads(printed)
    assert found["level"] == "restricted"
    assert found["host"]["outer seccomp filter"] == "yes"
    assert all(mechanism["holds"] for mechanism in found["levels"]["restricted"]["mechanisms"])


def test_the_fork_engine_serves_where_the_engines_profile_refuses_the_faster_one_and_doctor_says_so(
    engine: Any,
) -> None:
    refusing = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["userfaultfd"], "action": "SCMP_ACT_ERRNO"}]}
    for profile in ([], [f"seccomp={json.dumps(refusing)}"]):
        options = {**STRICT, "security_opt": ["no-new-privileges", *profile]}
        code, printed = run(engine, ["doctor", "--json", "--require", "restricted"], **options)
        assert code == 0, printed
        found = json.loads(printed)["levels"]["restricted"]
        assert found["engine"] == "fork"
        if os.uname().machine == "x86_64":
            assert re.search(r"userfaultfd: an outer filter refuses it.*images/seccomp\.json", found["why"])


def test_with_our_profile_the_fast_engine_serves(engine: Any) -> None:
    open_verifier("restricted", engine="snapshot").close()  # the kernel can do it
    code, printed = run(engine, ["doctor", "--json", "--require", "restricted"], **PROFILED)
    assert code == 0, printed
    found = json.loads(printed)["levels"]["restricted"]
    assert (found["engine"], found["why"]) == ("snapshot", "")


def test_our_profile_is_the_workers_and_what_a_server_needs_and_nothing_that_opens_a_kernel() -> None:
    workers = json.loads((REPOSITORY / "sandbox/backends/seccomp.json").read_text())
    *same, servers = PROFILE["syscalls"]
    assert {**PROFILE, "syscalls": same} == workers
    allowed = {name for group in PROFILE["syscalls"] for name in group["names"]}
    assert {"socket", "bind", "listen", "accept4"} <= set(servers["names"])
    assert (
        not {"mount", "unshare", "setns", "bpf", "keyctl", "io_uring_setup", "init_module", "perf_event_open", "clone3"}
        & allowed
    )


def test_doctor_says_what_the_level_full_lacks_there(engine: Any) -> None:
    code, printed = run(engine, ["doctor", "--json"], **STRICT)
    full = json.loads(printed)["levels"]["full"]
    assert code == 1
    assert not full["reached"]
    assert "control group" in full["reason"]
    assert "--require restricted" in full["remedy"]


def test_doctor_names_landlock_where_the_engine_refuses_it(engine: Any, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["landlock_create_ruleset"], "action": "SCMP_ACT_ERRNO"}],
    }
    options = {**STRICT, "security_opt": ["no-new-privileges", f"seccomp={json.dumps(profile)}"]}
    code, printed = run(engine, ["doctor", "--json", "--require", "restricted"], **options)
    restricted = json.loads(printed)["levels"]["restricted"]
    assert code == 1
    assert "landlock_create_ruleset" in restricted["reason"]
    assert "seccomp profile" in restricted["remedy"]


def test_the_bundled_corpus_is_accepted(engine: Any) -> None:
    code, printed = run(engine, ["verify", "corpus:", "--require", "restricted"], **STRICT)
    assert code == 0, printed
    verdicts = [json.loads(line) for line in printed.splitlines()]
    assert len(verdicts) > 100
    assert {(verdict["status"], verdict["level"]) for verdict in verdicts} == {("accepted", "restricted")}


@pytest.mark.parametrize(("options", "serves"), [(STRICT, "fork"), (PROFILED, "snapshot")], ids=["fork", "snapshot"])
def test_every_case_of_the_contract_gets_its_verdict(engine: Any, options: dict[str, Any], serves: str) -> None:
    """The suite runs inside, as it does outside: these tests, and the verifier that is installed in the image."""
    packages = sysconfig.get_path("purelib")
    mounts = {
        str(REPOSITORY / "tests"): {"bind": "/src/tests", "mode": "ro"},
        str(REPOSITORY / "pyproject.toml"): {"bind": "/src/pyproject.toml", "mode": "ro"},
        packages: {"bind": "/packages", "mode": "ro"},
    }
    command = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/sandbox/test_cases.py",
        "-k",
        f"restricted-{serves}",
    ]
    code, printed = run(
        engine,
        command,
        entrypoint="python3",
        volumes=mounts,
        working_dir="/src",
        environment={"PYTHONPATH": "/src:/packages", "SELFTAUGHT_LEVELS": "restricted", "SELFTAUGHT_ENGINES": serves},
        tmpfs={"/tmp": ""},
        **options,
    )
    passed = re.search(r"(\d+) passed", printed)
    assert code == 0, printed[-4000:]
    assert passed is not None
    assert int(passed[1]) == sum(case.applies_to("restricted", serves) for case in CASES)
