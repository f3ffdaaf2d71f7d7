r"""Where the modes of the data are known: how many does the model find, and how many of its samples are at one?

    high quality = share of samples within 3 sigma of the nearest mode          1 - exp(-9/2) = 0.989 in the plane
    modes        = number of modes with at least one such sample

Source: Srivastava et al. 2017 (VEEGAN), https://arxiv.org/abs/1705.07761.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from creo.evaluation.value import Value

RADIUS = 3.0


@runtime_checkable
class HasModes(Protocol):
    """Densities that are mixtures of equal round modes."""

    centres: Tensor
    sigma: float


def mode_values(samples: Tensor, density: HasModes, **common: Any) -> list[Value]:
    """`modes` and `high quality` of samples (n, d); `common` are further fields of the values."""
    distance, nearest = torch.cdist(samples.double(), density.centres).min(1)
    good = distance < RADIUS * density.sigma
    found, share = len(nearest[good].unique()), float(good.double().mean())
    error = math.sqrt(share * (1 - share) / len(samples))
    return [
        Value("modes", float(found), unit=f"of {len(density.centres)}", better="higher", **common),
        Value("high quality", share, better="higher", stderr=error, **common),
    ]
