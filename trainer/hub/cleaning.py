"""What must not leave the machine: paths, addresses of servers, and secrets.

Records say which model wrote a puzzle, and a local model's name is its path. The code of puzzles and solutions is left
as it is: models that wrote it do not know the machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CODE = {"puzzle", "solution", "text", "chat_template"}
"""Fields whose text is a program or template, in which a slash means something else."""
_ADDRESS = re.compile(r"(?:https?|wss?|ftps?|grpcs?|tcp)://[^\s#'\"]+(?:#([^\s'\"]+))?")
_PATH = re.compile(r"(?<![\w.~/<])(?:file://)?(?:~|\.{1,2})?(?:/[^\s/'\":;,()]+)+/?")
_BEGINS = ("/", "~/", "./", "../")
"""How a text begins that is a path as a whole, which may have spaces."""
_SECRET = re.compile(
    rb"\b(?:hf|api_org|gh[pousr]|github_pat|glpat|nvapi|xox[abeoprs]|r8)[_-][A-Za-z0-9_-]{20,}|\bsk-[A-Za-z0-9_-]{20,}"
    rb"|\bAKIA[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{35}|BEGIN [A-Z ]*PRIVATE KEY"
)


class Secret(ValueError):
    """A text that would be uploaded has what looks like a secret. The message says where."""


def cleaned(value: Any, root: Path) -> Any:
    """Return plain data without paths of this machine and addresses of servers.

    A path below `root` becomes relative to it, any other one its last part. A server's address becomes the name of its
    model (``http://host/v1#NAME`` is ``NAME``), or ``a server``.

    Args:
        value: What JSON has: dicts, lists, texts, numbers.
        root: The folder that is uploaded.
    """
    return _mapped(value, lambda text: without_places(text, root))


def without_places(text: str, root: Path) -> str:
    """Return a text without paths of this machine and addresses of servers (see `cleaned`)."""
    if text.startswith(_BEGINS) and "\n" not in text:
        return _shortened(text, root)
    text = _ADDRESS.sub(lambda found: found[1] or "a server", text)
    return _PATH.sub(lambda found: _shortened(found[0], root), text)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(one, change) for one in value]
    if isinstance(value, dict):
        return {key: one if key in _CODE else _mapped(one, change) for key, one in value.items()}
    return value


def _shortened(path: str, root: Path) -> str:
    whole = Path(path.removeprefix("file://")).expanduser()
    for folder in {root, root.resolve()}:
        if whole.is_absolute() and whole.is_relative_to(folder) and whole != folder:
            return whole.relative_to(folder).as_posix()
    return whole.name


def refuse_secrets(name: str, line: int, text: bytes) -> None:
    """Raise Secret if a text has what looks like an access token or a private key.

    Args:
        name: Name of the file, for the message.
        line: Number of the text's first line.
        text: The text.
    """
    found = _SECRET.search(text)
    if found:
        where = line + text.count(b"\n", 0, found.start())
        shown = found[0][:6].decode()
        raise Secret(f"{name}:{where}: {shown}... looks like a secret: nothing is uploaded. Remove it, and revoke it")
