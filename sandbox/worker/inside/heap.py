"""Configure where a jailed process allocates memory: in the C library (man 3 mallopt) and in Python's allocators.

A snapshot costs by the number of mappings and of pages in them. So a snapshot process allocates everything from one
heap, which has free memory for its jobs.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Callable

from selftaught.sandbox.worker.native.library import load

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MMAP_MAX_DEFAULT = 65536
_NEVER = 0x7FFFFFFF
_DOMAIN_RAW, _DOMAINS_OF_OBJECTS = 0, (1, 2)  # PYMEM_DOMAIN_RAW; PYMEM_DOMAIN_MEM and PYMEM_DOMAIN_OBJ
_COMPACT_BYTES = 4 << 20
"""Size of the region that `install_allocator` fills. What exceeds it comes from Python's own allocators."""
THREAD_STACK_BYTES = 8 << 20
"""Size of the stack of a thread that asks for none."""
_ATTRIBUTES_BYTES = 128
"""More than pthread_attr_t has anywhere."""
_libc = ctypes.PyDLL(None)
_mallopt = getattr(_libc, "mallopt", None)
"""Only glibc has it. With another C library there is no snapshot engine, and the heap is not configured."""
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


def prepare_threads() -> None:
    """Let all threads allocate from one heap, and give each a stack of the usual size.

    Else each thread would reserve some 64 MiB for a heap of its own, and a stack as large as the host allows: address
    space, which is limited.
    """
    if _mallopt is not None:
        _mallopt(_M_ARENA_MAX, 1)
    attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
    set_default = getattr(_libc, "pthread_setattr_default_np", None)
    if set_default is not None and not _libc.pthread_attr_init(attributes):
        _libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(THREAD_STACK_BYTES))
        set_default(attributes)


def disable_mmap() -> None:
    """Allocate from the heap from now on, however large the block, Python's arenas included.

    An arena that was allocated earlier can't be freed any more. None has to be: each has objects that live as long as
    the process.
    """
    if _mallopt is None:
        return
    _mallopt(_M_MMAP_MAX, 0)
    raw = _Allocator()
    ctypes.pythonapi.PyMem_GetAllocator(_DOMAIN_RAW, ctypes.byref(raw))
    # Arenas come from malloc(context, size) and go to free(context, address), which ignores the size that it also gets.
    arenas = _ArenaAllocator(raw.context, raw.malloc, raw.free)
    ctypes.pythonapi.PyObject_SetArenaAllocator(ctypes.byref(arenas))


def install_allocator() -> None:
    """Allocate Python's objects one behind another from now on, whatever their size (heap.c).

    Objects of a phase then lie on few pages, and a fork and a rollback cost by pages. Without the C code nothing
    changes.

    Raises:
        MemoryError: there is no memory for the region.
    """
    try:
        library = load()
        begin, replace, start_new_page = library.heap_init, library.heap_replace, library.heap_start_new_page
    except (OSError, AttributeError):  # the C code was not built, or is of an older version
        return
    region = _libc.aligned_alloc(mmap.PAGESIZE, _COMPACT_BYTES)
    if region is None:
        raise MemoryError("there is no memory for the allocator's region")
    begin(ctypes.c_void_p(region), ctypes.c_size_t(_COMPACT_BYTES))
    for which, domain in enumerate(_DOMAINS_OF_OBJECTS):
        allocator = _Allocator()
        ctypes.pythonapi.PyMem_GetAllocator(domain, ctypes.byref(allocator))
        replace(ctypes.byref(allocator), which)
        ctypes.pythonapi.PyMem_SetAllocator(domain, ctypes.byref(allocator))
    _new_page_hooks.append(start_new_page)


def start_new_page() -> None:
    """Allocate the next objects on new pages, and reuse no freed block. Does nothing before `install_allocator`."""
    for hook in _new_page_hooks:
        hook()


def enable_mmap() -> None:
    """Allocate large blocks as mappings of their own again, which return to the kernel when they are freed."""
    if _mallopt is not None:
        _mallopt(_M_MMAP_MAX, _MMAP_MAX_DEFAULT)


def reserve(size: int) -> None:
    """Extend the heap by free, untouched memory, and never shrink it.

    Args:
        size: bytes.

    Raises:
        OSError: the C library is not glibc.
    """
    if _mallopt is None:
        raise OSError(errno.ENOSYS, "the C library has no mallopt")
    _mallopt(_M_TRIM_THRESHOLD, _NEVER)
    start = _libc.malloc(size)
    _libc.free(start)
    _discard(start + mmap.PAGESIZE, start + size)


def allocate(size: int) -> ctypes.Array[ctypes.c_char]:
    """Return a buffer of `size` bytes, page-aligned, zero and untouched."""
    start: int = _libc.malloc(size + mmap.PAGESIZE)
    start += -start % mmap.PAGESIZE
    _discard(start, start + size)
    return (ctypes.c_char * size).from_address(start)


def extend_stack(size: int) -> None:
    """Extend the stack to `size` bytes, untouched."""
    lowest = (ctypes.c_void_p.in_dll(_libc, "__libc_stack_end").value or 0) - size
    ctypes.string_at(lowest, 1)
    _discard(lowest, lowest + 1)


def trim() -> None:
    """Return free memory to the kernel, if the C library can (man 3 malloc_trim)."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _discard(start: int, end: int) -> None:
    """Drop the content of the pages in this range; the kernel takes them back."""
    start -= start % mmap.PAGESIZE
    _libc.madvise(start, end - start, mmap.MADV_DONTNEED)
