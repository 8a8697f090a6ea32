"""Import packages in the zygote before the jail closes, so that every process that it forks has them.

The zygote has entered its root, or its Landlock rules, by then: what can be imported is what tasks can import later.
A package can start no thread: a fork has only the thread that forks, and a snapshot is of one. And it can leave no
memory that breaks a promise: such as can be written and executed, or as all children share.
"""

from __future__ import annotations

import ast
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ModuleSpec
from importlib.metadata import Distribution, DistributionFinder, PathDistribution
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

from selftaught.sandbox.worker.inside import samples

_ONE_THREAD = (
    "BLIS_NUM_THREADS MKL_NUM_THREADS NUMEXPR_MAX_THREADS NUMEXPR_NUM_THREADS OMP_NUM_THREADS OPENBLAS_NUM_THREADS "
    "POLARS_MAX_THREADS RAYON_NUM_THREADS VECLIB_MAXIMUM_THREADS"
).split()
_VARIABLES = {
    **dict.fromkeys(_ONE_THREAD, "1"),
    "NUMPY_MADVISE_HUGEPAGE": "0",  # else it makes a system call for each large array
}
_SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES)
"""Endings of modules, in the order in which they are tried."""


class Finder:
    """Finds packages, on `sys.meta_path`, without listing a folder: others have files in site-packages too.

    Args:
        entries: for each place, such as ``numpy`` or ``google/protobuf``, its path here.
    """

    def __init__(self, entries: Sequence[tuple[str, str]]) -> None:
        self._modules: dict[str, str] = {}
        self._metadata: list[str] = []
        for place, path in entries:
            *above, last = place.split("/")
            if above and above[0].endswith(".dist-info"):
                self._metadata.append(os.path.dirname(path))
            elif last.endswith(_SUFFIXES) or ("." not in last and os.path.isdir(path)):
                names = [*above, last.partition(".")[0]]
                self._modules[".".join(names)] = path
                for depth in range(1, len(names)):
                    self._modules.setdefault(".".join(names[:depth]), "")

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        place = self._modules.get(name)
        if place is None:
            return None
        if place.endswith(_SUFFIXES):
            return spec_from_file_location(name, place)
        for first in (f"{place}/__init__{suffix}" for suffix in _SUFFIXES if place):
            if os.path.isfile(first):
                return spec_from_file_location(name, first, submodule_search_locations=[place])
        return ModuleSpec(name, None, is_package=True)  # a namespace: what is in it is found here too

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> list[Distribution]:
        """See `importlib.metadata.DistributionFinder`."""
        found: list[Distribution] = [PathDistribution(Path(path)) for path in dict.fromkeys(self._metadata)]
        wanted = context and context.name
        return [one for one in found if not wanted or _plain(one.metadata["Name"]) == _plain(wanted)]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


class Watch:
    """Sees what importing a package has done to this process. Open it while /proc is there."""

    def __init__(self) -> None:
        self._threads = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._maps = open("/proc/self/maps", "rb")  # noqa: SIM115

    def check(self) -> None:
        """Raise ImportError if there is a thread besides this one, or memory that can't be there."""
        if len(os.listdir(self._threads)) != 1:
            raise ImportError("it starts threads, which no task may have")
        self._maps.seek(0)
        for rights in (line.split(None, 2)[1] for line in self._maps):
            if b"w" in rights and (b"x" in rights or b"s" in rights):
                raise ImportError(f"it leaves memory with the rights {rights.decode()}: executed, or shared by tasks")

    def close(self) -> None:
        """Close the descriptors."""
        os.close(self._threads)
        self._maps.close()


def load(
    modules: dict[str, list[str]], entries: Sequence[tuple[str, str]], watch: Watch
) -> Callable[[int], object] | None:
    """Import the modules, and run the samples of those that have some.

    Args:
        modules: the modules of each distribution.
        entries: see `Finder`.
        watch: made before the root was entered. It is closed.

    Returns:
        A function that seeds NumPy's global generator, which has been seeded with 0; None without NumPy.

    Raises:
        ImportError: a module can't be imported or used here; the text names it and its distribution.
    """
    os.environ.update(_VARIABLES)
    sys.meta_path.append(Finder(entries))
    for distribution, names in modules.items():
        for name in names:
            try:
                import_module(name)
                _run(samples.ALL.get(name, ""))
                watch.check()
            except BaseException as error:
                raise ImportError(f"packages: {distribution}: import {name}: {type(error).__name__}: {error}") from None
    watch.close()
    if zoneinfo := sys.modules.get("zoneinfo"):  # time zones come from tzdata: the system's are not readable
        zoneinfo.reset_tzpath(())
    os.environ.clear()
    for name, value in _VARIABLES.items():  # for libraries that are loaded by a task
        os.putenv(name, value)
    if "numpy.random" not in sys.modules:
        return None
    seed: Callable[[int], object] = sys.modules["numpy.random"].seed
    seed(0)
    return seed


def _run(sample: str) -> None:
    """Run every statement, and every expression of a list of them, that this version of the package can."""
    scope: dict[str, object] = {}
    for code in split(sample):
        with contextlib.suppress(Exception):
            exec(code, scope)


def split(sample: str) -> Iterator[CodeType]:
    """Yield the statements of a sample, with lists of expressions taken apart."""
    for statement in ast.parse(sample).body:
        parts: list[ast.stmt] = [statement]
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Tuple):
            parts = [ast.Expr(part) for part in statement.value.elts]
        for part in parts:
            module = ast.fix_missing_locations(ast.Module([part], []))
            yield compile(module, "<sample>", "exec")
