"""Install the built wheel in an empty container and verify the bundled puzzles there: ``make dist``.

    python -m tests.distribution DIST WHEELS

The container has no network and holds a Python, pip and libseccomp. DIST is the folder with the wheel, WHEELS one with
what the wheel needs. On x86-64 the snapshot engine must serve, which it does only with both native parts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import selftaught
from selftaught.sandbox import corpus

ROOT = Path(__file__).parents[1]
IMAGE = "selftaught-base"
INSTALL = "-m pip install --quiet --no-index --root-user-action=ignore --find-links=/wheels".split()
NOBODY = "65534:65534"
NO_ENGINE = "no container engine answers: the wheel was built and checked, but not installed in an empty container"


def main() -> int:
    dist, wheels = (Path(argument).resolve() for argument in sys.argv[1:])
    (wheel,) = dist.glob("*.whl")
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        print(f"{NO_ENGINE} (start one: systemctl start docker)", file=sys.stderr)
        return 0
    subprocess.run(["make", "base"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    container = start(dist, wheels)
    try:
        run(container, "root", *INSTALL, f"/dist/{wheel.name}")
        check(container, snapshot=os.uname().machine == "x86_64" and not wheel.name.endswith("-any.whl"))
    finally:
        subprocess.run(["docker", "rm", "--force", container], stdout=subprocess.DEVNULL, check=True)
    print(f"{wheel.name}: installed in an empty container; all {len(corpus.records())} bundled puzzles verified")
    return 0


def start(dist: Path, wheels: Path) -> str:
    """Start a container that waits, with both folders mounted; return its id."""
    command = [
        "docker", "run", "--detach", "--network=none", f"--volume={dist}:/dist:ro", f"--volume={wheels}:/wheels:ro",
        "--security-opt=no-new-privileges", f"--security-opt=seccomp={ROOT}/images/seccomp.json",
        IMAGE, "python3", "-c", "import time; time.sleep(600)",
    ]  # fmt: skip
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def run(container: str, user: str, *arguments: str) -> str:
    """Run Python in the container; return its standard output. Raises CalledProcessError if it fails."""
    command = ["docker", "exec", f"--user={user}", container, "python3", "-I", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def check(container: str, *, snapshot: bool) -> None:
    """Verify the bundled puzzles as a user without rights.

    Args:
        container: its id.
        snapshot: whether the snapshot engine must serve.
    """
    command = ("-m", "selftaught.sandbox.cli")
    found = json.loads(run(container, NOBODY, *command, "doctor", "--json", "--require", "restricted"))
    restricted = found["levels"]["restricted"]
    assert restricted["engine"] == "snapshot" or not snapshot, restricted["why"]
    assert found["host"]["answer codec"] == "C" or not snapshot, found["host"]
    printed = run(container, NOBODY, *command, "verify", "corpus:", "--require", "restricted")
    verdicts = [json.loads(line) for line in printed.splitlines()]
    assert len(verdicts) == len(corpus.records())
    assert {verdict["status"] for verdict in verdicts} == {"accepted"}
    version = run(container, NOBODY, "-c", "import selftaught; print(selftaught.__version__)")
    assert version.strip() == selftaught.__version__


if __name__ == "__main__":
    sys.exit(main())
