r"""Explicit Runge-Kutta solvers for the continuous flows: dx/dt = f(t, x), from t0 to t1, either way in time.

    k_i = f(t + c_i h, x + h sum_j a_ij k_j),        x' = x + h sum_i b_i k_i

| name     | stages | order | steps                                                                |
|----------|--------|-------|----------------------------------------------------------------------|
| `euler`  | 1      | 1     | given                                                                |
| `midpoint` | 2    | 2     | given                                                                |
| `rk4`    | 4      | 4     | given                                                                |
| `dopri5` | 6 (+1) | 5     | given, or adaptive: from the error of the embedded 4th order method  |

The state is a tuple of tensors with a common batch axis. An adaptive step is one for the whole batch, accepted by the
worst sample's error, in the root mean square over its entries of error / (atol + rtol |x|): no sample is integrated
less exactly for being in company, and a batch costs what its hardest member costs. Step sizes carry no gradient.

Sources: Dormand, Prince 1980, https://doi.org/10.1016/0771-050X(80)90013-3; step control: Hairer, Norsett, Wanner,
Solving Ordinary Differential Equations I (section II.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from creo.errors import OptionError

State = tuple[Tensor, ...]
Field = Callable[[float, State], State]


class Tableau(NamedTuple):
    """Butcher's table; `error` are the weights of x' minus those of the embedded method, empty if there is none."""

    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...] = ()


_B5 = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
_B4 = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)

TABLEAUS: dict[str, Tableau] = {
    "euler": Tableau(1, (0.0,), ((),), (1.0,)),
    "midpoint": Tableau(2, (0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "rk4": Tableau(
        4, (0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)
    ),
    "dopri5": Tableau(
        5,
        (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            _B5,
        ),
        (*_B5, 0.0),
        tuple(p - q for p, q in zip((*_B5, 0.0), _B4, strict=True)),
    ),
}


def tableau(name: str) -> Tableau:
    """The method of that name."""
    if name not in TABLEAUS:
        raise OptionError(f"no solver named {name!r}; known: {', '.join(TABLEAUS)}")
    return TABLEAUS[name]


def _combine(x: State, h: float, weights: tuple[float, ...], slopes: list[State]) -> State:
    """x + h sum_i w_i k_i."""
    out = []
    for j, entry in enumerate(x):
        for w, k in zip(weights, slopes, strict=False):
            if w:
                entry = torch.add(entry, k[j], alpha=h * w)
        out.append(entry)
    return tuple(out)


def stages(f: Field, table: Tableau, t: float, x: State, h: float, first: State | None = None) -> list[State]:
    """The slopes of all stages of one step; `first` is f(t, x) if it is known already."""
    slopes = [f(t, x) if first is None else first]
    for c, a in zip(table.c[1:], table.a[1:], strict=True):
        slopes.append(f(t + c * h, _combine(x, h, a, slopes)))
    return slopes


class _Again(torch.autograd.Function):
    """A step whose activations are not kept: (step, t, entries of the state, state and all that it depends on)."""

    @staticmethod
    def forward(ctx: Any, step: Callable[..., State], t: float, entries: int, *tensors: Tensor) -> State:
        ctx.step, ctx.t, ctx.entries = step, t, entries
        ctx.save_for_backward(*tensors)
        return step(t, *tensors[:entries])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        state = tuple(s.detach().requires_grad_() for s in ctx.saved_tensors[: ctx.entries])
        inputs = (*state, *ctx.saved_tensors[ctx.entries :])
        wanted = [i for i, tensor in enumerate(inputs) if tensor.requires_grad]
        with torch.enable_grad():
            new = ctx.step(ctx.t, *state)
        found = torch.autograd.grad(new, [inputs[i] for i in wanted], gradients, allow_unused=True)
        of = dict(zip(wanted, found, strict=True))
        return None, None, None, *(of.get(i) for i in range(len(inputs)))


def solve_fixed(
    f: Field,
    x: State,
    t0: float,
    t1: float,
    *,
    method: str = "rk4",
    steps: int = 16,
    again: Sequence[Tensor] = (),
) -> State:
    """Integrate with equal steps.

    Args:
        f: the field, a slope per entry of the state.
        x: state at t0.
        t0, t1: times; t1 < t0 goes back.
        method: name of a solver.
        steps: how many.
        again: all tensors that f depends on; if given, only the steps' ends are kept for the backward pass, which
            takes every step again.
    """
    table = tableau(method)
    if steps < 1:
        raise OptionError(f"steps must be at least 1; received {steps}")
    if table.error:  # the last stage is for the error estimate only
        table = table._replace(c=table.c[:-1], a=table.a[:-1], b=table.b[:-1])
    h = (t1 - t0) / steps

    def step(t: float, *state: Tensor) -> State:
        return _combine(state, h, table.b, stages(f, table, t, state, h))

    for i in range(steps):
        t = t0 + i * h
        x = _Again.apply(step, t, len(x), *x, *again) if again else step(t, *x)
    return x


def _error(
    x: State, new: State, slopes: list[State], h: float, rtol: float, atol: float, judged: int | None
) -> float:
    """The worst sample's error, 1 at the tolerance."""
    weights = TABLEAUS["dopri5"].error
    zero = tuple(torch.zeros_like(entry) for entry in x)
    parts = []
    for e, a, b in list(zip(_combine(zero, h, weights, slopes), x, new, strict=True))[:judged]:
        scaled = e / (atol + rtol * torch.maximum(a.abs(), b.abs()))
        parts.append(scaled.detach().reshape(len(a), -1).square().mean(1))
    return float(torch.stack(parts).amax(0).max().sqrt())


def solve_adaptive(
    f: Field,
    x: State,
    t0: float,
    t1: float,
    *,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    most: int = 1000,
    judged: int | None = None,
) -> State:
    """Integrate with `dopri5` in steps that keep the local error at the tolerance.

    Args:
        f: the field, a slope per entry of the state.
        x: state at t0; every entry that is judged has the batch as its first axis.
        t0, t1: times; t1 < t0 goes back.
        rtol, atol: tolerances of a step's error.
        most: steps tried before giving up.
        judged: the first so many entries decide on the step; all if not given.

    Raises:
        OptionError: if `most` steps do not reach t1.
    """
    table, t, h = TABLEAUS["dopri5"], t0, (t1 - t0) / 10
    first = f(t, x)
    for _ in range(most):
        h = t1 - t if abs(h) >= abs(t1 - t) else h
        slopes = stages(f, table, t, x, h, first)
        new = _combine(x, h, table.b, slopes)
        error = _error(x, new, slopes, h, rtol, atol, judged)
        if error <= 1:
            if h == t1 - t:
                return new
            t, x, first = t + h, new, slopes[-1]
        h *= min(5.0, max(0.2, 0.9 * error**-0.2)) if error > 0 else 5.0
    raise OptionError(
        f"{most} steps did not reach t = {t1} (stopped at {t:.4g}): the field is stiff; raise rtol"
    )
