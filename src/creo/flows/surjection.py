r"""Surjections: layers that forget something on the way to the noise, and draw it anew on the way back.

    log p(x) = log p(y) + log p(x | y),        y = f(x)

exact, because y is a function of x; log_det is log p(x | y), and `inverse` draws x from it (its log_det: the negative,
for that draw). Inverted, a layer goes from many to few towards the data: then the noise direction is the one that
draws, and log_det gives a lower bound, in expectation over the draws.

| layer      | y        | p(x | y)                                               | inverted                      |
|------------|----------|--------------------------------------------------------|-------------------------------|
| `Slice`    | x[:kept] | N(rest; m(y, e), diag exp(2 s(y, e)))                  | augmentation by noise         |
| `Absolute` | |x|      | independent signs, of probability sigmoid(logit(y, e)) | signs for data that have none |

`Absolute` gives y >= 0: what follows must live there (`Log` first).

Source: Nielsen, Jaini, Hoogeboom, Winther, Welling 2020 (SurVAE flows), https://arxiv.org/abs/2007.02731; augmentation:
Huang, Dinh, Courville 2020, https://arxiv.org/abs/2002.07101.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.distributions.gaussian import standard_log_prob
from creo.errors import OptionError
from creo.flows.coupling import Affine
from creo.flows.layer import Layer
from creo.nn import MLP


class Slice(Layer):
    """Keeps the first entries of a vector; see the module docstring.

    Args:
        dims: D.
        kept: how many stay.
        hidden: widths of the hidden layers of the network that gives the others' mean and scale.
        context: size of a condition's embedding; 0 for none.
        bound: limit of the log-scale.

    Raises:
        OptionError: if all entries stay, or none.
    """

    noisy_inverse = True

    def __init__(
        self,
        dims: int,
        kept: int,
        *,
        hidden: tuple[int, ...] = (64, 64),
        context: int = 0,
        bound: float = 3.0,
    ) -> None:
        super().__init__()
        if not 0 < kept < dims:
            raise OptionError(f"a slice keeps some of the entries; received kept={kept} of {dims}")
        self.kept, self.gaussian = kept, Affine(bound)
        self.network = MLP(kept, 2 * (dims - kept), hidden=hidden, context=context, zero=True)

    def _answers(self, y: Tensor, e: Tensor | None) -> Tensor:
        """Raw log-scale and mean, (B, 2, D - kept)."""
        return self.network(y, e).to(y.dtype).unflatten(1, (2, -1))

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The first entries, and the log-density of the others given them."""
        y, rest = x.tensor_split([self.kept], 1)
        eps, log_slope = self.gaussian.inverse(rest, self._answers(y, e))
        return y, standard_log_prob(eps) + log_slope.sum(1)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The others drawn."""
        h = self._answers(y, e)
        eps = torch.randn_like(h[:, 0])
        rest, log_slope = self.gaussian.forward(eps, h)
        return torch.cat([y, rest], 1), log_slope.sum(1) - standard_log_prob(eps)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Fewer entries."""
        return (self.kept,)


class Absolute(Layer):
    """Forgets the signs of all entries; see the module docstring.

    Args:
        shape: of one sample.
        hidden: widths of the hidden layers of the network that gives the signs' logits; None for fair signs, which
            make a density symmetric.
        context: size of a condition's embedding; 0 for none.
    """

    noisy_inverse = True

    def __init__(
        self, shape: tuple[int, ...], *, hidden: tuple[int, ...] | None = (64, 64), context: int = 0
    ) -> None:
        super().__init__()
        dims = torch.Size(shape).numel()
        self.network = None if hidden is None else MLP(dims, dims, hidden=hidden, context=context, zero=True)

    def _logits(self, y: Tensor, e: Tensor | None) -> Tensor:
        """Of positive signs, (B, D)."""
        flat = y.flatten(1)
        return torch.zeros_like(flat) if self.network is None else self.network(flat, e).to(y.dtype)

    @staticmethod
    def _log_prob(sign: Tensor, logits: Tensor) -> Tensor:
        return F.logsigmoid(sign * logits).sum(1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """|x|, and the log-probability of the signs."""
        y = x.abs()
        sign = torch.where(x.flatten(1) < 0, -1.0, 1.0).to(x.dtype)
        return y, self._log_prob(sign, self._logits(y, e))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Signs drawn."""
        logits = self._logits(y, e)
        sign = 2 * torch.bernoulli(logits.sigmoid()) - 1
        return sign.reshape_as(y) * y, -self._log_prob(sign, logits)
