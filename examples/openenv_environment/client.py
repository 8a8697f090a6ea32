"""The client of a session."""

from selftaught.trainer.integrations.openenv import SelftaughtEnv

__all__ = ["SelftaughtEnv"]
