"""Training: the game loop, checkpoints that survive a kill, and runs that a person can read."""

from creo.training.folder import RunFolder
from creo.training.loading import load
from creo.training.run import Run, fit, make_settings, resume
from creo.training.settings import Settings
from creo.training.two_stage import TwoStage, codes_of, second_stage

__all__ = [
    "Run", "RunFolder", "Settings", "TwoStage", "codes_of", "fit", "load", "make_settings", "resume", "second_stage",
]  # fmt: skip
