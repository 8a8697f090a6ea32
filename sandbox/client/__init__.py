"""Clients of a daemon, with the methods of `Verifier`, over HTTP or a Unix socket. Need the extra
``selftaught[client]``.

`AsyncClient` belongs to one event loop. `Client` runs one in its own thread and can be used from any thread, from
coroutines, and after a fork. A request that fails for a reason other than its task (no connection, a full queue, a
server that shuts down, a `retryable` verdict) is retried until the deadline. A task gets exactly one verdict. Judging
has no side effects, so retries are safe.
"""

from __future__ import annotations

try:
    import aiohttp  # noqa: F401
except ImportError as error:
    raise ImportError("a client needs aiohttp: pip install 'selftaught[client]'") from error

from selftaught.sandbox.client.asynchronous import AsyncClient
from selftaught.sandbox.client.blocking import Client

__all__ = ["AsyncClient", "Client"]
