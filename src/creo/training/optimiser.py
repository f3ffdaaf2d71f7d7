"""Adam with decoupled weight decay, a warm-up and cosine schedule, and the gradient's norm.

    lr(k, t) = lr * min(1, (k + 1) / warmup) * (1 + cos(pi t)) / 2       t in [0, 1]: the share of the budget spent

Decay acts on matrices and kernels only, not on biases and gains. Loshchilov, Hutter (2019),
https://arxiv.org/abs/1711.05101.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from creo.errors import OptionError, suggestion
from creo.model import Player, TrainingDefaults


def settings_of(player: Player, common: TrainingDefaults) -> TrainingDefaults:
    """The training settings with the player's own overrides."""
    known = {f.name for f in dataclasses.fields(TrainingDefaults)}
    for name in player.optimiser:
        if name not in known:
            raise OptionError(
                f"player {player.name!r} overrides unknown setting {name!r}{suggestion(name, known)}"
            )
    return dataclasses.replace(common, **player.optimiser)


def make_optimiser(player: Player, settings: TrainingDefaults) -> torch.optim.Optimizer:
    """Fused AdamW over a player's parameters, in their order."""
    decayed = [p for p in player.parameters if p.ndim > 1]
    plain = [p for p in player.parameters if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


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
