"""selftaught as an environment for OpenEnv: what its tools expect of a folder."""

from selftaught.trainer.integrations.openenv import CodeAction, CodeObservation, SelftaughtEnv

__all__ = ["CodeAction", "CodeObservation", "SelftaughtEnv"]
