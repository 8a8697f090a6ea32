"""Allocators: pieces lie together and keep their content; without glibc there is no snapshot engine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from selftaught.sandbox.worker.inside import heap
from selftaught.sandbox.worker.native.library import load


def in_a_process(code: str) -> str:
    """Return what this code prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def compacted() -> str:
    """Return code of a process with the allocator installed. Skips without the C code."""
    try:
        load()
    except OSError:
        pytest.skip("without a C compiler nothing is compacted")
    return (
        "import random\nfrom selftaught.sandbox.worker.inside import heap\nheap.install_allocator()\n"
        "heap.start_new_page()\n"
    )


def test_what_is_made_lies_together_whatever_its_size(compacted: str) -> None:
    code = (
        compacted
        + "made = [bytes(size) for size in range(50, 500, 50)]; print(max(map(id, made)) - min(map(id, made)))"
    )
    assert int(in_a_process(code)) < 4096
    assert int(in_a_process(code.replace("heap.install_allocator()", ""))) > 4096, (
        "Python's own allocator keeps a pool for each size"
    )


def test_pieces_are_aligned_as_pythons_own_are_and_an_integer_takes_no_more_memory(compacted: str) -> None:
    code = compacted + (
        "made, integers = [bytes(size) for size in range(2, 2000)], [int(f'1000{i}') for i in range(100, 200)]\n"
        "ids = sorted(map(id, integers))\n"
        "print({id(one) % 16 for one in made}, min(after - before for before, after in zip(ids, ids[1:])))"
    )
    assert in_a_process(code) == "{0} 32\n"


def test_a_piece_that_was_freed_serves_the_next_request_of_its_size_until_the_page_is_turned(compacted: str) -> None:
    code = compacted + "piece = bytes(100); before = id(piece); piece = None; {}; print(id(bytes(100)) == before)"
    assert in_a_process(code.format("pass")) == "True\n"
    assert in_a_process(code.format("heap.start_new_page()")) == "False\n"


STRESS = """
chance, kept = random.Random(0), {}
for step in range(200_000):
    key, size = chance.randrange(2000), int(10 ** chance.uniform(0, 5.2 if step % 100 == 0 else 3.3))
    if key not in kept:
        kept[key] = bytearray([key % 251]) * size
    elif chance.random() < 0.5:
        del kept[key]
    else:  # grows and shrinks in all proportions
        kept[key] = (kept[key] + bytearray([key % 251]) * size)[-int(10 ** chance.uniform(0, 4)):]
        kept[key].extend([key % 251] * 8)
assert all(set(piece) == {key % 251} for key, piece in kept.items())
print(sum(map(len, kept.values())))
"""


def test_pieces_of_all_sizes_keep_what_is_written_to_them_also_when_there_is_no_room_left(compacted: str) -> None:
    total = int(in_a_process(compacted + STRESS))
    assert total == int(in_a_process("import random" + STRESS)), "the same bytes as with Python's own allocator"
    full = compacted.replace("heap.install_allocator()", "heap._COMPACT_BYTES = 1 << 18; heap.install_allocator()")
    assert total == int(in_a_process(full + STRESS))
    assert total > 1 << 18
    assert total == int(in_a_process(full + "for _ in range(70): heap.start_new_page()\n" + STRESS)), (
        "nor when the last page was turned"
    )


def test_an_allocator_that_finds_no_memory_says_so(compacted: str) -> None:
    code = (
        "import resource\n"
        + compacted
        + (
            "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\nblocks = []\n"
            "try:\n    while True: blocks.append(bytearray(1000))\n"
            "except MemoryError: count = len(blocks); blocks.clear(); print(count > 100_000)"
        )
    )
    assert in_a_process(code) == "True\n"


def test_without_glibc_there_is_nothing_to_configure_and_no_snapshot_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "_mallopt", None)
    heap.disable_mmap()
    heap.enable_mmap()
    with pytest.raises(OSError, match="mallopt"):
        heap.reserve(1 << 20)
