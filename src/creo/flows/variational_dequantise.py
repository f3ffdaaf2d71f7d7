r"""Variational dequantisation: noise whose distribution is learned and depends on the levels.

    y = x + u,   u ~ q(u | x, e) on the unit cell        log P(x | e) >= E_u[log p(x + u | e) - log q(u | x, e)]

The bound is tight where q(u | x) is proportional to p(x + u): uniform noise asks of p that it be flat in every cell,
learned noise asks that q take the shape p has there. q is a flow too, inverse autoregressive, so that a draw and its
density are one pass:

    u = m + (1 - 2 m) Phi(v),    v = IAF(eps; h(x, e)),   eps ~ N(0, I)
    -log q(u | x, e) = log |det dv/deps| + log N(v) - log N(eps) + D log(1 - 2 m)

with h a perceptron and a margin m = 1e-4, so that rounding never carries x + u to the next cell. It starts at v = eps,
which is uniform noise. Flow++ has a logistic function where Phi stands.

Source: Ho, Chen, Srinivas, Duan, Abbeel 2019 (Flow++, section 3.1), https://arxiv.org/abs/1902.00275.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from creo.distributions.gaussian import standard_log_prob
from creo.errors import OptionError
from creo.flows.autoregressive import Autoregressive
from creo.flows.coupling import Affine
from creo.flows.dequantise import UniformDequantise
from creo.flows.layer import Compose, Inverted
from creo.nn import MLP
from creo.spaces import Ordinal

MARGIN = 1e-4


class VariationalDequantise(UniformDequantise):
    """The layer of the module docstring; the inverse rounds down.

    Args:
        space: the ordinal space.
        layers: inverse autoregressive layers of q, of alternating order.
        hidden: width of all hidden layers.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(self, space: Ordinal, *, layers: int = 2, hidden: int = 32, context: int = 0) -> None:
        super().__init__(space)
        if layers < 1:
            raise OptionError(f"variational noise needs at least 1 layer; received {layers}")
        self.network = MLP(space.dims, hidden, hidden=(hidden,), context=context)
        order = torch.arange(space.dims)
        orders = [order.flip(0) if i % 2 else order for i in range(layers)]
        wide = (hidden, hidden)
        flows = [
            Autoregressive(space.shape, Affine(2.0), hidden=wide, context=hidden, order=o, zero=True)
            for o in orders
        ]
        self.noise = Compose(Inverted(flow) for flow in flows)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Levels (B, *shape) to a random point of their cell, and -log q of the noise."""
        levels = x.to(self.dtype_of.dtype)
        h = self.network((2 * levels / (self.space.levels - 1) - 1).flatten(1), e).to(levels.dtype)
        eps = torch.randn_like(levels)
        v, log_det = self.noise.inverse(eps, h)
        u = MARGIN + (1 - 2 * MARGIN) * torch.special.ndtr(v)
        width = self.space.dims * math.log1p(-2 * MARGIN)
        return levels + u, log_det + standard_log_prob(v) - standard_log_prob(eps) + width
