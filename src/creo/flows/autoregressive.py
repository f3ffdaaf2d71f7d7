r"""Autoregressive layers: every entry is mapped by a monotone function that the entries before it choose.

    y_i = g(x_i; h_i(x_0..x_{i-1}, e)),        log |det dy/dx| = sum_i log |dg/dx_i|

One masked network gives all h_i in one pass, so `forward` is one pass; `inverse` finds the entries one after the other,
by forward substitution at about the cost of one pass (`creo.flows.substitution`), or in rounds over many entries at
once (`creo.flows.jacobi`), which is quicker for a few samples. `Inverted` swaps the two: what was fast to evaluate
becomes fast to sample.

Orders: entries may be taken in any order; a flow reverses it from layer to layer, so that the last become the first.

Sources: masked autoregressive flow, Papamakarios, Pavlakou, Murray 2017, https://arxiv.org/abs/1705.07057; inverse
autoregressive flow, Kingma et al. 2016, https://arxiv.org/abs/1606.04934.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from creo.errors import OptionError
from creo.flows.coupling import Affine, Elementwise, by_columns
from creo.flows.jacobi import InversionName, Rounds, block_size, check_inversion
from creo.flows.layer import Layer
from creo.flows.permutation import Permutation
from creo.flows.substitution import Functional, InPlace, schedule, wants_gradient
from creo.flows.written import autoregressive
from creo.nn.linear import suits
from creo.nn.masked import MaskedLinear, MaskedMLP


class Conditioner(MaskedMLP):
    """A masked network on real variables that answers parameter by parameter, (B, parameters, D).

    The rows of its last layer lie in that order too, so that no answer has to be rearranged.

    The last layer starts as `nn.Linear` does, masked afterwards. Started at 0 the network would give the identity but
    learn more slowly: on tables and on patches of photographs it is behind after many hundred steps. Hidden layers
    start as `MaskedLinear`, rows scaled up to their fewer inputs, without which patches are learned more slowly.

    Args:
        variables: D.
        outputs: parameters per variable.
        hidden: units of each hidden layer.
        context: size of a condition's embedding; 0 for none.
        dropout: probability of dropping a hidden unit in training.
        zero: start the last layer at 0 after all, where a flow has to start as the identity.
    """

    def __init__(
        self,
        variables: int,
        outputs: int,
        *,
        hidden: tuple[int, ...],
        context: int = 0,
        dropout: float = 0.0,
        zero: bool = False,
    ) -> None:
        super().__init__(variables, 1, outputs, hidden=hidden, context=context, dropout=dropout)
        mask = self.layers[-1].mask.unflatten(0, (variables, outputs)).transpose(0, 1).flatten(0, 1)
        last = MaskedLinear(mask.contiguous())
        last.reset_parameters()
        with torch.no_grad():
            last.weight.mul_(last.mask)
        self.layers[-1] = last  # type: ignore[index]
        if zero:
            for parameter in (*last.parameters(), *(self.context[-1:].parameters())):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """x (B, D) and context (B, context) to (B, parameters, D)."""
        return self.flat(x, h).view(len(x), self.outputs, self.variables)


class Autoregressive(Layer):
    """An autoregressive layer on events of any shape; `forward` is the fast direction.

    Args:
        shape: of one sample.
        elementwise: g.
        hidden: widths of the masked network's hidden layers.
        context: size of a condition's embedding; 0 for none.
        order: (D,) the position in the flattened event of the i-th entry; as they lie if not given.
        dropout: probability of dropping a hidden unit in training (`forward` only).
        inversion: how `inverse` finds the entries; where it needs gradients it is always incremental.
        tolerance: relative change at which rounds end; if not given, 1e-6 in float32 and 1e-13 in float64.
        zero: start with all parameters of g at 0.

    Raises:
        OptionError: if order is no permutation, there is no hidden layer, or no such inversion.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        elementwise: Elementwise | None = None,
        *,
        hidden: tuple[int, ...] = (128, 128),
        context: int = 0,
        order: Tensor | None = None,
        dropout: float = 0.0,
        inversion: InversionName = "auto",
        tolerance: float | None = None,
        zero: bool = False,
    ) -> None:
        super().__init__()
        check_inversion(inversion, tolerance)
        dims = torch.Size(shape).numel()
        order = torch.arange(dims) if order is None else order
        if not hidden or min(hidden) < 1:
            raise OptionError(
                f"a masked network needs hidden layers of at least 1 unit; received hidden={hidden}"
            )
        self.arrange = Permutation(order)
        self.elementwise = Affine() if elementwise is None else elementwise
        self.network = Conditioner(
            dims, self.elementwise.parameters, hidden=hidden, context=context, dropout=dropout, zero=zero
        )
        self.ends = schedule(self.network)
        self.inversion, self.tolerance = inversion, tolerance
        #: of the last inversion: steps or rounds taken, and the largest relative change of a last round
        self.rounds, self.change = 0, 0.0

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One pass of the network."""
        if self._is_one_step(x, e):
            weights, g = self.network.weights(), self.elementwise.written
            y, log_det = autoregressive(g, x.flatten(1), weights, self.arrange)  # type: ignore[arg-type]
            return y.view(x.shape), log_det
        ordered = self.arrange.forward(x.flatten(1))[0]
        if not by_columns(self.elementwise):
            y, log_slope = self.elementwise.forward(ordered, self.network(ordered, e).to(x.dtype))
            return self.arrange.inverse(y)[0].reshape(x.shape), log_slope.sum(1)
        columns = ordered.T.contiguous()
        h = self.network(columns.T, e).to(x.dtype).permute(2, 1, 0)
        y, log_slope = self.elementwise.forward(columns, h)
        return self.arrange.inverse(y.T)[0].view(x.shape), log_slope.sum(0)

    def _is_one_step(self, x: Tensor, e: Tensor | None) -> bool:
        """Whether network and map can be one step of autograd."""
        return (
            self.elementwise.written is not None
            and e is None
            and not (self.training and self.network.dropout)
            and torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and suits(x.flatten(1), self.network.size, self.network.layers[0].weight.dtype)
        )

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """D short steps that together cost about one pass, or rounds."""
        ordered = self.arrange.forward(y.flatten(1))[0]
        with torch.autocast(y.device.type, enabled=False):
            x, log_det = self._substitute(ordered.T.contiguous(), e)
        return self.arrange.inverse(x.T)[0].view(y.shape), log_det

    def _substitute(self, y: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (D, B) of y (D, B), and log |det dx/dy|."""
        problem = (self.network, self.ends, self.elementwise, y, e)
        if wants_gradient(self.network, y, e):
            self.rounds, self.change = len(y), 0.0
            return Functional(*problem).solve()
        block = block_size(self.inversion, y.shape[1], len(y))
        if not block:
            self.rounds, self.change = len(y), 0.0
            return InPlace(*problem).solve()
        solver = Rounds(*problem, block=block, tolerance=self.tolerance)
        found = solver.solve()
        self.rounds, self.change = solver.rounds, solver.change
        return found
