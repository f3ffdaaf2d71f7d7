r"""The scaling loop: alternating projections onto the two marginals, for a whole batch of problems.

In units of epsilon, write M = C / eps, F = f / eps, G = g / eps. The plan of a pair of potentials is

    P_ij = a_i b_j exp(F_i + G_j - M_ij),

and with row sums r_i and column sums c_j one step multiplies the rows, then the columns, by

    balanced     a_i / r_i                                    (Sinkhorn 1967; Cuturi 2013)
    unbalanced  (a_i / r_i)^lam exp(-(1 - lam) F_i),  lam = rho / (rho + eps)     (Chizat et al. 2018).

Two ways of taking the same step:

- *log domain*: F_i <- -lam logsumexp_j(G_j + log b_j - M_ij). Never overflows, at any epsilon.
- *kernel products*: hold the plan P^0 of some (F^0, G^0) and only scale it, P = diag(u) P^0 diag(v), so that
  a step is one matrix-vector product, about 20 times cheaper. When log u or log v grows, (u, v) is *absorbed*:
  F <- F + log u, G <- G + log v, P^0 is formed anew (Schmitzer 2019). A problem whose scalings leave the
  floating-point range within one segment goes back to where the segment began and takes it in the log domain.

Each problem has its own over-relaxation: a step is taken to the power omega. Near the solution a plain step
contracts the error by theta^2, a step with omega by lambda, where (lambda + omega - 1)^2 = lambda omega^2
theta^2 (Young 1954), so theta is read off the observed lambda and omega = 2 / (1 + sqrt(1 - theta^2)) is the
best choice: sqrt(1 - theta^2) instead of 1 - theta^2 governs the speed (Thibault et al. 2021; Lehmann et al.
2022). If the error of a problem grows, that problem returns to omega = 1 and learns anew.

Problems that have converged leave the batch. Atoms of weight zero take no part; their potential is found last.

References:
    M. Cuturi (2013), https://arxiv.org/abs/1306.0895.
    L. Chizat, G. Peyre, B. Schmitzer, F.-X. Vialard (2018), https://arxiv.org/abs/1607.05816.
    B. Schmitzer (2019), https://arxiv.org/abs/1610.06519.
    A. Thibault, L. Chizat, C. Dossal, N. Papadakis (2021), https://arxiv.org/abs/1711.01851.
    T. Lehmann, M.-K. von Renesse, A. Sambale, A. Uschmajew (2022), https://arxiv.org/abs/2012.12562.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_WARM_UP = 5  # length of the first two segments, which only measure the plain rate
_SEGMENT = 10  # steps between two looks at the error
_BOLDEST = 1.95  # omega stays below: at 2 the iteration no longer contracts
_LOCAL = 0.3  # error below which the contraction is taken to be linear, so that omega may grow
_GROWTH = (
    30.0  # growth over the best error at which omega is given up (a relaxed error may rise before it falls)
)
_RANGE = 0.42  # share of the exponent range that log u and log v may each use


@dataclass(frozen=True)
class Marginal:
    """One side of a batch of problems: how the plan's mass at each atom is to be corrected.

    Args:
        weight: the weights (B, n), where atoms without mass count as 1 so that they keep their scaling.
        log_weight: their logarithms (B, n), minus infinity for atoms without mass.
        null: 1.0 for atoms without mass, else 0.0, (B, n).
        damping: lam = rho / (rho + eps), (B, 1); None if the marginal is to be met exactly.
    """

    weight: Tensor
    log_weight: Tensor
    null: Tensor
    damping: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, damping: Tensor | None) -> Marginal:
        """The marginal of nonnegative weights (B, n)."""
        null = (weight == 0).to(weight.dtype)
        positive = weight + null
        return cls(positive, positive.log().masked_fill(null.bool(), -torch.inf), null, damping)

    def take(self, index: Tensor) -> Marginal:
        """The same side of the problems at `index`."""
        damping = None if self.damping is None else self.damping[index]
        return Marginal(self.weight[index], self.log_weight[index], self.null[index], damping)

    def ratio(self, mass: Tensor, potential: Tensor, scaling: Tensor | None = None) -> Tensor:
        """What a plain step multiplies the atoms by, given the plan's `mass` there; shapes (B, n).

        The potential is `potential` + log `scaling`; it matters to unbalanced problems only.
        """
        exact = self.weight / mass
        if self.damping is None:
            return exact
        if scaling is not None:
            potential = potential + scaling.log()
        return exact**self.damping * ((self.damping - 1) * potential).exp()

    def potential(self, log_mass: Tensor) -> Tensor:
        """The potential after a plain step, from the log of mass per weight that the plan has at potential 0."""
        return -log_mass if self.damping is None else -self.damping * log_mass

    def live(self, potential: Tensor) -> Tensor:
        """The potential with 0 at the atoms without mass, which keeps them out of the way while iterating."""
        return potential.masked_fill(self.null.bool(), 0.0)

    def residual(self, mass: Tensor, potential: Tensor, scaling: Tensor | None = None) -> Tensor:
        """Mass (B,) that one more plain step would move; for a balanced problem the L1 error of the marginal."""
        return (mass * (self.ratio(mass, potential, scaling) - 1)).abs().sum(-1)


@dataclass(frozen=True)
class Problems:
    """A batch of problems in units of epsilon: costs M (B, n, m) and the two sides."""

    cost: Tensor
    rows: Marginal
    columns: Marginal

    def take(self, index: Tensor) -> Problems:
        """The problems at `index`."""
        return Problems(self.cost[index], self.rows.take(index), self.columns.take(index))

    def log_plan(self, f: Tensor, g: Tensor) -> Tensor:
        """log P (B, n, m) of potentials F (B, n) and G (B, m)."""
        return (
            (f + self.rows.log_weight).unsqueeze(-1) + (g + self.columns.log_weight).unsqueeze(-2) - self.cost
        )

    def update_rows(self, g: Tensor) -> Tensor:
        """The plain log-domain step F <- F(G)."""
        return self.rows.potential(
            torch.logsumexp((g + self.columns.log_weight).unsqueeze(-2) - self.cost, -1)
        )

    def update_columns(self, f: Tensor) -> Tensor:
        """The plain log-domain step G <- G(F)."""
        return self.columns.potential(
            torch.logsumexp((f + self.rows.log_weight).unsqueeze(-1) - self.cost, -2)
        )

    def residual(self, plan: Tensor, f: Tensor, g: Tensor) -> Tensor:
        """Mass (B,) that a further step on either side would move: the summed L1 errors of the marginals."""
        rows = self.rows.residual(plan.sum(-1) + self.rows.null, f)
        return rows + self.columns.residual(plan.sum(-2) + self.columns.null, g)

    def start(self) -> tuple[Tensor, Tensor]:
        """Potentials after one plain step from zero; no entry of their plan exceeds the weights."""
        g = self.columns.live(self.update_columns(torch.zeros_like(self.rows.weight)))
        return self.rows.live(self.update_rows(g)), g

    def finish(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The potentials with those of the atoms without mass put in."""
        rows, columns = self.rows.null.bool(), self.columns.null.bool()
        if rows.any() or columns.any():
            f = torch.where(rows, self.update_rows(g), f)
            g = torch.where(columns, self.update_columns(f), g)
        return f, g

    def log_steps(
        self, f: Tensor, g: Tensor, omega: Tensor | float, steps: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`steps` steps in the log domain: potentials and error."""
        for _ in range(steps):
            f = f + omega * (self.rows.live(self.update_rows(g)) - f)
            g = g + omega * (self.columns.live(self.update_columns(f)) - g)
        return f, g, self.residual(self.log_plan(f, g).exp(), f, g)


class _Absorbed:
    """The plan P^0 of potentials (F^0, G^0), and the scalings u, v gathered since then."""

    def __init__(self, problems: Problems, f: Tensor, g: Tensor) -> None:
        self.problems, self.f, self.g = problems, f, g
        self.plan = problems.log_plan(f, g).exp_()
        self.u, self.v = torch.ones_like(f), torch.ones_like(g)
        self.limit = _RANGE * math.log(torch.finfo(f.dtype).max)

    def keep(self, index: Tensor, problems: Problems) -> None:
        """Go on with the problems at `index` only."""
        self.problems, self.plan = problems, self.plan[index]
        self.f, self.g, self.u, self.v = self.f[index], self.g[index], self.u[index], self.v[index]

    def _rows(self) -> Tensor:  # P^0 v; a vector from the left is the fast form of the batched product
        return torch.baddbmm(self.problems.rows.null.unsqueeze(1), self.v.unsqueeze(1), self.plan.mT).squeeze(
            1
        )

    def _columns(self) -> Tensor:  # u P^0
        return torch.baddbmm(self.problems.columns.null.unsqueeze(1), self.u.unsqueeze(1), self.plan).squeeze(
            1
        )

    def steps(self, omega: Tensor, steps: int) -> Tensor:
        """`steps` steps by kernel products; returns the error (B,)."""
        rows, columns = self.problems.rows, self.problems.columns
        s = self._rows()
        for _ in range(steps):
            self.u = self.u * rows.ratio(self.u * s, self.f, self.u) ** omega
            t = self._columns()
            self.v = self.v * columns.ratio(self.v * t, self.g, self.v) ** omega
            s = self._rows()
        return rows.residual(self.u * s, self.f, self.u) + columns.residual(self.v * t, self.g, self.v)

    def segment(self, f: Tensor, g: Tensor, omega: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """`steps` steps from (f, g): potentials and error; in the log domain where the scalings leave their range."""
        error = self.steps(omega, steps)
        log_u, log_v = self.u.log(), self.v.log()
        size = torch.maximum(log_u.abs().amax(-1), log_v.abs().amax(-1))
        lost = (~(size <= self.limit)).nonzero().squeeze(-1)
        new_f, new_g = self.f + log_u, self.g + log_v
        if len(lost):
            steps_in_logs = self.problems.take(lost).log_steps(f[lost], g[lost], 1.0, steps)
            new_f[lost], new_g[lost], error[lost] = steps_in_logs
        if not bool((size <= self.limit / 4).all()):
            self.__init__(self.problems, new_f, new_g)  # type: ignore[misc]
        return new_f, new_g, error


class _Relaxation:
    """omega of each problem (B, 1), learnt from how fast its error falls."""

    def __init__(self, like: Tensor) -> None:
        self.omega = torch.ones_like(like[:, :1])
        self.last = torch.full_like(self.omega, torch.inf)
        self.best = self.last

    def keep(self, index: Tensor) -> None:
        """Go on with the problems at `index` only."""
        self.omega, self.last, self.best = self.omega[index], self.last[index], self.best[index]

    def observe(self, error: Tensor, steps: int) -> None:
        """Choose omega for the next segment, given the error (B,) that the last `steps` steps have led to."""
        error, omega = error.unsqueeze(-1), self.omega
        rate = (error / self.last).pow(1 / steps)
        theta2 = ((rate + omega - 1) ** 2 / (rate * omega**2)).nan_to_num(nan=0.0).clamp(0, 1)
        learnt = (2 / (1 + (1 - theta2).sqrt())).maximum(omega).clamp(max=_BOLDEST)
        linear = (rate > omega - 1) & (rate < 1) & (error < _LOCAL) & self.last.isfinite()
        grown = (omega > 1) & ~(error <= _GROWTH * self.best)
        self.omega = torch.where(grown, 1.0, torch.where(linear, learnt, omega))
        self.best = torch.where(grown, error, error.minimum(self.best))
        self.last = error


@dataclass(frozen=True)
class Scaling:
    """Where the loop arrived: potentials F (B, n), G (B, m), steps taken (B,)."""

    f: Tensor
    g: Tensor
    iterations: Tensor


@torch.no_grad()
def solve(problems: Problems, *, tolerance: float, max_iterations: int, products: bool) -> Scaling:
    """Iterate every problem of the batch until its own error is at most `tolerance`.

    Args:
        problems: the batch.
        tolerance: the summed L1 errors of both marginals (unbalanced: the mass one more step would move).
        max_iterations: steps after which a problem is left as it is.
        products: take steps by kernel products where the floating-point range allows, else in the log domain.
    """
    whole = problems
    f, g = problems.start()
    result = Scaling(f.clone(), g.clone(), torch.zeros(len(f), dtype=torch.long, device=f.device))
    active = torch.arange(len(f), device=f.device)
    held = _Absorbed(problems, f, g) if products else None
    relaxation = _Relaxation(f)
    taken = 0
    while len(active) and taken < max_iterations:
        steps = min(_WARM_UP if taken < 2 * _WARM_UP else _SEGMENT, max_iterations - taken)
        advance = problems.log_steps if held is None else held.segment
        f, g, error = advance(f, g, relaxation.omega, steps)
        taken += steps
        relaxation.observe(error, steps)
        result.f[active], result.g[active], result.iterations[active] = f, g, taken
        on = (~(error <= tolerance)).nonzero().squeeze(-1)
        if len(on) < len(active):
            active, problems, f, g = active[on], problems.take(on), f[on], g[on]
            relaxation.keep(on)
            if held is not None:
                held.keep(on, problems)
    return Scaling(*whole.finish(result.f, result.g), result.iterations)


def unroll(problems: Problems, *, tolerance: float, max_iterations: int) -> Scaling:
    """Plain log-domain steps that autograd can follow, for the whole batch until its last problem converges."""
    f, g = problems.start()
    taken = 0
    while taken < max_iterations:
        steps = min(_SEGMENT, max_iterations - taken)
        f, g, error = problems.log_steps(f, g, 1.0, steps)
        taken += steps
        if bool((error <= tolerance).all()):
            break
    f, g = problems.finish(f, g)
    return Scaling(f, g, torch.full((len(f),), taken, device=f.device))
