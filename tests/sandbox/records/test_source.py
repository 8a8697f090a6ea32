"""Opening inputs: by content, whatever the name; what was read before damage is kept; other files are named."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selftaught.sandbox import records
from selftaught.sandbox.records import Record, Unreadable

zstd = pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")

LINES = b"".join(b'{"id": %d, "sat": "s", "sol": "%s"}\n' % (n, os.urandom(300).hex().encode()) for n in range(3000))
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in"


def read(path: Path, data: bytes) -> list[Record]:
    path.write_bytes(data)
    return list(records.rows(str(path)))


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_compressed_input_is_the_same_as_the_plain_one(path: Path, name: str) -> None:
    assert read(path, COMPRESSIONS[name](LINES)) == read(path, LINES)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_members_that_follow_each_other_are_all_read(path: Path, name: str) -> None:
    compress = COMPRESSIONS[name]
    assert len(read(path, compress(LINES) + compress(LINES[:-1]))) == 6000


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("array", [False, True])
def test_what_comes_before_a_cut_is_read_and_then_the_cut_is_named(path: Path, name: str, array: bool) -> None:
    data = b"[" + LINES.strip().replace(b"\n", b",\n") + b"]" if array else LINES
    whole = COMPRESSIONS[name](data)
    path.write_bytes(whole[: len(whole) * 2 // 3])
    found = []
    with pytest.raises(Unreadable, match=r"the compressed data ends too early, in line \d+.*copy it again"):
        for row in records.rows(str(path)):
            found.append(row.fields["id"])
    assert found == list(range(len(found)))
    assert len(found) > 100


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("size", [3, 12])
def test_a_compressed_input_that_is_hardly_there_is_unreadable(path: Path, name: str, size: int) -> None:
    with pytest.raises(Unreadable):
        read(path, COMPRESSIONS[name](LINES)[:size])


def test_zstd_may_begin_with_a_frame_to_skip_as_pzstd_writes_it(path: Path) -> None:
    skipped = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"
    assert read(path, skipped + zstd.compress(LINES)) == read(path, LINES)


def test_zstd_without_its_library_names_the_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("backports", "backports.zstd", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unreadable, match=r"pip install 'selftaught\[zstd\]'"):
        read(path, zstd.compress(LINES))


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ('{"id": 1}'.encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
        (b"PK\x03\x04", "a ZIP archive: unpack it"),
        (b"\x80\x05\x95", "a pickle, which is never loaded"),
        (b"\n<!DOCTYPE html>", "HTML or XML"),
        (gzip.compress(b"name" + b"\0" * 253 + b"ustar" + b"\0" * 250), "a tar archive"),
        (b"id,sat,sol\n1,s,t\n", "in:1: not JSON.*expected JSON Lines"),
        (b"words\n" * 1000, "in:1: not JSON.*expected JSON Lines"),
        (b"", "it is empty; expected JSON Lines"),
        (b"\n \n", "it is empty; expected JSON Lines"),
        (b"[]", "it is empty; expected JSON Lines"),
        (b"[1, 2]\n", "in:1: not an object but list"),
    ],
)
def test_what_has_no_record_is_unreadable_and_named(path: Path, data: bytes, what: str) -> None:
    with pytest.raises(Unreadable, match=what):
        read(path, data)


def test_a_folder_is_named_with_a_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").touch()
    with pytest.raises(Unreadable, match=r"is a folder: name the files in it, such as .*pairs\.jsonl"):
        list(records.rows(str(tmp_path)))


def pipe(data: bytes) -> int:
    """Return the reading end of a pipe into which a thread writes, as slowly as a pipe is."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as out:
            out.write(data)

    threading.Thread(target=write).start()
    return reading


def parquet() -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    from pyarrow import parquet as tables

    out = io.BytesIO()
    tables.write_table(pyarrow.Table.from_pylist([{"id": n, "sat": "s", "sol": "t"} for n in range(3000)]), out)
    return out.getvalue()


@pytest.mark.parametrize(
    "make", [lambda: LINES, lambda: gzip.compress(LINES), parquet, lambda: gzip.compress(parquet())]
)
def test_a_pipe_and_standard_input_are_read_as_a_file_is(make: Callable[[], bytes], monkeypatch: Any) -> None:
    data = make()
    descriptor = pipe(data)
    from_pipe = [row.fields["id"] for row in records.rows(f"/dev/fd/{descriptor}")]
    os.close(descriptor)
    monkeypatch.setattr(sys, "stdin", os.fdopen(pipe(data)))
    assert [row.fields["id"] for row in records.rows("-")] == from_pipe == list(range(3000))


def test_a_line_from_a_pipe_is_there_before_the_next_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading))
    os.write(writing, b'{"id": 1}\n')
    found = records.rows("-")
    assert next(found).fields == {"id": 1}
    os.write(writing, b'{"id": 2}\n')
    assert next(found).fields == {"id": 2}
    os.close(writing)
    assert list(found) == []
