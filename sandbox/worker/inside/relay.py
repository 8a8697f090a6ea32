"""Relay calls of tests to the solution's process, and make of the answers what Python would have returned or raised.

What arrives is plain data and may be hostile: whatever is malformed ends the case, never in favour of the solution.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, NoReturn

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside import relay_data
from selftaught.sandbox.worker.inside.from_solution import FIRST_ITEMS
from selftaught.sandbox.worker.inside.relay_data import Builder, Graph, Shared, Side, flatten, mutable_objects
from selftaught.sandbox.worker.inside.serving import (
    CALL,
    CALL_GRAPH,
    GET,
    GRAPH,
    NEXT,
    RAISED,
    RAISED_GRAPH,
    SET,
    VALUE,
)

_MOST_ITEMS = 1 << 16
"""How many items of an iterator are asked for at once, at most."""
NO_CASE = 0xFFFFFFFF
ADVICE = '; isolation="shared" runs tests and solution in one process'
_CASE = Struct("<I")

# Tests may replace anything in `builtins`: what runs after them uses these names.
_encode, _decode, _type, _len, _map, _tuple, _str = relay_data.encode, relay_data.decode, type, len, map, tuple, str
_NotPlain, _TooLarge, _Shared, _Malformed, _Exception = (
    codec.NotPlain,
    codec.TooLarge,
    Shared,
    codec.Malformed,
    Exception,
)
_all_scalars = relay_data.SCALARS.issuperset
_builtin_exceptions = {
    name: kind
    for name, kind in vars(sys.modules["builtins"]).items()
    if isinstance(kind, type)
    and issubclass(kind, BaseException)
    and name not in ("MemoryError", "SystemError", "StopIteration")
}
_MOST = relay_data.MOST_BYTES


def _simple_exception(code: Any, parts: Any) -> BaseException | None:
    """Return the exception that a reply names, if it is a builtin one."""
    if code != RAISED:
        return None
    try:
        name, args = parts
        made: BaseException = _builtin_exceptions[name](*args)
    except _Exception:
        return None
    return made


class CaseOver(BaseException):
    """Ends a case. The relay has noted why: a test can't go on by catching this."""


class Chunk:
    """Some items of an iterator."""

    def __init__(self, items: list[Any], more: int | None, error: Any, value: Callable[[Any], Any]) -> None:
        """Args:
        items: references to the items.
        more: the handle by which others are asked for; None if there are none.
        error: reference to what the iterator raised after these items, or None.
        value: returns what a reference stands for.
        """
        self._items, self.more, self._error, self._value = items, more, error, value

    def items(self) -> list[Any]:
        """Return the items."""
        return [self._value(one) for one in self._items]

    def error(self) -> Any:
        """Return what was raised after them, or None."""
        return None if self._error is None else self._value(self._error)


class Relay:
    """The connection of the tests to the solution.

    Attributes:
        calls: how many requests the solution has got.
        failure: code and text of what has ended this case whatever the tests do now; an empty code: the solution's
            process has ended, and the supervisor knows why.
        raised: the exception that the solution raised last.
    """

    def __init__(self, exchange: Callable[[bytes], bytes]) -> None:
        self.calls = 0
        self.failure: tuple[bytes, str] | None = None
        self.raised: BaseException | None = None
        self.side: Side
        self._exchange = exchange
        self._head = b"X" + _CASE.pack(0)

    def begin(self, case: int) -> None:
        """Begin a case; requests carry its number."""
        self._head, self.failure, self.raised = b"X" + _CASE.pack(case), None, None

    def refuse(self, text: str) -> NoReturn:
        """End the case because something can't cross."""
        self._end(b"w", text + ADVICE)

    def call(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the solution.

        Args:
            target: which, as `serving` describes it.
            args, kwargs: the arguments; those that the function changes are changed.

        Returns:
            What the function returns, or something in its place.
        """
        objects: list[Any] = []
        try:
            request = _encode((CALL, target, args, kwargs), _MOST)
            if kwargs or not _all_scalars(_map(_type, args)):
                objects = mutable_objects(args, kwargs)
        except (_NotPlain, _Shared):
            request, objects = self._graph((CALL_GRAPH, target), [args, kwargs])
        except _TooLarge:
            self._end(b"w", "the arguments are too large")
        answer = self._answer(request)
        if _type(answer) is _tuple and _len(answer) == 2:
            if answer[0] == VALUE:
                return answer[1]
            raised = _simple_exception(*answer)
            if raised is not None:
                self.raised = raised
                raise raised from None
        return self._received(answer, objects)

    def get(self, target: Any, name: str) -> Any:
        """Read an attribute, or a global name of the solution if the target is empty."""
        return self._ask(_encode((GET, target, name), _MOST), [])

    def set(self, target: Any, name: str, value: Any) -> None:
        """Set an attribute."""
        self._ask(*self._graph((SET, target, name), [value]))

    def _graph(self, head: tuple[Any, ...], roots: list[Any]) -> tuple[bytes, list[Any]]:
        """Return a request with a graph, and the object of each of its nodes."""
        try:
            nodes, objects = flatten(roots, self.side, {}, _len(roots))
            return _encode((*head, nodes), _MOST), objects
        except _NotPlain as error:
            self.refuse(_str(error.args[0]))
        except _TooLarge:
            self._end(b"w", "the arguments are too large")

    def _ask(self, request: bytes, objects: list[Any]) -> Any:
        return self._received(self._answer(request), objects)

    def _answer(self, request: bytes) -> Any:
        """Send a request. Return the answer, any plain data."""
        if self.failure:
            raise CaseOver
        reply = self._exchange(self._head + request)
        self.calls += 1
        if reply[:1] != b"X":
            self._not_answered(reply)
        try:
            return _decode(reply[1:])
        except _Malformed as error:
            self._end(b"a", f"the solution's process sent something malformed: {error}")

    def _not_answered(self, reply: bytes) -> NoReturn:
        """End the case after a reply that is no answer."""
        text = reply[1:].decode("utf-8", "replace")
        if reply[:1] == b"w":
            self.refuse(text)
        self._end(reply[:1], text)

    def _end(self, code: bytes, text: str) -> NoReturn:
        if self.failure is None:
            self.failure = code, text
        raise CaseOver

    def _received(self, answer: Any, objects: list[Any]) -> Any:
        """Return, or raise, what an answer says; change arguments and print as it says.

        Args:
            answer: plain data; any.
            objects: the arguments that it may refer to, by their numbers.
        """
        try:
            code, result, *extras = answer
            out, err, warned, *changed = extras[0] if extras else ("", "", [])
            value = self._made(code, result, objects, changed[0] if changed else [])
            categories = [(self.side.class_of(*one[:2]), one[2]) for one in warned]  # type: ignore[attr-defined]
        except _Exception as error:
            self._end(b"a", f"the solution's process sent something malformed: {_type(error).__name__}")
        if _type(out) is _str and out:
            sys.stdout.write(out)
        if _type(err) is _str and err:
            sys.stderr.write(err)
        for category, text in categories:
            warnings.warn(text, category, stacklevel=3)
        if code in (RAISED, RAISED_GRAPH):
            if isinstance(value, StopIteration):  # it would end a loop of the tests as if all were well
                self.refuse("a StopIteration can't cross from the solution to its tests")
            self.raised = value
            raise value from None
        return value

    def _made(self, code: int, result: Any, objects: list[Any], changed: list[int]) -> Any:
        """Return the value, or the exception, of an answer. Raises an Exception if it is malformed."""
        if code == VALUE:
            return result
        if code == RAISED:
            return self.side.exception("b:" + result[0], (), result[1], {}, None)  # type: ignore[attr-defined]
        nodes: Graph = result
        preset = {1 + index: objects[number] for index, number in enumerate(changed)}
        value = Builder(nodes, self.side, objects, preset).build()[0]
        if code == RAISED_GRAPH and not isinstance(value, BaseException):
            raise _Malformed("no exception")
        if code not in (GRAPH, RAISED_GRAPH):
            raise _Malformed("unknown code")
        return value

    def iterate(self, chunk: Chunk) -> Iterator[Any]:
        """Yield what an iterator of the solution yields."""
        count = FIRST_ITEMS
        while True:
            for item in chunk.items():
                try:
                    sent = yield item
                except GeneratorExit:
                    return
                except BaseException:
                    self.refuse("an exception can't be thrown into a generator of the solution")
                if sent is not None:
                    self.refuse("nothing can be sent to a generator of the solution")
            raised = chunk.error()
            if raised is not None:
                self.raised = raised
                raise raised from None
            if chunk.more is None:
                return
            count = min(count * 2, _MOST_ITEMS)
            chunk = self._ask(_encode((NEXT, chunk.more, count), _MOST), [])
