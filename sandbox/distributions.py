"""Find the files of installed distributions that tasks may import (`Verifier(packages=...)`).

A distribution is what `pip install` names. Its own files are found by its RECORD, and so are those of the
distributions that it requires. Nothing is imported or run but the dynamic loader, which says what is needed besides.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import deque
from collections.abc import Sequence
from importlib.machinery import all_suffixes
from importlib.metadata import Distribution, distributions
from pathlib import PurePosixPath

from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.jail import libraries
from selftaught.sandbox.packages import NAME, Chosen, canonical

_OF_AN_EXTRA = re.compile(r"\bextra\b")
_METADATA = ("METADATA", "entry_points.txt")
"""Of a distribution's metadata, what shows nothing of the host; `importlib.metadata` reads it."""
_BESIDE = ".libs"
"""Ending of the folder with shared libraries that wheels have beside their package (auditwheel)."""


def choose(names: Sequence[str], folders: Sequence[str]) -> Chosen:
    """Return what these distributions and those that they require have.

    Args:
        names: Names, as `packages.normalized` returns them.
        folders: Where distributions are installed: folders such as site-packages.

    Raises:
        CannotConfine: One is not installed there, or not in a way that says which files it has.
    """
    chosen = Chosen(versions={}, modules={}, entries=[], libraries={})
    waiting, places = deque(names), dict[str, str]()
    while waiting:
        name = waiting.popleft()
        if name in chosen["versions"]:
            continue
        found = next(iter(distributions(name=name, path=list(folders))), None)
        if found is None:
            if name in names:
                raise CannotConfine(f"packages: {name} is not installed in {_listed(folders)}")
            continue  # required elsewhere only, or the import will say what is missing
        chosen["versions"][name] = found.version
        files = _files(name, found)
        if name in names:
            chosen["modules"][name] = _modules(name, files)
        folder = os.path.abspath(str(found.locate_file("")))
        places |= {place: f"{folder}/{place}" for place in _places(files)}
        waiting += [canonical(match[1]) for text in found.requires or () if (match := _required(text))]
    chosen["entries"] = sorted((place, os.path.realpath(path)) for place, path in places.items())
    chosen["libraries"] = _libraries(chosen["entries"])
    return chosen


def _listed(folders: Sequence[str]) -> str:
    return ", ".join([path for path in folders if os.path.isdir(path)] or folders)


def _required(text: str) -> re.Match[str] | None:
    """Return the name in a requirement, None if it belongs to an extra. Other conditions show in what is installed."""
    requirement, _, condition = text.partition(";")
    return None if _OF_AN_EXTRA.search(condition) else NAME.match(requirement)


def _files(name: str, distribution: Distribution) -> list[PurePosixPath]:
    """Return the installed files, relative to the folder, without those outside. Raises CannotConfine."""
    record = distribution.read_text("RECORD")
    if record is None:
        raise CannotConfine(
            f"packages: {name} was installed without a RECORD of its files: install it with pip, into a virtual "
            "environment if the system's package manager has installed it"
        )
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError as error:
        raise CannotConfine(f"packages: {name} has a direct_url.json that is not JSON: {error}") from error
    rows = [row[0] for row in csv.reader(record.splitlines()) if row]
    if origin.get("dir_info", {}).get("editable") or any(row.startswith("__editable__") for row in rows):
        raise CannotConfine(f"packages: {name} is an editable installation: install it without -e")
    files = [PurePosixPath(row) for row in rows]
    return [file for file in files if not file.is_absolute() and ".." not in file.parts]


def _modules(distribution: str, files: list[PurePosixPath]) -> list[str]:
    """Return the top-level module that is named like the distribution, else all; private ones if there are no others.

    What comes with a module of the distribution's name is a tool or its tests more often than a library.
    """
    names = {
        file.parts[0].partition(".")[0]
        for file in files
        if (len(file.parts) == 1 and file.name.endswith(tuple(all_suffixes())))
        or (len(file.parts) == 2 and file.name.partition(".")[0] == "__init__")
    }
    names = {name for name in names if name.isidentifier()}
    named_alike = sorted(name for name in names if canonical(name) == distribution)
    return named_alike or sorted(name for name in names if name[0] != "_") or sorted(names)


def _places(files: list[PurePosixPath]) -> set[str]:
    """Return the fewest files and folders that cover these files and are theirs alone.

    A folder is if it is a package, or has the shared libraries of one. Others may be namespaces, which several
    distributions share.
    """
    owned = {file.parent for file in files if file.name.partition(".")[0] == "__init__"}
    owned |= {PurePosixPath(file.parts[0]) for file in files if file.parts[0].endswith(_BESIDE)}
    places = set()
    for file in files:
        if file.parts[0].endswith((".dist-info", ".data")):
            if file.name in _METADATA and len(file.parts) == 2:
                places.add(str(file))
        elif file.parts[0] != "__pycache__" and file.suffix != ".pth":
            outermost = next((folder for folder in reversed(file.parents) if folder in owned), file)
            places.add(str(outermost))
    return places


def _libraries(entries: list[tuple[str, str]]) -> dict[str, str]:
    """Return the shared libraries outside the entries that extension modules and libraries in them need."""
    files = [file for _, path in entries for file in _below(path) if re.search(r"\.so(\.|$)", os.path.basename(file))]
    ours = tuple(path + "/" if os.path.isdir(path) else path for _, path in entries)
    try:
        needed = libraries.needed_by(files)
    except OSError as error:
        raise CannotConfine(f"packages: {error}") from error
    return {name: path for name, path in needed.items() if not os.path.realpath(path).startswith(ours)}


def _below(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
