r"""A mixture of Gaussians or logistics of one real variable, from 3 K parameters: weights, means, log-scales.

    p(z) = sum_k pi_k f((z - m_k) / s_k) / s_k,      f the standard normal or logistic density

in nats of z. Means start spread over (-2, 2), where standardised data lie.

Reference: Bishop (1994), Mixture density networks, https://publications.aston.ac.uk/id/eprint/373/.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.distributions.heads import MIN_LOG_SCALE

Shape = Literal["gaussian", "logistic"]


class RealMixture(nn.Module):
    """See the module docstring.

    Args:
        components: K.
        shape: of each component.
    """

    spread: Tensor

    def __init__(self, components: int, shape: Shape = "gaussian") -> None:
        super().__init__()
        self.components, self.size, self.shape = components, 3 * components, shape
        spread = 2 * torch.linspace(-1, 1, 2 * components + 1)[1::2]
        self.register_buffer("spread", spread.clone(), persistent=False)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wide = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        weight, mean, scale = wide.unflatten(-1, (3, self.components)).unbind(-2)
        return weight.log_softmax(-1), mean + self.spread.to(mean.dtype), scale.clamp(MIN_LOG_SCALE, 7.0)

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        """Nats: params (..., 3K) and z (...) to (...)."""
        weight, mean, scale = self._split(params)
        u = (z.to(mean.dtype).unsqueeze(-1) - mean) * (-scale).exp()
        if self.shape == "gaussian":
            inner = -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
        else:
            inner = F.logsigmoid(u) + F.logsigmoid(-u)
        return (weight + inner - scale).logsumexp(-1)

    def sample(self, params: Tensor) -> Tensor:
        """Draw z (...) for params (..., 3K)."""
        weight, mean, scale = self._split(params)
        k = torch.multinomial(weight.exp().reshape(-1, self.components), 1).view(*weight.shape[:-1], 1)
        mean, scale = mean.gather(-1, k).squeeze(-1), scale.gather(-1, k).squeeze(-1)
        if self.shape == "gaussian":
            return mean + scale.exp() * torch.randn_like(mean)
        tiny = torch.finfo(mean.dtype).eps
        return mean + scale.exp() * torch.rand_like(mean).clamp(tiny, 1 - tiny).logit()
