"""The memory of a snapshot process: what it was, which pages have been written since, and whether all is put back.

The kernel keeps the list of written pages. Every writable mapping is registered with userfaultfd for asynchronous
write protection: the first write to a protected page causes a fault that the kernel resolves by itself, and marks the
page as written (man 2 userfaultfd, UFFD_FEATURE_WP_ASYNC; man 2 PAGEMAP_SCAN). Pages that nearly every job writes are
*hot*: they stay unprotected and are put back every time, which is cheaper than a fault each time. memory.c finds and
restores pages.

All of it is moved into a file in memory (a memfd) that the supervisor shares, so that restoring a page is a copy within
the supervisor. The original pages stay in the traced process, moved to a read-only *pristine mapping*: the process
shares most of them with the zygote. The supervisor copies only pages that were written once; other pages take no memory
twice. The head and the tail of an area that were never touched are unprotected, so that a scan skips them. There the
file shows what was touched, even if the kernel has reclaimed it since.
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

from selftaught.sandbox.worker.native.shared import Area, Kind, Piece, Run, State
from selftaught.sandbox.worker.snapshot.tracee import Tracee

PAGE = mmap.PAGESIZE
_BLOCK = 512 * PAGE
"""Bytes that one page table maps."""
_PIECE = 4096 * PAGE
"""The system-call filter refuses larger mappings."""

_API, _REGISTER, _WRITEPROTECT = 0xC018AA3F, 0xC020AA00, 0xC018AA06
_UFFD_API = 0xAA
_PAGEFAULT_FLAG_WP, _WP_SHMEM, _WP_UNPOPULATED, _WP_ASYNC = 1 << 0, 1 << 12, 1 << 13, 1 << 15
_REGISTER_WP, _PROTECT = 2, 1
_PAGEMAP_SCAN, _PRESENT, _SWAPPED = 0xC0606610, 8, 16
_CLOSE, _MMAP, _MPROTECT, _MREMAP = 3, 9, 10, 25  # system calls of x86-64
_READ, _READ_WRITE, _SHARED_FIXED, _MOVE_AND_LEAVE = 1, 3, 0x11, 1 | 4  # MREMAP_MAYMOVE | MREMAP_DONTUNMAP
_WRITTEN_LIBRARIES = ("libpython", "libc.", "ld-linux", "_datetime.", "_decimal.")
"""Libraries whose data changes: the allocator's state, and reference counts of static types."""
_REGION = struct.Struct("<3Q")
_MAX_REGIONS = 128


Span = tuple[int, int]
"""Addresses, without the last."""


class Unrestorable(Exception):
    """The process has changed in a way that can't be undone: it must be replaced."""


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
    """The writable memory of a process stopped at a call, as it is at construction.

    Attributes:
        hot: addresses of hot pages.
    """

    def __init__(
        self,
        traced: Tracee,
        state: State,
        library: ctypes.PyDLL,
        uffd: int,
        memfd: int,
        memfd_there: int,
        has_packages: bool,
    ) -> None:
        """Move all writable memory of the process into the memfd, keep a copy and protect it.

        Args:
            traced: the process, stopped at a system call.
            state: the C code's state of the process; this fills in the memory.
            library: see `selftaught.sandbox.worker.native.library`.
            uffd: a userfaultfd of the process; closed with this object.
            memfd: an empty memfd of the process; closed with this object.
            memfd_there: the memfd's descriptor in the process.
            has_packages: it has packages, whose extension modules do write to their data: none is read-only.

        Raises:
            OSError: the kernel can't track the memory.
        """
        self.pid, self._state, self._library = traced.pid, state, library
        self._pagemap, self._descriptor = (
            os.open(f"/proc/{traced.pid}/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in ("pagemap", "mem")
        )
        self._uffd, self._memfd = uffd, memfd
        state.pid, state.pagemap, state.memory, state.memfd, state.uffd = (
            traced.pid,
            self._pagemap,
            self._descriptor,
            memfd,
            uffd,
        )
        if not has_packages:
            _seal(traced)
        writable = [mapping for mapping in read_maps(traced.pid) if "w" in mapping.rights]
        for mapping in writable:
            if "s" in mapping.rights or "x" in mapping.rights:
                raise OSError(f"a mapping is writable and {mapping.rights}: {mapping.name or 'anonymous'}")
        self._spans = _joined((mapping.start, mapping.end) for mapping in writable)
        self._starts = [start for start, _ in self._spans]
        touched = [span for mapping in writable for span in self._touched(mapping)]
        self._allocate(memfd, touched)
        self._share(traced, writable, memfd_there)
        for start, end in touched:
            if library.process_save(ctypes.addressof(state), start, end - start):
                raise OSError("memory can't be read")
        # The largest areas first: most jobs write nowhere else. Not before, since process_save takes them in order.
        largest_first = sorted(self._areas, key=lambda area: area.low - area.high)
        self._areas[:] = [Area.from_buffer_copy(area) for area in largest_first]
        self._maps = _maps(traced.pid)
        self._protect()
        self.hot: frozenset[int] = frozenset()

    def _touched(self, mapping: Mapping) -> list[Span]:
        """Return where something may be. Anonymous pages that were never touched are zero."""
        whole = (mapping.start, mapping.end)
        anonymous = not mapping.name or mapping.name[0] == "["
        return self._find_present(*whole) if anonymous else [whole]

    def _find_present(self, start: int, end: int) -> list[Span]:
        """Return where pages are, in memory or swapped out."""
        regions, found = ctypes.create_string_buffer(_REGION.size * _MAX_REGIONS), []
        scan = Scan(size=ctypes.sizeof(Scan), start=start, end=end, vec=ctypes.addressof(regions), vec_len=_MAX_REGIONS)
        scan.anyof = scan.returned = _PRESENT | _SWAPPED
        while True:
            count = fcntl.ioctl(self._pagemap, _PAGEMAP_SCAN, scan)
            found += [
                (first, last) for first, last, _ in _REGION.iter_unpack(memoryview(regions)[: count * _REGION.size])
            ]
            if count < _MAX_REGIONS:
                return found
            scan.start = scan.walk_end

    def _allocate(self, memfd: int, touched: list[Span]) -> None:
        """Allocate the copies and the shared file for all areas. What is never used takes no memory."""
        sizes = [end - start for start, end in self._spans]
        self._offsets, total = [*accumulate(sizes, initial=0)][:-1], sum(sizes)
        os.ftruncate(memfd, total)
        self._copy, self._shared = (
            mmap.mmap(-1, total, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
            mmap.mmap(memfd, total),
        )
        self._copy.madvise(mmap.MADV_NOHUGEPAGE)
        state, self._kinds = self._state, bytearray(total // PAGE)
        self._areas = (Area * len(sizes))()
        for area, (start, end), offset in zip(self._areas, self._spans, self._offsets, strict=True):
            inside = [span for span in touched if start <= span[0] < end]
            low = max(start, inside[0][0] - inside[0][0] % _BLOCK) if inside else start
            high = min(end, -(-inside[-1][1] // _BLOCK) * _BLOCK) if inside else start
            area.start, area.end, area.low, area.high, area.offset = start, end, low, high, offset
        state.areas, state.areas_count = ctypes.addressof(self._areas), len(sizes)
        state.copies, state.shared, state.kinds = _address(self._copy), _address(self._shared), _address(self._kinds)

    def _share(self, traced: Tracee, writable: list[Mapping], memfd_there: int) -> None:
        """Have the process map all areas from the memfd, and keep their pages in the pristine mapping."""
        waiting, pieces = traced.registers(), []
        for mapping in writable:
            for at in range(mapping.start, mapping.end, _PIECE):
                size = min(_PIECE, mapping.end - at)
                pristine = traced.inject(waiting, _MREMAP, at, size, size, _MOVE_AND_LEAVE, 0)
                traced.inject(waiting, _MPROTECT, pristine, size, _READ)
                pieces.append(Piece(at, pristine))
                if (
                    traced.inject(waiting, _MMAP, at, size, _READ_WRITE, _SHARED_FIXED, memfd_there, self.offset(at))
                    != at
                ):
                    raise OSError("memory can't be shared")
        traced.inject(waiting, _CLOSE, memfd_there)
        self._pieces = (Piece * len(pieces))(*pieces)
        self._state.pieces, self._state.pieces_count = ctypes.addressof(self._pieces), len(pieces)

    def _protect(self) -> None:
        features = _PAGEFAULT_FLAG_WP | _WP_SHMEM | _WP_UNPOPULATED | _WP_ASYNC
        fcntl.ioctl(self._uffd, _API, struct.pack("<3Q", _UFFD_API, features, 0))
        for area in self._areas:
            fcntl.ioctl(self._uffd, _REGISTER, struct.pack("<4Q", area.start, area.end - area.start, _REGISTER_WP, 0))
            if area.low < area.high:
                fcntl.ioctl(self._uffd, _WRITEPROTECT, struct.pack("<3Q", area.low, area.high - area.low, _PROTECT))

    def offset(self, address: int) -> int:
        """Return where an address is in the file and in the copies.

        Raises:
            Unrestorable: nothing was there at the snapshot.
        """
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._spans[index][1]:
            raise Unrestorable(f"{address:#x} is new")
        return self._offsets[index] + address - self._starts[index]

    def read(self, address: int, size: int) -> bytes:
        """Return what is at an address now.

        Raises:
            Unrestorable: nothing was there at the snapshot.
        """
        return os.pread(self._memfd, size, self.offset(address))  # reading the mapping would allocate pages

    def set_hot(self, pages: frozenset[int]) -> None:
        """Make these pages hot: unprotected from their next write on, and put back every time.

        Raises:
            Unrestorable: nothing was there at the snapshot.
            OSError: the pristine mapping can't be read.
        """
        offsets = {page: self.offset(page) for page in pages}
        for page in self.hot:
            self._kinds[self.offset(page) // PAGE] = Kind.COPIED
        for page, offset in offsets.items():
            if self._kinds[offset // PAGE] in (Kind.PRISTINE, Kind.ZERO):
                self._copy[offset : offset + PAGE] = self._read_pristine(page, PAGE)
            self._kinds[offset // PAGE] = Kind.HOT
        self.hot = pages
        runs = _joined((page, page + PAGE) for page in sorted(pages))
        self._hot = (Run * len(runs))(*(Run(start, end - start, offsets[start]) for start, end in runs))
        self._state.hot, self._state.hot_count = ctypes.addressof(self._hot), len(runs)

    def _read_pristine(self, address: int, size: int) -> bytes:
        """Return what was at an address at the snapshot.

        Not by process_vm_readv: that pins the pages, after which each process has its own copy of a shared one.
        """
        index = bisect_right(self._pieces, address, key=lambda piece: piece.start) - 1
        data = os.pread(self._descriptor, size, address - self._pieces[index].start + self._pieces[index].pristine)
        if len(data) != size:
            raise OSError(f"memory at {address:#x} can't be read")
        return data

    def written(self) -> list[int]:
        """Return the pages that jobs have written since the last call of the C code, up to a limit and without hot
        ones.
        """
        state = self._state
        return list((ctypes.c_uint64 * state.written_count).from_address(state.written)) if state.written_count else []

    def changed(self) -> list[tuple[int, bytes]]:
        """Return what may differ from the snapshot, while the process is stopped: address and content.

        Raises:
            Unrestorable: too much has changed.
        """
        state = self._state
        if self._library.process_list_written(ctypes.addressof(state)) or state.pages > state.written_count:
            raise Unrestorable("too much was written")
        pages = _joined((page, page + PAGE) for page in sorted({*self.written(), *self.hot}))
        return [(start, self.read(start, end - start)) for start, end in pages]

    def differences(self) -> list[str]:
        """Compare all mappings and pages with the snapshot, after they were put back (memory.c).

        Returns:
            A description of what differs, up to the first page.

        Raises:
            OSError: memory can't be read.
        """
        found = [] if _maps(self.pid) == self._maps else ["the mappings differ"]
        if different := self._library.process_compare(ctypes.addressof(self._state)):
            if different < PAGE:
                raise OSError("memory can't be compared")
            found.append(f"the page at {different:#x} differs")
        return found

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in (self._pagemap, self._descriptor, self._memfd, self._uffd):
            os.close(descriptor)


def _address(buffer: mmap.mmap | bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def _seal(traced: Tracee) -> None:
    """Make the data of extension modules read-only: each part costs a scan, and it is not written after loading.

    A job that does write there gets a signal, and runs on the fork engine.
    """
    waiting = traced.registers()
    for mapping in read_maps(traced.pid):
        file = os.path.basename(mapping.name)
        if "w" in mapping.rights and ".so" in file and not file.startswith(_WRITTEN_LIBRARIES):
            traced.inject(waiting, _MPROTECT, mapping.start, mapping.end - mapping.start, _READ)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order, with adjacent ones joined."""
    found: list[Span] = []
    for start, end in spans:
        if found and found[-1][1] >= start:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def read_maps(pid: int) -> list[Mapping]:
    """Return the mappings of a process. Raises OSError if it has died."""
    found = []
    for line in _maps(pid).rstrip("\n").split("\n"):
        span, rights, _, _, _, *name = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in span.split("-"))
        found.append(Mapping(start, end, rights, name[0].strip() if name else ""))
    return found


def _maps(pid: int) -> str:
    with open(f"/proc/{pid}/maps") as file:
        return file.read()
