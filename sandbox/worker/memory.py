"""The memory of a stopped process: what it was, which pages were written since, and how they are put back.

The kernel keeps the list. Every writable mapping of the process is registered with userfaultfd for asynchronous write-protection: the
first write to a protected page takes a fault that the kernel answers by itself, marking the page as written
(man 2 userfaultfd, UFFD_FEATURE_WP_ASYNC; man 2 PAGEMAP_SCAN). Pages that nearly every job writes are *hot*: they stay
unprotected and are put back unseen, which is cheaper than a fault each time.

Large areas are put into memory that this process shares (a memfd), so that putting a page back is a copy within this process. Areas
that have never been touched are left unprotected in blocks as large as a page table holds, so that a scan need not walk over
them; in such a block every page that is there counts as written. A block is protected once a page of it was needed.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.worker import tracee
from sandbox.worker.tracee import Tracee

PAGE = mmap.PAGESIZE
_BLOCK = 512 * PAGE
"""What one page table maps."""
_LARGE = 32 * PAGE
"""Areas of at least this size are shared, and scanned one by one; all between two of them is scanned at once, which is slower a page."""
_PIECE = 4096 * PAGE
"""Larger mappings would not pass the system-call filter."""

_API, _REGISTER, _WRITEPROTECT = 0xC018AA3F, 0xC020AA00, 0xC018AA06
_UFFD_API = 0xAA
_PAGEFAULT_FLAG_WP, _WP_SHMEM, _WP_UNPOPULATED, _WP_ASYNC = 1 << 0, 1 << 12, 1 << 13, 1 << 15
_REGISTER_WP, _PROTECT = 2, 1
_PAGEMAP_SCAN = 0xC0606610
_WPALLOWED, _WRITTEN, _PRESENT, _SWAPPED = 1, 2, 8, 16
_MMAP, _MPROTECT, _CLOSE = 9, 10, 3  # system calls of x86-64
_READ, _READ_WRITE, _SHARED_FIXED = 1, 3, 0x11
_WRITTEN_LIBRARIES = ("libpython", "libc.", "ld-linux", "_datetime.", "_decimal.")
"""Their data holds what changes: the allocator's state, and reference counts of static types."""
_REGION = struct.Struct("<3Q")
_MOST_REGIONS = 4096
_TOP = (1 << 47) - PAGE

Span = tuple[int, int]
"""Addresses: from the first up to, not including, the second."""


class Unrestorable(Exception):
    """The process has changed in a way that can't be undone: it must go."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """A line of /proc/PID/maps (man 5 proc)."""

    start: int
    end: int
    rights: str
    name: str


class Scan(ctypes.Structure):
    """struct pm_scan_arg (linux/fs.h)."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "size", "flags", "start", "end", "walk_end", "vec", "vec_len", "max_pages",
            "inverted", "mask", "anyof", "returned",
        )
    )  # fmt: skip


class Memory:
    """The writable memory of a tracee stopped at a call, as it is when this is made. Raises OSError if the kernel can't track it.

    uffd, memfd: descriptors that the process itself has opened, and still has as `memfd_there`; closed with this. heap_end: where
    `brk` stands. written: pages that the last `restore` found written, hot ones apart.
    """

    def __init__(self, traced: Tracee, uffd: int, memfd: int, memfd_there: int) -> None:
        self.pid, self.uffd = traced.pid, uffd
        pid = traced.pid
        self.pagemap = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        self._regions = ctypes.create_string_buffer(_REGION.size * _MOST_REGIONS)
        self._scan = Scan(size=ctypes.sizeof(Scan), vec=ctypes.addressof(self._regions), vec_len=_MOST_REGIONS)
        _seal(traced)
        writable = [mapping for mapping in read_maps(pid) if "w" in mapping.rights]
        for mapping in writable:
            if "s" in mapping.rights or "x" in mapping.rights:
                raise OSError(f"a mapping is writable and {mapping.rights}: {mapping.name or 'anonymous'}")
        self.heap_end = max((mapping.end for mapping in writable if mapping.name == "[heap]"), default=0)
        self.areas = _joined((mapping.start, mapping.end) for mapping in writable)
        self._starts = [start for start, _ in self.areas]
        self._make_copy()
        self._save(writable)
        self._share(traced, memfd, memfd_there)
        self._maps = read_maps(pid)
        self._register()
        self.protected: list[Span] = []
        for mapping in writable:
            for span in self._there[mapping]:
                self._protect_blocks(*span)
        self.set_hot(frozenset())
        self.restore(0)

    def _make_copy(self) -> None:
        """Room for all areas; of what is never used, nothing is ever there."""
        self._offsets, total = [], 0
        for start, end in self.areas:
            self._offsets.append(total)
            total += end - start
        self._copy = mmap.mmap(-1, total, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._copy_at = ctypes.addressof(ctypes.c_char.from_buffer(self._copy))
        self._total = total

    def _save(self, writable: list[Mapping]) -> None:
        """Copy what is there. Anonymous pages that were never touched are zero, here as there."""
        self._there = {}
        for mapping in writable:
            whole = (mapping.start, mapping.end)
            anonymous = not mapping.name or mapping.name[0] == "["
            self._there[mapping] = spans = self._find(*whole, 0, _PRESENT | _SWAPPED) if anonymous else [whole]
            parts = [(self.place(span), span[0], span[1] - span[0]) for span in spans]
            tracee.transfer("process_vm_readv", self.pid, parts)

    def _share(self, traced: Tracee, memfd: int, memfd_there: int) -> None:
        """Have the process map the large areas from the memfd, which is filled with what they hold."""
        waiting = traced.registers()
        os.ftruncate(memfd, self._total)
        self._shared = mmap.mmap(memfd, self._total)
        self._shared_at = ctypes.addressof(ctypes.c_char.from_buffer(self._shared))
        stack = next(mapping for mapping in self._there if mapping.name == "[stack]")  # grows down, so it stays what it is
        self._is_shared = [end - start >= _LARGE and end != stack.end for start, end in self.areas]
        for (start, end), offset, shared in zip(self.areas, self._offsets, self._is_shared, strict=True):
            for at in range(start, end, _PIECE) if shared else ():
                size, here = min(_PIECE, end - at), offset + at - start
                if traced.inject(waiting, _MMAP, at, size, _READ_WRITE, _SHARED_FIXED, memfd_there, here) != at:
                    raise OSError("memory can't be shared")
        for spans in self._there.values():
            for span in spans:
                if self._is_shared[self._index(span)]:
                    here = self.place(span)
                    ctypes.memmove(here - self._copy_at + self._shared_at, here, span[1] - span[0])
        traced.inject(waiting, _CLOSE, memfd_there)
        os.close(memfd)

    def _register(self) -> None:
        features = _PAGEFAULT_FLAG_WP | _WP_SHMEM | _WP_UNPOPULATED | _WP_ASYNC
        fcntl.ioctl(self.uffd, _API, struct.pack("<3Q", _UFFD_API, features, 0))
        for start, end in self.areas:
            fcntl.ioctl(self.uffd, _REGISTER, struct.pack("<4Q", start, end - start, _REGISTER_WP, 0))

    def _protect_blocks(self, start: int, end: int) -> None:
        first, last = self.areas[bisect_right(self._starts, start) - 1]
        first, last = max(first, start - start % _BLOCK), min(last, -(-end // _BLOCK) * _BLOCK)
        if not self._is_protected((first, last)):
            self._protect([(first, last)])
            self.protected = _joined(sorted([*self.protected, (first, last)]))
            self.steps = self._plan()

    def _protect(self, spans: list[Span]) -> None:
        for start, end in spans:
            fcntl.ioctl(self.uffd, _WRITEPROTECT, struct.pack("<3Q", start, end - start, _PROTECT))

    def _plan(self) -> list[tuple[int, int, int, int]]:
        """The scans that together find every written page: start, end, and the categories asked for, all and any."""
        steps, at = [], 0
        for area in self.areas:
            for start, end in self.protected:
                if area[0] <= start and end <= area[1] and end - start >= _LARGE:
                    steps += [(at, start, _WRITTEN | _WPALLOWED, _PRESENT | _SWAPPED), (start, end, _WRITTEN, 0)]
                    at = end
        steps.append((at, _TOP, _WRITTEN | _WPALLOWED, _PRESENT | _SWAPPED))
        return [step for step in steps if any(start < step[1] and step[0] < end for start, end in self.areas)]

    def _find(self, start: int, end: int, mask: int, anyof: int = 0) -> list[Span]:
        """Where the pages of these categories are."""
        scan, found = self._scan, []
        scan.start, scan.end, scan.mask, scan.anyof, scan.returned = start, end, mask, anyof, mask & _WRITTEN or anyof
        while True:
            count = fcntl.ioctl(self.pagemap, _PAGEMAP_SCAN, scan)
            found += [(start, end) for start, end, _ in _REGION.iter_unpack(memoryview(self._regions)[: count * _REGION.size])]
            if count < _MOST_REGIONS:
                return found
            scan.start = scan.walk_end

    def _present(self, span: Span) -> list[Span]:
        return self._find(*span, _WPALLOWED, _PRESENT | _SWAPPED)

    def _index(self, span: Span) -> int:
        """Which area the span is in. Raises Unrestorable if it was not there."""
        index = bisect_right(self._starts, span[0]) - 1
        if index < 0 or span[1] > self.areas[index][1]:
            raise Unrestorable(f"{span[0]:#x}-{span[1]:#x} is new")
        return index

    def place(self, span: Span) -> int:
        """Where the copy of this span is. Raises Unrestorable if it was not there."""
        index = self._index(span)
        return self._copy_at + self._offsets[index] + span[0] - self._starts[index]

    def shared(self, span: Span) -> int:
        """Where the span itself is in this process, or 0 if it is not shared."""
        return self.place(span) - self._copy_at + self._shared_at if self._is_shared[self._index(span)] else 0

    def set_hot(self, pages: frozenset[int]) -> None:
        """Leave these pages unprotected from their next write on, and put them back every time."""
        self.hot = pages
        self.hot_spans = _joined((page, page + PAGE) for page in sorted(pages))

    def restore(self, most_pages: int) -> None:
        """Put every written page back. Raises Unrestorable if that are more than `most_pages`, or new ones; OSError."""
        spans = [span for step in self.steps for span in self._find(*step)]
        new = [span for span in spans if not self._is_protected(span)]
        pages = (page for start, end in spans for page in range(start, end, PAGE))
        cold = _joined((page, page + PAGE) for page in pages if page not in self.hot)
        if sum(end - start for start, end in cold) > most_pages * PAGE:
            raise Unrestorable("too much was written")
        self._put_back(self.hot_spans)
        self._put_back(cold)
        self._protect(cold)  # after the write, which would mark it as written again
        for span in new:
            self._protect_blocks(*span)
        self.written = [page for start, end in cold for page in range(start, end, PAGE)]

    def _put_back(self, spans: list[Span]) -> None:
        parts = []
        for span in spans:
            size, here = span[1] - span[0], self.shared(span)
            if here:
                ctypes.memmove(here, self.place(span), size)
            else:
                parts.append((self.place(span), span[0], size))
        tracee.transfer("process_vm_writev", self.pid, parts)

    def _is_protected(self, span: Span) -> bool:
        return any(start <= span[0] and span[1] <= end for start, end in self.protected)

    def differences(self) -> list[str]:
        """What is not as it was, though it should be: compares all mappings and every page that is there."""
        found = [] if read_maps(self.pid) == self._maps else ["the mappings differ"]
        for area in self.areas:
            for span in self._present(area):
                size = span[1] - span[0]
                there = ctypes.create_string_buffer(size)
                tracee.transfer("process_vm_readv", self.pid, [(ctypes.addressof(there), span[0], size)])
                if there.raw != ctypes.string_at(self.place(span), size):
                    found.append(f"{span[0]:#x}-{span[1]:#x} differs")
        return found

    def close(self) -> None:
        """Release what tracks it."""
        os.close(self.pagemap)
        os.close(self.uffd)


def _seal(traced: Tracee) -> None:
    """Make the data of extension modules read-only: it holds tables that are not written after loading, and each piece costs a scan.

    A job that does write there gets a signal, and so runs on the fork engine.
    """
    waiting = traced.registers()
    for mapping in read_maps(traced.pid):
        file = os.path.basename(mapping.name)
        if "w" in mapping.rights and ".so" in file and not file.startswith(_WRITTEN_LIBRARIES):
            traced.inject(waiting, _MPROTECT, mapping.start, mapping.end - mapping.start, _READ)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, those that touch made one."""
    found: list[Span] = []
    for start, end in spans:
        if found and found[-1][1] >= start:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def read_maps(pid: int) -> list[Mapping]:
    """The mappings of a process. Raises OSError."""
    found = []
    with open(f"/proc/{pid}/maps") as file:
        for line in file:
            place, rights, _, _, _, *name = line.split(maxsplit=5)
            start, end = (int(number, 16) for number in place.split("-"))
            found.append(Mapping(start, end, rights, name[0].strip() if name else ""))
    return found
