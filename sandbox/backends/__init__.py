"""Where workers run: as processes of this machine, or in containers. All of them host the same supervisor."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selftaught.sandbox import wire
from selftaught.sandbox.errors import CannotConfine

if TYPE_CHECKING:
    from selftaught.sandbox.backends.worker import Backend

LEVELS = {"local": ("full", "restricted"), "docker": ("container",)}
"""The confinement levels that each backend can give, strongest first."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where code runs, how well it is confined there, and by which engine; see `selftaught.sandbox.Verifier` for the fields.

    Raises ValueError for fields that make no sense together.
    """

    require: str | None = None
    level: str | None = None
    engine: str = "auto"
    backend: str = "local"
    image: str | None = None
    runtime: str | None = None

    def __post_init__(self) -> None:
        if self.backend not in LEVELS:
            raise ValueError(f"unknown backend {self.backend!r}: choose from {', '.join(LEVELS)}")
        if self.backend == "local" and (self.image or self.runtime):
            raise ValueError("image and runtime are for containers: add backend='docker'")
        known = LEVELS[self.backend]
        for name in (self.require, self.level):
            if name is not None and name not in known:
                raise ValueError(f"no level {name!r} with backend {self.backend!r}: choose from {', '.join(known)}")
        if self.engine not in ("auto", *wire.ENGINES):
            raise ValueError(f"unknown engine {self.engine!r}: choose from auto, {', '.join(wire.ENGINES)}")

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels to try, strongest first; each of them is enough."""
        known = LEVELS[self.backend]
        return (self.level,) if self.level else known[: known.index(self.require or known[0]) + 1]

    def to_dict(self) -> dict[str, str | None]:
        """The fields by name, as a Verifier and the options of commands name them."""
        return dataclasses.asdict(self)

    def open(self) -> Backend:
        """Return the backend, to start workers there. Raises CannotConfine if it can't be had on this machine."""
        if self.backend == "local":
            from selftaught.sandbox.backends.local import Local

            return Local(self)
        try:
            from selftaught.sandbox.backends.docker import Docker
        except ImportError as error:
            raise CannotConfine(f"the docker SDK is missing ({error}): pip install 'selftaught[docker]'") from error
        return Docker(self)
