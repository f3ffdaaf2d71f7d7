"""The training game: players take turns, each lowering its own loss in its own parameters.

A round gives every player its `steps` updates, each on a fresh batch. Most models have one player; adversarial ones
have two. While a player moves, the others' parameters need no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from creo.errors import NonFinite, OptionError
from creo.model import GenerativeModel, Player


class Game(nn.Module):
    """A model and its players as one module, so that a strategy for several processes can wrap it.

    Args:
        model: whose `players()` play.
        precision: float32, or bfloat16 autocast.
    """

    def __init__(self, model: GenerativeModel, precision: str = "float32") -> None:
        super().__init__()
        self.model = model
        self.players = tuple(model.players())
        names = [p.name for p in self.players]
        if len(set(names)) < len(names):
            raise OptionError(f"players of one game need different names; received {names}")
        self.autocast = precision == "bfloat16"

    def forward(self, turn: int, x: Tensor, c: Tensor | None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of player number `turn` on a batch, and its named parts."""
        if not self.autocast:  # entering even a disabled autocast costs microseconds
            terms = self.players[turn].loss(x, c)
        else:
            with torch.autocast(x.device.type, torch.bfloat16):
                terms = self.players[turn].loss(x, c)
        return terms.loss, terms.parts

    def give_turn(self, turn: int) -> None:
        """Let gradients flow to the parameters of player number `turn` alone."""
        if len(self.players) > 1:
            for i, player in enumerate(self.players):
                for p in player.parameters:
                    p.requires_grad_(i == turn)

    def end(self) -> None:
        """Let gradients flow to every player's parameters again."""
        for player in self.players:
            for p in player.parameters:
                p.requires_grad_(True)


def non_finite(
    step: int, player: Player, model: GenerativeModel, loss: float, parts: Mapping[str, Tensor]
) -> NonFinite:
    """The error that says what is not a number: step, player, term, and the first offending parameter."""
    names = {id(p): name for name, p in model.named_parameters()}
    terms = [name for name, value in parts.items() if not torch.as_tensor(value).isfinite().all()]
    if loss == loss and abs(loss) != float("inf"):
        what = "the gradient is not finite"
    else:
        what = f"the loss is {loss}" + (f" (term {', '.join(terms)})" if terms else "")
    weights = [names[id(p)] for p in player.parameters if not p.isfinite().all()]
    slopes = [names[id(p)] for p in player.parameters if p.grad is not None and not p.grad.isfinite().all()]
    if weights:
        where = f"parameter {weights[0]} holds non-finite values"
    elif slopes:
        where = f"first in the gradient of {slopes[0]}"
    else:
        where = "all parameters and gradients so far are finite, so look at the loss itself and the batch"
    return NonFinite(
        f"step {step}, player {player.name!r}: {what}; {where}. Nothing was replaced: the last good checkpoint "
        "is kept; try a smaller --lr or --clip, or look at the data"
    )
