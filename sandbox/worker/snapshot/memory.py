"""The memory of a stopped process: what it was, which pages were written since, and how they are put back.

The kernel keeps the list. Every writable mapping of the process is registered with userfaultfd for asynchronous write-protection: the
first write to a protected page takes a fault that the kernel answers by itself, marking the page as written
(man 2 userfaultfd, UFFD_FEATURE_WP_ASYNC; man 2 PAGEMAP_SCAN). Pages that nearly every job writes are *hot*: they stay
unprotected and are put back unseen, which is cheaper than a fault each time.

All of it is put into memory that this process shares (a memfd), so that putting a page back is a copy within this process. What was
there stays with the traced process, moved to where it can only be read, its *attic*: most of that it shares with the zygote it was forked
from. Only pages that were written once are copied into this process; the others cost no memory twice. Areas
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
from itertools import accumulate

from sandbox.worker.snapshot.tracee import Tracee

PAGE = mmap.PAGESIZE
_BLOCK = 512 * PAGE
"""What one page table maps."""
_PIECE = 4096 * PAGE
"""Larger mappings would not pass the system-call filter."""

_API, _REGISTER, _WRITEPROTECT = 0xC018AA3F, 0xC020AA00, 0xC018AA06
_UFFD_API = 0xAA
_PAGEFAULT_FLAG_WP, _WP_SHMEM, _WP_UNPOPULATED, _WP_ASYNC = 1 << 0, 1 << 12, 1 << 13, 1 << 15
_REGISTER_WP, _PROTECT = 2, 1
_PAGEMAP_SCAN = 0xC0606610
_WPALLOWED, _WRITTEN, _PRESENT, _SWAPPED = 1, 2, 8, 16
_CLOSE, _MMAP, _MPROTECT, _MREMAP = 3, 9, 10, 25  # system calls of x86-64
_READ, _READ_WRITE, _SHARED_FIXED, _MOVE_AND_LEAVE = 1, 3, 0x11, 1 | 4  # MREMAP_MAYMOVE | MREMAP_DONTUNMAP
_SOME = 16 * PAGE
"""Read at once, where all is read: little enough to come from memory that is used again and again."""
_NOTHING = bytes(PAGE)
IN_ATTIC, HOT = 1, 2
_WRITTEN_LIBRARIES = ("libpython", "libc.", "ld-linux", "_datetime.", "_decimal.")
"""Their data holds what changes: the allocator's state, and reference counts of static types."""
_REGION = struct.Struct("<3Q")
_MOST_REGIONS = 128
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

    uffd, memfd: descriptors that the process itself has opened, and still has as `memfd_there`; closed with this. pagemap, descriptor:
    of its page table and its memory in /proc. heap_end: where `brk` stands. kinds: of each page of all areas, one behind the other as
    the copies are, 0, `IN_ATTIC` or `HOT`. attic: where each piece of memory was, and where it is now. written: pages that the last
    `restore` found written, hot ones apart.
    """

    def __init__(self, traced: Tracee, uffd: int, memfd: int, memfd_there: int) -> None:
        self.pid, self.uffd = traced.pid, uffd
        pid = traced.pid
        self.pagemap, self.descriptor = (
            os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("pagemap", "mem")
        )
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
        there = [span for mapping in writable for span in self._touched(mapping)]
        self._make_room(memfd)
        self._share(traced, writable, memfd_there)
        os.close(memfd)
        for span in there:
            self._save(span)
        self._maps = _maps(pid)
        self._register()
        self.protected: list[Span] = []
        self.hot: frozenset[int] = frozenset()
        for span in there:
            self._protect_blocks(*span)
        self.set_hot(frozenset())
        self.restore(0)

    def _touched(self, mapping: Mapping) -> list[Span]:
        """Where something may be: anonymous pages that were never touched are zero."""
        whole = (mapping.start, mapping.end)
        anonymous = not mapping.name or mapping.name[0] == "["
        return self._find(*whole, 0, _PRESENT | _SWAPPED) if anonymous else [whole]

    def _make_room(self, memfd: int) -> None:
        """Room for all areas, as copies and to be shared; of what is never used, nothing is ever there."""
        sizes = [end - start for start, end in self.areas]
        self._offsets, total = [*accumulate(sizes, initial=0)][:-1], sum(sizes)
        os.ftruncate(memfd, total)
        self._copy, self._shared = mmap.mmap(-1, total, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), mmap.mmap(memfd, total)
        self._copy.madvise(mmap.MADV_NOHUGEPAGE)
        self.place_of_copies, self._shared_at = (
            ctypes.addressof(ctypes.c_char.from_buffer(room)) for room in (self._copy, self._shared)
        )
        self.kinds = bytearray(total // PAGE)
        self.attic: list[tuple[int, int]] = []

    def _share(self, traced: Tracee, writable: list[Mapping], memfd_there: int) -> None:
        """Have the process map all areas from the memfd, and keep in its attic what they held. The stack grows no more: `heap.extend_stack`."""
        waiting = traced.registers()
        for mapping in writable:
            index = self._index((mapping.start, mapping.end))
            for at in range(mapping.start, mapping.end, _PIECE):
                size, here = min(_PIECE, mapping.end - at), self._offsets[index] + at - self._starts[index]
                attic = traced.inject(waiting, _MREMAP, at, size, size, _MOVE_AND_LEAVE, 0)
                traced.inject(waiting, _MPROTECT, attic, size, _READ)
                self.attic.append((at, attic))
                if traced.inject(waiting, _MMAP, at, size, _READ_WRITE, _SHARED_FIXED, memfd_there, here) != at:
                    raise OSError("memory can't be shared")
        traced.inject(waiting, _CLOSE, memfd_there)

    def _save(self, span: Span) -> None:
        """Put what was there where it is shared, and note that it is in the attic, too. Nothing but zeros is there already."""
        index = self._index(span)
        offset = self._offsets[index] - self._starts[index]
        for at in range(*span, _SOME):
            data = self._read_attic(at, min(at + _SOME, span[1]))
            pages = _joined((page, page + PAGE) for page in range(0, len(data), PAGE) if data[page : page + PAGE] != _NOTHING)
            for first, last in pages:
                self._shared[offset + at + first : offset + at + last] = data[first:last]
                count, index = (last - first) // PAGE, (offset + at + first) // PAGE
                self.kinds[index : index + count] = bytes([IN_ATTIC]) * count

    def _read_attic(self, start: int, end: int) -> bytes:
        """What was at these addresses."""
        data = b""
        while start < end:
            index = bisect_right(self.attic, (start, _TOP))
            first, attic = self.attic[index - 1]
            stop = min(end, self.attic[index][0]) if index < len(self.attic) else end
            data += self._read(start - first + attic, stop - start)
            start = stop
        return data

    def fetch(self, *spans: Span) -> None:
        """Copy from the attic what is to be put back, which was never written before."""
        for start, end in spans:
            for page in range(start - start % PAGE, end, PAGE):
                place = self.place((page, page + PAGE)) - self.place_of_copies
                if self.kinds[place // PAGE] == IN_ATTIC:
                    self._copy[place : place + PAGE] = self._read_attic(page, page + PAGE)
                    self.kinds[place // PAGE] = 0

    def _read(self, address: int, size: int) -> bytes:
        """What is there. Not by process_vm_readv: that pins the pages, which makes each process have its own copy of a shared one."""
        data = os.pread(self.descriptor, size, address)
        if len(data) != size:
            raise OSError(f"memory at {address:#x} can't be read")
        return data

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
        for start, end in self.protected:
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
        """What is there of an area; of what is swapped out, which the mark of a protected page that is not there looks like, only what was written."""
        return self._find(*span, _WPALLOWED | _PRESENT) + self._find(*span, _WPALLOWED | _SWAPPED | _WRITTEN)

    def _index(self, span: Span) -> int:
        """Which area the span is in. Raises Unrestorable if it was not there."""
        index = bisect_right(self._starts, span[0]) - 1
        if index < 0 or span[1] > self.areas[index][1]:
            raise Unrestorable(f"{span[0]:#x}-{span[1]:#x} is new")
        return index

    def place(self, span: Span) -> int:
        """Where the copy of this span is. Raises Unrestorable if it was not there."""
        index = self._index(span)
        return self.place_of_copies + self._offsets[index] + span[0] - self._starts[index]

    def shared(self, span: Span) -> int:
        """Where the span itself is in this process. Raises as `place` does."""
        return self.place(span) - self.place_of_copies + self._shared_at

    def set_hot(self, pages: frozenset[int]) -> None:
        """Leave these pages unprotected from their next write on, and put them back every time."""
        for page in self.hot:
            self.kinds[(self.place((page, page + PAGE)) - self.place_of_copies) // PAGE] = 0
        self.hot = pages
        self.hot_spans = _joined((page, page + PAGE) for page in sorted(pages))
        self.fetch(*self.hot_spans)
        for page in pages:
            self.kinds[(self.place((page, page + PAGE)) - self.place_of_copies) // PAGE] = HOT

    def restore(self, most_pages: int) -> None:
        """Put every written page back. Raises Unrestorable if that are more than `most_pages`, or new ones; OSError."""
        cold, new = self._written(most_pages)
        self._put_back(self.hot_spans)
        self._put_back(cold)
        self._protect(cold)
        for span in new:
            self._protect_blocks(*span)
        self.written = [page for start, end in cold for page in range(start, end, PAGE)]

    def _written(self, most_pages: int) -> tuple[list[Span], list[Span]]:
        """Where pages were written that are not hot, with copies of what was there; and which of that was not protected yet."""
        spans = [span for step in self.steps for span in self._find(*step)]
        pages = (page for start, end in spans for page in range(start, end, PAGE))
        cold = _joined((page, page + PAGE) for page in pages if page not in self.hot)
        if sum(end - start for start, end in cold) > most_pages * PAGE:
            raise Unrestorable("too much was written")
        self.fetch(*cold)
        return cold, [span for span in spans if not self._is_protected(span)]

    def changed(self, most_pages: int) -> list[tuple[int, bytes]]:
        """What is not as it was, pages that may be hot or were written: where, and what is there now. Raises as `restore` does."""
        cold, _ = self._written(most_pages)
        return [(start, ctypes.string_at(self.shared((start, end)), end - start)) for start, end in (*self.hot_spans, *cold)]

    def mark(self, most_pages: int) -> None:
        """Let `restore` put back what is there now, until `unmark`. Raises as `restore` does, with nothing changed."""
        cold, new = self._written(most_pages)
        self._unmarked, self._marked_hot = [], len(self.hot_spans)
        for start, end in (*self.hot_spans, *cold):
            place = self.place((start, end)) - self.place_of_copies
            self._unmarked.append(((start, end), self._copy[place : place + end - start]))
            self._copy[place : place + end - start] = self._read(start, end - start)
        self._protect(cold)
        for span in new:
            self._protect_blocks(*span)

    def unmark(self) -> None:
        """Back to what it was before `mark`; nothing may have been written since the last `restore`. Raises OSError."""
        for span, content in self._unmarked:
            ctypes.memmove(self.place(span), content, len(content))
        spans = [span for span, _ in self._unmarked]
        self._put_back(spans)
        self._protect(spans[self._marked_hot :])  # more may have become hot meanwhile, and what is not protected escapes a search

    def _put_back(self, spans: list[Span]) -> None:
        for span in spans:
            ctypes.memmove(self.shared(span), self.place(span), span[1] - span[0])

    def _is_protected(self, span: Span) -> bool:
        return any(start <= span[0] and span[1] <= end for start, end in self.protected)

    def differences(self) -> list[str]:
        """What is not as it was, though it should be: compares all mappings and every page that is there."""
        found = [] if _maps(self.pid) == self._maps else ["the mappings differ"]
        for area in self.areas:
            for start, end in self._present(area):
                for at in range(start, end, _SOME):
                    found += self._different_pages(at, min(end, at + _SOME))
        return found

    def _different_pages(self, start: int, end: int) -> list[str]:
        there, place = self._read(start, end - start), self.place((start, end)) - self.place_of_copies
        alike = self.kinds.count(IN_ATTIC, place // PAGE, (place + end - start) // PAGE)
        if not alike and there == self._copy[place : place + end - start]:
            return []
        if alike == len(there) // PAGE and there == self._read_attic(start, end):
            return []
        pages = range(0, end - start, PAGE)
        in_attic = [self.kinds[(place + page) // PAGE] == IN_ATTIC for page in pages]
        attic = self._read_attic(start, end) if any(in_attic) else b""
        return [
            f"the page at {start + page:#x} differs"
            for page, kept_there in zip(pages, in_attic, strict=True)
            if there[page : page + PAGE] != (attic[page : page + PAGE] if kept_there else self._copy[place + page : place + page + PAGE])
        ]

    def close(self) -> None:
        """Release what tracks it."""
        for descriptor in (self.pagemap, self.descriptor, self.uffd):
            os.close(descriptor)


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
    for line in _maps(pid).rstrip("\n").split("\n"):
        place, rights, _, _, _, *name = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in place.split("-"))
        found.append(Mapping(start, end, rights, name[0].strip() if name else ""))
    return found


def _maps(pid: int) -> str:
    with open(f"/proc/{pid}/maps") as file:
        return file.read()
