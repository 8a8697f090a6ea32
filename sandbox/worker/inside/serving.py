"""The solution's process: load prelude and solution, then answer calls until the supervisor ends the process.

It never sees a test or an expected value. A relayed request, from the tests' process, is a tuple of plain data; what a
target is: "" the entry point, another str a global name, an int a *handle*, a pair of one of them and a name an
attribute::

    0 target args kwargs    call; the arguments are plain        2 target name           read an attribute
    1 target graph          call; the graph is of a pair         3 target name graph     set an attribute
                            (`relay_data`)                       4 handle count          take from an iterator

The reply, with what the call printed and changed as a third part if there is anything::

    0 value    1 graph    2 (name of a builtin exception, its arguments)    3 graph of an exception
"""

from __future__ import annotations

import io
import itertools
import operator
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside import relay_data
from selftaught.sandbox.worker.inside.failure import NO_MEMORY, describe
from selftaught.sandbox.worker.inside.from_solution import METHOD, FromSolution, yields
from selftaught.sandbox.worker.inside.instances import attributes_of
from selftaught.sandbox.worker.inside.relay_data import Builder, flatten, mutable_objects
from selftaught.sandbox.worker.inside.solution import Solution

CALL, CALL_GRAPH, GET, SET, NEXT = range(5)
VALUE, GRAPH, RAISED, RAISED_GRAPH = range(4)
Exchange = Callable[[bytes], bytes]
MOST_PRINTED = 1 << 18
"""How many bytes that a call prints are replayed, at most."""

# Code of the solution may replace anything in `builtins`: what runs after it uses these names.
_encode, _decode, _type, _len, _map, _isinstance = relay_data.encode, relay_data.decode, type, len, map, isinstance
_str, _tuple, _any, _is, _repeat = str, tuple, any, operator.is_, itertools.repeat
_write, _bytes = os.write, bytes
_NotPlain, _TooLarge, _utf8 = codec.NotPlain, codec.TooLarge, str.encode
_all_scalars = relay_data.SCALARS.issuperset
_builtin_exceptions = {
    kind: name
    for name, kind in vars(sys.modules["builtins"]).items()
    if _isinstance(kind, type) and issubclass(kind, BaseException)
}


def serve(prelude: bytes, payload: bytes, answer_bytes: int, exchange: Exchange) -> tuple[bytes, bytes]:
    """Load a solution and answer calls. Return code and text of a report only if it does not load.

    Args:
        prelude: source that runs before the solution in the same namespace.
        payload: encoding of (entry point, source of the solution).
        answer_bytes: largest encoding of a result.
        exchange: sends a message and returns the next one.
    """
    entry_point, sol = _decode(payload)
    solution = Solution()
    try:
        solution.load_prelude(prelude)
    except BaseException as error:
        return describe(b"p", error)
    try:
        solution.load(_utf8(sol, "utf-8", "surrogatepass"), entry_point)
        message = b"R" + _encode(solution.kinds(), relay_data.MOST_BYTES)
    except BaseException as error:
        return describe(b"s", error)
    answer_plain, answer = _plain_calls(solution, answer_bytes), RelayedCalls(solution, answer_bytes).answer
    request = exchange(message)
    while True:
        request = exchange(answer_plain(request) if request[:1] == b"C" else answer(request))


def _plain_calls(solution: Solution, answer_bytes: int) -> Callable[[bytes], bytes]:
    """Return a function that answers calls of the entry point whose results trusted code compares."""
    entry = solution.entry

    def answer(message: bytes) -> bytes:
        try:
            args, kwargs = _decode(message[1:])
            result = entry(*args, **kwargs)
            try:
                return b"V" + _encode(result, answer_bytes)
            except _NotPlain:
                if not yields(result):
                    raise
                return b"V" + _encode([*itertools.islice(result, answer_bytes)], answer_bytes)
        except _NotPlain as error:
            return b"w" + _utf8("the answer is not plain data: " + error.args[0], "utf-8", "replace")
        except _TooLarge as error:
            return b"L%d" % error.size
        except BaseException as error:
            code, text = describe(b"S", error)
            return code + text

    return answer


class RelayedCalls:
    """Answer requests of the tests' process."""

    def __init__(self, solution: Solution, answer_bytes: int) -> None:
        self._solution, self._most = solution, answer_bytes
        self._side = FromSolution(solution)
        self._printed: Printed | None = None

    def answer(self, message: bytes) -> bytes:
        """Return the reply to a request."""
        if self._printed is None:
            self._printed = PRINTED
            PRINTED.begin(self._side)
        try:
            body = message[1:]
            request: Any = _decode(body)
            if request[0] == CALL:
                return self._call(request, body)
            return self._other(request)
        except _NotPlain as error:
            return b"w" + _utf8(error.args[0], "utf-8", "replace")
        except _TooLarge as error:
            return b"L%d" % error.size
        except NO_MEMORY as error:
            code, text = describe(b"m", error)
            return code + text

    def _call(self, request: Any, body: bytes) -> bytes:
        """Call with plain arguments."""
        _, target, args, kwargs = request
        objects: list[Any] | None = None
        if kwargs or not _all_scalars(_map(_type, args)):
            objects = mutable_objects(args, kwargs)
        try:
            result = self._target(target)(*args, **kwargs)
        except NO_MEMORY:
            raise
        except BaseException as error:
            return self._raised(error, objects, body, request)
        if objects:
            if not self._same(request, body):
                return self._graph(GRAPH, result, objects, range(_len(objects)))
            if _any(_map(_is, objects, _repeat(result))):
                return self._graph(GRAPH, result, objects, ())
        extras = self._printed()  # type: ignore[misc]
        try:
            return b"X" + _encode((VALUE, result, extras) if extras else (VALUE, result), self._most)
        except _NotPlain:
            return self._graph(GRAPH, result, objects or [], (), extras)

    def _same(self, request: Any, body: bytes) -> bool:
        """Return True if the arguments are still what the message says."""
        try:
            return _encode(request, _len(body)) == body
        except (_NotPlain, _TooLarge):
            return False

    def _raised(self, error: BaseException, objects: list[Any] | None, body: bytes, request: Any) -> bytes:
        """Return the reply to a call that has raised."""
        error.__traceback__ = None
        changed: Any = range(_len(objects)) if objects and not self._same(request, body) else ()
        name = _builtin_exceptions.get(_type(error))
        if name and not changed and not error.__dict__:
            extras = self._printed()  # type: ignore[misc]
            reply: Any = (RAISED, (name, error.args))
            try:
                return b"X" + _encode((*reply, extras) if extras else reply, self._most)
            except _NotPlain:
                return self._graph(RAISED_GRAPH, error, objects or [], changed, extras)
        return self._graph(RAISED_GRAPH, error, objects or [], changed)

    def _graph(self, code: int, result: Any, objects: list[Any], changed: Any, extras: Any = None) -> bytes:
        """Return a reply with a graph of the result, and of the arguments that have changed.

        Args:
            code: GRAPH or RAISED_GRAPH.
            result: what was returned or raised.
            objects: mutable objects in the arguments, by their numbers.
            changed: the numbers of those that may have changed.
            extras: what was printed, if it is known already.
        """
        known = {id(one): number for number, one in enumerate(objects) if one is not None}
        nodes, _ = flatten([result, *[objects[number] for number in changed]], self._side, known)
        more = self._printed()  # type: ignore[misc]  # by an iterator
        extras = tuple(map(operator.add, extras, more)) if extras and more else extras or more
        if changed:
            extras = (*(extras or ("", "", [])), [*changed])
        return b"X" + _encode((code, nodes, extras) if extras else (code, nodes), self._most)

    def _other(self, request: Any) -> bytes:
        """Answer a request that is no call with plain arguments."""
        kind, target = request[0], request[1]
        made: list[Any] = []
        before: dict[int, Any] = {}
        try:
            if kind == GET:
                return self._graph(GRAPH, self._read(target, request[2]), [], ())
            if kind == NEXT:
                return self._graph(GRAPH, self._side.taken(target, request[2]), [], ())
            nodes = request[-1]
            made = Builder(nodes, self._side, [], {}).build()
            if kind == SET:
                setattr(self._owner(target), request[2], made[0])
                return b"X" + _encode((VALUE, None), self._most)
            args, kwargs = made[0], made[1]
            made = [one if node[0] in _CHANGEABLE else None for one, node in zip(made, nodes, strict=True)]
            before = {number: _parts_of(one) for number, one in enumerate(made) if one is not None}
            code, result = GRAPH, self._target(target)(*args, **kwargs)
        except (*NO_MEMORY, _NotPlain):
            raise
        except BaseException as error:
            error.__traceback__ = None
            code, result = RAISED_GRAPH, error
        changed = [number for number, parts in before.items() if _differs(parts, _parts_of(made[number]))]
        return self._graph(code, result, made, changed)

    def _target(self, target: Any) -> Any:
        """Return what is to be called."""
        if not target and _type(target) is _str:
            return self._solution.entry
        if _type(target) is _tuple:
            return getattr(self._owner(target[0]), target[1])
        return self._owner(target)

    def _owner(self, target: Any) -> Any:
        return self._solution.scope[target] if _type(target) is _str else self._side.handles[target]

    def _read(self, target: Any, name: str) -> Any:
        """Return an attribute, or a global name."""
        if target == "":
            return self._solution.scope[name]
        owner = self._owner(target)
        value = getattr(owner, name)
        if callable(value) and not _isinstance(value, type) and name not in getattr(owner, "__dict__", {}):
            return METHOD
        return METHOD if _isinstance(owner, type) and callable(value) and not _isinstance(value, type) else value


_CHANGEABLE = frozenset("lLsSdqyni")


def _parts_of(value: Any) -> Any:
    """Return the parts of a mutable object, to compare with those later."""
    kind = type(value)
    if kind is bytearray:
        return [bytes(value)]
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, (list, set)) or kind is deque:
        return [*value]
    if relay_data.is_array(kind):
        return [(value.dtype.str, value.shape, value.tobytes())]
    attributes = attributes_of(value)
    return [*attributes, *attributes.values()]


def _differs(before: list[Any], now: list[Any]) -> bool:
    if len(before) != len(now):
        return True
    same = zip(before, now, strict=True)
    return any(one is not other and not (type(one) is type(other) is bytes and one == other) for one, other in same)


class _Kept(io.RawIOBase):
    """What is written, up to a limit. The rest goes where it would have gone, so the supervisor's limit counts."""

    def __init__(self, descriptor: int) -> None:
        self.parts: list[bytes] = []
        self._size, self._descriptor = 0, descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = _bytes(data)
        if self._size < MOST_PRINTED:
            self.parts.append(part)
            self._size += _len(part)
        else:
            _write(self._descriptor, part)
        return _len(part)

    def take(self) -> str:
        """Return what was kept, and forget it."""
        text = b"".join(self.parts).decode("utf-8", "surrogatepass")
        self.parts, self._size = [], 0
        return text


class Printed:
    """What calls have printed and warned of since the last reply."""

    def __init__(self) -> None:
        self._out, self._err = _Kept(1), _Kept(2)
        self._streams = _text_stream(self._out), _text_stream(self._err)
        self._flush = tuple(stream.flush for stream in self._streams)
        self._warned: list[tuple[Any, ...]] = []
        self._side: FromSolution | None = None

    def begin(self, side: FromSolution) -> None:
        """Collect from now on what is printed and warned of."""
        self._side = side
        sys.stdout, sys.stderr = self._streams
        warnings.simplefilter("always")
        warnings.showwarning = self._note  # type: ignore[assignment]

    def __call__(self) -> Any:
        """Return what is to be replayed as a tuple, or None."""
        for flush in self._flush:
            try:
                flush()
            except ValueError:  # the solution has closed it
                pass
        if not self._out.parts and not self._err.parts and not self._warned:
            return None
        warned, self._warned = self._warned, []
        return self._out.take(), self._err.take(), warned

    def forget(self) -> None:
        """Refer to no solution any more, after a warm-up."""
        self._side = None

    def _note(self, message: Any, category: Any, *_: Any) -> None:
        assert self._side is not None
        solution = self._side.solution
        self._warned.append((solution.reference(category), solution.definitions(category), str(message)))


def _text_stream(kept: _Kept) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(kept), "utf-8", "surrogatepass", newline="\n")


PRINTED = Printed()
"""That of this process. Made before the process is forked or put back: else each would make its streams anew."""
