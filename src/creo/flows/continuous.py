r"""Continuous layers: data flow to noise along an ordinary differential equation.

    dx/dt = v(t, x, e),  t from 0 (data) to 1 (noise)        d log p(x(t)) / dt = -tr dv/dx

so log_det = int_0^1 tr(dv/dx) dt, solved together with x. The trace is

| trace        | value                                   | cost of an evaluation     | unbiased |
|--------------|-----------------------------------------|---------------------------|----------|
| `exact`      | sum_i dv_i/dx_i                         | D products, or see below  | exact    |
| `rademacher` | eps^T (dv/dx) eps, eps uniform on +-1   | one                       | yes      |
| `gaussian`   | the same with normal eps                | one, larger variance      | yes      |

The exact trace of a perceptron of two hidden layers, v = W_3 f(W_2 f(W_1 x)), needs no products at all: with the slopes
d_l = f'(.) of its layers,

    tr(W_3 diag(d_2) W_2 diag(d_1) W_1) = d_2^T (W_2 * (W_1 W_3)^T) d_1         (* entry by entry),

one more layer's work in any dimension; of one hidden layer it is d_1^T diag(W_1 W_2). Deeper ones take the D products.

An estimate has one eps per sample, drawn once per solve: redrawn within a solve, it would not be of any one integral.
Estimates are for training; in `eval()` the trace is exact.

Two regularisers keep the field easy to solve: in training the integrals of |v|^2 (`kinetic`) and of |eps^T dv/dx|^2, or
|dv/dx|^2 where the trace is exact (`jacobian`), are solved along, and `penalty` is their weighted mean over the batch.

With `checkpoint` the fixed steps keep their ends alone and are taken again in the backward pass: the same gradient for
the memory of one step. With `adjoint` nothing is kept, and a second solve gives the gradient up to the solver's error
(`creo.flows.adjoint`).

Training takes fixed steps; `eval()` and `inverse` in `eval()` solve adaptively, to `tolerance` of the dtype, so that a
reported likelihood does not depend on a number of steps. One step size serves the batch, chosen for its worst sample
(`creo.flows.ode`). `nfe` counts the evaluations of v of the last solve.

Sources: Chen, Rubanova, Bettencourt, Duvenaud 2018, https://arxiv.org/abs/1806.07366; Grathwohl et al. 2019 (FFJORD),
https://arxiv.org/abs/1810.01367; regularisers: Finlay et al. 2020, https://arxiv.org/abs/2002.02798.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.flows.adjoint import solve_with_adjoint
from creo.flows.layer import Layer
from creo.flows.ode import Field, State, solve_adaptive, solve_fixed, tableau
from creo.nn import MLP

TraceName = Literal["exact", "rademacher", "gaussian"]

#: Local error of adaptive solves.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


class Velocity(nn.Module):
    """v(t, x, e): a perceptron with time as one more input, 0 at the start.

    Args:
        dims: D.
        hidden: widths of the hidden layers.
        context: size of a condition's embedding; 0 for none.
    """

    def __init__(self, dims: int, *, hidden: tuple[int, ...], context: int = 0) -> None:
        super().__init__()
        self.network = MLP(
            dims + 1, dims, hidden=hidden, context=context, activation=torch.tanh, residual=False, zero=True
        )

    def forward(self, t: float, x: Tensor, e: Tensor | None = None) -> Tensor:
        """(B, D)."""
        return self.network(torch.cat([x, torch.full_like(x[:, :1], t)], 1), e)

    def with_trace(self, t: float, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """v (B, D) and tr dv/dx (B,) in closed form, of one or two hidden layers."""
        net, h, slopes = self.network, torch.cat([x, torch.full_like(x[:, :1], t)], 1), []
        for i, layer in enumerate(net.layers):
            h = torch.tanh(layer(h) if e is None else layer(h) + net.context[i](e))
            slopes.append(1 - h.square())
        first, *second = (layer.weight for layer in net.layers if isinstance(layer, nn.Linear))
        around = first[:, : x.shape[1]] @ net.out.weight  # W_1 W_out
        if not second:
            return net.out(h), slopes[0] @ around.diagonal()
        return net.out(h), (F.linear(slopes[0], second[0] * around.T) * slopes[1]).sum(1)

    @property
    def shallow(self) -> bool:
        """Whether `with_trace` answers."""
        return 1 <= len(self.network.layers) <= 2


def exact_trace(
    v: nn.Module, t: float, x: Tensor, e: Tensor | None, graph: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """v, tr dv/dx and |dv/dx|^2, by one backward pass through D copies of the batch."""
    dims = x.shape[1]
    copies = x.repeat_interleave(dims, 0)
    basis = torch.eye(dims, dtype=x.dtype, device=x.device).repeat(len(x), 1)
    value = v(t, copies, None if e is None else e.repeat_interleave(dims, 0))
    (products,) = torch.autograd.grad(value, copies, basis, create_graph=graph)
    trace, square = (
        part.sum(1).unflatten(0, (-1, dims)).sum(1) for part in (products * basis, products.square())
    )
    return value[::dims], trace, square


def hutchinson_trace(
    v: nn.Module, t: float, x: Tensor, e: Tensor | None, graph: bool, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """v, noise^T (dv/dx) noise and |noise^T dv/dx|^2."""
    value = v(t, x, e)
    (product,) = torch.autograd.grad(value, x, noise, create_graph=graph)
    return value, (product * noise).sum(1), product.square().sum(1)


class Continuous(Layer):
    """The layer of the module docstring, on events of any shape.

    Args:
        velocity: (t, x (B, D), e) -> (B, D).
        trace: in training; `exact` is always used in `eval()`.
        method: of the fixed steps in training.
        steps: how many.
        tolerance: of adaptive solves; if not given, 1e-5 in float32 and 1e-10 in float64.
        kinetic, jacobian: weights of the two regularisers in `penalty`.
        checkpoint: take the fixed steps again in the backward pass instead of keeping their activations.
        adjoint: solve for the gradient instead of keeping anything; also of adaptive solves.
    """

    def __init__(
        self,
        velocity: nn.Module,
        *,
        trace: TraceName = "exact",
        method: str = "rk4",
        steps: int = 8,
        tolerance: float | None = None,
        kinetic: float = 0.0,
        jacobian: float = 0.0,
        checkpoint: bool = False,
        adjoint: bool = False,
    ) -> None:
        super().__init__()
        tableau(method)
        if trace not in ("exact", "rademacher", "gaussian") or steps < 1:
            raise OptionError(
                "trace is exact, rademacher or gaussian and steps at least 1; "
                f"received trace={trace!r}, steps={steps}"
            )
        self.velocity, self.trace, self.method, self.steps = velocity, trace, method, steps
        if not (kinetic >= 0 and jacobian >= 0):
            raise OptionError(f"weights of regularisers are at least 0; received {kinetic} and {jacobian}")
        if checkpoint and adjoint:
            raise OptionError("checkpoint and adjoint are two ways to the same end; received both")
        self.tolerance, self.kinetic, self.jacobian = tolerance, kinetic, jacobian
        self.checkpoint, self.adjoint = checkpoint, adjoint
        #: the regularisers' weighted mean over the last batch that was trained on, and its two parts; or None
        self.penalty: Tensor | None = None
        self.energies: dict[str, Tensor] = {}
        #: evaluations of the velocity in the last solve
        self.nfe = 0

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From t = 0 to 1."""
        return self._solve(x, e, 0.0, 1.0)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From t = 1 to 0."""
        return self._solve(y, e, 1.0, 0.0)

    @torch.no_grad()
    def generate(self, y: Tensor, e: Tensor | None = None) -> Tensor:
        """From t = 1 to 0 without the log-determinant: one evaluation of v per stage."""
        self.nfe = 0

        def field(t: float, state: State) -> State:
            self.nfe += 1
            return (self.velocity(t, state[0], e),)

        return self._integrate(field, (y.flatten(1),), 1.0, 0.0)[0].reshape_as(y)

    def _integrate(self, field: Field, state: State, t0: float, t1: float, e: Tensor | None = None) -> State:
        again = (*self.velocity.parameters(), *([] if e is None else [e])) if torch.is_grad_enabled() else ()
        with torch.autocast(state[0].device.type, enabled=False):
            if self.checkpoint and self.training:
                return self._fixed(field, state, t0, t1, again=again)
            solve = self._fixed if self.training else self._adaptive
            if self.adjoint and again:
                return solve_with_adjoint(field, state, t0, t1, solve=solve, others=again)
            return solve(field, state, t0, t1)

    def _fixed(
        self,
        field: Field,
        state: State,
        t0: float,
        t1: float,
        judged: int | None = None,
        *,
        again: State = (),
    ) -> State:
        return solve_fixed(field, state, t0, t1, method=self.method, steps=self.steps, again=again)

    def _adaptive(self, field: Field, state: State, t0: float, t1: float, judged: int | None = None) -> State:
        tolerance = TOLERANCE.get(state[0].dtype, 1e-5) if self.tolerance is None else self.tolerance
        return solve_adaptive(field, state, t0, t1, rtol=tolerance, atol=tolerance, judged=judged)

    def _noise(self, x: Tensor) -> Tensor | None:
        if not self.training or self.trace == "exact":
            return None
        if self.trace == "gaussian":
            return torch.randn_like(x)
        return torch.randint_like(x, 2) * 2 - 1

    def _solve(self, x: Tensor, e: Tensor | None, t0: float, t1: float) -> tuple[Tensor, Tensor]:
        noise, self.nfe = self._noise(x.flatten(1)), 0

        regular = self.training and (self.kinetic > 0 or self.jacobian > 0)

        def field(t: float, state: State) -> State:
            self.nfe += 1
            if (
                noise is None
                and not regular
                and isinstance(self.velocity, Velocity)
                and self.velocity.shallow
            ):
                return self.velocity.with_trace(t, state[0], e)
            graph = torch.is_grad_enabled()
            with torch.enable_grad():
                at = state[0] if state[0].requires_grad else state[0].detach().requires_grad_()
                if noise is None:
                    value, trace, square = exact_trace(self.velocity, t, at, e, graph)
                else:
                    value, trace, square = hutchinson_trace(self.velocity, t, at, e, graph, noise)
            slopes = (value, trace, value.square().sum(1), square) if regular else (value, trace)
            return slopes if graph else tuple(slope.detach() for slope in slopes)

        zeros = x.new_zeros(len(x))
        y, log_det, *energies = self._integrate(
            field, (x.flatten(1), zeros, *[zeros] * (2 * regular)), t0, t1, e
        )
        self._regularise(energies, t1 - t0)
        return y.reshape_as(x), log_det

    def _regularise(self, energies: list[Tensor], direction: float) -> None:
        if not energies:
            self.penalty, self.energies = None, {}
            return
        kinetic, square = (direction * energy.mean() for energy in energies)
        self.penalty = self.kinetic * kinetic + self.jacobian * square
        self.energies = {"kinetic": kinetic.detach(), "jacobian": square.detach()}
