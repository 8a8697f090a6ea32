"""Backends: where workers run, as processes of this machine or in containers. All of them run the same supervisor."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from selftaught.sandbox import wire
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.packages import from_environment, normalized
from selftaught.sandbox.task import ISOLATIONS

if TYPE_CHECKING:
    from selftaught.sandbox.backends.worker import Backend

LEVELS = {"local": ("full", "restricted"), "docker": ("container",)}
"""The confinement levels that each backend offers, strongest first."""
STRONGEST_FIRST = ("full", "container", "restricted")
"""All levels. A container has the jail of `restricted` inside, and namespaces of its own."""


class WorkerOptions(TypedDict, total=False):
    """The fields of `WorkerConfig` as keyword arguments, for functions that pass them on (``**options:
    Unpack[WorkerOptions]``). Their meaning is that of `selftaught.sandbox.Verifier`'s arguments."""

    require: str | None
    level: str | None
    engine: str
    backend: str
    image: str | None
    runtime: str | None
    require_isolation: str | None
    packages: Sequence[str] | None
    site: str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Where workers run, how they are confined, which engine they use, and which tasks they are given.

    Attributes:
        require: See `selftaught.sandbox.Verifier`, as for all fields.
        level: See there.
        engine: See there.
        backend: See there.
        image: See there.
        runtime: See there.
        require_isolation: See there.
        packages: See there; normalised, sorted names. ``None`` means those in `SELFTAUGHT_PACKAGES`.
        site: See there.

    Raises:
        ValueError: A field is invalid, or fields contradict each other.
    """

    require: str | None = None
    level: str | None = None
    engine: str = "auto"
    backend: str = "local"
    image: str | None = None
    runtime: str | None = None
    require_isolation: str | None = None
    packages: Sequence[str] | None = None
    site: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.backend not in LEVELS:
            raise ValueError(f"unknown backend {self.backend!r}: choose from {', '.join(LEVELS)}")
        if self.backend == "local" and (self.image or self.runtime):
            raise ValueError("image and runtime are for containers: add backend='docker'")
        given = from_environment() if self.packages is None else self.packages
        object.__setattr__(self, "packages", normalized(given))
        object.__setattr__(self, "site", os.fspath(self.site) if self.site else None)
        if self.site and not self.packages:
            raise ValueError("site is where packages are installed: name the packages too")
        known = LEVELS[self.backend]
        for name in (self.require, self.level):
            if name is not None and name not in known:
                raise ValueError(f"no level {name!r} with backend {self.backend!r}: choose from {', '.join(known)}")
        if self.engine not in ("auto", *wire.ENGINES):
            raise ValueError(f"unknown engine {self.engine!r}: choose from auto, {', '.join(wire.ENGINES)}")
        if self.require_isolation not in (None, *ISOLATIONS):
            raise ValueError(f"unknown isolation {self.require_isolation!r}: choose from {', '.join(ISOLATIONS)}")

    @property
    def levels(self) -> tuple[str, ...]:
        """The acceptable levels, strongest first."""
        known = LEVELS[self.backend]
        return (self.level,) if self.level else known[: known.index(self.require or known[0]) + 1]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name; the names are those of a Verifier's arguments and of the commands' options."""
        return dataclasses.asdict(self)

    def open(self) -> Backend:
        """Return the backend that starts such workers. Raises CannotConfine if it is not available on this machine."""
        if self.backend == "local":
            from selftaught.sandbox.backends.local import Local

            return Local(self)
        try:
            from selftaught.sandbox.backends.docker import Docker
        except ImportError as error:
            raise CannotConfine(f"the docker SDK is missing ({error}): pip install 'selftaught[docker]'") from error
        return Docker(self)
