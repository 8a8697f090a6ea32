"""The verifier of a daemon: the same methods as `Verifier`, over HTTP or a Unix socket. Needs the extra ``selftaught[client]``.

`AsyncClient` belongs to one event loop. `Client` runs one in a thread of its own and can be used from any thread, from coroutines, and
after a fork. What fails for a reason that is not the task's (no connection, a full queue, a server that ends, `retryable` verdicts) is
tried again until the deadline; a task has one verdict, whatever happens in between. Judging has no side effects, so trying again is safe.
"""

from __future__ import annotations

try:
    import aiohttp  # noqa: F401
except ImportError as error:
    raise ImportError("a client needs aiohttp: pip install 'selftaught[client]'") from error

from selftaught.sandbox.client.asynchronous import AsyncClient
from selftaught.sandbox.client.blocking import Client

__all__ = ["AsyncClient", "Client"]
