"""The C code: it computes the same digests as Python, has the same numbers, and restores a processor's flags."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from selftaught.sandbox.worker.native import shared
from selftaught.sandbox.worker.native.library import load, load_checked


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    try:
        return load()
    except OSError:
        pytest.skip("without a C compiler the fork engine does it all")


@given(data=st.binary(max_size=300))
@example(data=b"-" * 4096)
def test_a_digest_is_that_of_the_standard_library(library: ctypes.CDLL, data: bytes) -> None:
    digest = ctypes.create_string_buffer(32)
    library.sha256.argtypes, library.sha256.restype = (ctypes.c_char_p, ctypes.c_uint64, ctypes.c_void_p), None
    library.sha256(data, len(data), digest)
    assert digest.raw == hashlib.sha256(data).digest()


def test_the_header_is_what_is_described() -> None:
    """If not: python -m selftaught.sandbox.worker.native.shared > sandbox/worker/native/shared.h"""
    assert Path(shared.__file__).with_name("shared.h").read_text() == shared.header()


def test_a_library_that_was_built_from_another_description_is_refused(
    monkeypatch: pytest.MonkeyPatch, library: ctypes.CDLL
) -> None:
    assert load_checked() is library
    monkeypatch.setattr(shared, "MAX_REGIONS", 127)
    monkeypatch.setitem(shared._NUMBERS, "MAX_REGIONS", 127)
    with pytest.raises(OSError, match="another version"):
        load_checked()


FLAG = """
import ctypes, mmap
from selftaught.sandbox.worker.native.library import load

page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("579dc3 9c58c3"))  # push rdi; popfq; ret, and pushfq; pop rax; ret
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
give, take = ctypes.CFUNCTYPE(None, ctypes.c_long)(at), ctypes.CFUNCTYPE(ctypes.c_long)(at + 3)
library = load()
library.snapshot_buffer_size.restype = ctypes.c_size_t
library.snapshot_wait.argtypes = ctypes.c_void_p, ctypes.c_uint64
size = library.snapshot_buffer_size()
room = ctypes.create_string_buffer(size + 64)
start = ctypes.addressof(room)
start += -start % 64
give(take() | 1 << 21)
before = take() >> 21 & 1
library.snapshot_wait(start, size)
print(before, take() >> 21 & 1)
"""


def test_a_flag_that_only_user_code_can_change_is_put_back(library: ctypes.CDLL) -> None:
    """RFLAGS.ID, which PTRACE_SETREGS leaves as it is."""
    done = subprocess.run([sys.executable, "-c", FLAG], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "0"]
