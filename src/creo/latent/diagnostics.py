r"""What a latent model's code holds: rate and distortion, ELBO surgery, active units, a linear probe.

With q(z) = 1/N sum_n q(z | x_n), the aggregate posterior of N data (n drawn uniformly, so that I is at most log N),

    -ELBO = distortion + rate
    rate  = E KL(q(z | x) || p(z)) = I(x; z) + KL(q(z) || p(z))                    (Hoffman, Johnson)
    KL(q(z) || p(z)) = KL(q(z) || prod_j q(z_j)) + marginal KL                      (Chen et al.: total correlation)
    marginal KL      = sum_j KL(q(z_j) || p(z_j))                                   (standard normal prior, diagonal q)

and the gap of the bound is KL(q(z | x) || p(z | x)), estimated by the importance-weighted bound minus the ELBO. An
entry is active if its posterior mean's variance over the data is above 0.01; a collapsed model has none: its decoder
ignores z.

All in nats. Densities of q(z) are mixtures over all N data, so cost grows as N^2: `n` examples are taken.

References:
    Hoffman, Johnson (2016), http://approximateinference.org/accepted/HoffmanJohnson2016.pdf;
    Chen, Li, Grosse, Duvenaud (2018), https://arxiv.org/abs/1802.04942;
    Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519 (active units);
    Alemi et al. (2018), https://arxiv.org/abs/1711.00464;
    Alain, Bengio (2016), https://arxiv.org/abs/1610.01644 (linear probes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.latent.vae import ACTIVE, VAE

#: Rows of q(z_i | x_j) computed at a time.
CHUNK = 256


@dataclass(frozen=True)
class Surgery:
    """The parts of a VAE's bound on data, in nats a sample.

    Args:
        distortion: -E log p(x | z).
        rate: E KL(q(z | x) || p(z)).
        information: I(x; z) under q, at most log n.
        aggregate: KL(q(z) || p(z)).
        marginal: sum of the entries' own KL to the prior; None unless the prior is standard and q diagonal.
        gap: the importance-weighted bound minus the ELBO: a lower bound on KL(q(z | x) || p(z | x)).
        active: entries that the data move.
        entries: all entries.
        n: examples.
    """

    distortion: float
    rate: float
    information: float
    aggregate: float
    marginal: float | None
    gap: float
    active: int
    entries: int
    n: int

    @property
    def correlation(self) -> float | None:
        """KL(q(z) || prod_j q(z_j)), the total correlation of the code."""
        return None if self.marginal is None else self.aggregate - self.marginal

    @property
    def collapsed(self) -> bool:
        """Whether no entry is active: the decoder ignores its code."""
        return self.active == 0

    def lines(self) -> list[str]:
        """The parts and a warning if there is cause for one, a line each."""
        total = self.distortion + self.rate
        said = [
            f"-ELBO {total:.2f} = distortion {self.distortion:.2f} + rate {self.rate:.2f} nats ({self.n} examples)",
            f"rate = information {self.information:.2f} (at most {math.log(self.n):.2f}) "
            f"+ KL to the aggregate posterior {self.aggregate:.2f}",
            f"gap of the bound at least {self.gap:.2f}; {self.active} of {self.entries} entries active",
        ]
        if self.marginal is not None:
            said.insert(2, f"marginal KL {self.marginal:.2f}, total correlation {self.correlation:.2f}")
        if self.collapsed:
            said.append(
                "posterior collapse: no entry is active; try free_bits, beta_warmup or a weaker decoder"
            )
        return said


@torch.no_grad()
def surgery(model: VAE, x: Tensor, c: Tensor | None = None, *, draws: int = 4, samples: int = 64) -> Surgery:
    """Take a VAE's bound apart.

    Args:
        model: in evaluation mode.
        x: raw data, (n, *space.shape), n at least 2.
        c: their conditions, or None.
        draws: of z for each example.
        samples: of the importance-weighted bound that shows the gap.
    """
    if len(x) < 2 or draws < 1:
        raise OptionError(f"surgery needs at least 2 examples and 1 draw; received {len(x)} and {draws}")
    q = model.posterior(x, c)
    z, log_q = q.push(q.noise(draws))
    likelihood, prior = model.log_likelihood(x, z, c), model.prior.log_prob(z)
    each = torch.cat([_log_of_all(q, part) for part in z.flatten(0, 1).split(CHUNK)])  # (draws n, n)
    aggregate = (torch.logsumexp(each, 1) - math.log(len(x))).view_as(log_q)
    elbo = (likelihood + prior - log_q).mean()
    closed = model.prior.rate(q)
    rate = (log_q - prior).mean() if closed is None else closed.sum(1).mean()
    return Surgery(
        distortion=float(-likelihood.mean()),
        rate=float(rate),
        information=float((log_q - aggregate).mean()),
        aggregate=float((aggregate - prior).mean()),
        marginal=_marginal(q, z) if closed is not None and closed.shape[1] == model.latent else None,
        gap=float(model.log_prob(x, c, samples=samples).mean() - elbo),
        active=int((q.at_centre().var(0, correction=0) > ACTIVE).sum()),
        entries=model.latent,
        n=len(x),
    )


def _log_of_all(q: Any, z: Tensor) -> Tensor:
    """log q(z_i | x_j), (i, j)."""
    return q.log_prob(z.unsqueeze(1).expand(-1, *q.mean.shape))


def _marginal(q: Any, z: Tensor) -> float:
    """sum_j KL(q(z_j) || N(0, 1)), q(z_j) the mixture of the data's posteriors, one entry at a time."""
    total = 0.0
    for j in range(z.shape[-1]):
        own = z[..., j].flatten()
        white = (own[:, None] - q.mean[:, j]) * (-q.log_std[:, j]).exp()
        log_mixture = torch.logsumexp(-0.5 * white.square() - q.log_std[:, j], 1) - math.log(len(q.mean))
        total += float((log_mixture + 0.5 * own.square()).mean())  # the constants log(2 pi) / 2 cancel
    return total


@torch.no_grad()
def active_units(model: Any, x: Tensor, c: Tensor | None = None) -> Tensor:
    """Variance over the data of every entry of the code, (latent,); above 0.01 an entry counts as active."""
    return model.encode(x, c).var(0, correction=0)


@dataclass(frozen=True)
class Point:
    """A point of a rate-distortion curve: the rounding step, the bits of a code, the mean square error of a sample."""

    step: float
    bits: float
    error: float


@torch.no_grad()
def rate_distortion(
    model: Any,
    x: Tensor,
    c: Tensor | None = None,
    *,
    steps: Sequence[float] = (4, 2, 1, 0.5, 0.25, 0.125, 0.0625),
) -> list[Point]:
    """Round the codes of data to multiples of step x their deviation: bits that the entries take, and what it costs.

    The bits are the entropies of the rounded entries' histograms, added up: what a coder that treats them as
    independent needs, without its tables.

    Args:
        model: with `encode` and `decode`.
        x: raw data, (n, *space.shape).
        c: their conditions, or None.
        steps: in units of each entry's standard deviation.
    """
    z = model.encode(x, c)
    spread = z.std(0, correction=0).clamp_min(1e-6)
    points = []
    for step in steps:
        index = (z / (step * spread)).round()
        back = model.decode(index * step * spread, c)
        error = (back.float() - x.float()).square().flatten(1).sum(1).mean()
        points.append(Point(step, sum(_entropy(column) for column in index.T), float(error)))
    return points


def _entropy(symbols: Tensor) -> float:
    """Bits of a column of symbols, by its histogram."""
    p = symbols.unique(return_counts=True)[1].double() / len(symbols)
    return float(-(p * p.log2()).sum())


@torch.no_grad()
def linear_probe(
    model: Any, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, strength: float = 1.0
) -> float:
    """Accuracy on `test` of a logistic regression from codes to labels, fitted on `train`.

    Args:
        model: unconditional, with `encode`.
        train: raw data (n, *space.shape) and labels (n,).
        test: the same, unseen.
        strength: inverse weight of its L2 penalty, on standardised codes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    probe.fit(model.encode(train[0]).cpu().numpy(), train[1].cpu().numpy())
    return float(probe.score(model.encode(test[0]).cpu().numpy(), test[1].cpu().numpy()))
