"""Heads: what turns a network's outputs into a distribution over raw data, one scalar variable at a time.

A head reads `size` parameters per variable, params (..., size) for x (...), and treats the variables as independent
given them. All of the dependence is the network's affair: latent models let a decoder give the parameters,
autoregressive models a causal network. Values x are raw: levels 0..levels-1, or real numbers in their own units;
log_prob is in nats of them. What varies is the object passed in:

    Bernoulli           P(x=1) = sigma(a)                                                  size 1
    Categorical         P(x=v) = softmax(a)_v                                              size levels
    Adjacent            log P(x=v) / P(x=v-1) = a_v: any table, from its neighbours' odds   size levels - 1
    DiscretisedLogistic P(x=v) = sum_k pi_k [F_k(v + 1/2) - F_k(v - 1/2)], F(-1/2) = 0 and F(levels - 1/2) = 1,
                        F_k the logistic distribution function                             size 3 K
    Gaussian            p(x) = N(x; m + s a, (s e^b)^2), or a fixed standard deviation     size 2 or 1

The logistic bins telescope, so they sum to 1 exactly; their logarithm is computed without a difference of
nearly equal numbers: log(sigma(b) - sigma(a)) = log sigma(b) + log sigma(-a) + log(1 - e^(a-b)).

A head also says how networks should see the data: `scaled` maps raw values to about [-1, 1].

References:
    Kingma, Welling (2014), https://arxiv.org/abs/1312.6114 (Bernoulli, Gaussian);
    van den Oord, Kalchbrenner, Kavukcuoglu (2016), https://arxiv.org/abs/1601.06759 (categorical);
    Salimans, Karpathy, Chen, Kingma (2017), https://arxiv.org/abs/1701.05517 (discretised logistic mixture).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.spaces import Continuous, Ordinal, Space, Tokens

HeadName = Literal["auto", "bernoulli", "categorical", "adjacent", "logistic", "gaussian"]

#: Smallest log-scale of a logistic or Gaussian head, in scaled units: keeps densities bounded.
MIN_LOG_SCALE = -7.0


#: Up to this many ordered levels, `auto` gives every level its own parameter.
TABLE_LEVELS = 8


def _wide(params: Tensor) -> Tensor:
    """Half-precision outputs in float32: probabilities are never computed in bfloat16."""
    return params.float() if params.dtype in (torch.bfloat16, torch.float16) else params


class Head(nn.Module, ABC):
    """A distribution over scalar variables, given `size` parameters for each."""

    #: parameters per variable
    size: int

    @abstractmethod
    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        """Nats of every variable: params (..., size) and raw x (...) to (...)."""

    @abstractmethod
    def sample(self, params: Tensor) -> Tensor:
        """Draw every variable: params (..., size) to raw values (...)."""

    @abstractmethod
    def mean(self, params: Tensor) -> Tensor:
        """Expected raw value of every variable, (...), a real number also for levels."""

    @abstractmethod
    def mode(self, params: Tensor) -> Tensor:
        """Most probable raw value of every variable, (...)."""

    @abstractmethod
    def scaled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Raw values as networks should see them: real numbers around [-1, 1]."""

    def initialise(self, x: Tensor) -> None:
        """Set location and scale from training data (N, *shape), where the head has such."""


class DiscreteHead(Head):
    """A head over levels 0..levels-1, which has a table of probabilities.

    Args:
        levels: number of levels.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    @abstractmethod
    def log_probs(self, params: Tensor) -> Tensor:
        """Nats of every level: params (..., size) to (..., levels)."""

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return self.log_probs(params).gather(-1, x.long().unsqueeze(-1)).squeeze(-1)

    def sample(self, params: Tensor) -> Tensor:
        table = self.log_probs(params).exp()
        return torch.multinomial(table.reshape(-1, self.levels), 1).view(params.shape[:-1])

    def mean(self, params: Tensor) -> Tensor:
        table = self.log_probs(params).exp()
        return table @ torch.arange(self.levels, dtype=table.dtype, device=table.device)

    def mode(self, params: Tensor) -> Tensor:
        return self.log_probs(params).argmax(-1)

    def scaled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(dtype) * (2.0 / (self.levels - 1)) - 1.0


class Bernoulli(DiscreteHead):
    """Two levels from one logit a: P(x=1) = sigma(a)."""

    size = 1

    def __init__(self) -> None:
        super().__init__(levels=2)

    def log_probs(self, params: Tensor) -> Tensor:
        params = _wide(params)
        return F.logsigmoid(torch.cat([-params, params], -1))

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        logit = _wide(params).squeeze(-1)
        return F.logsigmoid(torch.where(x.bool(), logit, -logit))


class Categorical(DiscreteHead):
    """One logit per level, with no notion of order: P(x=v) = softmax(a)_v."""

    def __init__(self, levels: int) -> None:
        super().__init__(levels)
        self.size = levels

    def log_probs(self, params: Tensor) -> Tensor:
        return _wide(params).log_softmax(-1)


class Adjacent(DiscreteHead):
    """A table given by the log-odds of neighbouring levels: log P(x=v) = a_1 + ... + a_v - log Z.

    It is as general as `Categorical`, but one parameter moves all the levels above it: what is learned of a level
    is shared with its neighbours, which pays where data are few.

    Reference: Agresti (2010), Analysis of Ordinal Categorical Data, section 4.1 (adjacent-category logits).
    """

    def __init__(self, levels: int) -> None:
        super().__init__(levels)
        self.size = levels - 1

    def log_probs(self, params: Tensor) -> Tensor:
        return F.pad(_wide(params).cumsum(-1), (1, 0)).log_softmax(-1)


class DiscretisedLogistic(DiscreteHead):
    """A mixture of logistics, integrated over each level's bin; the outer bins reach to infinity.

    Parameters are [pi logits | means | log scales], K each, with levels scaled to [-1, 1].

    Args:
        levels: number of levels.
        components: K, logistics in the mixture.
    """

    def __init__(self, levels: int, components: int = 1) -> None:
        super().__init__(levels)
        self.components, self.size = components, 3 * components
        #: means start spread over the range instead of all at its middle
        self.spread: Tensor
        self.register_buffer(
            "spread", torch.linspace(-1, 1, 2 * components + 1)[1::2].clone(), persistent=False
        )

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, mean, log_scale = _wide(params).unflatten(-1, (3, self.components)).unbind(-2)
        return logits, mean + self.spread.to(mean.dtype), (log_scale - 1.0).clamp(min=MIN_LOG_SCALE)

    def _of_levels(self, params: Tensor, x: Tensor) -> Tensor:
        logits, mean, log_scale = self._split(params)
        half = 1.0 / (self.levels - 1)
        x = x.unsqueeze(-1)
        centred, rate = self.scaled(x, mean.dtype) - mean, (-log_scale).exp()
        below = F.logsigmoid((centred + half) * rate)  # log F(upper edge)
        above = F.logsigmoid((half - centred) * rate)  # log (1 - F(lower edge))
        inside = torch.log(-torch.expm1(-2 * half * rate))
        log_bin = torch.where(x == 0, below, torch.where(x == self.levels - 1, above, below + above + inside))
        return torch.logsumexp(logits.log_softmax(-1) + log_bin, -1)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        return self._of_levels(params, x)

    def log_probs(self, params: Tensor) -> Tensor:
        levels = torch.arange(self.levels, device=params.device).expand(*params.shape[:-1], -1)
        return self._of_levels(params.unsqueeze(-2), levels)

    def sample(self, params: Tensor) -> Tensor:
        logits, mean, log_scale = self._split(params)
        k = torch.distributions.Categorical(logits=logits).sample().unsqueeze(-1)
        u = torch.rand_like(mean[..., 0]).clamp_(1e-7, 1 - 1e-7)
        noise = u.logit() * log_scale.gather(-1, k).squeeze(-1).exp()
        level = (mean.gather(-1, k).squeeze(-1) + noise + 1.0) * ((self.levels - 1) / 2.0)
        return level.round().clamp(0, self.levels - 1).long()


class Gaussian(Head):
    """A normal density in raw units: N(x; m + s a, (s e^b)^2) with m, s the data's mean and deviation.

    Networks work in standardised units; the density, samples and means are of the raw variable, so the
    log-determinant of the standardisation is counted by construction.

    Args:
        shape: shape of one sample (the location and scale of each variable are kept).
        std: fixed standard deviation in raw units; None: learned, one per variable and output.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], std: float | None = None) -> None:
        super().__init__()
        if std is not None and not std > 0:
            raise OptionError(f"the standard deviation of a Gaussian head must be positive; received {std}")
        self.std, self.size = std, 2 if std is None else 1
        self.register_buffer("shift", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def initialise(self, x: Tensor) -> None:
        x = x.double()
        spread = x.std(0, correction=0)
        self.shift.copy_(x.mean(0))
        self.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def _moments(self, params: Tensor) -> tuple[Tensor, Tensor]:
        params = _wide(params)
        mean = self.shift + self.scale * params[..., 0]
        if self.std is not None:
            return mean, torch.full_like(mean, math.log(self.std))
        return mean, self.scale.log() + params[..., 1].clamp(min=MIN_LOG_SCALE)

    def log_prob(self, params: Tensor, x: Tensor) -> Tensor:
        mean, log_std = self._moments(params)
        z = (x.to(mean.dtype) - mean) * (-log_std).exp()
        return -0.5 * z.square() - log_std - 0.5 * math.log(2 * math.pi)

    def sample(self, params: Tensor) -> Tensor:
        mean, log_std = self._moments(params)
        return mean + log_std.exp() * torch.randn_like(mean)

    def mean(self, params: Tensor) -> Tensor:
        return self._moments(params)[0]

    def mode(self, params: Tensor) -> Tensor:
        return self._moments(params)[0]

    def scaled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return (x.to(dtype) - self.shift.to(dtype)) / self.scale.to(dtype)


def head_for(space: Space, name: HeadName = "auto", *, components: int = 3, std: float | None = None) -> Head:
    """The head called `name` for the variables of a space.

    `auto` is Bernoulli for two levels, a table by neighbours' log-odds (`adjacent`) for up to 8, a discretised
    logistic mixture for more; categorical for tokens; Gaussian for real numbers.

    Args:
        space: Continuous, Ordinal or Tokens.
        name: which head.
        components: logistics in the mixture.
        std: fixed standard deviation of the Gaussian head in raw units; None: learned.

    Raises:
        OptionError: the head is not a distribution over such variables.
    """
    levels = getattr(space, "levels", getattr(space, "size", 0))
    fitting: dict[str, bool] = {
        "bernoulli": levels == 2,
        "adjacent": isinstance(space, Ordinal) and levels <= TABLE_LEVELS,
        "categorical": isinstance(space, Tokens),
        "logistic": isinstance(space, Ordinal),
        "gaussian": isinstance(space, Continuous),
    }
    chosen: str = name
    if name == "auto":
        chosen = next((n for n, fits in fitting.items() if fits), "auto")
    fitting["categorical"], fitting["adjacent"] = levels >= 2, isinstance(space, Ordinal)  # on request
    if not fitting.get(chosen, False):
        able = ", ".join(n for n, fits in fitting.items() if fits) or "none"
        raise OptionError(f"head {name!r} is no distribution over {space}; heads that are: {able}")
    if chosen == "gaussian":
        return Gaussian(space.shape, std)
    if chosen == "logistic":
        return DiscretisedLogistic(levels, components)
    if chosen == "adjacent":
        return Adjacent(levels)
    return Bernoulli() if chosen == "bernoulli" else Categorical(levels)
