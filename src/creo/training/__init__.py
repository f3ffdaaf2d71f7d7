"""Training: the game loop, checkpoints that survive a kill, and runs that a person can read."""

from creo.training.folder import RunFolder
from creo.training.latents import LatentTwoStage, latents_of
from creo.training.loading import load
from creo.training.run import Run, fit, make_settings, resume
from creo.training.second_stage import second_stage
from creo.training.settings import Settings
from creo.training.stages import SecondStage
from creo.training.two_stage import TwoStage, codes_of

__all__ = [
    "LatentTwoStage", "Run", "RunFolder", "SecondStage", "Settings", "TwoStage", "codes_of", "fit", "latents_of",
    "load", "make_settings", "resume", "second_stage",
]  # fmt: skip
