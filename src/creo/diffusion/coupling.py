r"""Which noise goes with which sample in a batch.

Independent noise gives paths that cross; pairing every sample with the noise that is near, by the optimal assignment of
the two batches, straightens them. The assignment uses every noise once, so noise stays normal. With a condition only
samples of equal condition are paired among themselves: otherwise noise would depend on the condition, which sampling
(that draws it independently) would not know.

Sources: Pooladian et al. 2023, https://arxiv.org/abs/2304.14772; Tong et al. 2024, https://arxiv.org/abs/2302.00482.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from creo.divergences.transport.coupling import minibatch_coupling

Coupling = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def independent(x0: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
    """The noise as it was drawn, (B, *)."""
    return z


def optimal(x0: Tensor, z: Tensor, c: Tensor | None = None) -> Tensor:
    """A permutation of the noise (B, *), near to the samples, within groups of equal conditions c (B, *)."""
    if c is None:
        return z[minibatch_coupling(x0, z)]
    groups = c.unique(dim=0, return_inverse=True)[1]
    paired = z.clone()
    for g in range(int(groups.max()) + 1 if len(groups) else 0):
        rows = (groups == g).nonzero()[:, 0]
        if len(rows) > 1:
            paired[rows] = z[rows[minibatch_coupling(x0[rows], z[rows])]]
    return paired


def straightness(x0: Tensor, z: Tensor) -> Tensor:
    """Mean squared distance of paired samples and noise, per dimension: what `optimal` lowers."""
    return torch.mean((x0 - z).square())
