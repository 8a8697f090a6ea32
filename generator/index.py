"""What a run has written, admitted and kept, in a database on disk: memory does not grow with the run.

The database follows from the run's other files: it is made anew from them if it is missing, damaged or behind them.
Every row says which wave it is from, so that those of waves that were not complete when a run was killed can be
removed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from selftaught.sandbox.output import refuse_link

COMPLETE = -1
"""The number of a wave that is complete, whichever it was."""

_VERSION = 1
_CACHE_KIB = 64 << 10

_TABLES = """
CREATE TABLE progress (waves INTEGER);
INSERT INTO progress VALUES (0);
CREATE TABLE seen (kind TEXT, id TEXT, wave INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE pairs (id TEXT PRIMARY KEY, wave INTEGER) WITHOUT ROWID;
CREATE TABLE admitted (number INTEGER PRIMARY KEY, kind TEXT, template TEXT, cluster TEXT, wave INTEGER, sketch BLOB);
CREATE INDEX admitted_templates ON admitted (kind, template);
CREATE INDEX admitted_clusters ON admitted (kind, cluster);
CREATE TABLE bands (band INTEGER, number INTEGER, PRIMARY KEY (band, number)) WITHOUT ROWID;
"""


class Index:
    """The database. It is empty if it was not complete: `is_new` is then True, and the caller fills it.

    Args:
        path: Its file (None: in memory).
        waves: Number of complete waves of the run.

    Attributes:
        is_new: It is empty; rows of complete waves are missing, and those of earlier runs.

    Raises:
        OSError: The file can't be opened or written, or another process has it open.
    """

    def __init__(self, path: Path | None = None, waves: int = 0) -> None:
        self._path = path
        if path:
            refuse_link(path)
        try:
            self.is_new = not self._has_opened(waves)
            if self.is_new:
                self._create()
            self._database.execute("BEGIN")
            self._cut(waves)
        except sqlite3.Error as error:
            raise OSError(f"{path}: the index can't be opened: {error}") from error

    def _connect(self) -> None:
        self._database = sqlite3.connect(self._path or ":memory:", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode = WAL", "synchronous = NORMAL", f"cache_size = -{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")

    def _has_opened(self, waves: int) -> bool:
        """Open the file; return False if it is new, damaged, of another version, or behind the run."""
        try:
            self._connect()
            if self._database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                return False
            return bool(0 < waves <= self._database.execute("SELECT waves FROM progress").fetchone()[0])
        except sqlite3.OperationalError:
            raise  # it is in use, or can't be written
        except sqlite3.DatabaseError:
            return False

    def _create(self) -> None:
        self._database.close()
        if self._path:
            for end in ("", "-wal", "-shm"):
                Path(f"{self._path}{end}").unlink(missing_ok=True)
        self._connect()
        self._database.executescript(f"{_TABLES} PRAGMA user_version = {_VERSION};")

    def _cut(self, waves: int) -> None:
        """Remove what is from waves that are not complete."""
        self._database.execute(
            "DELETE FROM bands WHERE number IN (SELECT number FROM admitted WHERE wave >= ?)", (waves,)
        )
        for table in ("seen", "pairs", "admitted"):
            self._database.execute(f"DELETE FROM {table} WHERE wave >= ?", (waves,))

    def commit(self, waves: int) -> None:
        """Write what was added to disk, before the run says that so many waves are complete."""
        self._database.execute("UPDATE progress SET waves = ?", (waves,))
        self._database.execute("COMMIT")
        self._database.execute("BEGIN")

    def close(self) -> None:
        """Close the file. What was not committed is lost."""
        self._database.close()

    def add_seen(self, kind: str, ident: str, wave: int) -> bool:
        """Add the id of a puzzle; return True if it was there."""
        added = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (kind, ident, wave))
        return added.rowcount == 0

    def add_pair(self, ident: str, wave: int) -> bool:
        """Add the id of a pair; return True if it was there."""
        return self._database.execute("INSERT OR IGNORE INTO pairs VALUES (?, ?)", (ident, wave)).rowcount == 0

    def admit(
        self, kind: str, template: str, cluster: str, wave: int, sketch: bytes | None, bands: Iterable[int]
    ) -> None:
        """Add an admitted puzzle.

        Args:
            kind: Which of the index's puzzles it belongs to.
            template: Digest of its canonical form.
            cluster: Its cluster of near-duplicates.
            wave: Number of the wave that wrote it, or `COMPLETE`.
            sketch: The hash values of its MinHash, 4 bytes each, little-endian (None: its form has one already).
            bands: Keys under which similar puzzles find it.
        """
        row = (kind, template, cluster, wave, sketch)
        added = self._database.execute(
            "INSERT INTO admitted (kind, template, cluster, wave, sketch) VALUES (?, ?, ?, ?, ?)", row
        )
        self._database.executemany("INSERT INTO bands VALUES (?, ?)", ((band, added.lastrowid) for band in bands))

    def count(self, kind: str, *, template: str | None = None, cluster: str | None = None) -> int:
        """Return the number of admitted puzzles of a template or cluster."""
        name, value = ("template", template) if cluster is None else ("cluster", cluster)
        asked = f"SELECT COUNT(*) FROM admitted WHERE kind = ? AND {name} = ?"
        return int(self._database.execute(asked, (kind, value)).fetchone()[0])

    def cluster_of(self, kind: str, template: str) -> str | None:
        """Return the cluster of an admitted template; None if there is none."""
        asked = "SELECT cluster FROM admitted WHERE kind = ? AND template = ? ORDER BY number LIMIT 1"
        row = self._database.execute(asked, (kind, template)).fetchone()
        return row[0] if row else None

    def similar(self, bands: Sequence[int]) -> list[tuple[str, str, bytes]]:
        """Return templates, clusters and sketches of the admitted puzzles that share a band."""
        marks = ", ".join("?" * len(bands))
        asked = (
            "SELECT template, cluster, sketch FROM admitted WHERE number IN "
            f"(SELECT number FROM bands WHERE band IN ({marks}))"
        )
        return self._database.execute(asked, list(bands)).fetchall()
