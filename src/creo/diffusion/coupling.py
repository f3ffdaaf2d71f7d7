r"""Which noise goes with which sample in a batch.

Independent noise gives paths that cross; pairing every sample with the noise that is near, by the optimal assignment of
the two batches, straightens them. The assignment uses every noise once, so noise stays normal. With a condition only
samples of equal condition are paired among themselves: otherwise noise would depend on the condition, which sampling
(that draws it independently) would not know. Where no two conditions are equal (numbers), nothing is paired.

The entropic plan of the two batches,

    P = argmin_P  <P, |x_i - z_j|^2> + eps KL(P | uniform),

pairs at random: noise j goes with sample i with probability n P_ij. It lies between the two (eps -> infinity, 0), and
with eps = 2 s^2 it is the static Schroedinger bridge for Brownian motion of variance s^2. As the plan's marginals are
uniform, each noise is used once on average: its distribution is kept in expectation over draws, though a single batch
repeats some.

Sources: Pooladian et al. 2023, https://arxiv.org/abs/2304.14772; Tong et al. 2024, https://arxiv.org/abs/2302.00482.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.divergences.transport.coupling import minibatch_coupling
from creo.divergences.transport.problem import cost_matrix
from creo.divergences.transport.sinkhorn import sinkhorn
from creo.errors import OptionError

Coupling = Callable[[Tensor, Tensor, Tensor | None], Tensor]

#: Accuracy of the plan's marginals, summed over the batch, and steps after which it is taken as it is.
TOLERANCE, ITERATIONS = 1e-2, 300


def independent(x0: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
    """The noise as it was drawn, (B, *)."""
    return z


def optimal(x0: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
    """A permutation of the noise (B, *), near to the samples, within groups of equal conditions c (B, *)."""
    return _within(minibatch_coupling, x0, z, c)


@dataclass(frozen=True)
class EntropicPairs:
    """Noise drawn from the entropic plan of the batch, within groups of equal conditions.

    Args:
        noise: s, the standard deviation of the Brownian motion; eps = 2 s^2.

    Raises:
        OptionError: unless noise is positive.
    """

    noise: float = 1.0

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise OptionError(f"the entropic plan needs a positive noise; received {self.noise}")

    def __call__(self, x0: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
        return _within(self._drawn, x0, z, c)

    def _drawn(self, x0: Tensor, z: Tensor) -> Tensor:
        """The index of the noise for each sample, (n,)."""
        cost = cost_matrix(*(a.detach().flatten(1).double() for a in (x0, z)))
        plan = sinkhorn(
            cost, epsilon=2 * self.noise**2, relative=False, tolerance=TOLERANCE, max_iterations=ITERATIONS
        ).plan
        return torch.multinomial(plan, 1)[:, 0]


def _within(
    pair: Callable[[Tensor, Tensor], Tensor], x0: Tensor, z: Tensor, c: Tensor | None = None
) -> Tensor:
    """Noise as `pair` picks it for a batch, among equal conditions only."""
    if c is None:
        return z[pair(x0, z)]
    groups = c.unique(dim=0, return_inverse=True)[1]
    paired = z.clone()
    for g in range(int(groups.max()) + 1 if len(groups) else 0):
        rows = (groups == g).nonzero()[:, 0]
        if len(rows) > 1:
            paired[rows] = z[rows[pair(x0[rows], z[rows])]]
    return paired


def straightness(x0: Tensor, z: Tensor) -> Tensor:
    """Mean squared distance of paired samples and noise, per dimension: what `optimal` lowers."""
    return torch.mean((x0 - z).square())
