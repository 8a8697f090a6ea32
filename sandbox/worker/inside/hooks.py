"""Functions that set up and tear down, such as ``setup_module``: fixtures that are always used, as in pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from selftaught.sandbox.worker.inside.fixtures import Fixtures, parameters_of
from selftaught.sandbox.worker.inside.pytest_standin import Fixture

Case = Callable[[], object]


class Module:
    """What functions such as ``setup_module(module)`` are handed: the namespace of the tests."""

    def __init__(self, scope: dict[str, Any]) -> None:
        vars(self)["_scope"] = scope

    def __getattr__(self, name: str) -> Any:
        try:
            return self._scope[name]
        except KeyError:
            raise AttributeError(f"the tests have no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self._scope[name] = value


def of_module(own: dict[str, Any], scope: dict[str, Any]) -> dict[str, Fixture]:
    """Return what sets up a module and each function in it.

    Args:
        own: what the tests define.
        scope: their namespace.
    """

    def functions(request: Any) -> Iterator[None]:
        if request.instance is not None:
            yield
            return
        _call(own.get("setup_function"), request.function)
        yield
        _call(own.get("teardown_function"), request.function)

    def module() -> Iterator[None]:
        about = Module(scope)
        _call(own.get("setup_module") or own.get("setUpModule"), about)
        yield
        _call(own.get("teardown_module") or own.get("tearDownModule"), about)

    return _named(
        (module, "module", bool(own.keys() & {"setup_module", "setUpModule", "teardown_module", "tearDownModule"})),
        (functions, "function", bool(own.keys() & {"setup_function", "teardown_function"})),
    )


def of_class(kind: Any) -> dict[str, Fixture]:
    """Return what sets up a class, and each instance of it."""

    def whole() -> Iterator[None]:
        _call(getattr(kind, "setup_class", None), kind)
        yield
        _call(getattr(kind, "teardown_class", None), kind)

    def methods(request: Any) -> Iterator[None]:
        _call(getattr(request.instance, "setup_method", None), request.function)
        yield
        _call(getattr(request.instance, "teardown_method", None), request.function)

    return _named(
        (whole, "class", hasattr(kind, "setup_class") or hasattr(kind, "teardown_class")),
        (methods, "function", hasattr(kind, "setup_method") or hasattr(kind, "teardown_method")),
    )


def of_test_case(kind: Any) -> dict[str, Fixture]:
    """Return what sets up a class of unittest."""

    def whole() -> Iterator[None]:
        kind.setUpClass()
        yield
        kind.tearDownClass()
        kind.doClassCleanups()
        for _, error, _ in kind.tearDown_exceptions:
            raise error

    return _named((whole, "class", True))


def _named(*found: tuple[Callable[..., Any], str, bool]) -> dict[str, Fixture]:
    made = [Fixture(function, scope, None, True, None) for function, scope, is_defined in found if is_defined]
    return {f" {id(one)}": one for one in made}  # no name that another has, so none overrides another


def _call(hook: Any, about: Any) -> None:
    """Call a hook, with what it is about if it takes an argument. None: there is no such hook."""
    if hook is not None:
        hook(about) if parameters_of(hook) else hook()


def ending(cases: Iterable[Case], fixtures: Fixtures) -> Iterator[Case]:
    """Yield the cases, of which the last finishes fixtures that last longer than a test."""

    def run(case: Case) -> None:
        try:
            case()
        finally:
            fixtures.finish()

    ready = [*cases]
    yield from ready[:-1]
    for last in ready[-1:]:
        yield partial(run, last)
