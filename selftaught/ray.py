"""Judge on a Ray cluster: `RayVerifier`, and `Judge` for Ray Data (`selftaught.sandbox.cluster`)."""

from __future__ import annotations

from selftaught.sandbox.cluster import Judge, RayVerifier

__all__ = ["Judge", "RayVerifier"]
