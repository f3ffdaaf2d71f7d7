r"""The continuous adjoint: the gradient of a solve by a second one, backwards, that keeps nothing of the first.

With s(t) the state of ds/dt = f(t, s; theta) and a(t) = dL/ds(t),

    da/dt = -a^T df/ds,        dL/dtheta = int_{t0}^{t1} a^T df/dtheta dt,

solved from t1 to t0 together with s itself, by the method of the forward solve. The memory is that of one evaluation of
f whatever the number of steps. The price is that s is solved anew: the gradient is that of the exact flow up to the two
solves' errors, not that of the discrete steps taken (backpropagation and `checkpoint` give that one), and where the
flow contracts strongly, going back loses digits. An adaptive solve judges its step by s and a alone: the integral of
dL/dtheta feeds nothing back.

Sources: Pontryagin 1962; Chen, Rubanova, Bettencourt, Duvenaud 2018, https://arxiv.org/abs/1806.07366; what an
adaptive adjoint need not judge: Kidger, Chen, Lyons 2021, https://arxiv.org/abs/2009.09457.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from creo.flows.ode import Field, State

#: (field, state, t0, t1, entries that the step size is judged by) -> state at t1
Solve = Callable[[Field, State, float, float, int], State]


class _Adjoint(torch.autograd.Function):
    """The end of a solve as a function of the state's entries and all other tensors that the field depends on."""

    @staticmethod
    def forward(
        ctx: Any, field: Field, solve: Solve, t0: float, t1: float, entries: int, *tensors: Tensor
    ) -> State:
        end = solve(field, tensors[:entries], t0, t1, entries)
        ctx.field, ctx.solve, ctx.t0, ctx.t1, ctx.entries = field, solve, t0, t1, entries
        ctx.save_for_backward(*end, *tensors[entries:])
        return end

    @staticmethod
    @torch.no_grad()
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        n = ctx.entries
        end, others = ctx.saved_tensors[:n], ctx.saved_tensors[n:]
        wanted = [tensor for tensor in others if tensor.requires_grad]

        def both(t: float, state: State) -> State:
            with torch.enable_grad():
                s = tuple(entry.detach().requires_grad_() for entry in state[:n])
                slopes = ctx.field(t, s)
                product = torch.stack(
                    [(a * f).sum() for a, f in zip(state[n : 2 * n], slopes, strict=True)]
                ).sum()
                pulled = torch.autograd.grad(product, (*s, *wanted), allow_unused=True)
            down = (
                torch.zeros_like(x) if g is None else -g for g, x in zip(pulled, (*s, *wanted), strict=True)
            )
            return (*(slope.detach() for slope in slopes), *down)

        start = (*end, *gradients, *(torch.zeros_like(tensor) for tensor in wanted))
        found = ctx.solve(both, start, ctx.t1, ctx.t0, 2 * n)
        of = iter(found[2 * n :])
        return (None,) * 5 + (*found[n : 2 * n], *(next(of) if t.requires_grad else None for t in others))


def solve_with_adjoint(
    field: Field, state: State, t0: float, t1: float, *, solve: Solve, others: Sequence[Tensor]
) -> State:
    """Integrate so that the gradient takes the adjoint's way.

    Args:
        field: a slope per entry of the state; differentiable once more than the gradient that is wanted.
        state: at t0.
        t0, t1: times.
        solve: the solver, for both directions.
        others: all tensors besides the state that the field depends on.
    """
    return _Adjoint.apply(field, solve, t0, t1, len(state), *state, *others)
