"""The folder of a generation. A run that was interrupted continues from its files.

config.json    the run's settings; only a run with the same settings continues
seeds.jsonl    the puzzles that prompts were made of
pairs.jsonl    the kept examples (see `selftaught.generator.example`)
puzzles.jsonl  every puzzle that was written, with its filters and attempts
progress.json  number of complete waves, sizes of both files, counts and seconds; replaced atomically, after the other
               files
calls/         completions of waves that are not complete (see `selftaught.generator.calls`)
index.sqlite   what was written, admitted and kept so far (see `selftaught.generator.index`)
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from selftaught.generator import example, settings
from selftaught.generator.calls import Calls
from selftaught.generator.candidate import Candidate
from selftaught.generator.example import Example
from selftaught.generator.index import Index
from selftaught.generator.seeds import Seed
from selftaught.sandbox import records
from selftaught.sandbox.output import open_output, replace_json
from selftaught.sandbox.records import Unreadable


class Mismatch(ValueError):
    """The folder belongs to another run. The message says what differs and what to do."""


@dataclass(slots=True)
class Tally:
    """Counts of a run or wave.

    Attributes:
        stages: Puzzles that passed each filter; attempts, correct attempts (``right``) and pairs.
        refusals: Puzzles that each filter refused.
        statuses: Attempts with each status.
        seconds: Time of the model (``model``), CPU time of the verifier (``verifier``), and ``elapsed``.
    """

    stages: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        self.stages.update(other.stages)
        self.refusals.update(other.refusals)
        self.statuses.update(other.statuses)
        self.spend(**other.seconds)

    def spend(self, **seconds: float) -> None:
        """Add seconds."""
        for name, more in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + more

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the counts as plain data."""
        return {
            "stages": dict(self.stages),
            "refusals": dict(self.refusals),
            "statuses": dict(self.statuses),
            "seconds": dict(self.seconds),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Tally:
        """Return the tally of such a dict; other keys are ignored."""
        stages, refusals, statuses = (Counter(fields[name]) for name in ("stages", "refusals", "statuses"))
        return cls(stages, refusals, statuses, dict(fields["seconds"]))


class Folder:
    """The files of a run.

    Attributes:
        waves: Number of complete waves.
        tally: Their counts.
        index: What they wrote, admitted and kept.

    Args:
        path: The folder; it is created.
        config: The run's settings, as plain data.
        seeds: The puzzles that prompts are made of.
        resume: Continue the run that is in the folder, if there is one.

    Raises:
        Mismatch: The folder has another run's files, or a run and `resume` is off.
    """

    def __init__(self, path: Path, config: dict[str, Any], seeds: Sequence[Seed], *, resume: bool) -> None:
        self.path, self.waves, self.tally = path, 0, Tally()
        config = orjson.loads(orjson.dumps(config))
        if (path / "config.json").exists():
            _compare(path, orjson.loads((path / "config.json").read_bytes()), config, resume)
        elif path.exists() and any(path.iterdir()):
            raise Mismatch(f"{path} exists and is not the folder of a run: name another folder")
        (path / "calls").mkdir(parents=True, exist_ok=True)
        if (path / "progress.json").exists():
            done = orjson.loads((path / "progress.json").read_bytes())
            self.waves = done["waves"]
            self.tally = Tally.from_dict(done)
            self._cut(done["bytes"])
        else:
            self._cut({"pairs.jsonl": 0, "puzzles.jsonl": 0})
            lines = (orjson.dumps({"id": seed.name, "puzzle": seed.puzzle.source}) + b"\n" for seed in seeds)
            with open_output(path / "seeds.jsonl") as file:
                file.writelines(lines)
            replace_json(path / "config.json", config)
        self.index = Index(path / "index.sqlite", self.waves)

    def _cut(self, sizes: dict[str, int]) -> None:
        """Open both files, truncated to the last complete wave."""
        self._files: dict[str, IO[bytes]] = {}
        for name, size in sizes.items():
            self._files[name] = open_output(self.path / name, "ab")  # closed by `close`
            self._files[name].truncate(size)
            self._files[name].seek(0, os.SEEK_END)

    def commit(self, examples: Iterable[Example], candidates: Iterable[Candidate], tally: Tally) -> None:
        """Write the results of a wave, then the progress, so that a crash in between neither loses nor doubles
        anything."""
        for one in examples:
            example.write(one, self._files["pairs.jsonl"])
        for candidate in candidates:
            self._files["puzzles.jsonl"].write(orjson.dumps(candidate.to_dict()) + b"\n")
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        self.index.commit(self.waves + 1)
        self.tally.add(tally)
        self.waves += 1
        self._save()

    def add_seconds(self, **seconds: float) -> None:
        """Add seconds to the counts."""
        self.tally.spend(**seconds)
        self._save()

    def _save(self) -> None:
        sizes = {name: file.tell() for name, file in self._files.items()}
        replace_json(self.path / "progress.json", {"waves": self.waves, "bytes": sizes, **self.tally.to_dict()})

    def calls(self, wave: int) -> Calls:
        """Return the stored completions of a wave that is not complete."""
        return Calls(self.path / "calls" / f"{wave}.jsonl")

    def close(self) -> None:
        """Close the files."""
        self.index.close()
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_puzzles(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the puzzles that the run in a folder wrote, as recorded. Raises Unreadable, with the line that is none."""
    for row in records.rows(str(path / "puzzles.jsonl"), may_be_empty=True):
        if row.problem:
            raise Unreadable(row.problem)
        yield row.fields


def _compare(path: Path, old: dict[str, Any], new: dict[str, Any], resume: bool) -> None:
    if not resume:
        raise Mismatch(f"{path} has a run already: give --resume to continue it, or name another folder")
    unknown = settings.unknown_names(old, new)
    if unknown:
        raise Mismatch(
            f"{path} is the run of another version of selftaught, whose settings this one does not have: "
            f"{', '.join(unknown)}. Continue it with that version, or name another folder"
        )
    different = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
    if different:
        details = "; ".join(f"{name} was {old.get(name)!r}, is {new.get(name)!r}" for name in sorted(different))
        raise Mismatch(f"{path} belongs to another run: {details}")
