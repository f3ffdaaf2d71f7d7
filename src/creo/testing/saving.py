"""Does a model come back from its recipe and its weights, bit for bit?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from creo.model import GenerativeModel, Likelihood, seeded
from creo.registry import build
from creo.spaces import space_from_dict
from creo.testing.failure import fail, require, require_close


def rebuild_from_recipe(recipe: dict[str, Any]) -> GenerativeModel:
    """A fresh model from what `creo.build` wrote into `model.recipe`, by way of JSON as in a run's folder."""
    try:
        recipe = json.loads(json.dumps(recipe))
    except (TypeError, ValueError) as error:
        fail(f"the recipe {recipe} cannot be written to a config: {error}")
    condition = recipe["condition"]
    return build(
        recipe["model"],
        space_from_dict(recipe["space"]),
        None if condition is None else space_from_dict(condition),
        **recipe["options"],
    )


def check_save_load(
    model: GenerativeModel,
    x: Tensor,
    c: Tensor | None = None,
    *,
    rebuild: Callable[[], GenerativeModel] | None = None,
    seed: int = 0,
) -> None:
    """A fresh model with the saved `state_dict` gives identical samples and log-probs.

    Args:
        model: already initialised and trained: what `initialise` computed must be in the state too.
        x: raw data, (B, *space.shape).
        c: conditions, (B, *condition.shape), or None.
        rebuild: makes a fresh model; by default from `model.recipe`.
        seed: of the samples and of random log-probs.
    """
    from safetensors.torch import load, save

    if rebuild is None and model.recipe is None:
        fail(
            "a model that creo.build did not make has no recipe: pass rebuild, a function that makes a fresh one"
        )
    state = model.state_dict()
    strange = [name for name, value in state.items() if not isinstance(value, Tensor)]
    require(
        not strange,
        f"state_dict holds {', '.join(strange)}, which are no tensors: safetensors cannot save them",
    )
    content = save({name: value.detach().clone().contiguous() for name, value in state.items()})
    fresh = rebuild_from_recipe(model.recipe) if rebuild is None else rebuild()  # type: ignore[arg-type]
    try:
        fresh.load_state_dict(load(content))
    except RuntimeError as error:
        fail(f"the rebuilt model does not take the saved state: {' '.join(str(error).split())}")
    _compare(fresh.train(model.training), model, x, c, seed)


@torch.no_grad()
def _compare(fresh: GenerativeModel, model: GenerativeModel, x: Tensor, c: Tensor | None, seed: int) -> None:
    with seeded(seed):
        want = model.sample(len(x), c)
        numbers = None if model.likelihood is Likelihood.NONE else model.log_prob(x, c)
    with seeded(seed):
        require_close(fresh.sample(len(x), c), want, "samples after loading against before")
        if numbers is not None:
            require_close(fresh.log_prob(x, c), numbers, "log_prob after loading against before")
