"""What a model draws while it trains: one file of samples at a time, of the kind that suits its space."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from creo.data.dataset import Data
from creo.model import GenerativeModel
from creo.spaces import Categories, Space

SAMPLES, POINTS = 64, 2000


def example_conditions(condition: Space | None, data: Data, n: int) -> Tensor | None:
    """n conditions to show samples for: every category in turn, or those of the first validation examples."""
    if condition is None:
        return None
    if isinstance(condition, Categories):
        return (torch.arange(n) * condition.size // n).clamp(max=condition.size - 1)
    c = data.valid.c
    if c is None:
        return None
    return c[torch.arange(n) % len(c)]


@torch.no_grad()
def save_picture(model: GenerativeModel, data: Data, folder: Path, step: int) -> Path:
    """Draw samples of `model` in evaluation mode and save them as `folder`/step-XXXXXXXX with a fitting suffix."""
    from creo.data.export import save_samples

    training = model.training
    model.eval()
    n = POINTS if model.space.shape == (2,) else SAMPLES
    c = example_conditions(model.condition, data, n)
    x = model.sample(n, None if c is None else c.to(model.device)).cpu()
    model.train(training)
    suffix = ".txt" if model.space.kind == "Tokens" else ".png"
    path = folder / f"step-{step:08d}{suffix}"
    save_samples(x, model.space, path)
    return path
