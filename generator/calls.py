"""Completions of a wave that is not complete, kept so that no prompt is sampled twice."""

from __future__ import annotations

from pathlib import Path

import orjson

from selftaught.sandbox.output import open_output

Texts = list[list[str]]
"""The completions of each prompt of a call."""


class Calls:
    """The calls of a wave: a file with a line for each, which grows as they are answered.

    A line that was not written whole, since the process was killed, does not count. Nothing is synced to the disk: if
    the machine fails, some prompts are sampled again.

    Args:
        path: The file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Texts] = {}
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            call = orjson.loads(line)
            self._found[call["asked"]] = call["texts"]
        if len(whole) < len(content):
            with open_output(path, "ab") as file:
                file.truncate(len(whole))

    def take(self, asked: str) -> Texts | None:
        """Return the completions of a call that an earlier process made; None if there are none.

        Args:
            asked: Digest of the call.
        """
        return self._found.pop(asked, None)

    def add(self, asked: str, texts: Texts) -> None:
        """Keep the completions of a call."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open_output(self._path, "ab") as file:
            file.write(orjson.dumps({"asked": asked, "texts": texts}) + b"\n")

    def remove(self) -> None:
        """Remove the file: the wave is complete."""
        self._path.unlink(missing_ok=True)
