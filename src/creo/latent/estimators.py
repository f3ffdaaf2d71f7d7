r"""Gradient estimators: how a bound over samples of z becomes a gradient of encoder and decoder.

With a bound's weights g = dL/dlog w of every sample (`creo.latent.bounds`), theta the decoder's and prior's parameters,
phi the encoder's, and z = z(eps, phi):

| estimator   | gradient of phi (that of theta is sum g dlog p(x, z)/dtheta for all)            |
|-------------|---------------------------------------------------------------------------------|
| `pathwise`  | sum g [ dlog w/dz dz/dphi - dlog q(z)/dphi ]                                     |
| `stl`       | sum g dlog w/dz dz/dphi: the last term, of mean 0 at K = 1, is left out          |
| `dreg`      | sum g' dlog w/dz dz/dphi with g' = w~^2 (`Bound.doubly`): unbiased for every K   |
| `score`     | sum (L - L_{-k}) dlog q(z_k)/dphi - g dlog q/dphi: needs no dz/dphi              |

In `score` z is not differentiated (so it may be discrete), and L_{-k} is the control variate (`Bound.credit`), which
does not depend on z_k. `stl` is biased for K > 1 (Tucker et al.).

Functions for discrete z:

    straight_through(value, proxy)     the value of one, the gradient of the other (biased)
    gumbel_softmax(logits, t)          softmax((logits + Gumbel noise) / t): a draw's relaxation, exact as t -> 0
    score_function(log_q, reward)      a surrogate with the gradient of E_q[reward], leave-one-out control variate

References:
    Kingma, Welling (2014), https://arxiv.org/abs/1312.6114 (pathwise);
    Roeder, Wu, Duvenaud (2017), https://arxiv.org/abs/1703.09194 (sticking the landing);
    Tucker, Lawson, Gu, Maddison (2019), https://arxiv.org/abs/1810.04152 (doubly reparametrised);
    Williams (1992), https://doi.org/10.1007/BF00992696; Mnih, Rezende (2016), https://arxiv.org/abs/1602.06725 (score);
    Bengio, Leonard, Courville (2013), https://arxiv.org/abs/1308.3432 (straight-through);
    Jang, Gu, Poole (2017), https://arxiv.org/abs/1611.01144; Maddison, Mnih, Teh (2017),
    https://arxiv.org/abs/1611.00712 (Gumbel-softmax).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.errors import OptionError
from creo.latent.bounds import Bound, centred

LogJoint = Callable[[Tensor], tuple[Tensor, Tensor]]
EstimatorName = Literal["auto", "analytic", "pathwise", "stl", "dreg", "score"]

#: A weight below this counts as this: it is divided by, and changes no gradient that float32 could show.
TINY = 1e-25


class Weighted(ABC):
    """An estimator: whether z carries a gradient, log q its parameters', and what the encoder's samples weigh."""

    #: z is a differentiable function of noise and of the encoder's outputs
    path: bool = True
    #: log q(z) is differentiated with respect to the parameters of q as well as to z
    parameters: bool = True

    @abstractmethod
    def encoder_weights(self, bound: Bound, log_w: Tensor) -> Tensor:
        """What each sample's gradient of the encoder weighs, (m, k, b)."""


class Pathwise(Weighted):
    """The gradient of the bound itself."""

    def encoder_weights(self, bound: Bound, log_w: Tensor) -> Tensor:
        return bound.encoder_weights(log_w)


class StickingTheLanding(Pathwise):
    """Without the score of q; no variance at all where q is the exact posterior."""

    parameters = False


class DoublyReparametrised(Weighted):
    """Without the score of q, and the weights squared: unbiased, with a signal that does not fade as K grows."""

    parameters = False

    def encoder_weights(self, bound: Bound, log_w: Tensor) -> Tensor:
        return bound.doubly(log_w)


class Score(Weighted):
    """The score function with the control variate of the module docstring."""

    path = False

    def encoder_weights(self, bound: Bound, log_w: Tensor) -> Tensor:
        return bound.encoder_weights(log_w) - bound.credit(log_w)


ESTIMATORS: dict[str, Weighted] = {
    "pathwise": Pathwise(),
    "stl": StickingTheLanding(),
    "dreg": DoublyReparametrised(),
    "score": Score(),
}


def estimator_for(name: str) -> Weighted:
    """The estimator called `name`.

    Raises:
        OptionError: no such estimator.
    """
    if name not in ESTIMATORS:
        raise OptionError(
            f"no gradient estimator {name!r}; there are auto, analytic, {', '.join(ESTIMATORS)}"
        )
    return ESTIMATORS[name]


class Reparametrised(Protocol):
    """A posterior q(z | x) of a batch whose draws are functions of noise."""

    def noise(self, n: int) -> Tensor:
        """Noise for n draws of each, (n, b, ...)."""

    def push(self, noise: Tensor, *, path: bool = True, parameters: bool = True) -> tuple[Tensor, Tensor]:
        """z (n, b, d) and log q(z) (n, b), differentiated through z if `path`, through q itself if `parameters`."""


class Estimate(NamedTuple):
    """A bound and what it is made of."""

    value: Tensor  #: (b,) nats, with the estimator's gradient
    log_w: Tensor  #: (m, k, b) log p(x, z) - log q(z), without gradient
    distortion: Tensor  #: -log p(x | z), mean over all samples, nats
    rate: Tensor  #: log q(z) - log p(z), mean over all samples, nats


class Draws(NamedTuple):
    """Samples and their log densities, (s, b) nats each."""

    z: Tensor  #: (s, b, d), whose slope is that of log p(x, z) alone
    likelihood: Tensor  #: log p(x | z)
    prior: Tensor  #: log p(z)
    log_q: Tensor  #: log q(z)


@dataclass(frozen=True)
class Objective:
    """A bound with a gradient.

    With `keep` = r, all samples are weighed without gradient, and r of them, drawn in proportion to their weights,
    stand for all in the gradient (Burda et al., section 3): as unbiased, noisier, and about three times as fast.

    Args:
        bound: over M K samples.
        estimator: one of `ESTIMATORS`.
        keep: r; 0: all samples.
    """

    bound: Bound
    estimator: Weighted
    keep: int = 0

    def __post_init__(self) -> None:
        if self.keep < 0:
            raise OptionError(f"keep at least one sample of each example, or 0 for all; received {self.keep}")

    def __call__(self, q: Reparametrised, log_p: LogJoint, beta: float = 1.0) -> Estimate:
        """The bound of a batch.

        Args:
            q: the posterior.
            log_p: z (s, b, d) to log p(x | z) and log p(z), (s, b) nats each.
            beta: weight of log p(z) - log q(z) in the log weights that are bounded.
        """
        noise = q.noise(self.bound.samples)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.keep):
            draws = self._draw(q, log_p, noise)
        found, decoder, encoder = self._measure(draws, beta)
        if self.keep:
            chosen = decoder.T.multinomial(self.keep, replacement=True).T  # (r, b)
            rows = torch.arange(noise.shape[1], device=noise.device)
            draws = self._draw(q, log_p, noise[chosen, rows])
            encoder = (encoder / decoder.clamp_min(TINY))[chosen, rows] / self.keep
            decoder = torch.full_like(encoder, 1 / self.keep)
        surrogate = self._surrogate(draws, decoder.clamp_min(TINY), encoder, beta)
        return found._replace(value=found.value + (surrogate - surrogate.detach()))

    def _draw(self, q: Reparametrised, log_p: LogJoint, noise: Tensor) -> Draws:
        z, log_q = q.push(noise, path=self.estimator.path, parameters=self.estimator.parameters)
        gate = z.view_as(z)
        return Draws(gate, *log_p(gate), log_q)

    @torch.no_grad()
    def _measure(self, draws: Draws, beta: float) -> tuple[Estimate, Tensor, Tensor]:
        """The bound and the weights of decoder and encoder, (s, b)."""
        rate, bound = draws.log_q - draws.prior, self.bound
        log_w = (draws.likelihood - rate).view(bound.m, bound.k, -1)
        weighed = log_w if beta == 1 else (draws.likelihood - beta * rate).view_as(log_w)
        decoder, encoder = bound.weights(weighed), self.estimator.encoder_weights(bound, weighed)
        found = Estimate(bound.value(weighed), log_w, -draws.likelihood.mean(), rate.mean())
        return found, decoder.flatten(0, 1), encoder.flatten(0, 1)

    @staticmethod
    def _surrogate(draws: Draws, decoder: Tensor, encoder: Tensor, beta: float) -> Tensor:
        """(b,), of which only the gradient means something."""
        if draws.z.requires_grad:
            draws.z.register_hook(lambda slope: slope * (encoder / decoder).unsqueeze(-1))
        joint = draws.likelihood + beta * draws.prior
        return (decoder * joint - beta * encoder * draws.log_q).sum(0)


def straight_through(value: Tensor, proxy: Tensor) -> Tensor:
    """`value` forward, the gradient of `proxy` backward; shapes broadcast."""
    return value.detach() + (proxy - proxy.detach())


def gumbel_softmax(logits: Tensor, temperature: float = 1.0, *, hard: bool = False) -> Tensor:
    """A relaxed draw of categories.

    Args:
        logits: (..., size).
        temperature: t, positive.
        hard: the one-hot of its largest entry, an exact draw, with the relaxed draw's gradient (straight-through).

    Returns:
        (..., size), non-negative, summing to 1.
    """
    if not temperature > 0:
        raise OptionError(f"the temperature of Gumbel-softmax must be positive; received {temperature}")
    gumbel = -torch.empty_like(logits).exponential_().log()
    soft = ((logits + gumbel) / temperature).softmax(-1)
    if not hard:
        return soft
    return straight_through(F.one_hot(soft.argmax(-1), logits.shape[-1]).to(soft.dtype), soft)


def score_function(log_q: Tensor, reward: Tensor) -> Tensor:
    """A surrogate with the gradient of E_q[reward], from s draws each with the mean of the others as control variate.

    Args:
        log_q: log q(z), (s, ...) nats, differentiable.
        reward: of each draw, (s, ...); its own gradient is not taken.

    Returns:
        (...), of which only the gradient means something.
    """
    return (log_q * centred(reward.detach())).mean(0)
