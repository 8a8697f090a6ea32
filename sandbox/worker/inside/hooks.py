"""Set-up and tear-down of a module or class of tests: before the first of its cases, and after the last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from selftaught.sandbox.worker.inside.fixtures import parameters_of

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


def call(hook: Any, argument: Any) -> None:
    """Call a hook, with what it is about if it takes an argument. None: there is no such hook."""
    if hook is not None:
        hook(argument) if parameters_of(hook) else hook()


def around(cases: Iterable[Case], set_up: Case, tear_down: Case) -> Iterator[Case]:
    """Yield the cases, the first that runs with the set-up, and the last with the tear-down.

    If the set-up fails each case does, and nothing is torn down.
    """
    failure: list[BaseException | None] = []

    def run(case: Case, is_last: bool) -> None:
        if not failure:
            failure.append(None)
            try:
                set_up()
            except BaseException as error:
                failure[0] = error
        if failure[0] is not None:
            raise failure[0]
        try:
            case()
        finally:
            if is_last:
                tear_down()

    ready = [*cases]
    for number, case in enumerate(ready, 1):
        yield partial(run, case, number == len(ready))
