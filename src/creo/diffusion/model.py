r"""Diffusion, score and flow-matching models: one class, several choices.

    y = units(x)      x_t = alpha_t y + sigma_t z      output(x_t, t) -> E[y | x_t] by the 2 x 2 solve of its prediction

The network answers what the best linear predictor of data of unit variance leaves: output = (a alpha + b sigma) /
(alpha^2 + sigma^2) x_t + network, so that before training the flow is that of a Gaussian.

Training lowers the denoising objective of the choices; what is done with E[y | x_t] then, samples, latents, scores, is
in `creo.diffusion.sampling`. `log_prob` integrates the probability flow (an ESTIMATE: the solver's error and, in many
dimensions, the noise of the trace can go either way; of levels it is, in expectation, a lower bound up to the solver's
error).

Conditional networks are trained with the condition dropped now and then, so that one network also answers without it,
which is what guidance needs; or (`guide="classifier"`) the network knows no condition, and a classifier of noisy
samples that is trained beside it brings that in (`creo.diffusion.classifier`).

`score` and `denoise` speak of noised data in the data's own units, mean + std (alpha y + sigma z);
at t_min the score is the gradient of the log-density of raw data.

Source of the common frame: Kingma, Gao 2023, https://arxiv.org/abs/2303.00848.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from creo.diffusion.bound import Bound, Variance, cell_reconstruction, variational_bound
from creo.diffusion.choices import Choices as Choices
from creo.diffusion.choices import PredictionName, WeightChoice
from creo.diffusion.classifier import NoisyClassifier
from creo.diffusion.guidance import classified
from creo.diffusion.likelihood import EXACT_TRACE, ORDER, flow_log_prob, trace_probe
from creo.diffusion.networks import NetworkName, embedding_for, network_for
from creo.diffusion.paths import columns
from creo.diffusion.pictures import pictures
from creo.diffusion.sampling import ReverseProcess
from creo.diffusion.solvers import Denoiser, Spacing, time_grid
from creo.diffusion.units import Units
from creo.errors import OptionError, SpaceError
from creo.model import Likelihood, Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.beside import PixelEmbedding
from creo.spaces import Continuous, Ordinal, Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTEXT_WIDTH = 32

GuideName = Literal["free", "classifier"]


class Diffusion(ReverseProcess):
    """The model of the module docstring; a recipe is a subclass that sets `choices`.

    Args:
        space: Continuous or Ordinal.
        network: (x (B, *shape) of unit variance, log(sigma/alpha) (B,) or (1,), context (B, width) or None) to
            (B, *shape).
        choices: everything else.
        condition: what it is conditioned on, or None.
        embedding: raw conditions to context; needed if there is a condition and no classifier.
        classifier: of noisy samples, which brings the condition in; the network has no context then.
        dropout: probability of dropping the condition in training.
        likelihood_steps: network calls of `log_prob`, where nothing else is said.
    """

    likelihood = Likelihood.ESTIMATE
    recipe_choices: ClassVar[Choices]

    def __init__(
        self,
        space: Space,
        network: nn.Module,
        choices: Choices,
        *,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
        classifier: NoisyClassifier | None = None,
        dropout: float = 0.1,
        likelihood_steps: int = 32,
    ) -> None:
        super().__init__(space, condition)
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"diffusion models Continuous and Ordinal spaces; received {space}")
        if not 0 < dropout < 1 or likelihood_steps < 1:
            raise OptionError(
                "dropout of the condition is in (0, 1) and likelihood_steps at least 1; "
                f"received {dropout} and {likelihood_steps}"
            )
        self.network, self.choices, self.units, self.embedding = network, choices, Units(space), embedding
        self.classifier = classifier
        density = choices.objective.density  # one that learns is part of the model's state
        self.density = density if isinstance(density, nn.Module) else None
        self.dropout, self.likelihood_steps = dropout, likelihood_steps
        self.nothing = None if embedding is None else nn.Parameter(torch.zeros(embedding.width))
        trace = "exact trace" if space.dims <= EXACT_TRACE else "Hutchinson trace, one probe"
        noise = ", uniform dequantisation" if space.discrete else ""
        self.likelihood_note = (
            f"probability flow, Adams order {ORDER}, {likelihood_steps} network evaluations, {trace}{noise}"
        )

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
        prediction: PredictionName = "auto",
        weight: WeightChoice = "auto",
        guide: GuideName = "free",
        label_dropout: float = 0.1,
        likelihood_steps: int | None = None,
    ) -> Self:
        """The recipe with a network that suits the space.

        Args:
            space: Continuous or Ordinal.
            condition: what it is conditioned on, or None.
            network: mlp, unet or dit (both of images and videos only); auto is unet from 16 x 16 pixels. A U-Net sees
                conditions that are pictures of the sample's height and width pixel by pixel.
            hidden: units of the perceptron's hidden layers.
            channels: of the U-Net at full size; a DiT's sites have four times as many numbers.
            blocks: of the U-Net per size; a DiT has four times as many.
            patch: side of the squares of pixels taken as one; larger is cheaper and coarser.
            prediction: what the network's output is; auto is the recipe's.
            weight: of the loss; auto is the recipe's.
            guide: how labels come in: free (the network is told them, and dropped ones train it without) or classifier
                (the network is unconditional, a classifier of noisy samples is trained beside it).
            label_dropout: probability of dropping the condition in training.
            likelihood_steps: network evaluations of log_prob; if not given, 16 in up to 8 dimensions, else 64.
        """
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"{cls.__name__} models Continuous and Ordinal spaces; received {space}")
        choices = cls.recipe_choices.adjusted(prediction, weight)
        classifier = None if guide == "free" else NoisyClassifier(space.shape, condition, choices.path)
        told = condition if classifier is None else None
        embedding = embedding_for(told, space.shape, network, width=CONTEXT_WIDTH)
        net = network_for(
            space.shape,
            network,
            hidden=hidden,
            channels=channels,
            blocks=blocks,
            patch=patch,
            context=0 if embedding is None else embedding.width,
            beside=embedding.space.shape if isinstance(embedding, PixelEmbedding) else None,
        )
        return cls(
            space,
            net,
            choices,
            condition=condition,
            embedding=embedding,
            classifier=classifier,
            dropout=label_dropout,
            likelihood_steps=likelihood_steps or (16 if space.dims <= 8 else 64),
        )

    def training_defaults(self) -> TrainingDefaults:
        """Adam at 1e-3 with averaged weights, which sampling needs more than other families."""
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.999)

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Units of the data and scale of the condition."""
        self.check_batch(x, c)
        self.units.initialise(x)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def _context(self, c: Tensor | None) -> Tensor | None:
        """Embedded conditions, some of them dropped in training."""
        if c is None or self.embedding is None or self.nothing is None:
            return None
        e = self.embedding(c)
        if not self.training:
            return e
        return torch.where(torch.rand(len(e), 1, device=e.device) < self.dropout, self.nothing.to(e.dtype), e)

    def _output(self, x: Tensor, t: Tensor, e: Tensor | None) -> Tensor:
        """The prediction at x_t = x (B, *shape) and times t, (B,) or one for all: best linear one plus network."""
        t = t.double()
        (alpha, sigma), (a, b) = (
            self.choices.path(t),
            self.choices.objective.prediction.row(self.choices.path, t),
        )
        variance = alpha.square() + sigma.square()
        scale, linear = columns(variance.rsqrt(), x), columns((a * alpha + b * sigma) / variance, x)
        level = (sigma.log() - alpha.clamp_min(1e-30).log()).reshape(-1)  # one for all costs one embedding
        return linear * x + self.network(scale * x, level.to(x.dtype), e)

    def matching(self, y: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
        """The choices' objective for data y and noise z that are paired, in units (B, *shape); (B,), not nats."""
        e = self._context(c)
        return self.choices.objective(lambda x, t: self._output(x, t, e), self.choices.path, y, z)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """The choices' objective, averaged over batch and dimensions (not nats), and the classifier's cross-entropy."""
        self.check_batch(x, c)
        y = self.units(x)
        z = self.choices.coupling(y, torch.randn_like(y), c)
        parts = {"denoising": self.matching(y, z, c).mean()}
        if self.classifier is not None and c is not None:
            parts["classifier"] = self.classifier.loss(y, c, self.choices.objective.density)
        return Terms(sum(parts.values()), {k: v.detach() for k, v in parts.items()})  # type: ignore[arg-type]

    def _denoiser(self, e: Tensor | None) -> Denoiser:
        prediction, path = self.choices.objective.prediction, self.choices.path
        return lambda x, t: prediction.solve(path, t.double(), x, self._output(x, t, e)).x0

    def conditioned(self, c: Tensor | None) -> Denoiser:
        """E[y | x_t, c]; see `creo.diffusion.sampling`."""
        if c is not None and self.classifier is not None:
            classifier = self.classifier
            return classified(
                self._denoiser(None), self.choices.path, lambda x, t: classifier.log_prob(x, t, c)
            )
        if self.embedding is None or self.nothing is None:
            return self._denoiser(None)
        if c is not None:
            return self._denoiser(self.embedding(c))
        nothing = self.nothing
        return lambda x, t: self._denoiser(nothing.expand(len(x), -1))(x, t)

    def log_prob(self, x: Tensor, c: Tensor | None = None, *, steps: int | None = None) -> Tensor:
        """Log-density of raw data by the probability flow, (B,) nats; see `creo.diffusion.likelihood`.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            steps: network evaluations; None: the model's own number.
        """
        self.check_batch(x, c)
        count = self.likelihood_steps if steps is None else steps
        return self._flow_log_prob(self.units(x), c, count, None)

    def log_prob_with_error(
        self, x: Tensor, c: Tensor | None = None, *, steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """`log_prob`, and by how much half as many evaluations change it, with the same noise; (B,) nats each.

        The error of the fourth-order solver is some fifteenth of that where steps are short; it says nothing of the
        network's.
        """
        self.check_batch(x, c)
        y, probe = self.units(x), trace_probe(x.to(self.dtype))
        count = self.likelihood_steps if steps is None else steps
        value, coarse = (self._flow_log_prob(y, c, max(1, k), probe) for k in (count, count // 2))
        return value, (value - coarse).abs()

    def _flow_log_prob(self, y: Tensor, c: Tensor | None, steps: int, probe: Tensor | None) -> Tensor:
        with torch.no_grad():
            denoise = self.conditioned(c)
        value, _ = flow_log_prob(denoise, self.choices.path, y, steps=steps, probe=probe)
        return value.detach() + self.units.log_det

    def bound(
        self,
        x: Tensor,
        c: Tensor | None = None,
        *,
        steps: int = 1000,
        variance: Variance = "small",
        spacing: Spacing = "log-snr",
    ) -> Bound:
        """The variational bound of the ancestral chain with `steps` steps, for levels; see `creo.diffusion.bound`.

        Its `log_prob` is a lower bound on the probability of the levels (in expectation over its noise), in nats.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            steps: T; network evaluations.
            variance: of the reverse steps.
            spacing: of the times; `time` with as many steps as DDPM has is its published chain.

        Raises:
            SpaceError: if the space has no levels.
        """
        self.check_batch(x, c)
        if not isinstance(self.space, Ordinal):
            raise SpaceError(f"the bound is of data with levels; {self.space} has a density: ask log_prob")
        cells = x.to(self.dtype)
        low = torch.where(x == 0, -torch.inf, self.units(cells))
        high = torch.where(x == self.space.levels - 1, torch.inf, self.units(cells + 1))
        with torch.no_grad():
            denoise = self.denoiser(len(x), c)
            times = time_grid(self.choices.path, steps, spacing=spacing)
            middle, likely = self.units(cells + 0.5), cell_reconstruction(low, high)
            return variational_bound(denoise, self.choices.path, times, middle, likely, variance=variance)

    def pictures(self, x: Tensor, c: Tensor | None = None) -> Mapping[str, Callable[[], Figure]]:
        """Forward process, trajectory, and in the plane particles and score field: `creo.diffusion.pictures`."""
        return pictures(self, x, c)
