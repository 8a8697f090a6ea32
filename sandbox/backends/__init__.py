"""Where workers run: as processes of this machine, or in containers. All of them host the same warden."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.errors import CannotConfine

if TYPE_CHECKING:
    from sandbox.backends.worker import Backend

LEVELS = {"local": ("full", "restricted"), "docker": ("container",)}
"""The confinement levels that each backend can give, strongest first."""


def open_backend(name: str, image: str | None = None, runtime: str | None = None) -> Backend:
    """The backend of this name; `image` and `runtime` are for containers (see `sandbox.backends.docker.Docker`).

    Raises CannotConfine if it can't be had on this machine, ValueError for arguments that make no sense.
    """
    if name not in LEVELS:
        raise ValueError(f"unknown backend {name!r}: choose from {', '.join(LEVELS)}")
    if name == "local":
        if image or runtime:
            raise ValueError("image and runtime are for containers: add backend='docker'")
        from sandbox.backends.local import Local

        return Local()
    try:
        from sandbox.backends.docker import Docker
    except ImportError as error:
        raise CannotConfine(f"the docker SDK is missing ({error}): pip install 'selftaught[docker]'") from error
    return Docker(image, runtime)
