"""The zygote: a warm interpreter in the jail that forks a child, or a snapshot process, for each byte it receives.

It never reads a job, so a child inherits memory with the interpreter in it and nothing of any other task. It imports
what children need before the jail closes.
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
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any, NoReturn, cast

from selftaught.sandbox.jail import capabilities, kernel, landlock, libraries, namespaces, rlimits, root, seccomp
from selftaught.sandbox.wire import GO_FD

if TYPE_CHECKING:
    from selftaught.sandbox.packages import Chosen

PRELOADED = (
    "abc array ast base64 binascii bisect calendar cmath codecs collections contextlib contextvars copy dataclasses "
    "datetime decimal enum fractions functools heapq inspect io itertools json math numbers operator queue random "
    "re statistics string struct textwrap threading time traceback types typing unicodedata warnings weakref zlib"
).split()
"""Modules that puzzles use. A child imports others from the read-only standard library."""

_IMPORTED_LATE = (
    "_strptime encodings.ascii encodings.base64_codec encodings.cp1252 encodings.hex_codec encodings.latin_1 "
    "encodings.raw_unicode_escape encodings.rot_13 encodings.unicode_escape encodings.utf_16 encodings.utf_16_be "
    "encodings.utf_16_le encodings.utf_32 encodings.utf_8_sig"
).split()
"""Modules that functions of the preloaded modules import when they are called."""

_OURS = (
    "selftaught.sandbox.codec_parts",
    "selftaught.sandbox.extended.kinds",
    "selftaught.sandbox.extended.arrays",
    "selftaught.sandbox.extended.encoding",
    "selftaught.sandbox.extended.checking",
    "selftaught.sandbox.extended.decoding",
    "selftaught.sandbox.codec",
    "selftaught.sandbox.worker.inside.annotation",
    "selftaught.sandbox.worker.inside.failure",
    "selftaught.sandbox.worker.inside.source",
    "selftaught.sandbox.worker.inside.stream_files",
    "selftaught.sandbox.worker.inside.uncaught",
    "selftaught.sandbox.worker.inside.ending",
    "selftaught.sandbox.worker.inside.program",
    "selftaught.sandbox.worker.inside.phase",
    "selftaught.sandbox.equality",
    "selftaught.sandbox.published",
    "selftaught.sandbox.comparison",
    "selftaught.sandbox.worker.inside.difference",
    "selftaught.sandbox.worker.inside.checking",
    "selftaught.sandbox.worker.inside.test_source",
    "selftaught.sandbox.worker.inside.instances",
    "selftaught.sandbox.worker.inside.relay_data",
    "selftaught.sandbox.worker.inside.solution",
    "selftaught.sandbox.worker.inside.from_solution",
    "selftaught.sandbox.worker.inside.serving",
    "selftaught.sandbox.worker.inside.relay",
    "selftaught.sandbox.worker.inside.standins",
    "selftaught.sandbox.worker.inside.from_tests",
    "selftaught.sandbox.worker.inside.approximation",
    "selftaught.sandbox.worker.inside.pytest_standin",
    "selftaught.sandbox.worker.inside.builtin_fixtures",
    "selftaught.sandbox.worker.inside.fixtures",
    "selftaught.sandbox.worker.inside.hooks",
    "selftaught.sandbox.worker.inside.marks",
    "selftaught.sandbox.worker.inside.collection",
    "selftaught.sandbox.worker.inside.cases",
    "selftaught.sandbox.worker.inside.testing",
    "selftaught.sandbox.worker.inside.sharing",
    "selftaught.sandbox.worker.inside.warm_up",
)
"""Modules that run in children, in import order: executed last, so that they lie together in memory."""

_NEEDED_BY_OURS = (
    "selftaught.sandbox.outcome",
    "selftaught.sandbox.job",
    "selftaught.sandbox.wire",
    "selftaught.sandbox.worker.inside.depth",
    "selftaught.sandbox.worker.inside.multiprocessing_standin",
)
"""What these import besides."""

_PACKAGES = "selftaught.sandbox.worker.inside.packages"

ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "PWD": "/tmp",
    "USER": "nobody",
}
"""Environment variables of all tasks. Where the scratch folder has another path, programs find that."""
RECURSION_LIMIT = 10_000
FRAMES_OF_PHASE = 4
"""How many frames of ours there are above that of `_serve` when a program runs."""
HIGHEST_DESCRIPTOR = 4095
"""Highest descriptor that can be open: the supervisor starts with three, and the zygote may have 64."""
CLONE_FLAGS = 0x00008000 | signal.SIGCHLD  # CLONE_PARENT: the supervisor reaps the child, and it alone
PR_SET_PDEATHSIG = 1
SHOW_DESCRIPTORS = (4, 1)
"""PR_SET_DUMPABLE: lets the supervisor, which is not root outside, list the process's open files. There is still no
core file (`rlimits`).
"""
PHASE, SNAPSHOT = b"p", b"r"


_SIZES = struct.Struct("<3I")


Entry = tuple[bool, tuple[int, int, int, int], socket.socket]
"""True at level ``full``; descriptors of null, output, job and go, which become 0 and 3, 1 and 2, 4, 5; and a socket to
the supervisor.
"""


def enter(entry: Entry) -> Callable[[], NoReturn]:
    """Enter the jail, in a process that the supervisor has just forked.

    Receives the filters and libraries over the socket. Sends to the supervisor the listener of the first filter, and at
    level ``full`` the scratch folder and the one for files without names; or as text why the jail can't be entered.

    Args:
        entry: level, descriptors and socket.

    Returns:
        A function that serves forks. The caller calls it after its own frames are gone, so that no task finds them.
    """
    full, descriptors, control = entry
    try:
        kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with control as there:
            control = socket.socket(fileno=os.dup2(there.fileno(), seccomp.CONTROL_FD))
        program, traced_program, shared, packages, scratch = _receive_setup(control)
        theirs, seen, domain = _enter(full, program, descriptors, control.fileno(), shared, packages, *scratch)
        socket.send_fds(control, [b"+" + seen], theirs)
    except BaseException as error:
        control.sendall(b"-" + f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000])
        os._exit(1)
    for descriptor in theirs:
        os.close(descriptor)
    control.close()
    return functools.partial(_serve, traced_program, domain)


def send_setup(
    control: socket.socket,
    program: bytes,
    traced_program: bytes,
    shared: dict[str, str],
    packages: Chosen,
    scratch: tuple[str, int],
) -> None:
    """Send a zygote that has started what it needs to enter the jail.

    Args:
        control: the supervisor's end of the socket.
        program: seccomp filter of the zygote and its children.
        traced_program: seccomp filter of snapshot processes.
        shared: shared libraries (`libraries.needed`).
        packages: what tasks may import besides (`selftaught.sandbox.packages.choose`).
        scratch: path of the scratch folder, empty if the zygote mounts it; and the largest file in it, in bytes.

    Raises:
        OSError: the zygote has died.
    """
    parts = program, traced_program, json.dumps((shared, packages, scratch)).encode()
    control.sendall(_SIZES.pack(*map(len, parts)) + b"".join(parts))


def _receive_setup(control: socket.socket) -> tuple[bytes, bytes, dict[str, str], Chosen, tuple[str, int]]:
    with control.makefile("rb") as file:
        first, second, third = (file.read(size) for size in _SIZES.unpack(file.read(_SIZES.size)))
        return first, second, *json.loads(third)


def _enter(
    full: bool,
    program: bytes,
    descriptors: tuple[int, int, int, int],
    control: int,
    shared: dict[str, str],
    packages: Chosen,
    folder: str,
    file_bytes: int,
) -> tuple[list[int], bytes, int]:
    """Enforce every mechanism, in the only order that works. Return descriptors for the supervisor, the namespaces, and
    the descriptor of what makes a domain of each child's own.
    """
    _arrange_descriptors(descriptors, control)
    ours = _import_all()
    entries = packages["entries"]
    watch = import_module(_PACKAGES).Watch() if entries else None
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    if full:
        namespaces.enter_own()
    seen = json.dumps(namespaces.identity()).encode()
    readable, given = [*shared.values(), libraries.CACHE], list[int]()
    if full:
        placed = libraries.beside_the_c_library(shared)
        root.enter(placed | {path: f"{root.PACKAGES}/{place}" for place, path in entries})
        readable, entries = list(placed.values()), [(place, f"{root.PACKAGES}/{place}") for place, _ in entries]
        unnamed = root.unnamed_files()
        socket.sethostname("sandbox")
        namespaces.become_nobody()
        folder = root.scratch()
        given = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY), unnamed]
    os.chdir(folder)
    rlimits.restrict_zygote(file_bytes)
    capabilities.drop()
    capabilities.forbid_new()
    kernel.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of user has cleared it
    readable = [*root.readable(), *filter(os.path.exists, readable), *(path for _, path in entries)]
    devices = {path: writable for path, writable in root.DEVICES.items() if os.path.exists(path)}
    landlock.restrict(readable, root.library(), folder, devices)
    seed = import_module(_PACKAGES).load(packages["modules"], entries, watch) if entries else None
    _finish(ours)
    vars(import_module("selftaught.sandbox.worker.inside.phase"))["seed_numpy"] = seed
    gc.collect()
    gc.freeze()
    import_module("selftaught.sandbox.worker.inside.heap").start_new_page()
    domain = landlock.start_domain(folder)
    _close_others(control, domain, *given)  # opened on the way in: one of the root would bypass Landlock's rules
    return [seccomp.install(program), *given], seen, domain


def _arrange_descriptors(descriptors: tuple[int, int, int, int], control: int) -> None:
    """Arrange descriptors 0 to 5, keep the control socket, close everything else."""
    null, output, job, go = descriptors
    for target, source in enumerate((null, output, output, null, job, go)):
        os.dup2(source, target, inheritable=True)
    _close_others(control)


def _close_others(*kept: int) -> None:
    """Close every descriptor but 0 to 5 and these."""
    at = 6
    for descriptor in sorted(kept):
        os.closerange(at, descriptor)
        at = descriptor + 1
    os.closerange(at, HIGHEST_DESCRIPTOR + 1)


def _import_all() -> list[tuple[str, ModuleSpec, bytes]]:
    """Import what will not be found any more in the jail. Return the modules that run in children, with their code."""
    sys.path[:] = [*root.library(), *(path for path in sys.path if path.endswith("lib-dynload"))]
    sys.argv[:] = [""]
    sys.stdout = sys.__stdout__ = _text_stream(1, "<stdout>", line_buffering=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _text_stream(2, "<stderr>", line_buffering=True)  # type: ignore[misc]
    site = import_module("site")  # the interpreter was started without it
    for names in (site.setquit, site.setcopyright, site.sethelper):
        names()
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    os.putenv("TZ", "UTC0")  # for the C library, which would look for a file at every conversion
    time.tzset()
    heap = import_module("selftaught.sandbox.worker.inside.heap")
    heap.prepare_threads()
    heap.disable_mmap()  # for snapshot processes, which inherit it
    for name in (*PRELOADED, *_IMPORTED_LATE):
        import_module(name)
    # Its import tries epoll, which the filter forbids. Up to Python 3.13 socket imports it.
    import_module("selectors")
    if sys.version_info >= (3, 14):
        import_module("_ast_unparse")
    _initialise_extensions()
    for name in _NEEDED_BY_OURS:
        import_module(name)
    with contextlib.suppress(ImportError):  # it was not built
        import_module("selftaught.sandbox._codec")
    ours = [(name, *_spec_and_code(name)) for name in _OURS]
    import_module("selftaught.sandbox.worker.inside.snapshot")
    with contextlib.suppress(OSError):  # without the C code there is no snapshot engine
        import_module("selftaught.sandbox.worker.native.library").load()
    return ours


def _finish(ours: list[tuple[str, ModuleSpec, bytes]]) -> None:
    """Make settings and run our code for the first time: behind everything else in memory."""
    heap = import_module("selftaught.sandbox.worker.inside.heap")
    warnings.simplefilter("ignore")
    sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(RECURSION_LIMIT)
    heap.install_allocator()
    for name, spec, code in ours:
        parent, _, last = name.rpartition(".")
        module = sys.modules[name] = module_from_spec(spec)
        setattr(sys.modules[parent], last, module)
        exec(marshal.loads(code), vars(module))
    import_module("selftaught.sandbox.worker.inside.warm_up").run()
    import_module("selftaught.sandbox.worker.inside.multiprocessing_standin").install()
    import_module("selftaught.sandbox.worker.inside.program").prepare()  # last: it counts the modules
    import_module("random").seed(0)
    _erase_paths()
    heap.enable_mmap()


def _erase_paths() -> None:
    """Erase what shows where on the host this process started: in modules, functions and arguments."""
    home = os.path.dirname(sys.modules["selftaught"].__file__ or "")
    gc.unfreeze()  # else get_objects leaves most out
    for name, module in sys.modules.items():
        if name == "__main__" or name.partition(".")[0] == "selftaught":
            for about in ("__file__", "__cached__", "__spec__", "__loader__", "__path__"):
                vars(module).pop(about, None)
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType and thing.__code__.co_filename.startswith(home):
            thing.__code__ = _without_path(thing.__code__)
        elif isinstance(thing, ctypes.CDLL):
            thing._name = ""
    sys.orig_argv[:] = [""]
    sys.path_importer_cache.clear()


def _without_path(code: types.CodeType) -> types.CodeType:
    constants = tuple(_without_path(one) if isinstance(one, types.CodeType) else one for one in code.co_consts)
    return code.replace(co_filename="<selftaught>", co_consts=constants)


def _initialise_extensions() -> None:
    """Make extension modules fill their lazily initialised data now: a snapshot process can't write there (`Memory`).

    That is the parsed keywords of each function, filled at its first call with a keyword, and names that some look up.
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


def _spec_and_code(name: str) -> tuple[ModuleSpec, bytes]:
    """Return what makes a module, without executing it: that would leave holes in memory."""
    spec = cast("ModuleSpec", find_spec(name))
    loader: Any = spec.loader
    return spec, marshal.dumps(_without_path(loader.get_code(name)))


def _text_stream(descriptor: int, name: str, line_buffering: bool) -> io.TextIOWrapper:
    """Return a text stream on an output pipe that can print anything; the interpreter's own is for another file."""
    raw: Any = io.FileIO(descriptor, "w", closefd=False)
    raw.name = name
    stream: Any = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace", line_buffering=line_buffering)
    stream.mode = "w"  # as the interpreter's own has it
    return cast("io.TextIOWrapper", stream)


def _serve(traced_program: bytes, domain: int) -> NoReturn:
    from selftaught.sandbox.worker.inside import phase, snapshot

    import_module("selftaught.sandbox.worker.inside.depth").forget_frames(further=FRAMES_OF_PHASE)
    # PyDLL keeps the interpreter lock: the child continues in the same state, in the only thread.
    libc = ctypes.PyDLL(None, use_errno=True)
    clone, arguments = libc.syscall, [ctypes.c_long(kernel.number("clone")), ctypes.c_long(CLONE_FLAGS)]
    arguments += [ctypes.c_long(0)] * 4
    prctl, report_ready = libc.prctl, [ctypes.c_ulong(PR_SET_PDEATHSIG), ctypes.c_ulong(signal.SIGKILL)]
    show_descriptors = [ctypes.c_ulong(argument) for argument in SHOW_DESCRIPTORS]
    read, run, exit_now, enter_domain = os.read, phase.run, os._exit, landlock.enter_domain

    def check_in(shows_descriptors: bool) -> None:
        if (shows_descriptors and prctl(*show_descriptors)) or prctl(*report_ready):
            exit_now(1)

    while order := read(GO_FD, 1):
        child = clone(*arguments)
        if child == 0:
            try:
                enter_domain(domain)
            except OSError:
                exit_now(1)
            if order == SNAPSHOT:
                snapshot.start(traced_program)
            run(check_in)
        if child < 0:
            break
    exit_now(1)
