"""A small stand-in for the module ``pytest``, for tests that are written for it.

It has what test files of one function or class use: raises, warns, approx, fail, skip, marks, and fixtures that need
no files. What it lacks is the tests' error, by name, and never the solution's. `collection` runs the tests.
"""

from __future__ import annotations

import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from selftaught.sandbox.worker.inside.approximation import approx
from selftaught.sandbox.worker.inside.failure import LoadError
from selftaught.sandbox.worker.inside.relay import Relay


class Skipped(BaseException):
    """A test is not to be run. It counts as passed."""


class Failed(BaseException):
    """A test has failed."""


SCOPES = ("session", "package", "module", "class", "function")
"""How long fixtures may last, the longest first."""
_OF_ANNOTATIONS = "CaptureFixture FixtureRequest LogCaptureFixture MonkeyPatch Pytester TempPathFactory".split()


class StandIn:
    """An object of pytest that may have attributes there which it lacks here."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise LoadError(f"the stand-in of pytest has no {type(self).__name__}.{name}")


class _Annotation:
    """A class that is only named in annotations."""

    def __class_getitem__(cls, item: object) -> Any:
        return cls


class ExceptionInfo(StandIn, _Annotation):
    """What ``raises`` has caught."""

    def __init__(self) -> None:
        self.value: Any = None

    @property
    def type(self) -> Any:
        """The exception's class."""
        return type(self.value)

    @property
    def tb(self) -> Any:
        """The exception's traceback."""
        return self.value.__traceback__

    typename = property(lambda self: type(self.value).__name__)

    def match(self, pattern: str) -> bool:
        """Fail unless the pattern is found in the exception's text."""
        if not re.search(pattern, str(self.value)):
            raise AssertionError(f"{pattern!r} is not found in {str(self.value)!r}")
        return True

    def exconly(self, tryshort: bool = False) -> str:
        """Return the exception as text."""
        return f"{type(self.value).__name__}: {self.value}"

    def errisinstance(self, kind: Any) -> bool:
        """Return True if the exception is of this class."""
        return isinstance(self.value, kind)


class _Raises:
    def __init__(self, expected: Any, match: Any, check: Any) -> None:
        self._expected, self._match, self._check = expected, match, check
        self._info = ExceptionInfo()

    def __enter__(self) -> ExceptionInfo:
        return self._info

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if kind is None:
            raise Failed(f"DID NOT RAISE {_names(self._expected)}")
        if not issubclass(kind, self._expected):
            return False
        self._info.value = error
        if self._match is not None:
            self._info.match(self._match)
        if self._check is not None and not self._check(error):
            raise AssertionError("the check of the exception returned False")
        return True


def _names(expected: Any) -> str:
    kinds = expected if isinstance(expected, tuple) else (expected,)
    return " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)


def raises(
    expected_exception: Any = BaseException, /, *args: Any, match: Any = None, check: Any = None, **kwargs: Any
) -> Any:
    """Return a context manager that expects an exception, or expect it of a call."""
    context = _Raises(expected_exception, match, check)
    if not args:
        return context
    with context as info:
        args[0](*args[1:], **kwargs)
    return info


@contextmanager
def _warns(expected: Any, match: Any) -> Iterator[list[Any]]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield seen
    fitting = (one for one in seen if issubclass(one.category, expected))
    if not any(match is None or re.search(match, str(one.message)) for one in fitting):
        raise Failed(f"DID NOT WARN {_names(expected)}")


def warns(expected_warning: Any = Warning, /, *args: Any, match: Any = None, **kwargs: Any) -> Any:
    """Return a context manager that expects a warning, or expect it of a call."""
    if not args:
        return _warns(expected_warning, match)
    with _warns(expected_warning, match):
        return args[0](*args[1:], **kwargs)


def deprecated_call(*args: Any, **kwargs: Any) -> Any:
    """Expect a warning that something is deprecated."""
    return warns((DeprecationWarning, PendingDeprecationWarning, FutureWarning), *args, **kwargs)


def fail(reason: str = "", pytrace: bool = True) -> Any:
    """Fail the test."""
    raise Failed(reason)


def skip(reason: str = "", *, allow_module_level: bool = False) -> Any:
    """Skip the test."""
    raise Skipped(reason)


def importorskip(modname: str, minversion: Any = None, reason: Any = None, **_: Any) -> Any:
    """Return a module, or skip the test without it."""
    try:
        return import_module(modname)
    except ImportError:
        raise Skipped(f"there is no module {modname}") from None


class Mark:
    """A mark of a test; called, it marks a function or class."""

    def __init__(self, name: str, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs or {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], (types.FunctionType, type)):
            return self._marked(args[0])
        return _Marker(self.name, args, kwargs)

    def _marked(self, test: Any) -> Any:
        test.pytestmark = [*marks_of(test), self]
        return test


class _Marker(Mark):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._marked(args[0])


def marks_of(marked: Any) -> list[Mark]:
    """Return the marks of a test, a class, or a namespace of tests."""
    found = marked.get("pytestmark", ()) if isinstance(marked, dict) else getattr(marked, "pytestmark", ())
    return [found] if isinstance(found, Mark) else [*found]


class _Marks:
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Mark(name)


class Parameters:
    """Values of one case, made by ``param``."""

    def __init__(self, values: tuple[Any, ...], marks: Any) -> None:
        self.values = values
        self.marks = list(marks) if isinstance(marks, (list, tuple)) else [marks]


def param(*values: Any, marks: Any = (), id: Any = None) -> Parameters:
    """Return the values of one case."""
    return Parameters(values, marks)


class Fixture:
    """A fixture of the tests."""

    def __init__(self, function: Callable[..., Any], scope: str, params: Any, autouse: bool, name: str | None) -> None:
        if scope not in SCOPES:
            raise LoadError(f"the stand-in of pytest has no scope {scope!r} of fixtures")
        self.function, self.scope, self.autouse = function, scope, autouse
        self.params = None if params is None else list(params)
        self.name = name or function.__name__


def fixture(
    function: Any = None,
    *,
    scope: str = "function",
    params: Any = None,
    autouse: bool = False,
    ids: Any = None,
    name: Any = None,
) -> Any:
    """Make a fixture of a function."""
    if function is not None:
        return Fixture(function, scope, params, autouse, name)
    return lambda function: Fixture(function, scope, params, autouse, name)


def module(relay: Relay | None) -> types.ModuleType:
    """Return the module ``pytest`` of a run of tests.

    Args:
        relay: the connection to the solution, if it is in another process; it refuses what this stand-in lacks.
    """
    made = types.ModuleType("pytest")
    public = (raises, warns, deprecated_call, fail, skip, importorskip, param, fixture, approx, ExceptionInfo)
    vars(made).update({one.__name__: one for one in public})
    made.mark, made.xfail = _Marks(), skip  # type: ignore[attr-defined]
    made.main = lambda *_, **__: 0  # type: ignore[attr-defined]  # the tests run anyway
    vars(made).update(dict.fromkeys(_OF_ANNOTATIONS, _Annotation))
    made.__getattr__ = _lacking  # type: ignore[method-assign]
    made.relay = relay  # type: ignore[attr-defined]
    return made


def _lacking(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    raise LoadError(f"the stand-in of pytest has no {name}")


def current_relay() -> Relay | None:
    """Return the connection to the solution of the run of tests in this process."""
    relay: Relay | None = getattr(sys.modules.get("pytest"), "relay", None)
    return relay
