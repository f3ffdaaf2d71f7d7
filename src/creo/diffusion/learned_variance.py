r"""DDPM with learned variances: a second head that says, entry by entry, how sure each step back is.

    log v_i = w log beta_i + (1 - w) log b_i,       w = (1 + head) / 2,
    b_i the variance of q(x_{i-1} | x_i, x_0), beta_i that of q(x_i | x_{i-1}): the least and the most that v_i can be
    loss = mean_d |noise - noise-hat|^2 + T/1000 mean_d KL_i (with the mean held fixed)            "hybrid"

The second term teaches the variances alone: the bound of the published chain gets tighter, and strided samples keep
their spread. (A bound with strides does not gain: w was taught for single steps.) Times are the T published steps of
the cosine schedule. For data N(0, s^2) the best variance is that of the reverse chain itself, b + g^2 Var(x_0 | x_i).

The cosine schedule ends at nearly no signal, where noise predicted with a small error means data with a large one. So
the first head answers v, noise-hat = sigma x + alpha v: it is the same regression, and x_0-hat = alpha x - sigma v.

Source: Nichol, Dhariwal 2021, https://arxiv.org/abs/2102.09672.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from creo.diffusion.bound import Bound, Variance, VarianceOf, step_divergence
from creo.diffusion.model import CONTEXT_WIDTH, Choices, Diffusion
from creo.diffusion.networks import NetworkName, Widened, told_network
from creo.diffusion.objective import Levels, Objective, stratified
from creo.diffusion.paths import SteppedVP, columns, cosine_betas
from creo.diffusion.predictions import NOISE
from creo.diffusion.sampling import Trajectory
from creo.diffusion.solvers import Ancestral, Node, Spacing, nodes, noise_source, time_grid
from creo.diffusion.solvers.one_step import posterior_std
from creo.errors import SpaceError
from creo.model import Terms
from creo.spaces import Continuous, Ordinal, Space

STEPS = 1000


class ImprovedDDPM(Diffusion):
    """The model of the module docstring."""

    recipe_choices: ClassVar[Choices] = Choices(
        SteppedVP(cosine_betas(STEPS)), Objective(NOISE, Levels(STEPS), "simple"), Ancestral(), steps=50
    )

    @classmethod
    def for_space(  # type: ignore[override]  # it predicts the noise, with the hybrid weight
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        network: NetworkName = "auto",
        hidden: tuple[int, ...] = (96, 96, 96),
        channels: int = 32,
        blocks: int = 1,
        patch: int = 1,
        label_dropout: float = 0.1,
        likelihood_steps: int | None = None,
    ) -> Self:
        """The recipe with a network of two heads that suits the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            network: mlp, unet or dit (both of images only); auto is unet for images of at least 16 x 16.
            hidden: units of the perceptron's hidden layers.
            channels: of the U-Net at full size; a DiT's sites have four times as many numbers.
            blocks: of the U-Net per size; a DiT has four times as many.
            patch: side of the squares of pixels taken as one.
            label_dropout: probability of dropping the condition in training.
            likelihood_steps: network evaluations of log_prob; if not given, 16 in up to 8 dimensions, else 64.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"{cls.__name__} models Continuous and Ordinal spaces; received {space}")
        net, embedding = told_network(
            space.shape, condition, network, width=CONTEXT_WIDTH, hidden=hidden, channels=channels,
            blocks=blocks, patch=patch, copies=2,
        )  # fmt: skip
        return cls(
            space,
            Widened(net, 2, heads=2),
            cls.recipe_choices,
            condition=condition,
            embedding=embedding,
            dropout=label_dropout,
            likelihood_steps=likelihood_steps or (16 if space.dims <= 8 else 64),
        )

    def heads(self, x: Tensor, t: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """Noise, and w, at x_t = x (B, *shape), times t (B,) or one for all, and a condition's embedding."""
        alpha, sigma = self.choices.path(t.double())
        level = (sigma.log() - alpha.clamp_min(1e-30).log()).reshape(-1).to(x.dtype)
        velocity, share = self.network(x, level, e).chunk(2, 1)
        return columns(sigma, x) * x + columns(alpha, x) * velocity, (1 + share) / 2

    def _output(self, x: Tensor, t: Tensor, e: Tensor | None) -> Tensor:
        return self.heads(x, t, e)[0]

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """The hybrid objective, averaged over batch and dimensions."""
        self.check_batch(x, c)
        y, path = self.units(x), self.choices.path
        z, t = torch.randn_like(y), self.choices.objective.density(path, stratified(len(y), y))
        noisy = path.perturb(y, z, t)
        noise, share = self.heads(noisy, t, self._context(c))
        simple = (noise - z).square().mean()
        alpha, sigma = (columns(k, y) for k in path(t))
        error = y - (noisy - sigma * noise.detach()) / alpha
        bound = self._divergence(error, share, t).mean()
        return Terms(
            simple + STEPS / 1000 * bound, {"denoising": simple.detach(), "variances": bound.detach()}
        )

    def _divergence(self, error: Tensor, share: Tensor, t: Tensor) -> Tensor:
        """KL of the step from t to t - 1/T, (B, *); 0 at the first, which has no step before it."""
        path, first = self.choices.path, t < 1.5 / STEPS
        before = torch.where(first, t, t - 1 / STEPS)
        (a, s), (a1, s1) = path(torch.where(first, t + 1 / STEPS, t)), path(before)
        small = s1.square() * -torch.expm1(2 * (a.log() - a1.log() + s1.log() - s.log()))
        b, large, gain = (columns(k, error) for k in (small, small * (s / s1).square(), a1 / s1.square()))
        v = interpolated(share, b, large)
        return torch.where(columns(first.double(), error) > 0, 0.0, step_divergence(error, b, v, gain))

    def variance(self, c: Tensor | None = None) -> VarianceOf:
        """Learned variances as a function of x and the two ends of a step, strided or not."""
        e = None if c is None or self.embedding is None else self.embedding(c)
        return lambda x, here, there: _of_step(self.heads(x, here.t.to(x.device), e)[1], here, there)

    def bound(
        self,
        x: Tensor,
        c: Tensor | None = None,
        *,
        steps: int = STEPS,
        variance: Variance | str = "learned",
        spacing: Spacing = "time",
    ) -> Bound:
        """The bound of levels as of every diffusion, by default with the learned variances and the published chain."""
        chosen: Any = self.variance(c) if isinstance(variance, str) and variance == "learned" else variance
        return super().bound(x, c, steps=steps, variance=chosen, spacing=spacing)

    @torch.no_grad()
    def _solved(self, n: int, c: Tensor | None, **how: Any) -> Trajectory:
        """The chain with learned variances, unless a solver or guidance is asked for."""
        asked = [how.get(name) for name in ("solver", "tolerance", "negative", "weaker")]
        if how.get("guidance", 1.0) != 1 or any(value is not None for value in asked):
            return super()._solved(n, c, **how)
        c = self.expand_condition(n, c)
        e, path, steps = self.embedding(c) if self.embedding else None, self.choices.path, how.get("steps")
        times = time_grid(path, self.choices.steps if steps is None else steps)
        noise, record = noise_source(how.get("seeds"), how.get("temperature", 1.0)), how.get("record")
        x = noise(torch.empty(n, *self.space.shape, dtype=self.dtype, device=self.device))
        for here, there in pairwise(nodes(path, times)):
            if record is not None:
                record(x)
            eps, share = self.heads(x, here.t.to(x.device), e)
            x0 = (x - here.sigma * eps) / here.alpha
            mean = there.alpha * x0 + (there.sigma**2 - posterior_std(here, there) ** 2) ** 0.5 * eps
            x = mean + _of_step(share, here, there).sqrt() * noise(x)
        if record is not None:
            record(x)
        y = self._denoiser(e)(x, times[-1].to(x.device))
        return Trajectory(times, y.new_empty(0), self.units.data(y), len(times))


def interpolated(share: Tensor, small: Tensor, large: Tensor) -> Tensor:
    """v with log v between log b (share 0) and log beta (share 1)."""
    return (share * large.log() + (1 - share) * small.log()).exp()


def _of_step(share: Tensor, here: Node, there: Node) -> Tensor:
    small = torch.tensor(posterior_std(here, there) ** 2, dtype=share.dtype, device=share.device)
    return interpolated(share, small, small * (here.sigma / there.sigma) ** 2)
