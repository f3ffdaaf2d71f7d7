r"""Latent diffusion: a diffusion with a network that suits the shape of another model's latents.

    z = encode(x)  ->  p(z | c) is a diffusion,      samples decode(z)

Noise in latents is cheap to undo: they are few, and what the eye does not see is left to the decoder. This class is the
second stage, `creo train latent-diffusion --on RUN`; both stages together are `creo.training.latents.LatentTwoStage`.
Any other model of Continuous spaces can take its place. On raw data it is an ordinary diffusion.

| latent                         | network                                    |
|--------------------------------|--------------------------------------------|
| vector                         | perceptron with residual connections       |
| (D, h, w), h and w at least 8  | U-Net                                      |
| (D, h, w), smaller             | transformer over the places                |

Source: Rombach et al. 2022, https://arxiv.org/abs/2112.10752.
"""

from __future__ import annotations

from typing import ClassVar, Self

from creo.diffusion.model import Choices, Diffusion, GuideName
from creo.diffusion.networks import NetworkName
from creo.diffusion.objective import Objective, Uniform
from creo.diffusion.paths import VP
from creo.diffusion.predictions import V
from creo.diffusion.solvers import DPMPP, Multistep
from creo.spaces import Space

#: Shorter side from which grids of latents get a U-Net.
UNET_FROM = 8
#: Entries up to which a small perceptron is enough.
FEW = 4


class LatentDiffusion(Diffusion):
    """Variance-preserving diffusion that predicts v, sampled by DPM-Solver++."""

    recipe_choices: ClassVar[Choices] = Choices(
        VP(), Objective(V, Uniform(), "output"), Multistep(DPMPP, 2), steps=30
    )

    @classmethod
    def for_space(  # type: ignore[override]
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        network: NetworkName = "auto",
        hidden: tuple[int, ...] | None = None,
        channels: int = 32,
        blocks: int = 1,
        guide: GuideName = "free",
        label_dropout: float = 0.1,
        likelihood_steps: int | None = None,
    ) -> Self:
        """A diffusion of latents.

        Args:
            space: Continuous.
            condition: what it is conditioned on, or None.
            network: mlp, unet or dit (both of grids only); auto is by the shape of the latents.
            hidden: units of the perceptron's hidden layers; default 256 256 256, of few entries 96 96 96.
            channels: of the U-Net at full size; a DiT's sites have four times as many numbers.
            blocks: of the U-Net per size; a DiT has four times as many.
            guide: how labels come in: free or classifier; see the other diffusions.
            label_dropout: probability of dropping the condition in training.
            likelihood_steps: network evaluations of log_prob; if not given, 16 in up to 8 dimensions, else 64.
        """
        if network == "auto" and len(space.shape) == 3 and not space.is_image:
            network = "unet" if min(space.shape[1:]) >= UNET_FROM else "dit"
        return super().for_space(
            space, condition, network=network, hidden=hidden or (96 if space.dims <= FEW else 256,) * 3,
            channels=channels, blocks=blocks, guide=guide, label_dropout=label_dropout,
            likelihood_steps=likelihood_steps,
        )  # fmt: skip
