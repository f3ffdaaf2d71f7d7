r"""Models on stochastic interpolants: from any distribution to the data, by a flow or a diffusion.

One network with two heads learns both regressions of `creo.diffusion.interpolants`,

    loss = mean_d (v(x_t, t) - (alpha' x_0 + beta' x_1))^2 + mean_d (eta(x_t, t) - z)^2,      t uniform,

where the heads are the best linear predictions for independent ends of unit variance plus the network. x_0 is the data;
x_1 is standard normal noise, or an example of another data set (`starting_from`), in units of its own. So the model
carries one data set to the other: `carry(x)`, and `carry(x, back=True)` the other way.

With noise at the other end `log_prob` integrates the flow's divergence (an ESTIMATE: the solver's error and, in many
dimensions, the noise of the trace); a data set at the other end has no known density, so there is none.
"""

from __future__ import annotations

import copy
import math
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from creo.diffusion.coupling import Coupling, EntropicPairs, independent
from creo.diffusion.interpolants import Interpolant, Quarter, Straight, diffuse, integrate
from creo.diffusion.likelihood import EXACT_TRACE, trace_of
from creo.diffusion.networks import NetworkName, Widened, told_network
from creo.diffusion.objective import stratified
from creo.diffusion.paths import columns
from creo.diffusion.units import Units
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Likelihood, Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.spaces import Continuous, Ordinal, Space

CONTEXT_WIDTH = 32
STEPS = 40


class Bridge(GenerativeModel):
    """The model of the module docstring.

    Args:
        space: Continuous or Ordinal.
        network: (x (B, *shape) of unit variance, log(beta/alpha) (B,) or (1,), context (B, width) or None) to
            two heads, (B, 2 shape[0], *).
        interpolant: between the ends.
        coupling: of the two ends in training.
        condition: what it is conditioned on, or None.
        embedding: raw conditions to context; needed if there is a condition.
        likelihood_steps: network calls of `log_prob`, where nothing else is said.
    """

    likelihood = Likelihood.ESTIMATE
    no_likelihood: ClassVar[str] = "it starts from examples, whose density is not known"
    source: Tensor | None

    def __init__(
        self,
        space: Space,
        network: nn.Module,
        interpolant: Interpolant,
        *,
        coupling: Coupling = independent,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
        likelihood_steps: int = 32,
    ) -> None:
        super().__init__(space, condition)
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"bridges lead to Continuous and Ordinal spaces; received {space}")
        if likelihood_steps < 1:
            raise OptionError(f"likelihood_steps is at least 1; received {likelihood_steps}")
        self.network, self.interpolant, self.coupling, self.embedding = (
            network,
            interpolant,
            coupling,
            embedding,
        )
        self.units, self.source_units, self.likelihood_steps = Units(space), Units(space), likelihood_steps
        self.register_buffer("source", None)
        trace = "exact trace" if space.dims <= EXACT_TRACE else "Hutchinson trace, one probe"
        self.likelihood_note = f"flow of the interpolant, {likelihood_steps} network evaluations, {trace}"

    @classmethod
    def pieces(cls, noise: float) -> tuple[Interpolant, Coupling]:
        """Interpolant and coupling with this amount of noise."""
        raise OptionError(f"{cls.__name__} is built directly: it has no interpolant of its own")

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        network: NetworkName = "auto",
        hidden: tuple[int, ...] = (96, 96, 96),
        channels: int = 32,
        blocks: int = 1,
        patch: int = 1,
        noise: float = 1.0,
        likelihood_steps: int | None = None,
    ) -> Self:
        """The recipe with a network that suits the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            network: mlp, unet or dit (both of images only); auto is unet for images of at least 16 x 16.
            hidden: units of the perceptron's hidden layers.
            channels: of the U-Net at full size; a DiT's sites have four times as many numbers.
            blocks: of the U-Net per size; a DiT has four times as many.
            patch: side of the squares of pixels taken as one.
            noise: of the bridge between its ends, for data of unit variance.
            likelihood_steps: network evaluations of log_prob; if not given, 16 in up to 8 dimensions, else 64.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"{cls.__name__} models Continuous and Ordinal spaces; received {space}")
        interpolant, coupling = cls.pieces(noise)
        net, embedding = told_network(
            space.shape, condition, network, width=CONTEXT_WIDTH, hidden=hidden, channels=channels,
            blocks=blocks, patch=patch, copies=2,
        )  # fmt: skip
        return cls(
            space,
            Widened(net, 2, heads=2),
            interpolant,
            coupling=coupling,
            condition=condition,
            embedding=embedding,
            likelihood_steps=likelihood_steps or (16 if space.dims <= 8 else 64),
        )

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.999)

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Units of both ends and scale of the condition."""
        self.check_batch(x, c)
        self.units.initialise(x)
        if self.source is not None:
            self.source_units.initialise(self.source)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def starting_from(self, source: Tensor) -> Self:
        """A copy of this model that starts from examples of another data set instead of noise.

        It is not in the registry, so a run of it is loaded into a model made the same way.

        Args:
            source: raw examples of the same space, (N, *space.shape).
        """
        self.space.check(source, "source")
        model = copy.deepcopy(self)
        model.register_buffer("source", source.clone())
        model.likelihood, model.recipe, model.likelihood_note = Likelihood.NONE, None, ""
        return model

    def _start(self, n: int) -> Tensor:
        """x_1 in its units, (n, *shape)."""
        if self.source is None:
            return torch.randn(n, *self.space.shape, dtype=self.dtype, device=self.device)
        rows = torch.randint(len(self.source), (n,), device=self.source.device)
        return self.source_units(self.source[rows])

    def _told(self, c: Tensor | None) -> Tensor | None:
        return None if c is None or self.embedding is None else self.embedding(c)

    def heads(self, x: Tensor, t: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """(v, eta) at x_t = x (B, *shape), times t (B,) or one for all, and a condition's embedding."""
        t = t.double()
        (alpha, beta, gamma), (d_alpha, d_beta, _) = self.interpolant(t), self.interpolant.derivatives(t)
        variance = alpha.square() + beta.square() + gamma.square()
        level = (beta.clamp_min(1e-30).log() - alpha.clamp_min(1e-30).log()).reshape(-1).to(x.dtype)
        out = self.network(columns(variance.rsqrt(), x) * x, level, e).chunk(2, 1)
        linear = (d_alpha * alpha + d_beta * beta) / variance, gamma / variance
        v, eta = (columns(k, x) * x + head for k, head in zip(linear, out, strict=True))
        return v, eta

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """Both regressions' squared errors, averaged over batch and dimensions (not nats)."""
        self.check_batch(x, c)
        x0 = self.units(x)
        x1, z = self.coupling(x0, self._start(len(x0)), c), torch.randn_like(x0)
        t = stratified(len(x0), x0)
        alpha, beta, gamma = (columns(k, x0) for k in self.interpolant(t))
        d_alpha, d_beta, _ = (columns(k, x0) for k in self.interpolant.derivatives(t))
        v, eta = self.heads(alpha * x0 + beta * x1 + gamma * z, t, self._told(c))
        velocity, noise = (v - d_alpha * x0 - d_beta * x1).square().mean(), (eta - z).square().mean()
        return Terms(velocity + noise, {"velocity": velocity.detach(), "noise": noise.detach()})

    def _moved(
        self, x: Tensor, c: Tensor | None, start: float, steps: int, kappa: float, tracked: bool = False
    ) -> tuple[Tensor, Tensor]:
        """x (B, *) in units carried from t = start to the other end, and the integral of the divergence of b."""
        if kappa < 0:
            raise OptionError(f"the noise of a diffusion is at least 0; received {kappa}")
        e = self._told(c)

        def heads(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            return self.heads(x, torch.tensor(t, dtype=torch.float64, device=x.device), e)

        if kappa > 0:
            moved = diffuse(heads, self.interpolant, x, start=start, end=1 - start, steps=steps, kappa=kappa)
            return moved, x.new_zeros(len(x))
        trace = trace_of(x, None)

        def field(state: tuple[Tensor, ...], t: float) -> tuple[Tensor, ...]:
            d_gamma = float(self.interpolant.derivatives(torch.tensor(t, dtype=torch.float64))[2])
            with torch.set_grad_enabled(tracked):
                y = state[0].detach().requires_grad_(tracked)
                v, eta = heads(y, t)
                b = v + d_gamma * eta
                return b.detach(), trace(b, y) if tracked else state[1]

        start_state = x, x.new_zeros(len(x))
        moved, gained = integrate(field, start_state, start=start, end=1 - start, steps=steps)
        return moved, gained

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, steps: int = STEPS, noise: float = 0.0) -> Tensor:
        """Draw samples.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one for all.
            steps: network calls.
            noise: 0 follows the flow, more a diffusion of the same marginals (which needs more steps).
        """
        c = self.expand_condition(n, c)
        return self.units.data(self._moved(self._start(n), c, 1.0, steps, noise)[0])

    @torch.no_grad()
    def carry(
        self,
        x: Tensor,
        c: Tensor | None = None,
        *,
        back: bool = False,
        steps: int = STEPS,
        noise: float = 0.0,
    ) -> Tensor:
        """Examples of the source carried to the data, raw, or back.

        Args:
            x: raw examples of the source, or with `back` of the data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            back: from the data to the source.
            steps: network calls.
            noise: as of `sample`.

        Raises:
            OptionError: the other end is noise: ask `encode` or `decode`.
        """
        if self.source is None:
            raise OptionError("the other end of this bridge is noise: use encode(x) and decode(z)")
        self.check_batch(x, c)
        here, there = (self.units, self.source_units) if back else (self.source_units, self.units)
        return there.data(self._moved(here(x), c, 0.0 if back else 1.0, steps, noise)[0])

    def log_prob(self, x: Tensor, c: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """Log-density of raw data by the flow, (B,) nats.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            steps: network evaluations; None: the model's own number.
        """
        self.check_batch(x, c)
        if self.source is not None:
            return super().log_prob(x, c)
        count = self.likelihood_steps if steps is None else steps
        z, gained = self._moved(self.units(x), c, 0.0, count, 0.0, tracked=True)
        normal = -(z.square() + math.log(2 * math.pi)).flatten(1).sum(1) / 2
        return (normal + gained + self.units.log_det).detach()

    @torch.no_grad()
    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Where the flow carries data, (B, *space.shape): noise, or examples of the source in their units."""
        self.check_batch(x, c)
        y = self.units(x.to(self.dtype) + 0.5 if self.space.discrete else x)
        return self._moved(y, c, 0.0, 2 * STEPS, 0.0)[0]

    @torch.no_grad()
    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Raw data (B, *space.shape) of what `encode` gives."""
        return self.units.data(
            self._moved(z.to(self.dtype), self.expand_condition(len(z), c), 1.0, 2 * STEPS, 0.0)[0]
        )

    def _at(self, x: Tensor, t: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Points on the bridge in units, and the heads there."""
        if not x.is_floating_point() or x.shape[1:] != self.space.shape:
            raise SpaceError(
                f"points on the bridge are floating, (B, {self.space.shape}); received {tuple(x.shape)}"
            )
        y = self.units(x.to(self.dtype))
        return y, *self.heads(y, t, self._told(self.expand_condition(len(x), c)))

    def denoise(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """E[x_0 | x_t = x] in the data's units, (B, *space.shape): x - gamma eta and v are two equations for it.

        Args:
            x: points on the bridge in the data's units, floating (B, *space.shape).
            t: times in (0, 1), (B,) or ().
            c: conditions, (B, *condition.shape), or None.
        """
        y, v, eta = self._at(x, t, c)
        (alpha, beta, gamma), (d_alpha, d_beta, _) = (
            [columns(k, y) for k in f(t.double())] for f in (self.interpolant, self.interpolant.derivatives)
        )
        x0 = (d_beta * (y - gamma * eta) - beta * v) / (alpha * d_beta - beta * d_alpha)
        return self.units.points(x0)

    def score(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """Gradient of log p_t at x with respect to x, in nats per unit of the data; arguments as of `denoise`."""
        y, _, eta = self._at(x, t, c)
        return -eta / columns(self.interpolant(t.double())[2], y) * (-self.units.log_std).exp()


class StochasticInterpolant(Bridge):
    """Arcs from independent noise to data, with noise on the way."""

    @classmethod
    def pieces(cls, noise: float) -> tuple[Interpolant, Coupling]:
        return Quarter(noise), independent


class SBFlowMatching(Bridge):
    """Brownian bridges between each batch and noise paired by the entropic plan: a Schroedinger bridge."""

    @classmethod
    def pieces(cls, noise: float) -> tuple[Interpolant, Coupling]:
        return Straight(noise), EntropicPairs(noise)
