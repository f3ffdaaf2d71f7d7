r"""The mixture of logistics of PixelCNN++: the channels of one pixel share their component and their means are coupled.

With K components of weights pi_k and, for channel c, mean m_ck, scale s_ck and coefficients a_cjk,

    P(x_1..x_C) = sum_k pi_k prod_c L(x_c; m_ck + sum_{j<c} a_cjk x_j, s_ck)

where L is a logistic discretised to the levels (the outer bins reach to infinity, so it sums to 1) and levels are
scaled to [-1, 1]. Given the channels before, a channel is again a mixture, whose weights are those of the components
that explain them:

    P(x_c | x_<c) = sum_k w_k L(x_c; ...),       w_k ~ pi_k prod_{j<c} L(x_j; ...)

Reference: Salimans, Karpathy, Chen, Kingma (2017), PixelCNN++, https://arxiv.org/abs/1701.05517.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.distributions.heads import MIN_LOG_SCALE


class CoupledLogistics(nn.Module):
    """See the module docstring. Parameters are (..., size): weights, then means, log-scales and coefficients.

    Args:
        levels: number of levels.
        channels: C.
        components: K.
    """

    spread: Tensor

    def __init__(self, levels: int, channels: int, components: int) -> None:
        super().__init__()
        self.levels, self.channels, self.components = levels, channels, components
        self.pairs = channels * (channels - 1) // 2
        self.size = components * (1 + 2 * channels + self.pairs)
        #: means start spread over the range instead of all at its middle
        spread = torch.linspace(-1, 1, 2 * components + 1)[1::2].clone()
        self.register_buffer("spread", spread, persistent=False)

    def _split(self, params: Tensor) -> tuple[Tensor, ...]:
        """log pi (..., K), means and log-scales (..., C, K), coefficients (..., pairs, K)."""
        wide = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        rows = wide.unflatten(-1, (-1, self.components))
        weight, mean, scale, pairs = rows.split([1, self.channels, self.channels, self.pairs], -2)
        mean = mean + self.spread.to(mean.dtype)
        return weight.squeeze(-2).log_softmax(-1), mean, (scale - 1).clamp(min=MIN_LOG_SCALE), pairs.tanh()

    def _scaled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(dtype) * (2.0 / (self.levels - 1)) - 1.0

    def _mean(self, mean: Tensor, pairs: Tensor, earlier: Tensor) -> Tensor:
        """Mean of channel c = earlier.shape[-1] under each component, (..., K)."""
        c = earlier.shape[-1]
        own = pairs[..., c * (c - 1) // 2 : c * (c + 1) // 2, :]
        return mean[..., c, :] + (own * self._scaled(earlier, mean.dtype).unsqueeze(-1)).sum(-2)

    def _log_bins(self, x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """log L(x) for x (...) under each component, (..., K)."""
        half = 1.0 / (self.levels - 1)
        x = x.unsqueeze(-1)
        centred, rate = self._scaled(x, mean.dtype) - mean, (-log_scale).exp()
        below, above = F.logsigmoid((centred + half) * rate), F.logsigmoid((half - centred) * rate)
        inside = below + above + torch.log(-torch.expm1(-2 * half * rate))
        return torch.where(x == 0, below, torch.where(x == self.levels - 1, above, inside))

    def _explained(self, params: Tensor, x: Tensor) -> Tensor:
        """log pi_k + sum over the channels of x (..., c) of log L, (..., K)."""
        weight, mean, scale, pairs = self._split(params)
        for c in range(x.shape[-1]):
            at = self._mean(mean, pairs, x[..., :c])
            weight = weight + self._log_bins(x[..., c], at, scale[..., c, :])
        return weight

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Nats of whole pixels: params (..., size) and x (..., C) to (...)."""
        return self._explained(params, x).logsumexp(-1)

    def table(self, params: Tensor, earlier: Tensor) -> Tensor:
        """Nats of the levels of channel c given earlier channels (..., c): (..., levels)."""
        weight = self._explained(params, earlier).log_softmax(-1).unsqueeze(-2)
        _, mean, scale, pairs = self._split(params)
        c = earlier.shape[-1]
        at, scale = self._mean(mean, pairs, earlier).unsqueeze(-2), scale[..., c, :].unsqueeze(-2)
        levels = torch.arange(self.levels, device=params.device).expand(*params.shape[:-1], -1)
        return (weight + self._log_bins(levels, at, scale)).logsumexp(-1)
