"""Rows of Parquet, with pyarrow (extra `parquet`)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selftaught.sandbox.records.record import Record, Unreadable
from selftaught.sandbox.records.source import Opened, damaged

MAGIC = b"PAR1"
_BATCH = 1024


def rows(opened: Opened) -> Iterator[Record]:
    """Yield a record for every row.

    Raises:
        Unreadable: It is no Parquet, is damaged, or pyarrow is not installed.
    """
    number = 0
    with _table(opened) as table:
        for batch in table.iter_batches(_BATCH):
            for fields in batch.to_pylist():
                number += 1
                yield Record(f"{opened.name}:{number}", fields)


def count(opened: Opened) -> int:
    """Return the number of rows, which the file's end tells. Raises Unreadable."""
    with _table(opened) as table:
        return int(table.metadata.num_rows)


@contextmanager
def _table(opened: Opened) -> Iterator[Any]:
    """Open the table. What can't be read from any position is copied to a temporary file first."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise Unreadable(f"{opened.name}: reading Parquet needs pyarrow: pip install 'selftaught[parquet]'") from None
    try:
        if opened.path:
            with pyarrow.parquet.ParquetFile(opened.path) as table:
                yield table
            return
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(opened.stream, copy)
            except opened.errors as error:
                raise Unreadable(damaged(opened.name, error, "within the table")) from error
            with pyarrow.parquet.ParquetFile(copy) as table:
                yield table
    except pyarrow.ArrowException as error:
        raise Unreadable(f"{opened.name}: {error}") from error
