"""Tools that environments give a model: run a program in the jail, and see what it does."""

from __future__ import annotations

from selftaught.sandbox import Program, Run, completion
from selftaught.sandbox.dropin import process
from selftaught.sandbox.program import Ending

LONGEST = 8000
"""Maximum number of characters that a model is told of each stream: its context is worth more."""


async def arun(code: str, stdin: str = "") -> str:
    """Run a program, and return what a model is told of it (see `run`), as a coroutine."""
    return _told(await process.current().arun(_program(code, stdin)))


def run(code: str, stdin: str = "") -> str:
    """Run a program, confined as solutions are, and return what a model is told of it.

    Args:
        code: Python source; or a text with it, in fences or not.
        stdin: What it reads from standard input.

    Returns:
        Standard output, then standard error if there is any, then how it ended if that was not by itself, with 0.
    """
    return _told(process.current().run(_program(code, stdin)))


def _program(code: str, stdin: str) -> Program:
    return Program("", completion.code(code) or code, stdin)


def _told(run: Run) -> str:
    parts = [_cut(run.stdout)]
    if run.stderr:
        parts.append(f"[standard error]\n{_cut(run.stderr)}")
    if run.ending is not Ending.EXITED:
        parts.append(f"[{run.ending}: {run.message}]")
    elif run.return_code:
        parts.append(f"[exit code {run.return_code}]")
    return "\n".join(part.rstrip("\n") for part in parts if part) or "[no output]"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n[{len(text) - LONGEST} more characters]"
