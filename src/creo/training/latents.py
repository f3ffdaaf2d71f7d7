r"""A second stage on latents: a model of the real numbers by which a model that was trained before describes its data.

The first stage is any model with `encode` and `decode`; the second any model of Continuous spaces (a diffusion, then it
is latent diffusion; a flow; a Gaussian), which standardises the latents itself, as it does raw data. Together,

    sample      z ~ p(z | c),  x ~ p(x | z, c)              (what z looks like, where the first stage has no p(x | z))

Where the first stage has a posterior q(z | x) and a likelihood (vae, iwae), latents are drawn from the posterior, once
for every example, and the second stage takes the place of the first one's prior in its importance-weighted bound,

    log p(x | c) >= E log mean_k  p(x | z_k, c) p(z_k | c) / q(z_k | x, c),    z_k ~ q(z | x, c)       nats

a BOUND if p(z | c) is exact or a bound, an ESTIMATE if that is one. A plain encoder defines no density: NONE.

    latents_of(on, data)            the data set of latents
    LatentTwoStage(first, prior)    the whole model

Sources: Vahdat, Kreis, Kautz 2021, https://arxiv.org/abs/2106.05931; Rombach et al. 2022,
https://arxiv.org/abs/2112.10752; two stages of VAEs: Dai, Wipf 2019, https://arxiv.org/abs/1903.05789.
"""

from __future__ import annotations

import inspect
import math
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from creo.data.dataset import Data
from creo.errors import OptionError
from creo.model import Decodes, Encodes, GenerativeModel, Likelihood
from creo.spaces import Continuous
from creo.training.stages import Described, SecondStage, data_of, describe, loaded

#: Draws of the posterior in `log_prob`, where nothing else is said.
SAMPLES = 16


@runtime_checkable
class HasPosterior(Protocol):
    """What a first stage answers that has a likelihood."""

    def posterior(self, x: Tensor, c: Tensor | None = None) -> Any:
        """q(z | x, c), with `noise` (k) and `push` (noise) to z (k, B, d) and log q (k, B)."""

    def log_likelihood(self, x: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(x | z, c) of z (k, B, d), (k, B) nats."""


def latent(first: Any, x: Tensor, c: Tensor | None) -> Tensor:
    """A latent of each of x: drawn from the posterior where there is one, else what `encode` answers."""
    if not isinstance(first, HasPosterior):
        return first.encode(x, c)
    q = first.posterior(x, c)
    return q.push(q.noise(1))[0][0]


class LatentTwoStage(SecondStage):
    """The whole model of the module docstring; the first stage is kept as it is.

    Args:
        first: a trained model with `encode` and `decode`.
        prior: a model of its latents, of a Continuous space.
        samples: draws of the posterior in `log_prob`, where nothing else is said.
    """

    no_likelihood = "a first stage without a posterior defines no density (vae has one)"

    def __init__(self, first: GenerativeModel, prior: GenerativeModel, *, samples: int = SAMPLES) -> None:
        super().__init__(has_latents(first, type(first).__name__), prior)
        self.samples = samples
        known = isinstance(first, HasPosterior)
        exact = prior.likelihood is Likelihood.EXACT
        self.likelihood = Likelihood.NONE if not known else Likelihood.BOUND if exact else prior.likelihood
        self.draws = "draw" in inspect.signature(first.decode).parameters  # type: ignore[arg-type]
        note = f"; {prior.likelihood_note}" if prior.likelihood_note else ""
        self.likelihood_note = f"importance-weighted bound, {samples} samples{note}" if known else ""

    @torch.no_grad()
    def described(self, x: Tensor, c: Tensor | None) -> Tensor:
        return latent(self.first, x, self._of(self.first, c)).to(self.prior.space.dtype)

    def log_prob(self, x: Tensor, c: Tensor | None = None, *, samples: int | None = None) -> Tensor:
        """The bound (or estimate) of the module docstring, (B,) nats; raises NoLikelihood where there is none.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            samples: draws of the posterior; None: the model's own number.
        """
        self.check_batch(x, c)
        if self.likelihood is Likelihood.NONE:
            return super().log_prob(x, c)
        k, first = self.samples if samples is None else samples, self.first
        if k < 1:
            raise OptionError(f"a bound needs at least 1 sample; received samples={k}")
        mine, given = self._of(first, c), self._of(self.prior, c)
        q = first.posterior(x, mine)  # type: ignore[operator]
        z, log_q = q.push(q.noise(k))
        many = None if given is None else given.repeat(k, *[1] * (given.ndim - 1))
        log_prior = self.prior.log_prob(z.flatten(0, 1), many).view(k, -1)
        log_w = first.log_likelihood(x, z, mine) + log_prior - log_q  # type: ignore[operator]
        return log_w.logsumexp(0) - math.log(k)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, **options: Any) -> Tensor:
        """Draw latents from the second stage, with options of its own, then x given them from the first."""
        z, given = self._drawn(n, c, options)
        how = {"draw": True} if self.draws else {}
        return self.first.decode(z, given, **how)  # type: ignore[operator]


class Latents(Described):
    """The latents of a data set as a data set."""

    def whole(self, prior: GenerativeModel) -> LatentTwoStage:
        return LatentTwoStage(self.first.to(prior.device), prior).train(prior.training)


def has_latents(model: GenerativeModel, what: str) -> GenerativeModel:
    """The model, if it has latents.

    Raises:
        OptionError: it has none.
    """
    if not (isinstance(model, Encodes) and isinstance(model, Decodes)):
        raise OptionError(
            f"{what} has no latents, which this second stage is trained on; models with latents: "
            "autoencoder, vae, vqvae, ... (those that answer encode and decode in `creo models`)"
        )
    return model


def latents_of(
    on: str | os.PathLike[str] | GenerativeModel,
    data: Data | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
) -> Latents:
    """The latents that a first stage gives to its data set, or to another one of its space.

    Args:
        on: folder of the run of a model with `encode` and `decode`, or such a model.
        data: the data set; None: the one the run was trained on.
        data_dir: where to look for the data's files first.

    Raises:
        OptionError: the model has no latents, or a model is given without data. RunError: no such run.
    """
    run = None if isinstance(on, GenerativeModel) else Path(on)
    first = has_latents(loaded(run) if run else on, f"{run or type(on).__name__}")  # type: ignore[arg-type]
    if data is None:
        if run is None:
            raise OptionError("latents of a model that has no run need a data set: pass data")
        data = data_of(run, data_dir)
    if first.space != data.space:
        raise OptionError(f"the first stage is for {first.space}, but {data.name} is {data.space}")
    form = _form(first, data)
    train, valid, test = (
        describe(first, s, form, lambda x, c: latent(first, x, c))
        for s in (data.train, data.valid, data.test)
    )
    return Latents(
        data.name, form, train, valid, test, data.condition, data.source, data.licence,
        first=first, of=data, run=run,
    )  # fmt: skip


@torch.no_grad()
def _form(first: GenerativeModel, data: Data) -> Continuous:
    """The space of the latents, by those of two examples."""
    x, c = data.train.head(2)
    given = None if first.condition is None or c is None else c.to(first.device)
    z = latent(first.eval(), x.to(first.device), given)
    if not z.is_floating_point():
        raise OptionError(f"latents of {type(first).__name__} are no real numbers but {z.dtype}")
    return Continuous(tuple(z.shape[1:]))
