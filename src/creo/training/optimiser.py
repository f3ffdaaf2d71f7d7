"""How weights move: a warm-up and cosine schedule, the gradient's norm, and the optimisers by name.

    lr(k, t) = lr * min(1, (k + 1) / warmup) * (1 + cos(pi t)) / 2       t in [0, 1]: the share of the budget spent

| optimiser | what it does                                                                       |
|-----------|------------------------------------------------------------------------------------|
| adam      | a rate for every entry (`creo.training.adamw`)                                     |
| muon      | orthogonal updates of matrices, Adam for everything else (`creo.training.muon`)    |
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from creo.errors import OptionError, suggestion
from creo.model import GenerativeModel, Player, TrainingDefaults
from creo.training.adamw import AdamW
from creo.training.muon import Muon


class Optimiser(Protocol):
    """What the trainer asks of an optimiser of one player's parameters."""

    def zero(self) -> None:
        """Forget the gradients."""

    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient, at a learning rate."""

    def tensors(self) -> dict[str, Tensor]:
        """Its state by name."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the state that `tensors` gave."""


def optimiser_of(
    player: Player, settings: TrainingDefaults, model: GenerativeModel, dtype: torch.dtype = torch.float32
) -> Optimiser:
    """The optimiser that the player's settings name.

    Args:
        player: whose parameters move.
        settings: its own.
        model: the whole model, which tells matrices from other parameters.
        dtype: of products inside the optimiser; weights and state stay as they are.
    """
    makers: dict[str, Callable[[], Optimiser]] = {
        "adam": lambda: AdamW(player.parameters, settings),
        "muon": lambda: Muon(player.parameters, settings, model, dtype),
    }
    if settings.optimiser not in makers:
        raise OptionError(f"no optimiser {settings.optimiser!r}{suggestion(settings.optimiser, makers)}")
    return makers[settings.optimiser]()


def settings_of(player: Player, common: TrainingDefaults) -> TrainingDefaults:
    """The training settings with the player's own overrides."""
    known = {f.name for f in dataclasses.fields(TrainingDefaults)}
    for name in player.optimiser:
        if name not in known:
            raise OptionError(
                f"player {player.name!r} overrides unknown setting {name!r}{suggestion(name, known)}"
            )
    return dataclasses.replace(common, **player.optimiser)


def learning_rate(settings: TrainingDefaults, step: int, spent: float) -> float:
    """The learning rate of update `step` (from 0) when the share `spent` of the budget is gone."""
    rate = settings.lr * min(1.0, (step + 1) / max(settings.warmup, 1))
    if settings.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(spent, 1.0)))
    return rate


@torch.no_grad()
def clip_gradient(parameters: Sequence[nn.Parameter], limit: float) -> Tensor:
    """Scale the gradients so that their joint L2 norm is at most `limit` (0: leave them); return the norm before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if limit:
        if norm.device.type == "cpu":
            if norm.item() > limit:
                torch._foreach_mul_(gradients, limit / norm.item())
        else:
            torch._foreach_mul_(gradients, (limit / norm).clamp(max=1.0))
    return norm
