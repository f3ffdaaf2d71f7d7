"""Training: the game loop, checkpoints that survive a kill, and runs that a person can read."""

from creo.training.fit import Run, fit, make_settings, resume
from creo.training.folder import RunFolder
from creo.training.load import load
from creo.training.settings import Settings

__all__ = ["Run", "RunFolder", "Settings", "fit", "load", "make_settings", "resume"]
