r"""Variational diffusion: trained end to end on a lower bound of log p, its noise levels included.

For clean y (D entries), z_t = alpha y + sigma eps and gamma = -log SNR from g_0 (data) to g_1 (noise),

    -log p(x) <=  KL(q(z_1 | y) | N(0, I))                                                  prior
                + 1/2 int_{g_0}^{g_1} E |eps - eps-hat(z_gamma)|^2 dgamma                   diffusion
                - E log p(x | z_0)                                                          reconstruction

with p(x | z_0) = N(z_0 / alpha_0, sigma_0^2 / alpha_0^2): its mass on the level's cell, where there are levels. This is
the limit of the T-step bound of `creo.diffusion.bound`. Because q(z_0 | x) is known the network is needed for the
diffusion term only: one evaluation.

The network answers what the best linear prediction of noise, sigma z, leaves: eps-hat = sigma z + d. So

    |eps - eps-hat|^2 = |r|^2 + (|d|^2 - 2 <d, r>),   r = eps - sigma z = alpha (alpha eps - sigma y),

and the integral of E |r|^2 = alpha^2 (alpha^2 D + sigma^2 |y|^2) has a closed form: a control variate. What is left to
be estimated is what the network improves on a Gaussian; it vanishes at both ends, and its noise with it.

The two ends are learned by the bound, what lies between by the variance of its estimate (`creo.diffusion.schedule`).
`loss` is the bound in nats per dimension; `log_prob` averages it over `likelihood_steps` times and noises, stratified
in time and antithetic in noise: a BOUND, of continuous data on the density of this model, last noise included.

Source: Kingma, Salimans, Poole, Ho 2021, https://arxiv.org/abs/2107.00630.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.diffusion.bound import cell_reconstruction
from creo.diffusion.model import CONTEXT_WIDTH, Choices, Diffusion
from creo.diffusion.networks import NetworkName, Widened, told_network
from creo.diffusion.objective import Objective, UniformLogSNR, stratified
from creo.diffusion.paths import VP, columns
from creo.diffusion.predictions import NOISE
from creo.diffusion.schedule import LearnedSchedule
from creo.diffusion.solvers import Ancestral
from creo.errors import SpaceError
from creo.model import Likelihood, Report, Terms
from creo.nn import ConditionEmbedding
from creo.spaces import Continuous, Ordinal, Space, bits_per_dim

#: Where learned ends begin: data without levels, noise; and standard deviations between neighbouring levels.
LOW, HIGH, CELLS = -10.0, 6.0, 6.0
#: Frequencies of the Fourier features, and n of the lowest, 2^n pi.
FREQUENCIES, LOWEST = 2, 1


@dataclass(frozen=True)
class Parts:
    """Parts of the negative bound, (B,) nats each; `improvement` is the estimated one, l of the schedule."""

    prior: Tensor
    reconstruction: Tensor
    gaussian: Tensor
    improvement: Tensor

    @property
    def total(self) -> Tensor:
        """The negative bound, (B,)."""
        return self.prior + self.reconstruction + self.gaussian + self.improvement


class VDM(Diffusion):
    """The model of the module docstring; its `choices` have a schedule of its own as path."""

    likelihood = Likelihood.BOUND
    recipe_choices: ClassVar[Choices] = Choices(
        VP(), Objective(NOISE, UniformLogSNR(), "likelihood"), Ancestral(), steps=64
    )

    def __init__(
        self,
        space: Space,
        network: nn.Module,
        *,
        schedule: LearnedSchedule | None = None,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
        dropout: float = 0.1,
        likelihood_steps: int = 32,
    ) -> None:
        schedule = LearnedSchedule(LOW, HIGH) if schedule is None else schedule
        choices = replace(self.recipe_choices, path=schedule)
        super().__init__(
            space, network, choices, condition=condition, embedding=embedding, dropout=dropout,
            likelihood_steps=likelihood_steps,
        )  # fmt: skip
        self.schedule = schedule
        self.likelihood_note = f"variational, continuous time, {likelihood_steps} network evaluations"

    @classmethod
    def for_space(  # type: ignore[override]  # path, prediction and weight are what makes it variational
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        network: NetworkName = "auto",
        hidden: tuple[int, ...] = (96, 96, 96),
        channels: int = 32,
        blocks: int = 1,
        patch: int = 1,
        fourier: Literal["auto", "yes", "no"] = "auto",
        label_dropout: float = 0.1,
        likelihood_steps: int | None = None,
    ) -> Self:
        """A network that suits the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            network: mlp, unet or dit (both of images only); auto is unet for images of at least 16 x 16.
            hidden: units of the perceptron's hidden layers.
            channels: of the U-Net at full size; a DiT's sites have four times as many numbers.
            blocks: of the U-Net per size; a DiT has four times as many.
            patch: side of the squares of pixels taken as one.
            fourier: whether the network is given Fourier features of its input; auto: of images with levels.
            label_dropout: probability of dropping the condition in training.
            likelihood_steps: network evaluations of log_prob; if not given, 16 in up to 8 dimensions, else 64.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"{cls.__name__} models Continuous and Ordinal spaces; received {space}")
        features = fourier == "yes" or (fourier == "auto" and space.discrete and space.is_image)
        copies = 1 + 2 * FREQUENCIES * features
        net, embedding = told_network(
            space.shape, condition, network, width=CONTEXT_WIDTH, hidden=hidden, channels=channels,
            blocks=blocks, patch=patch, copies=copies,
        )  # fmt: skip
        return cls(
            space,
            Widened(net, copies, heads=1, lowest=LOWEST) if features else net,
            condition=condition,
            embedding=embedding,
            dropout=label_dropout,
            likelihood_steps=likelihood_steps or (16 if space.dims <= 8 else 64),
        )

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Units of the data, scale of the condition, and of levels the noise that tells neighbours apart."""
        super().initialise(x, c, report)
        if self.space.discrete:
            gap = float((-self.units.log_std).min())
            self.schedule.start(2 * (gap - math.log(CELLS)), HIGH)

    def parts(self, x: Tensor, e: Tensor | None, u: Tensor, eps: Tensor) -> tuple[Parts, Tensor]:
        """Parts at uniform times u (B,) with noise eps (B, *), and where the times are in the range of gamma."""
        y = self.units(x.to(self.dtype) + 0.5 if self.space.discrete else x)
        start, end = self.schedule.ends()
        share, density = self.schedule.inside(u)
        span = end - start
        gamma = start + span * share.to(y.dtype)
        alpha, sigma = (columns(torch.sigmoid(s * gamma).sqrt(), y) for s in (-1, 1))
        d = self.network(alpha * y + sigma * eps, gamma / 2, e).to(y.dtype)
        gain = (d.square() - 2 * d * alpha * (alpha * eps - sigma * y)).flatten(1).sum(1)
        improvement = span / 2 * gain / density.to(y.dtype)
        square = y.square().flatten(1).sum(1)
        prior, gaussian = _prior(end, square, self.space.dims), _gaussian(start, end, square, self.space.dims)
        return Parts(prior, self._reconstruction(x, y, start, eps), gaussian, improvement), share

    def _reconstruction(self, x: Tensor, y: Tensor, start: Tensor, eps: Tensor) -> Tensor:
        """-log p(x | z_0) with z_0 / alpha_0 = y + e^(g_0/2) eps (its mean over eps, without levels), (B,)."""
        if not isinstance(self.space, Ordinal):
            mean = self.space.dims * (1 + start + math.log(2 * math.pi)) / 2
            return mean - self.units.log_det.expand(len(y))
        cells, std = x.to(self.dtype), (start / 2).exp()
        low = torch.where(x == 0, -torch.inf, self.units(cells))
        high = torch.where(x == self.space.levels - 1, torch.inf, self.units(cells + 1))
        return -cell_reconstruction(low, high)(y + std * eps, std)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """The negative bound in nats per dimension, by one time and noise per example."""
        self.check_batch(x, c)
        u = stratified(len(x), self.schedule.low)
        eps = torch.randn(x.shape, device=self.device, dtype=self.dtype)
        parts, share = self.parts(x, self._context(c), u, eps)
        bound = parts.total.mean()
        terms = {
            "bound": bound,
            "prior": parts.prior.mean(),
            "reconstruction": parts.reconstruction.mean(),
            "diffusion": (parts.gaussian + parts.improvement).mean(),
        }
        if self.space.discrete:
            terms["bits_per_dim"] = bits_per_dim(bound, self.space)
        spread = self.schedule.spread_loss(share, parts.improvement)
        return Terms(bound / self.space.dims + spread, {k: v.detach() for k, v in terms.items()})

    @torch.no_grad()
    def log_prob(self, x: Tensor, c: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """A lower bound on log p(x) in nats, (B,), in expectation over its noise.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            steps: network evaluations; None: the model's own number.
        """
        self.check_batch(x, c)
        e = None if c is None or self.embedding is None else self.embedding(c)
        count = self.likelihood_steps if steps is None else steps
        shift = torch.rand(len(x), device=self.device, dtype=torch.float64)
        eps, total = x.new_empty(0), torch.zeros(len(x), device=self.device, dtype=self.dtype)
        for i in range(count):
            eps = -eps if i % 2 else torch.randn(x.shape, device=self.device, dtype=self.dtype)
            total += self.parts(x, e, (i + shift) / count, eps)[0].total
        return -total / count


def _prior(end: Tensor, square: Tensor, dims: int) -> Tensor:
    """KL(N(alpha_1 y, sigma_1^2) | N(0, I)), (B,), of |y|^2."""
    alpha2, sigma2 = torch.sigmoid(-end), torch.sigmoid(end)
    return (alpha2 * square + dims * (sigma2 - 1 + F.softplus(-end))) / 2


def _gaussian(start: Tensor, end: Tensor, square: Tensor, dims: int) -> Tensor:
    """1/2 int alpha^2 (alpha^2 D + sigma^2 |y|^2) dgamma, (B,): d alpha^2 = -alpha^2 sigma^2 dgamma."""
    drop = torch.sigmoid(-start) - torch.sigmoid(-end)
    return (dims * (F.softplus(-start) - F.softplus(-end) - drop) + square * drop) / 2
