"""Install made-up distributions into a folder, as pip leaves them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path


def install(site: Path, name: str, files: dict[str, str], requires: Iterable[str] = (), editable: bool = False) -> Path:
    """Write files and metadata of a distribution.

    Args:
        site: the folder.
        name: the distribution's name.
        files: content of each file.
        requires: its requirements.
        editable: as if installed with ``-e``.

    Returns:
        The folder.
    """
    about = site / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    required = "".join(f"Requires-Dist: {one}\n" for one in requires)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{required}")
    (about / "direct_url.json").write_text(json.dumps({"url": f"file://{site}", "dir_info": {"editable": editable}}))
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(content)
    own = [f"{about.name}/{file}" for file in ("METADATA", "direct_url.json", "RECORD")]
    (about / "RECORD").write_text("".join(f"{path},,\n" for path in [*files, *own, "../../../bin/tool"]))
    return site
