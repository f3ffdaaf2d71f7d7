r"""Where solvers take their noise from: torch's generator, or a random stream for every sample; and how much of it.

`Streams` gives each sample numbers of its own, in an order that depends on that sample alone, so that it comes out the
same whichever others are drawn beside it (up to the rounding of the network's products, which may depend on the size of
the batch). Numbers are drawn on the CPU: the same on every device.

Temperature tau makes all noise of the reverse process, where it starts and what is added on the way, sqrt(tau) as
large. On data N(m, S) every solver here is an affine map of its noise, so samples of N(m, S') become ones of
N(m, tau S') exactly; for S' = S that is p^(1/tau), normalised. Elsewhere it trades variety for typicality, and tau = 0
leaves the one sample that no noise leads to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from creo.diffusion.solvers.solver import Noise
from creo.errors import OptionError


class Streams:
    """Noise whose i-th sample comes from a generator of its own.

    Args:
        seeds: one for each sample of the batch.
    """

    def __init__(self, seeds: Sequence[int] | Tensor) -> None:
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def __call__(self, like: Tensor) -> Tensor:
        """Standard normal noise of the shape, dtype and device of a batch (B, *).

        Raises:
            OptionError: if there are not as many seeds as samples.
        """
        if len(like) != len(self.generators):
            raise OptionError(f"{len(like)} samples need {len(like)} seeds; received {len(self.generators)}")
        rows = [torch.randn(like.shape[1:], generator=g, dtype=like.dtype) for g in self.generators]
        return torch.stack(rows).to(like.device)


def noise_source(seeds: Sequence[int] | Tensor | None = None, temperature: float = 1.0) -> Noise:
    """Noise from streams with these seeds, or from torch's generator, at a temperature.

    Raises:
        OptionError: if the temperature is negative.
    """
    if temperature < 0:
        raise OptionError(f"temperature is at least 0; received {temperature}")
    source: Noise = torch.randn_like if seeds is None else Streams(seeds)
    return source if temperature == 1 else lambda like: temperature**0.5 * source(like)
