r"""Classifier-free guidance of a sequential model: a wrapper that every decoding strategy takes like the model itself.

    log q(s_i | s_<i, c) = (1 + w) log p(s_i | s_<i, c) - w log p(s_i | s_<i) + const

w = 0 is the model itself, w = -1 the model without condition; w > 0 prefers what tells the condition apart. The guided
conditionals are a proper model, but not p(x | c). It needs a model trained with its condition dropped now and then
(option `drop` of the pixel models).

    ancestral(Guided(model, 2.0), 16, label)
    complete(Guided(model, 2.0), x, known, label)

Reference: Ho, Salimans (2022), Classifier-Free Diffusion Guidance, https://arxiv.org/abs/2207.12598.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from creo.autoregressive.pixels import PixelModel
from creo.errors import OptionError
from creo.model import Sequential


class Guided(Sequential):
    """The sequential model of the module docstring; everything else is asked of the model it wraps.

    Args:
        model: conditional, with a null condition.
        weight: w.
    """

    def __init__(self, model: PixelModel, weight: float) -> None:
        if model.null is None:
            raise OptionError(
                "guidance needs a conditional model built with drop above 0 (say drop=0.1): it has no null condition"
            )
        self.model, self.weight, self.order = model, weight, model.order

    def __getattr__(self, name: str) -> Any:
        if name == "model":  # not yet set: copying and unpickling ask before __init__ has run
            raise AttributeError(name)
        return getattr(self.model, name)

    def init_state(self, batch: int, c: Tensor | None = None) -> Any:
        return self.model.init_state(batch, c), self.model.null_state(batch)

    def step(self, state: Any, token: Tensor | None) -> tuple[Tensor, Any]:
        given, given_state = self.model.step(state[0], token)
        without, null_state = self.model.step(state[1], token)
        w = self.weight
        logits = (1 + w) * given.log_softmax(-1) - w * without.log_softmax(-1)
        return torch.log_softmax(logits, -1), (given_state, null_state)
