r"""Entropic transport: a smooth, strictly convex neighbour of optimal transport.

For a cost C (n, m), weights a (n,), b (m,) and epsilon > 0

    V(C, a, b) = min_P  <P, C> + eps KL(P | a b^T) + D_a(P 1 | a) + D_b(P^T 1 | b),

    KL(P | Q) = sum P log(P / Q) - P + Q,

where D is 0 if the marginal is met and infinite otherwise (*balanced*, Cuturi 2013), or rho KL (*unbalanced*,
Chizat et al. 2018: mass that would have to travel much farther than the `reach` rho is rather created and
destroyed). The dual is

    V = max_{f, g}  <a, phi(f)> + <b, phi(g)> - eps (sum_ij P_ij - mass(a) mass(b)),
    P_ij = a_i b_j exp((f_i + g_j - C_ij) / eps),

with phi(f) = f, or -rho (exp(-f / rho) - 1). The value returned is the dual's: a lower bound of V at every
step, wrong only to second order in the error of the potentials.

Derivatives by the envelope theorem: dV/dC = P; dV/da = phi(f) - eps (q - mass(b)), where q = exp(-f / rho), or 1
if balanced. With `gradient="unrolled"` the iterations themselves are differentiated instead: slower and larger
by their number, but plan, cost and potentials then carry gradients too.

As epsilon -> 0 the value tends to optimal transport, with a bias of order eps log(1 / eps); as epsilon -> infinity
to the price of the independent plan a b^T. Epsilon and reach are given relative to the cost's scale (its mean
under a b^T, a constant for the gradient), so that 0.05 means the same for every data set.

References:
    M. Cuturi (2013), https://arxiv.org/abs/1306.0895.
    L. Chizat, G. Peyre, B. Schmitzer, F.-X. Vialard (2018), https://arxiv.org/abs/1607.05816.
    G. Peyre, M. Cuturi (2019), Computational Optimal Transport, https://arxiv.org/abs/1803.00567.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from creo.divergences.transport.entropic import Marginal, Problems
from creo.divergences.transport.problem import Transport, check_cost, check_same_mass, check_weights, envelope
from creo.divergences.transport.scaling import Scaling, solve, unroll
from creo.errors import OptionError, suggestion

_METHODS = ("products", "log")
_GRADIENTS = ("envelope", "unrolled")
_BLOCK = 2**18  # entries of the plans that are iterated together on a CPU: what its cache holds


@dataclass(frozen=True)
class Entropic:
    """How to solve entropic problems; the options of `sinkhorn` and `sinkhorn_divergence`.

    Args:
        epsilon: regularisation, positive.
        relative: whether epsilon and reach are multiples of the cost's scale, or in the cost's own unit.
        reach: rho, the strength with which marginals are held, positive; None to meet them exactly.
        tolerance: of the marginals' summed L1 error; None for 1e-6 in float64 and 1e-4 in float32.
        max_iterations: steps after which the loop gives up (the result says so in `converged`).
        method: "products" (kernel products, log domain where they would overflow) or "log" (log domain only).
        gradient: "envelope", or "unrolled" to differentiate the iterations.

    Raises:
        OptionError: an option out of its range.
    """

    epsilon: float = 0.05
    relative: bool = True
    reach: float | None = None
    tolerance: float | None = None
    max_iterations: int = 2000
    method: str = "products"
    gradient: str = "envelope"

    def __post_init__(self) -> None:
        for name in ("epsilon", "reach", "tolerance", "max_iterations"):
            value = getattr(self, name)
            optional = name in ("reach", "tolerance")
            if not (optional and value is None) and not 0 < value < float("inf"):
                raise OptionError(f"{name} must be positive and finite; received {value!r}")
        for name, known in (("method", _METHODS), ("gradient", _GRADIENTS)):
            value = getattr(self, name)
            if value not in known:
                raise OptionError(f"no {name} {value!r}{suggestion(str(value), known)}")

    def tolerance_for(self, dtype: torch.dtype) -> float:
        """The tolerance, or what is comfortably above the rounding error of the dtype."""
        return self.tolerance or (1e-6 if dtype == torch.float64 else 1e-4)


def cost_scale(cost: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The mean of |C| under the independent plan a b^T (*); 1 where all costs are zero. Carries no gradient."""
    a, b = a.detach() / a.detach().sum(-1, keepdim=True), b.detach() / b.detach().sum(-1, keepdim=True)
    scale = (a.unsqueeze(-2) @ cost.detach().abs() @ b.unsqueeze(-1)).squeeze((-1, -2))
    return torch.where(scale > 0, scale, 1.0)


def sinkhorn(
    cost: Tensor,
    options: Entropic | None = None,
    *,
    a: Tensor | None = None,
    b: Tensor | None = None,
    scale: Tensor | None = None,
    **changes: Any,
) -> Transport:
    """Solve a batch of entropic transport problems in one loop.

    Args:
        cost: C (*, n, m), finite.
        options: an `Entropic`; the defaults if None.
        a: weights of the rows (n,) or (*, n), nonnegative; uniform with sum 1 if None.
        b: weights of the columns (m,) or (*, m).
        scale: what epsilon and reach are multiples of (*); None for the cost's own (see `cost_scale`), or 1 if
            the options say `relative=False`.
        changes: fields of `Entropic` to set or change, e.g. `epsilon=0.01, reach=1.0`.

    Returns:
        `Transport`, whose plan is a_i b_j exp((f_i + g_j - C_ij) / eps). Problems that have not converged are
        returned as they are; look at `converged`.

    Raises:
        DataError: NaN, negative weights, wrong shapes, or balanced weights of different mass.
        OptionError: an unknown option or one out of its range, such as epsilon <= 0.
    """
    options = with_changes(options, changes)
    check_cost(cost)
    if cost.dtype in (torch.float16, torch.bfloat16):
        cost = cost.float()
    a = check_weights(a, tuple(cost.shape[:-1]), cost, "a")
    b = check_weights(b, (*cost.shape[:-2], cost.shape[-1]), cost, "b")
    if options.reach is None:
        check_same_mass(a, b)
    if scale is None:
        scale = cost_scale(cost, a, b) if options.relative else cost.new_ones(cost.shape[:-2])
    return _solve(cost, a, b, scale, options)


def with_changes(options: Entropic | None, changes: dict[str, Any]) -> Entropic:
    """`options` (the defaults if None) with some fields changed; an OptionError names an unknown field."""
    fields = dict(vars(options or Entropic()))
    for name in changes:
        if name not in fields:
            raise OptionError(f"sinkhorn has no option {name!r}{suggestion(name, fields)}")
    return Entropic(**{**fields, **changes})


def _solve(cost: Tensor, a: Tensor, b: Tensor, scale: Tensor, options: Entropic) -> Transport:
    """Flatten the batch, solve it block by block, give everything its shape back."""
    batch, (n, m) = cost.shape[:-2], cost.shape[-2:]
    epsilon = (options.epsilon * scale).reshape(-1, 1)
    reach = None if options.reach is None else (options.reach * scale).reshape(-1, 1)
    flat = cost.reshape(-1, n, m), a.reshape(-1, n), b.reshape(-1, m)
    size = max(1, _BLOCK // (n * m)) if cost.device.type == "cpu" else len(epsilon)
    unrolled = options.gradient == "unrolled"
    work = None if unrolled else cost.new_empty(len(epsilon), n, m)  # autograd follows no writing into memory
    blocks = []
    for i in range(0, len(epsilon), size):
        block = slice(i, i + size)
        inputs = [part if part is None else part[block] for part in (*flat, epsilon, reach, work)]
        blocks.append(_solve_block(*inputs, options=options))  # type: ignore[arg-type]
    plans = [parts.pop("plan") for parts in blocks]
    parts = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    plan = torch.cat(plans) if work is None else work
    return Transport(
        value=parts["value"].reshape(batch),
        cost=parts["price"].reshape(batch),
        plan=plan.reshape(*batch, n, m),
        potentials=(parts["f"].reshape(*batch, n), parts["g"].reshape(*batch, m)),
        epsilon=epsilon.reshape(batch),
        iterations=parts["iterations"].reshape(batch),
        error=parts["error"].reshape(batch),
        converged=(parts["error"] <= options.tolerance_for(cost.dtype)).reshape(batch),
    )


def _solve_block(
    cost: Tensor,
    a: Tensor,
    b: Tensor,
    epsilon: Tensor,
    reach: Tensor | None,
    work: Tensor | None,
    *,
    options: Entropic,
) -> dict[str, Tensor]:
    """The parts of the result for problems (B, n, m); the plan is written into `work` if given."""
    with torch.set_grad_enabled(work is None and torch.is_grad_enabled()):
        problems = _problems(cost, a, b, epsilon, reach)
        scaling = _scalings(problems, work, options)
        plan = problems.plan(scaling.f, scaling.g, work)
        f, g = epsilon * scaling.f, epsilon * scaling.g
        value, (slope_a, slope_b) = _dual(plan, a, b, f, g, epsilon, reach)
        price = torch.stack([torch.dot(p, c) for p, c in zip(plan.flatten(1), cost.flatten(1), strict=True)])
    if work is not None:
        value = envelope(value, (plan, cost), (slope_a, a), (slope_b, b))
    with torch.no_grad():
        error = problems.residual(plan, scaling.f, scaling.g)
    parts = {"f": f, "g": g, "plan": plan, "value": value, "price": price, "error": error}
    return parts | {"iterations": scaling.iterations}


def _problems(cost: Tensor, a: Tensor, b: Tensor, epsilon: Tensor, reach: Tensor | None) -> Problems:
    if reach is None:  # equal up to rounding, but the loop needs them equal
        b = b * (a.sum(-1, keepdim=True) / b.sum(-1, keepdim=True)).detach()
    damping = None if reach is None else reach / (reach + epsilon)
    return Problems(cost, 1 / epsilon.unsqueeze(-1), Marginal.of(a, damping), Marginal.of(b, damping))


def _scalings(problems: Problems, work: Tensor | None, options: Entropic) -> Scaling:
    # aim a little lower: the rounding of f + g - C must not lift the finished plan's error above the tolerance
    tolerance, limit = 0.9 * options.tolerance_for(problems.cost.dtype), int(options.max_iterations)
    if work is None:
        return unroll(problems, tolerance=tolerance, max_iterations=limit)
    return solve(
        problems, work, tolerance=tolerance, max_iterations=limit, products=options.method == "products"
    )


def _dual(
    plan: Tensor, a: Tensor, b: Tensor, f: Tensor, g: Tensor, epsilon: Tensor, reach: Tensor | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The dual's value (B,) and its derivatives in the weights a and b."""
    mass_a, mass_b = a.sum(-1, keepdim=True), b.sum(-1, keepdim=True)
    if reach is None:
        phi_f, phi_g, kept_a, kept_b = f, g, torch.ones_like(f), torch.ones_like(g)
    else:
        kept_a, kept_b = (-f / reach).exp(), (-g / reach).exp()
        phi_f, phi_g = reach * (1 - kept_a), reach * (1 - kept_b)
    moved = plan.sum((-1, -2)).unsqueeze(-1)
    value = (a * phi_f).sum(-1) + (b * phi_g).sum(-1) - (epsilon * (moved - mass_a * mass_b)).squeeze(-1)
    return value, (phi_f - epsilon * (kept_a - mass_b), phi_g - epsilon * (kept_b - mass_a))
