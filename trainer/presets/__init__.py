"""Settings of a run of the loop, as TOML files: the presets are such files beside this one (see `configuration`)."""

from selftaught.trainer.presets.configuration import PRESETS, from_file, make
from selftaught.trainer.presets.preset import Learner, Preset, StepCallback

__all__ = ["PRESETS", "Learner", "Preset", "StepCallback", "from_file", "make"]
