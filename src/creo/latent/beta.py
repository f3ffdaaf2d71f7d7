r"""The beta head: real variables of bounded range, such as intensities, shares and angles.

    u = (x - low) / (high - low),      p(x) = u^(a-1) (1 - u)^(b-1) / [B(a, b) (high - low)]        low < x < high

with a, b > 0 given by the network for every variable, so that it can be a bump anywhere in the range, skewed near its
ends, or (a, b < 1) prefer the ends. The range is the training data's, and a share MARGIN of it on either side; outside
of it the density is 0 and its logarithm -inf. Nats of the raw variable.

Reference: Johnson, Kotz, Balakrishnan (1995), Continuous Univariate Distributions 2, chapter 25.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.distributions.heads import Head, HeadName, head_for
from creo.errors import OptionError
from creo.spaces import Continuous, Space

DecoderHeadName = Literal["auto", "bernoulli", "categorical", "adjacent", "logistic", "gaussian", "beta"]

#: Share of the data's range added at either end, so that no example lies where the density may be infinite.
MARGIN = 0.05
#: a and b are at least this.
LEAST = 1e-2


class Beta(Head):
    """The density of the module docstring; parameters are [a before softplus | b before softplus].

    Args:
        shape: of one sample.
    """

    size = 2
    low: Tensor
    width: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(shape))
        self.register_buffer("width", torch.ones(shape))

    def initialise(self, x: Tensor) -> None:
        low, high = x.amin(0).double(), x.amax(0).double()
        spread = torch.where(high > low, high - low, 1.0)
        self.low.copy_(low - MARGIN * spread)
        self.width.copy_((1 + 2 * MARGIN) * spread)

    def _distribution(self, params: Tensor) -> torch.distributions.Beta:
        wide = params.float() if params.dtype in (torch.bfloat16, torch.float16) else params
        a, b = (F.softplus(wide + 1) + LEAST).unbind(-1)
        return torch.distributions.Beta(a, b, validate_args=False)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        beta = self._distribution(params)
        u = (x.to(beta.concentration1.dtype) - self.low) / self.width
        inside = (u > 0) & (u < 1)
        log_p = beta.log_prob(torch.where(inside, u, 0.5)) - self.width.log()
        return torch.where(inside, log_p, -math.inf)

    def sample(self, params: Tensor) -> Tensor:
        return self.low + self.width * self._distribution(params).sample()

    def mean(self, params: Tensor) -> Tensor:
        return self.low + self.width * self._distribution(params).mean

    def mode(self, params: Tensor) -> Tensor:
        """The highest point of the density; the mean where it is highest at an end, or flat."""
        beta = self._distribution(params)
        a, b = beta.concentration1, beta.concentration0
        peaked = (a > 1) & (b > 1)
        u = torch.where(peaked, (a - 1) / torch.where(peaked, a + b - 2, 1.0), beta.mean)
        return self.low + self.width * u

    def scaled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return (x.to(dtype) - self.low.to(dtype)) * (2 / self.width.to(dtype)) - 1


def decoder_head(
    space: Space, name: DecoderHeadName = "auto", *, components: int = 3, std: float | None = None
) -> Head:
    """The head called `name` (`creo.distributions.head_for`), or `beta`, for the variables of a space.

    Raises:
        OptionError: the head is not a distribution over such variables.
    """
    if name != "beta":
        chosen: HeadName = name
        return head_for(space, chosen, components=components, std=std)
    if not isinstance(space, Continuous):
        raise OptionError(f"head 'beta' is a density of real variables; received {space}")
    return Beta(space.shape)
