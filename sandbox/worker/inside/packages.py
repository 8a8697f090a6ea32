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


class Finder:
    """Finds the top-level modules of packages, on `sys.meta_path`. No folder with other names in it has to be listed.

    Args:
        entries: for each place, such as ``numpy`` or ``google/protobuf``, its path here.
    """

    def __init__(self, entries: Sequence[tuple[str, str]]) -> None:
        self._modules: dict[str, list[str]] = {}
        self._metadata: dict[str, str] = {}
        for place, path in entries:
            top, _, below = place.partition("/")
            folder = path.removesuffix("/" + below) if below else path
            if top.endswith(".dist-info"):
                self._metadata[top] = folder
            else:
                paths = self._modules.setdefault(top if below else top.partition(".")[0], [])
                paths += [folder] * (folder not in paths)

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        paths = self._modules.get(name) if path is None else None
        if not paths:
            return None
        if os.path.isfile(paths[0]):
            return spec_from_file_location(name, paths[0])
        for suffix in (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES):
            if os.path.isfile(first := f"{paths[0]}/__init__{suffix}"):
                return spec_from_file_location(name, first, submodule_search_locations=[paths[0]])
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = paths
        return spec

    def find_distributions(self, context: DistributionFinder.Context | None = None) -> list[Distribution]:
        """See `importlib.metadata.DistributionFinder`."""
        found: list[Distribution] = [PathDistribution(Path(path)) for path in self._metadata.values()]
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
    sys.meta_path.append(Finder(entries))  # type: ignore[arg-type]
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
