"""Where a process of ours gets its memory from, as the C library and Python's allocator are told (man 3 mallopt).

A snapshot costs by the number of mappings and by the pages in them: so a runner's memory is to come from one heap, with room in it.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Callable

from selftaught.sandbox.worker.native.library import load

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_MMAP_MAX_DEFAULT = 65536
_NEVER = 0x7FFFFFFF
_DOMAIN_RAW, _DOMAINS_OF_OBJECTS = 0, (1, 2)  # PYMEM_DOMAIN_RAW; PYMEM_DOMAIN_MEM and PYMEM_DOMAIN_OBJ
_COMPACT_BYTES = 4 << 20
"""Of the pieces that lie one behind the other; what there is more comes from Python's own allocator."""
_libc = ctypes.PyDLL(None)
_mallopt = getattr(_libc, "mallopt", None)
"""Of glibc. With another C library there is no snapshot engine, and nothing to arrange for it."""
_libc.malloc.restype, _libc.malloc.argtypes, _libc.free.argtypes = (
    ctypes.c_void_p,
    (ctypes.c_size_t,),
    (ctypes.c_void_p,),
)
_libc.aligned_alloc.restype, _libc.aligned_alloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t, ctypes.c_size_t)
_libc.madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

_new_page_hooks: list[Callable[[], object]] = []


class _Allocator(ctypes.Structure):
    """PyMemAllocatorEx (Include/cpython/pymem.h)."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("context", "malloc", "calloc", "realloc", "free"))


class _ArenaAllocator(ctypes.Structure):
    """PyObjectArenaAllocator (Include/cpython/objimpl.h)."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("context", "alloc", "free"))


def disable_mmap() -> None:
    """From here on memory comes from the heap, however large the piece, and Python's arenas do too.

    An arena from before could not be freed any more. None is: each holds objects that live as long as the process.
    """
    if _mallopt is None:
        return
    _mallopt(_M_MMAP_MAX, 0)
    raw = _Allocator()
    ctypes.pythonapi.PyMem_GetAllocator(_DOMAIN_RAW, ctypes.byref(raw))
    # Arenas by malloc(context, size) and free(context, address); the size that free is given as well is ignored.
    arenas = _ArenaAllocator(raw.context, raw.malloc, raw.free)
    ctypes.pythonapi.PyObject_SetArenaAllocator(ctypes.byref(arenas))


def install_allocator() -> None:
    """From here on what Python makes lies one behind the other, whatever its size, on few pages (heap.c): a fork and a rollback cost by pages.

    Without what is written in C it lies where Python puts it. Raises MemoryError.
    """
    try:
        library = load()
        begin, replace, start_new_page = library.heap_init, library.heap_replace, library.heap_start_new_page
    except (OSError, AttributeError):  # none, or one from before
        return
    region = _libc.aligned_alloc(mmap.PAGESIZE, _COMPACT_BYTES)
    if region is None:
        raise MemoryError("there is no memory for what is to lie together")
    begin(ctypes.c_void_p(region), ctypes.c_size_t(_COMPACT_BYTES))
    for which, domain in enumerate(_DOMAINS_OF_OBJECTS):
        allocator = _Allocator()
        ctypes.pythonapi.PyMem_GetAllocator(domain, ctypes.byref(allocator))
        replace(ctypes.byref(allocator), which)
        ctypes.pythonapi.PyMem_SetAllocator(domain, ctypes.byref(allocator))
    _new_page_hooks.append(start_new_page)


def start_new_page() -> None:
    """What Python makes next begins on a page of its own, and fills no holes: so it lies together. Before `compact` nothing happens."""
    for turn in _new_page_hooks:
        turn()


def enable_mmap() -> None:
    """From here on large pieces are mappings of their own again, which go back to the kernel when they are freed."""
    if _mallopt is not None:
        _mallopt(_M_MMAP_MAX, _MMAP_MAX_DEFAULT)


def reserve(size: int) -> None:
    """Let the heap have so much room, untouched, and keep what it has. Raises OSError without glibc."""
    if _mallopt is None:
        raise OSError(errno.ENOSYS, "the C library has no mallopt")
    _mallopt(_M_TRIM_THRESHOLD, _NEVER)
    start = _libc.malloc(size)
    _libc.free(start)
    _forget(start + mmap.PAGESIZE, start + size)


def allocate(size: int) -> ctypes.Array[ctypes.c_char]:
    """So many bytes, zero and untouched, from the beginning of a page on."""
    start: int = _libc.malloc(size + mmap.PAGESIZE)
    start += -start % mmap.PAGESIZE
    _forget(start, start + size)
    return (ctypes.c_char * size).from_address(start)


def extend_stack(size: int) -> None:
    """Let the stack have this size, untouched."""
    lowest = (ctypes.c_void_p.in_dll(_libc, "__libc_stack_end").value or 0) - size
    ctypes.string_at(lowest, 1)
    _forget(lowest, lowest + 1)


def trim() -> None:
    """Return to the kernel what is free, where the C library can (man 3 malloc_trim)."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _forget(start: int, end: int) -> None:
    """Give back the pages on which these addresses are, of which nothing is needed any more."""
    start -= start % mmap.PAGESIZE
    _libc.madvise(start, end - start, mmap.MADV_DONTNEED)
