"""Does a model that fills in what is missing keep what is known, and look at nothing else?"""

from __future__ import annotations

import torch
from torch import Tensor

from creo.errors import SpaceError
from creo.model import seeded
from creo.testing.failure import fail, require
from creo.testing.tiny import tiny_data


def check_completes(model: object, x: Tensor, c: Tensor | None = None, *, seed: int = 0) -> None:
    """Completions are raw data, equal to x where known, and no function of x elsewhere.

    Args:
        model: a model that answers `complete`.
        x: raw data, (B, *space.shape).
        c: conditions, (B, *condition.shape), or None.
        seed: of masks and completions.
    """
    space = model.space  # type: ignore[attr-defined]
    with seeded(seed):
        known = torch.rand(x.shape) < 0.5
        other = torch.where(known, x, tiny_data(space, n=len(x), seed=seed + 1)[0].to(x))
    found = []
    for given in (x, other):
        with seeded(seed):
            found.append(model.complete(given, known, c))  # type: ignore[attr-defined]
    try:
        space.check(found[0], "a completion")
    except SpaceError as error:
        fail(str(error))
    require(torch.equal(found[0][known], x[known]), "a completion changes what is known")
    require(torch.equal(*found), "a completion depends on x where x is not known")
    whole = model.complete(x, torch.ones_like(known), c)  # type: ignore[attr-defined]
    require(torch.equal(whole, x), "a completion of what is wholly known is not that")
