r"""The scaling loop: alternating projections onto the two marginals, for a whole batch of problems.

In the units and with the steps of `entropic.py`, the plan of a pair of potentials is

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

Each problem has its own over-relaxation: a step goes omega times as far. Near the solution a plain step
contracts the error by theta^2, a step with omega by lambda, where (lambda + omega - 1)^2 = lambda omega^2
theta^2 (Young 1954), so theta is read off the observed lambda and omega = 2 / (1 + sqrt(1 - theta^2)) is the
best choice: sqrt(1 - theta^2) instead of 1 - theta^2 governs the speed (Thibault et al. 2021; Lehmann et al.
2022). If the error of a problem grows, that problem returns to omega = 1 and learns anew.

Problems that have converged leave the batch. Atoms of weight zero take no part; their potential is found last.
Products of balanced float64 problems are taken in float32, from a plan formed in float64, down to an error of
5e-7, and in float64 from there or once a step gains less.

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

import numpy as np
import torch
from torch import Tensor

from creo.divergences.transport.entropic import Problems

_SEGMENTS = (5, 5, 5, 5, 10)  # steps between two looks at the error: the first ones, then all others
_ROUNDED = 1e-3  # error below which a problem that gains less than _COARSE a step may be held up by rounding
_BOLDEST = 1.95  # omega stays below: at 2 the iteration no longer contracts
_LOCAL = 0.3  # error below which the contraction is taken to be linear, so that omega may grow
_GROWTH = (
    30.0  # growth over the best error at which omega is given up (a relaxed error may rise before it falls)
)
_LEAST = 0.1  # share of its plain value that a relaxed scaling keeps at least, so that it stays positive
_RANGE = 0.42  # share of the exponent range that log u and log v may each use
_CROWDED = 0.7  # share of the held problems that must be unconverged, or the plans are copied together
_COARSE = 5e-7  # error that float32 products can be trusted to show; below, they are taken in full precision


class _Absorbed:
    """The plans P^0 of the problems `held`, at potentials (F^0, G^0), and the scalings u, v gathered since then."""

    def __init__(self, problems: Problems, held: Tensor, f: Tensor, g: Tensor, work: Tensor) -> None:
        self.problems, self.held, self.work = problems, held, work
        balanced = problems.rows.damping is None and problems.columns.damping is None
        self.dtype = torch.float32 if balanced else f.dtype
        self.absorb(f, g)

    def absorb(self, f: Tensor, g: Tensor) -> None:
        """Form the plans anew at (f, g)."""
        part = self.problems if len(self.held) == len(self.problems.cost) else self.problems.take(self.held)
        self.rows, self.columns, self.f, self.g = part.rows.to(self.dtype), part.columns.to(self.dtype), f, g
        self.plan = part.log_plan(f, g, self.work[: len(f)]).to(self.dtype).exp_()
        self.u, self.v = torch.ones_like(f, dtype=self.dtype), torch.ones_like(g, dtype=self.dtype)
        self.limit = _RANGE * math.log(torch.finfo(self.dtype).max)

    def keep(self, index: Tensor) -> None:
        """Go on with the held problems at `index` only."""
        self.held, self.plan = self.held[index], self.plan[index]
        self.rows, self.columns = self.rows.take(index), self.columns.take(index)
        self.f, self.g, self.u, self.v = self.f[index], self.g[index], self.u[index], self.v[index]

    def steps(self, omega: Tensor, steps: int) -> Tensor:
        """`steps` steps by kernel products; returns the error (B,)."""
        rows, columns, u, v, plan, transposed = (
            self.rows,
            self.columns,
            self.u,
            self.v,
            self.plan,
            self.plan.mT,
        )
        if (
            self.f.device.type == "cpu"
            and self.rows.damping is None
            and self.rows.null is self.columns.null is None
        ):
            return self._plain_steps(omega, steps)
        omega, relaxed = omega.to(self.dtype), bool((omega != 1).any())
        s = rows.filled(
            torch.bmm(v.unsqueeze(1), transposed).squeeze(1)
        )  # a vector from the left is the fast form
        for _ in range(steps):
            target = rows.target(s, self.f)
            u = torch.lerp(u, target, omega).maximum(_LEAST * target) if relaxed else target
            t = columns.filled(torch.bmm(u.unsqueeze(1), plan).squeeze(1))
            target = columns.target(t, self.g)
            v = torch.lerp(v, target, omega).maximum(_LEAST * target) if relaxed else target
            s = rows.filled(torch.bmm(v.unsqueeze(1), transposed).squeeze(1))
        self.u, self.v = u, v
        return rows.residual(s, self.f, u) + columns.residual(t, self.g, v)

    def _plain_steps(self, omega: Tensor, steps: int) -> Tensor:
        """The same for balanced problems on a CPU, where numpy's products of a vector and calls take half the time."""
        a, b, u, v, plan = (
            t.numpy() for t in (self.rows.weight, self.columns.weight, self.u, self.v, self.plan)
        )
        by_rows, by_columns, w = plan.swapaxes(1, 2), plan, omega.to(self.dtype).numpy()
        relaxed = bool((w != 1).any())
        with np.errstate(all="ignore"):  # scalings that leave their range are found by `segment`
            s = np.matmul(v[:, None], by_rows)[:, 0]
            for _ in range(steps):
                target = a / s
                u = np.maximum(u + w * (target - u), _LEAST * target) if relaxed else target
                t = np.matmul(u[:, None], by_columns)[:, 0]
                target = b / t
                v = np.maximum(v + w * (target - v), _LEAST * target) if relaxed else target
                s = np.matmul(v[:, None], by_rows)[:, 0]
            error = np.abs(a - s * u).sum(-1) + np.abs(b - t * v).sum(-1)
        self.u, self.v = torch.from_numpy(u), torch.from_numpy(v)
        return torch.from_numpy(error)

    def segment(self, f: Tensor, g: Tensor, omega: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """`steps` steps from (f, g): potentials and error; in the log domain where the scalings leave their range."""
        error = self.steps(omega, steps).to(f.dtype)
        if self.dtype != f.dtype:
            error = error.clamp_min(_COARSE)
        log_u, log_v = self.u.to(f.dtype).log(), self.v.to(f.dtype).log()
        size = torch.maximum(log_u.abs().amax(-1), log_v.abs().amax(-1))
        new_f, new_g = self.f + log_u, self.g + log_v
        if not bool((size <= self.limit / 2).all()):
            lost = (~(size <= self.limit)).nonzero().squeeze(-1)
            if len(lost):
                part = self.problems.take(self.held[lost])
                new_f[lost], new_g[lost], error[lost] = part.log_steps(f[lost], g[lost], 1.0, steps)
            self.absorb(new_f, new_g)
        return new_f, new_g, error

    def refine(self, f: Tensor, g: Tensor) -> None:
        """Go on from (f, g) in the full precision."""
        if self.dtype != f.dtype:
            self.dtype = f.dtype
            self.absorb(f, g)


class _Logs:
    """The same without products: every step of the problems `held` in the log domain."""

    def __init__(self, problems: Problems, held: Tensor) -> None:
        self.problems, self.held = problems, held

    def keep(self, index: Tensor) -> None:
        """Go on with the held problems at `index` only."""
        self.problems, self.held = self.problems.take(index), self.held[index]

    def segment(self, f: Tensor, g: Tensor, omega: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """`steps` steps from (f, g): potentials and error."""
        return self.problems.log_steps(f, g, omega, steps)

    def refine(self, f: Tensor, g: Tensor) -> None:
        """Nothing to do: the precision is full from the start."""


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
def solve(
    problems: Problems, work: Tensor, *, tolerance: float, max_iterations: int, products: bool
) -> Scaling:
    """Iterate every problem of the batch until its own error is at most `tolerance`.

    Args:
        problems: the batch.
        work: memory (B, n, m) to overwrite (large tensors are costly to allocate).
        tolerance: the summed L1 errors of both marginals (unbalanced: the mass one more step would move).
        max_iterations: steps after which a problem is left as it is.
        products: take steps by kernel products where the floating-point range allows, else in the log domain.
    """
    f, g = problems.start(work)
    f, g = problems.rows.live(f), problems.columns.live(g)
    everything = torch.arange(len(f), device=f.device)
    final_f, final_g, iterations = f.clone(), g.clone(), torch.zeros_like(everything)
    going = torch.ones_like(
        everything, dtype=torch.bool
    )  # of the held problems, those that have not converged
    loop = _Absorbed(problems, everything, f, g, work) if products else _Logs(problems, everything)
    relaxation, taken, lengths = _Relaxation(f), 0, iter(_SEGMENTS)
    length = 0
    while bool(going.any()) and taken < max_iterations:
        length = next(lengths, length)
        steps = min(length, max_iterations - taken)
        f, g, error = loop.segment(f, g, relaxation.omega, steps)
        taken += steps
        stalled = (error < _ROUNDED) & (relaxation.last.squeeze(-1) - error < steps * _COARSE)
        relaxation.observe(error, steps)
        now = loop.held[going]
        final_f[now], final_g[now], iterations[now] = f[going], g[going], taken
        going &= ~(error <= tolerance)
        if bool((stalled | (error <= _COARSE))[going].any()):
            loop.refine(f, g)
        if going.sum() <= _CROWDED * len(going):
            on = going.nonzero().squeeze(-1)
            f, g, going = f[on], g[on], going[on]
            loop.keep(on)
            relaxation.keep(on)
    return Scaling(*problems.finish(final_f, final_g), iterations)


def unroll(problems: Problems, *, tolerance: float, max_iterations: int) -> Scaling:
    """Plain log-domain steps that autograd can follow, for the whole batch until its last problem converges."""
    f, g = (
        problems.rows.live(torch.zeros_like(problems.rows.weight)),
        torch.zeros_like(problems.columns.weight),
    )
    taken = 0
    while taken < max_iterations:
        steps = min(_SEGMENTS[-1], max_iterations - taken)
        f, g, error = problems.log_steps(f, g, 1.0, steps)
        taken += steps
        if bool((error <= tolerance).all()):
            break
    f, g = problems.finish(f, g)
    return Scaling(f, g, torch.full((len(f),), taken, device=f.device))
