"""A verifier on all nodes of a Ray cluster. Needs the extra ``selftaught[ray]``.

    driver: RayVerifier -> chunks of tasks -> node: an actor with a Verifier -> verdicts

`RayVerifier` has the methods of `Verifier`. `Judge` judges the rows of a Ray dataset.
"""

from __future__ import annotations

try:
    import ray  # noqa: F401
except ImportError as error:
    raise ImportError("a cluster needs Ray: pip install 'selftaught[ray]'") from error

from selftaught.sandbox.cluster.dataset import Judge
from selftaught.sandbox.cluster.verifier import RayVerifier

__all__ = ["Judge", "RayVerifier"]
