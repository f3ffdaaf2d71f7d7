"""Training: the game loop, checkpoints that survive a kill, and runs that a person can read."""

from creo.training.folder import RunFolder
from creo.training.loading import load
from creo.training.run import Run, fit, make_settings, resume
from creo.training.settings import Settings

__all__ = ["Run", "RunFolder", "Settings", "fit", "load", "make_settings", "resume"]
