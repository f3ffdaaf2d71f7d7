r"""Times drawn where the loss has been large: importance sampling by a running history.

The range of times is cut into K equal parts, whose losses e are remembered as running mean squares h_k, and

    p(t) = K / (t_max - t_min) q_k,      q_k = floor/K + (1 - floor) sqrt(h_k) / sum_j sqrt(h_j),

the density with which E_p e/p has the least variance. Losses are divided by it, so the objective stays that of uniform
times; only its noise, and with it that of the gradient, is smaller. Until every part has been seen, times are uniform.

It learns while the model trains, and is part of the model's state (`Diffusion` keeps it): one history for one model.

Source: Nichol, Dhariwal 2021, https://arxiv.org/abs/2102.09672 (section 3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from creo.diffusion.objective import TimeDensity
from creo.diffusion.paths import Path
from creo.errors import OptionError

#: Share of the times that stay uniform, and of the past in a running mean.
FLOOR, DECAY = 0.1, 0.9


class LossHistory(nn.Module, TimeDensity):
    """The density of the module docstring.

    Args:
        parts: K.

    Raises:
        OptionError: if there is no part.
    """

    square: Tensor
    seen: Tensor

    def __init__(self, parts: int = 32) -> None:
        super().__init__()
        if parts < 1:
            raise OptionError(f"a history of losses has at least 1 part; received {parts}")
        self.register_buffer("square", torch.zeros(parts, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(parts, dtype=torch.bool))

    def shares(self) -> Tensor:
        """q, (K,)."""
        k = len(self.square)
        if not bool(self.seen.all()) or not bool(self.square.sum() > 0):
            return torch.full_like(self.square, 1 / k)
        root = self.square.sqrt()
        return FLOOR / k + (1 - FLOOR) * root / root.sum()

    def _part(self, path: Path, t: Tensor) -> Tensor:
        share = (t.double() - path.t_min) / (path.t_max - path.t_min)
        return (share * len(self.square)).long().clamp(0, len(self.square) - 1)

    def forward(self, path: Path, u: Tensor) -> Tensor:
        """Times of uniform u in [0, 1), of u's shape."""
        q = self.shares().to(u.device)
        knots = torch.nn.functional.pad(q.cumsum(0), (1, 0))
        i = (torch.searchsorted(knots, u.double().contiguous(), right=True) - 1).clamp(0, len(q) - 1)
        share = ((i + (u.double() - knots[i]) / q[i]) / len(q)).clamp(0, 1)
        return (path.t_min + share * (path.t_max - path.t_min)).to(u.dtype)

    def density(self, path: Path, t: Tensor) -> Tensor:
        return (1 / self.correction(path, t)) / (path.t_max - path.t_min)

    def correction(self, path: Path, t: Tensor) -> Tensor:
        q = self.shares().to(t.device)
        return (1 / (len(q) * q[self._part(path, t)])).to(t.dtype)

    @torch.no_grad()
    def observe(self, path: Path, t: Tensor, loss: Tensor) -> None:
        """Remember losses (B,) of uniform times at times t (B,), in training."""
        if not self.training:
            return
        part, square = self._part(path, t), loss.double().square()
        count = torch.zeros_like(self.square).index_add_(0, part, torch.ones_like(square))
        mean = torch.zeros_like(self.square).index_add_(0, part, square) / count.clamp(min=1)
        old = torch.where(self.seen, self.square, mean)
        self.square.copy_(torch.where(count > 0, DECAY * old + (1 - DECAY) * mean, self.square))
        self.seen |= count > 0
