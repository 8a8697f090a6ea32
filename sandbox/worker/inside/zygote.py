"""The warm interpreter inside the jail: goes in, and forks a child for every byte it is sent: for a phase, or a runner.

It never reads a job, so a child finds in its inherited memory the interpreter and nothing of any other task. What the
children need is imported here, before the jail closes.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import io
import json
import marshal
import os
import signal
import socket
import struct
import sys
import time
import types
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn, cast

from selftaught.sandbox.jail import capabilities, kernel, landlock, libraries, namespaces, rlimits, root, seccomp

PRELOADED = (
    "abc array ast base64 binascii bisect calendar cmath codecs collections contextlib contextvars copy dataclasses datetime decimal "
    "enum fractions functools heapq inspect io itertools json math numbers operator queue random re "
    "statistics string struct textwrap threading time traceback types typing unicodedata warnings weakref zlib"
).split()
"""Modules that puzzles use; others are imported from the read-only standard library when a child asks for them."""

_IMPORTED_LATE = (
    "_strptime encodings.ascii encodings.base64_codec encodings.cp1252 encodings.hex_codec encodings.latin_1 encodings.raw_unicode_escape "
    "encodings.rot_13 encodings.unicode_escape encodings.utf_16 encodings.utf_16_be encodings.utf_16_le encodings.utf_32 encodings.utf_8_sig"
).split()
"""What functions of the preloaded modules import when they are called."""

_OURS = "selftaught.sandbox.codec selftaught.sandbox.worker.inside.annotation selftaught.sandbox.worker.inside.phase".split()
"""What a child or a runner is at work in, in the order of their imports: executed anew, so that it lies together in memory."""

RECURSION_LIMIT = 10_000
HIGHEST_DESCRIPTOR = 4095
"""None above it is ever opened: the supervisor starts with three, and the zygote may have 64."""
CLONE_FLAGS = 0x00008000 | signal.SIGCHLD  # CLONE_PARENT: the supervisor reaps the child, and it alone
PR_SET_PDEATHSIG = 1
SHOW_DESCRIPTORS = (4, 1)
"""PR_SET_DUMPABLE: the supervisor, which is not root outside, may see which files the process has open. A core file there is none all the same (`rlimits`)."""
PHASE, RUNNER = b"p", b"r"


_SIZES = struct.Struct("<3I")


Entry = tuple[bool, tuple[int, int, int, int, int], socket.socket]
"""Whether the level is ``full``; null, output, report, job and go, which become descriptors 0, 1 and 2, 3, 4, 5; and a socket to the supervisor."""


def enter(entry: Entry) -> Callable[[], NoReturn]:
    """Enter the jail, in a process that the supervisor has just forked; returns what to do then, when nothing of the frames above this is left.

    Through the socket come the filters and the libraries; the listener of the first filter goes to the supervisor; so does, as text, the reason why the jail
    can't be entered.
    """
    full, descriptors, control = entry
    try:
        kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        program, traced_program, shared = _receive_terms(control)
        listener, seen = _enter(full, program, descriptors, control.fileno(), shared)
        socket.send_fds(control, [b"+" + seen], [listener])
    except BaseException as error:
        control.sendall(b"-" + f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000])
        os._exit(1)
    os.close(listener)
    control.close()
    return functools.partial(_serve, traced_program)


def send_terms(control: socket.socket, program: bytes, traced_program: bytes, shared: dict[str, str]) -> None:
    """To a zygote that has started: the filter of its system calls, that of runners, and `libraries.needed`. Raises OSError."""
    parts = program, traced_program, json.dumps(shared).encode()
    control.sendall(_SIZES.pack(*map(len, parts)) + b"".join(parts))


def _receive_terms(control: socket.socket) -> tuple[bytes, bytes, dict[str, str]]:
    with control.makefile("rb") as file:
        first, second, third = (file.read(size) for size in _SIZES.unpack(file.read(_SIZES.size)))
        return first, second, json.loads(third)


def _enter(
    full: bool, program: bytes, descriptors: tuple[int, int, int, int, int], control: int, shared: dict[str, str]
) -> tuple[int, bytes]:
    """Put every mechanism in force, in the only order that works; returns the listener and the namespaces."""
    _settle(descriptors, control)
    _warm()
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    if full:
        namespaces.enter_own()
    seen = json.dumps(namespaces.identity()).encode()
    readable = [*shared.values(), libraries.CACHE]
    if full:
        placed = libraries.beside_the_c_library(shared)
        root.enter(placed)
        readable = list(placed.values())
        socket.sethostname("sandbox")
        namespaces.become_nobody()
    rlimits.restrict_zygote()
    capabilities.drop()
    capabilities.forbid_new()
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user has cleared it
    landlock.restrict([*root.readable(), *filter(os.path.exists, readable)], root.library())
    gc.collect()
    gc.freeze()
    import_module("selftaught.sandbox.worker.inside.heap").turn_page()
    _close_others(
        control
    )  # whatever was opened on the way in: a descriptor of the root would be a way round Landlock's rules
    return seccomp.install(program), seen


def _settle(descriptors: tuple[int, int, int, int, int], control: int) -> None:
    """Arrange descriptors 0 to 5, keep the control socket, close everything else."""
    null, output, report, job, go = descriptors
    for target, source in enumerate((null, output, output, report, job, go)):
        os.dup2(source, target, inheritable=True)
    _close_others(control)


def _close_others(control: int) -> None:
    os.closerange(6, control)
    os.closerange(control + 1, HIGHEST_DESCRIPTOR + 1)


def _warm() -> None:
    sys.path[:] = [*root.library(), *(path for path in sys.path if path.endswith("lib-dynload"))]
    sys.argv[:] = [""]
    sys.stdout = _text_stream(1, line_buffering=False)
    sys.stderr = _text_stream(2, line_buffering=True)
    os.environ.clear()
    os.putenv("TZ", "UTC0")  # for the C library, which would look for a file at every conversion
    time.tzset()
    heap = import_module("selftaught.sandbox.worker.inside.heap")
    heap.gather()  # for the runners, which inherit it
    for name in (*PRELOADED, *_IMPORTED_LATE):
        import_module(name)
    # Its import tries epoll, which the filter forbids. Up to Python 3.13 socket imports it.
    import_module("selectors")
    if sys.version_info >= (3, 14):
        import_module("_ast_unparse")
    _settle_extensions()
    warnings.simplefilter("ignore")
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(RECURSION_LIMIT)
    ours = [(module, marshal.dumps(_placeless(_code_of(module)))) for module in map(import_module, _OURS)]
    heap.compact()
    for module, code in ours:
        exec(marshal.loads(code), vars(module))
    import_module("selftaught.sandbox.worker.inside.phase").warm_up(rounds=40)
    import_module("random").seed(0)
    import_module("selftaught.sandbox.worker.inside.runner")  # it can't be found any more later
    _forget_places()
    heap.scatter()


def _forget_places() -> None:
    """Let nothing here tell where on the host we are: not modules, functions or what started this process."""
    home = os.path.dirname(sys.modules["selftaught"].__file__ or "")
    gc.unfreeze()  # or else most would not be found
    for name, module in sys.modules.items():
        if name == "__main__" or name.partition(".")[0] == "selftaught":
            for about in ("__file__", "__cached__", "__spec__", "__loader__", "__path__"):
                vars(module).pop(about, None)
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType and thing.__code__.co_filename.startswith(home):
            thing.__code__ = _placeless(thing.__code__)
        elif isinstance(thing, ctypes.CDLL):
            thing._name = ""
    sys.orig_argv[:] = [""]
    sys.path_importer_cache.clear()


def _placeless(code: types.CodeType) -> types.CodeType:
    constants = tuple(_placeless(one) if isinstance(one, types.CodeType) else one for one in code.co_consts)
    return code.replace(co_filename="<selftaught>", co_consts=constants)


def _settle_extensions() -> None:
    """Have what is written in C note all that it notes when it is first used, in its own data: there a runner can't write (`Memory`).

    That is how each function's keywords are called, found out at the first keyword, whichever that is; and names that some look up.
    """
    names = "array fractions json math queue random struct zlib".split()
    array, fractions, json, math, queue, random, struct, zlib = map(import_module, names)
    json.dumps([{}, [], {"": [0.5]}, None, True, False])
    with contextlib.suppress(ValueError):
        json.loads('["')
    for function in (math.floor, math.ceil, math.trunc):
        function(fractions.Fraction(1, 3))
    array.array("b").__reduce_ex__(3)
    random.Random("")
    zlib.decompress(zlib.compress(b"a"))  # the C library of this name resolves its own functions at their first call
    zlib.crc32(zlib.adler32(b"a").to_bytes(4, "big"))
    objects: list[object] = [struct.Struct("b"), zlib.compressobj(), zlib.decompressobj(), queue.SimpleQueue()]
    objects += [module for module in sys.modules.values() if ".so" in (getattr(module, "__file__", None) or "")]
    for one in objects:
        for name in (name for name in dir(one) if name[0] != "_"):
            with contextlib.suppress(Exception):
                getattr(one, name)(**{"": None})


def _code_of(module: types.ModuleType) -> types.CodeType:
    loader: Any = module.__loader__
    return cast("types.CodeType", loader.get_code(module.__name__))


def _text_stream(descriptor: int, line_buffering: bool) -> io.TextIOWrapper:
    """A stream on the output pipe that prints anything; the interpreter's own was made for another file."""
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=line_buffering)


def _serve(traced_program: bytes) -> NoReturn:
    from selftaught.sandbox.worker.inside import phase, runner

    # PyDLL keeps the interpreter lock: the child continues in the same state, in the only thread.
    libc = ctypes.PyDLL(None, use_errno=True)
    clone, arguments = libc.syscall, [ctypes.c_long(kernel.number("clone")), ctypes.c_long(CLONE_FLAGS)]
    arguments += [ctypes.c_long(0)] * 4
    prctl, report_for_duty = libc.prctl, [ctypes.c_ulong(PR_SET_PDEATHSIG), ctypes.c_ulong(signal.SIGKILL)]
    show_descriptors = [ctypes.c_ulong(argument) for argument in SHOW_DESCRIPTORS]
    read, run, exit_now = os.read, phase.run, os._exit

    def check_in(shows_descriptors: bool) -> None:
        if (shows_descriptors and prctl(*show_descriptors)) or prctl(*report_for_duty):
            exit_now(1)

    while order := read(phase.GO_FD, 1):
        child = clone(*arguments)
        if child == 0:
            if order == RUNNER:
                runner.start(traced_program)
            run(check_in)
        if child < 0:
            break
    exit_now(1)
