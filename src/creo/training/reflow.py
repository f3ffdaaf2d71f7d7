"""Train a flow on its own pairs of noise and sample, so that it is followed in fewer steps: `creo.diffusion.reflow`.

straight = reflow(creo.load("runs/flow"), pairs=20_000, steps=2000)
few_steps(straight, 100, calls=1)
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from creo.data.dataset import Data, Split
from creo.diffusion.model import Diffusion
from creo.diffusion.reflow import Paired
from creo.errors import OptionError
from creo.model import seeded
from creo.training.run import fit


def reflow(
    model: Diffusion, *, pairs: int = 20_000, conditions: Tensor | None = None, seed: int = 0, **settings: Any
) -> Diffusion:
    """A straighter copy of a trained flow; repeat it for a straighter one still.

    Args:
        model: trained, on straight lines (flow-matching, ot-flow-matching, rectified-flow); it is not changed.
        pairs: how many samples to make and train on, at least 20; a tenth of them is held out.
        conditions: to draw those of the samples from, (N, *condition.shape); needed by conditional models.
        seed: of the pairs and of training.
        **settings: the fields of `creo.training.Settings`: steps, minutes, batch_size, lr, ...

    Raises:
        OptionError: another path, too few pairs, or no conditions for a conditional model.
    """
    if pairs < 20 or (model.condition is not None and conditions is None):
        raise OptionError(
            f"reflow needs at least 20 pairs, and conditions to draw from if the model has some; received {pairs} "
            f"pairs, {'no ' if conditions is None else ''}conditions, condition {model.condition}"
        )
    paired = Paired(copy.deepcopy(model))
    with seeded(seed):
        c = None if conditions is None else conditions[torch.randint(len(conditions), (pairs,))]
        x = paired.sample(pairs, c).cpu()
    a, b = pairs * 8 // 10, pairs * 9 // 10
    train, valid, test = (
        Split(x[rows], None if c is None else c[rows], name=name)
        for name, rows in (("train", slice(a)), ("valid", slice(a, b)), ("test", slice(b, pairs)))
    )
    data = Data("pairs", paired.space, train, valid, test, model.condition)
    fit(paired, data, seed=seed, **settings)
    return paired.student.eval()
