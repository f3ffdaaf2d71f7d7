r"""Multilayer perceptron with residual connections and an optional condition.

    h_1     = f(W_1 x + U_1 e)
    h_{i+1} = f(W_{i+1} h_i + U_{i+1} e) (+ h_i where the two widths are equal)
    y       = W_out h_L

x is (B, *, inputs), y is (B, *, outputs), and e, (B, *, context), is the embedding of a condition that enters every
hidden layer, which is the same as appending it to every layer's input. With `residual=False` it is the plain
perceptron. With `zero=True` the last layer starts at 0, so that whatever the output modulates starts as the identity.

Sources: Rosenblatt 1958; residual connections: He et al. 2016, https://arxiv.org/abs/1512.03385; dropout: Srivastava
et al. 2014 (JMLR 15, 1929-1958).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.nn.linear import Linear, perceptron


class MLP(nn.Module):
    """The map of the module docstring.

    Args:
        inputs: size of x's last axis.
        outputs: size of y's last axis.
        hidden: widths of the hidden layers; none gives an affine map.
        context: size of the condition's embedding; 0 for none.
        activation: f, elementwise.
        residual: add a layer's input to its output where the widths agree.
        dropout: probability of dropping a hidden unit in training.
        zero: start the last layer at 0.

    Raises:
        OptionError: if a size is below 1 (`context`: below 0) or dropout is outside [0, 1).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        activation: Callable[[Tensor], Tensor] = F.silu,
        residual: bool = True,
        dropout: float = 0.0,
        zero: bool = False,
    ) -> None:
        super().__init__()
        sizes = (inputs, *hidden)
        if min(*sizes, outputs) < 1 or context < 0 or not 0 <= dropout < 1:
            raise OptionError(
                "an MLP needs sizes of at least 1 and a dropout in [0, 1); received "
                f"inputs={inputs}, hidden={tuple(hidden)}, outputs={outputs}, context={context}, dropout={dropout}"
            )
        pairs = list(zip(sizes, hidden, strict=False))
        self.activation = activation
        self.dropout = dropout
        self.skip = [residual and i > 0 and a == b for i, (a, b) in enumerate(pairs)]
        self.plain = activation is F.relu and not any(self.skip)
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairs)
        self.context = nn.ModuleList(nn.Linear(context, b, bias=False) for _, b in pairs if context)
        self.out = Linear(sizes[-1], outputs)
        if zero:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """y of x and, if the network has a context, of the condition's embedding e (broadcast over leading axes)."""
        if self.plain and e is None and not (self.training and self.dropout):
            return perceptron(x, [(layer.weight, layer.bias, None) for layer in (*self.layers, self.out)])
        for i, layer in enumerate(self.layers):
            h = layer(x) if e is None else layer(x) + self.context[i](e)
            h = F.dropout(self.activation(h), self.dropout, self.training)
            x = x + h if self.skip[i] else h
        return self.out(x)
