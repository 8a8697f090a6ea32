"""The tokenizer of a served model, on this side: counts tokens without asking, and makes the ids that are sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selftaught.generator.models import ModelFailed

_SAMPLE = "def f1(s: str, n=12):\n    return s.count('ab') == n  # \u00e4\n\n\ndef f2("
"""A text of which a wrong tokenizer makes other ids."""


class Tokenizer:
    """A tokenizer of the library tokenizers.

    Args:
        name: A folder with ``tokenizer.json``, or a name on the hub.

    Raises:
        ModelFailed: It can't be loaded.
    """

    def __init__(self, name: str) -> None:
        try:
            import tokenizers

            path = Path(name, "tokenizer.json")
            load = tokenizers.Tokenizer
            self._tokenizer = load.from_file(str(path)) if path.exists() else load.from_pretrained(name)
        except Exception as error:  # tokenizers raises Exception itself
            raise ModelFailed(f"{name}: no tokenizer that can be loaded (tokenizer.json): {error}") from error

    def __call__(self, text: str) -> list[int]:
        """Return the token ids of a text, those that begin every text included."""
        return list(self._tokenizer.encode(text).ids)


def of_server(
    name: str | None, card: dict[str, Any], server_ids: Callable[[str], list[int] | None]
) -> Tokenizer | None:
    """Return the tokenizer of a served model.

    Args:
        name: The one that is asked for (None: that of the folder which the server names as the model's, if it is here).
        card: What the server says of the model.
        server_ids: Returns the ids that the server makes of a text; None if it does not tell.

    Returns:
        The tokenizer; None if none is asked for, and none is here that makes the same ids as the server's.

    Raises:
        ModelFailed: The one that is asked for can't be loaded, or makes other ids than the server's.
    """
    root = str(card.get("root") or "")
    if name is None and not (root and Path(root, "tokenizer.json").is_file()):
        return None
    made = Tokenizer(name or root)
    expected = server_ids(_SAMPLE)
    if expected is None or made(_SAMPLE) == expected:
        return made
    if name is None:
        return None
    raise ModelFailed(f"{name} is not the tokenizer of the served model {card['id']}: they make different tokens")
