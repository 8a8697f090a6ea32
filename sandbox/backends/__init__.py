"""Where workers run: as processes of this machine, or in containers. All of them host the same warden."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import wire
from sandbox.errors import CannotConfine

if TYPE_CHECKING:
    from sandbox.backends.worker import Backend

LEVELS = {"local": ("full", "restricted"), "docker": ("container",)}
"""The confinement levels that each backend can give, strongest first."""


def levels_wanted(
    require: str | None, level: str | None, engine: str, backend: str, image: str | None, runtime: str | None
) -> tuple[str, ...]:
    """The levels to try, strongest first. The arguments are those of `sandbox.Verifier`; ValueError if they make no sense."""
    _check(backend, image, runtime)
    known = LEVELS[backend]
    for name in (require, level):
        if name is not None and name not in known:
            raise ValueError(f"no level {name!r} with backend {backend!r}: choose from {', '.join(known)}")
    if engine not in ("auto", *wire.ENGINES):
        raise ValueError(f"unknown engine {engine!r}: choose from auto, {', '.join(wire.ENGINES)}")
    return (level,) if level else known[: known.index(require or known[0]) + 1]


def _check(backend: str, image: str | None, runtime: str | None) -> None:
    if backend not in LEVELS:
        raise ValueError(f"unknown backend {backend!r}: choose from {', '.join(LEVELS)}")
    if backend == "local" and (image or runtime):
        raise ValueError("image and runtime are for containers: add backend='docker'")


def open_backend(name: str, image: str | None = None, runtime: str | None = None) -> Backend:
    """The backend of this name; `image` and `runtime` are for containers (see `sandbox.backends.docker.Docker`).

    Raises CannotConfine if it can't be had on this machine, ValueError for arguments that make no sense.
    """
    _check(name, image, runtime)
    if name == "local":
        from sandbox.backends.local import Local

        return Local()
    try:
        from sandbox.backends.docker import Docker
    except ImportError as error:
        raise CannotConfine(f"the docker SDK is missing ({error}): pip install 'selftaught[docker]'") from error
    return Docker(image, runtime)
