"""Hypothesis draws the same examples every time, and never fails for being slow on a busy machine."""

from hypothesis import settings

settings.register_profile("creo", derandomize=True, deadline=None, database=None)
settings.load_profile("creo")
