"""Where daemons are and which token they require, as environment variables say it to commands, rewards and drop-ins."""

from __future__ import annotations

from pathlib import Path

DAEMON_VARIABLE = "SELFTAUGHT_DAEMON"
"""The environment variable with the addresses of daemons, separated by spaces."""
TOKEN_VARIABLE = "SELFTAUGHT_TOKEN_FILE"
"""The environment variable with the path of a file that has their token."""


def read_token(path: str) -> str:
    """Return the token in a file.

    Raises:
        OSError: The file can't be read; the message names it.
    """
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OSError(f"the token file {path} can't be read: {error}") from error
