"""Adam with decoupled weight decay.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
    w <- w - lr (decay w + m^ / (sqrt(v^) + eps))       m^ = m / (1 - b1^k), v^ = v / (1 - b2^k)

Decay acts on matrices and kernels only, not on biases and gains. The arithmetic is torch's fused kernel through its
functional form: `torch.optim.AdamW` itself imports the compiler on first use, which costs more than a second in every
process, and bookkeeping at every step. Loshchilov, Hutter (2019), https://arxiv.org/abs/1711.05101.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from creo.model import TrainingDefaults


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
