"""Open an input: what it is, and how it is compressed, is seen by its first bytes, never by its name."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from selftaught.sandbox.records.record import EXPECTED, Unreadable

STDIN = "-"
_HEAD = 1 << 16

_OTHER = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"),
    (b"\xff\xfe", "UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"PK\x03\x04", "a ZIP archive: unpack it, and name the files in it"),
    (b"ARROW1", "an Arrow file: write it as Parquet or JSON Lines"),
    (b"\xff\xff\xff\xff", "a stream of Arrow: load it with `datasets`, and write it with `to_parquet` or `to_json`"),
    (b"Obj\x01", "an Avro file: write it as JSON Lines"),
    (b"\x89HDF", "an HDF5 file: write it as JSON Lines"),
    (b"SQLite format 3", "an SQLite database: write its rows as JSON Lines"),
    (b"\x80\x04", "a pickle, which is never loaded: write its records as JSON Lines"),
    (b"\x80\x05", "a pickle, which is never loaded: write its records as JSON Lines"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it, and name the files in it"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4: unpack it, or use gzip or zstd"),
    (b"%PDF", "a PDF"),
    (b"<", "HTML or XML, perhaps a page that was downloaded in place of the file"),
)
_TAR, _TAR_AT = b"ustar", 257


@dataclass(frozen=True, slots=True)
class Opened:
    """An input that is open.

    Attributes:
        name: Its name in messages.
        stream: Its content, decompressed.
        errors: What reading raises if the content is damaged, or ends too early.
        path: The file, if it is a plain one that can be read from any position.
    """

    name: str
    stream: IO[bytes]
    errors: tuple[type[Exception], ...]
    path: str | None

    def head(self) -> bytes:
        """Return some of what comes next, without waiting for more than the first bytes of it. Raises `errors`."""
        return cast(bytes, self.stream.peek(_HEAD))  # type: ignore[attr-defined]


def check(source: str) -> None:
    """Raise Unreadable if there is no such file, so that a mistake is reported before any work begins."""
    if source == STDIN:
        if sys.stdin is None:
            raise Unreadable("standard input is closed: name a file")
        return
    path = Path(source)
    if path.is_dir():
        example = next((f", such as {found}" for found in [path / "pairs.jsonl"] if found.exists()), "")
        raise Unreadable(f"{source} is a folder: name the files in it{example}")
    if not path.exists():
        raise Unreadable(f"{source}: no such file")
    if not os.access(source, os.R_OK):
        raise Unreadable(f"{source}: not a file that can be read")


@contextmanager
def opened(source: str) -> Iterator[Opened]:
    """Open an input, decompressed.

    Args:
        source: A file, or `STDIN`.

    Raises:
        Unreadable: It can't be opened, or is of a kind that is not read.
    """
    check(source)
    name = "standard input" if source == STDIN else source
    try:
        stream: IO[bytes] = (
            sys.stdin.buffer if source == STDIN else open(source, "rb", _HEAD)  # noqa: SIM115  # closed below
        )
    except OSError as error:
        raise Unreadable(f"{source}: {error.strerror}") from error
    with stream:
        head = stream.peek(_HEAD)  # type: ignore[attr-defined]
        errors: tuple[type[Exception], ...] = (OSError,)
        path = source if source != STDIN and stream.seekable() else None
        found = stream
        for magic, unpacked in _COMPRESSED:
            if head.startswith(magic):
                found, errors = unpacked(found, name)
                path = None
        made = Opened(name, found, errors, path)
        try:
            _refuse(name, made.head())
        except errors as error:
            raise Unreadable(damaged(name, error, "at its beginning")) from error
        yield made


def damaged(name: str, error: Exception, where: str) -> str:
    """Return a message about an input that can't be read to its end.

    Args:
        name: The input.
        error: One of `Opened.errors`.
        where: Where it happened, as words that end the sentence.
    """
    if isinstance(error, EOFError):
        return f"{name}: the compressed data ends too early, {where}: the file was cut, copy it again"
    return f"{name}: {error}, {where}"


def _refuse(name: str, head: bytes) -> None:
    """Raise Unreadable for content of a kind that is not read, with what to do."""
    text = head.lstrip() if head[:1].isspace() else head
    what = next((what for magic, what in _OTHER if text.startswith(magic)), None)
    if what is None and head[_TAR_AT:].startswith(_TAR):
        what = "a tar archive: unpack it, and name the files in it"
    if what:
        raise Unreadable(f"{name} is {what}; {EXPECTED}")


Unpacked = tuple[IO[bytes], tuple[type[Exception], ...]]


def _zstd(stream: IO[bytes], name: str) -> Unpacked:
    zstd: Any
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise Unreadable(
            f"{name} is compressed with zstd, which needs backports.zstd: pip install 'selftaught[zstd]', "
            f"or unpack it: zstd -d"
        ) from None
    return zstd.ZstdFile(stream), (OSError, EOFError, zstd.ZstdError)


def _gzip(stream: IO[bytes], name: str) -> Unpacked:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=stream)), (OSError, EOFError, zlib.error)


def _bz2(stream: IO[bytes], name: str) -> Unpacked:
    return cast("IO[bytes]", bz2.BZ2File(stream)), (OSError, EOFError)


def _xz(stream: IO[bytes], name: str) -> Unpacked:
    return cast("IO[bytes]", lzma.LZMAFile(stream)), (OSError, EOFError, lzma.LZMAError)


_COMPRESSED: tuple[tuple[bytes, Callable[[IO[bytes], str], Unpacked]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x50\x2a\x4d\x18", _zstd),  # a frame to skip, with which pzstd begins
    (b"BZh", _bz2),
    (b"\xfd7zXZ\0", _xz),
)
