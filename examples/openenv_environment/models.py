"""What a model does and sees."""

from selftaught.trainer.integrations.openenv import CodeAction, CodeObservation

__all__ = ["CodeAction", "CodeObservation"]
