"""Adam with decoupled weight decay, a warm-up and cosine schedule, and the gradient's norm.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    w <- w - lr (decay w + m^ / (sqrt(v^) + eps))       m^ = m / (1 - b1^k), v^ = v / (1 - b2^k)
    lr(k, t) = lr * min(1, (k + 1) / warmup) * (1 + cos(pi t)) / 2       t in [0, 1]: the share of the budget spent

Decay acts on matrices and kernels only, not on biases and gains. The arithmetic is torch's fused kernel through its
functional form: `torch.optim.AdamW` itself imports the compiler on first use, which costs more than a second in every
process, and bookkeeping at every step. Loshchilov, Hutter (2019), https://arxiv.org/abs/1711.05101.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

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


class AdamW:
    """Fused AdamW over a player's parameters.

    Args:
        parameters: what it changes, in a fixed order.
        settings: betas and weight decay; the learning rate is given at each step.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], settings: TrainingDefaults) -> None:
        self.parameters, self.settings = list(parameters), settings
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]
        decayed = [i for i, p in enumerate(self.parameters) if p.ndim > 1]
        plain = [i for i, p in enumerate(self.parameters) if p.ndim <= 1]
        self.groups = [(decayed, settings.weight_decay), (plain, 0.0)] if settings.weight_decay else []
        self.groups = self.groups or [(decayed + plain, 0.0)]

    def zero(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient, at a learning rate."""
        beta1, beta2 = self.settings.betas
        for group, decay in self.groups:
            moved = [i for i in group if self.parameters[i].grad is not None]
            if moved:
                adamw(
                    [self.parameters[i] for i in moved],
                    [self.parameters[i].grad for i in moved],  # type: ignore[misc]
                    [self.first[i] for i in moved],
                    [self.second[i] for i in moved],
                    [],
                    [self.steps[i] for i in moved],
                    lr=rate, beta1=beta1, beta2=beta2, weight_decay=decay, eps=1e-8,
                    fused=True, foreach=False, amsgrad=False, maximize=False,
                )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Its state by name."""
        columns = {"first": self.first, "second": self.second, "step": self.steps}
        return {f"{i}.{name}": t for name, column in columns.items() for i, t in enumerate(column)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the state that `tensors` gave."""
        for name, own in self.tensors().items():
            own.copy_(tensors[name])


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
