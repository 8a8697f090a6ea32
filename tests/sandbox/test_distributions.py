"""Which files of installed distributions are made available, and which installations are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from selftaught.sandbox import CannotConfine, Limits, Task, Verifier
from selftaught.sandbox.backends import LEVELS
from selftaught.sandbox.backends.local import _Process
from selftaught.sandbox.backends.worker import Worker
from selftaught.sandbox.distributions import choose
from tests.conftest import open_verifier
from tests.sandbox.installed import install


def places(site: Path, *names: str) -> list[str]:
    return [place for place, _ in choose(names, [str(site)])["entries"]]


def test_a_package_is_a_whole_folder_and_its_metadata_two_files(tmp_path: Path) -> None:
    install(tmp_path, "one", {"one/__init__.py": "", "one/data/table.txt": "", "one.libs/libx.so": "", "one.pth": ""})
    assert places(tmp_path, "one") == ["one", "one-1.0.dist-info/METADATA", "one.libs"]


def test_of_a_namespace_there_is_only_what_is_the_distributions_own(tmp_path: Path) -> None:
    install(tmp_path, "one", {"shared/one/__init__.py": "", "shared/flat.py": "", "shared/data/one.txt": ""})
    install(tmp_path, "other", {"shared/other/__init__.py": "", "shared/data/other.txt": ""})
    found = [place for place in places(tmp_path, "one") if "dist-info" not in place]
    assert found == ["shared/data/one.txt", "shared/flat.py", "shared/one"]


def test_requirements_come_with_it_but_not_those_of_extras_or_of_other_systems(tmp_path: Path) -> None:
    requires = ["Two_Words (>=1)", "absent; sys_platform == 'win32'", 'extra-one; extra == "more"', "three[x]>2"]
    install(tmp_path, "one", {"one.py": ""}, requires)
    for name in ("two-words", "extra-one", "three"):
        install(tmp_path, name, {f"{name.replace('-', '_')}.py": ""}, ["one"])
    assert choose(["one"], [str(tmp_path)])["versions"].keys() == {"one", "two-words", "three"}


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        (["one/__init__.py", "tool.py", "tests/__init__.py"], ["one"]),
        (["a/__init__.py", "b.py", "_c.py"], ["a", "b"]),
        (["_c.cpython-311-x86_64-linux-gnu.so", "c-d.py", "one.txt"], ["_c"]),
        (["space/one/__init__.py"], []),
    ],
)
def test_what_is_imported_is_the_library_of_the_distributions_name(
    files: list[str], modules: list[str], tmp_path: Path
) -> None:
    install(tmp_path, "one", dict.fromkeys(files, ""))
    assert choose(["one"], [str(tmp_path)])["modules"] == {"one": modules}


def test_what_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotConfine, match=f"packages: one is not installed in {tmp_path}"):
        choose(["one"], [str(tmp_path)])
    with pytest.raises(CannotConfine, match="packages: one is not installed"):
        Verifier(workers=1, level="restricted", packages=["one"], site=tmp_path)


def test_an_installation_without_a_record_is_refused(tmp_path: Path) -> None:
    (install(tmp_path, "one", {"one.py": ""}) / "one-1.0.dist-info/RECORD").unlink()
    with pytest.raises(CannotConfine, match="packages: one was installed without a RECORD"):
        choose(["one"], [str(tmp_path)])


def test_an_editable_installation_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "one", {"__editable__.one.pth": "/home"}, editable=True)
    with pytest.raises(CannotConfine, match="packages: one is an editable installation"):
        choose(["one"], [str(tmp_path)])


def test_a_path_that_the_loader_takes_for_two_is_refused(tmp_path: Path) -> None:
    install(tmp_path / "a b", "one", {"one/__init__.py": "", "one/x.so": ""})
    with pytest.raises(CannotConfine, match="no path with a colon or white space"):
        choose(["one"], [str(tmp_path / "a b")])


def test_in_a_container_the_supervisor_chooses_from_what_is_there(tmp_path: Path) -> None:
    open_verifier("restricted").close()
    install(tmp_path, "one", {"one.py": ""})
    wanted = {"names": ["one"], "site": str(tmp_path)}
    worker = Worker(_Process("restricted", Limits(), None, True), "restricted", "fork", wanted)
    try:
        assert worker.packages == {"one": "1.0"}
    finally:
        worker.close()
    with pytest.raises(CannotConfine, match=r"packages: one is not installed in .* \(in the container's image"):
        Worker(_Process("restricted", Limits(), None, True), "restricted", "fork", wanted | {"site": None})


THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
BAD = {
    "packages: one: import one: ImportError: it starts threads": THREAD,
    "packages: one: import one: ImportError: it leaves memory with the rights rwxp": (
        "import mmap\nkept = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)\n"
    ),
    "packages: one: import one: ImportError: it leaves memory with the rights rw-s": (
        "import mmap\nkept = mmap.mmap(-1, 4096)\n"
    ),
    "packages: one: import one: ModuleNotFoundError: No module named 'absent'": "import absent\n",
    "packages: one: import one: SystemExit: 3": "raise SystemExit(3)\n",
}


@pytest.mark.parametrize("level", LEVELS["local"])
@pytest.mark.parametrize("reason", BAD)
def test_what_can_not_be_imported_or_leaves_something_stops_the_worker(reason: str, level: str, tmp_path: Path) -> None:
    open_verifier(level).close()
    install(tmp_path, "one", {"one.py": BAD[reason]})
    with pytest.raises(CannotConfine, match=reason):
        Verifier(workers=1, level=level, packages=["one"], site=tmp_path)


@pytest.mark.parametrize("level", LEVELS["local"])
def test_modules_of_every_shape_are_found_and_others_are_not(level: str, tmp_path: Path) -> None:
    open_verifier(level).close()
    install(tmp_path, "flat", {"flat.py": "x = 1"}, ["space-one", "whole"])
    install(tmp_path, "space-one", {"space/one/__init__.py": "x = 2", "space/loose.py": "x = 3"})
    install(tmp_path, "whole", {"whole/__init__.py": "", "whole/part.py": "x = 4", "whole/table.txt": "5"})
    install(tmp_path, "other", {"other.py": "", "space/other/__init__.py": "x = 6"})
    sol = """import flat, importlib.metadata, importlib.resources, os, space.one, space.loose, whole.part
def sol():
    found = [flat.x, space.one.x, space.loose.x, whole.part.x]
    found.append(int(importlib.resources.files("whole").joinpath("table.txt").read_text()))
    for name in ("other", "space.other"):
        try:
            __import__(name)
            return [name]
        except ImportError:
            pass
    try:
        importlib.metadata.version("other")
    except importlib.metadata.PackageNotFoundError:
        found.append(importlib.metadata.version("space-one"))
    return found"""
    with Verifier(workers=1, level=level, packages=["flat"], site=tmp_path) as verifier:
        verdict = verifier.verify(Task("1", "def sat(x): return x == [1, 2, 3, 4, 5, '1.0']", sol))
    assert verdict.accepted, verdict
