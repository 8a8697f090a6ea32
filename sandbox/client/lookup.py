"""Addresses of daemons: what may be written, and the addresses that one name stands for.

``dns+http://NAME:PORT`` is every daemon that the name resolves to, such as the pods behind a headless Service of
Kubernetes. The prefix is that of Thanos and Mimir. A name without it is one daemon, since a name of one machine often
has several addresses (``localhost`` has two).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

PREFIX = "dns+"
_KNOWN = ("http://", "https://", "unix:", f"{PREFIX}http://", f"{PREFIX}https://")


def check(urls: str | Sequence[str]) -> list[str]:
    """Return the addresses of daemons, each once. Raises ValueError for what is none, and if there is none."""
    found = [urls] if isinstance(urls, str) else list(dict.fromkeys(urls))
    if not found:
        raise ValueError("name at least one daemon: http://HOST:PORT or unix:PATH")
    for url in found:
        if not isinstance(url, str) or not url.startswith(_KNOWN):
            raise ValueError(f"{url!r} is not the address of a server: http://HOST:PORT or unix:PATH")
    return found


async def addresses(url: str) -> list[str]:
    """Return the addresses that the name in a URL with `PREFIX` has now, sorted.

    A daemon may have one of each family: those of IPv4 are taken if there are any.

    Raises:
        OSError: The name can't be resolved.
    """
    parts = urlsplit(url.removeprefix(PREFIX))
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname or "", parts.port, type=socket.SOCK_STREAM)
    of_family: dict[int, set[str]] = {}
    for family, _, _, _, address in found:
        of_family.setdefault(family, set()).add(str(address[0]))
    return sorted(of_family.get(socket.AF_INET) or of_family.get(socket.AF_INET6) or ())


class Fixed(AbstractResolver):
    """Resolves every name to one address, so that a connection goes there under the name that stands in the URL."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            ResolveResult(hostname=host, host=self._address, port=port, family=family, proto=0,
                          flags=socket.AI_NUMERICHOST)
        ]  # fmt: skip

    async def close(self) -> None:
        """There is nothing to close."""
