r"""A batch of entropic problems in units of epsilon, and one step of the scaling loop on either side.

With M = C / eps, F = f / eps, G = g / eps the plan of a pair of potentials is

    P_ij = a_i b_j exp(F_i + G_j - M_ij),

and with row sums r_i (and column sums likewise) one step multiplies the rows by

    balanced     a_i / r_i                                    (Sinkhorn 1967; Cuturi 2013)
    unbalanced  (a_i / r_i)^lam exp(-(1 - lam) F_i),  lam = rho / (rho + eps)     (Chizat et al. 2018).

In the log domain that is F_i <- -lam logsumexp_j(G_j + log b_j - M_ij). Atoms of weight zero take no part.

References:
    M. Cuturi (2013), https://arxiv.org/abs/1306.0895.
    L. Chizat, G. Peyre, B. Schmitzer, F.-X. Vialard (2018), https://arxiv.org/abs/1607.05816.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Marginal:
    """One side of a batch of problems: how the plan's mass at each atom is to be corrected.

    Args:
        weight: the weights (B, n), where atoms without mass count as 1 so that they keep their scaling.
        log_weight: their logarithms (B, n), minus infinity for atoms without mass.
        null: 1.0 for atoms without mass, else 0.0, (B, n); None if there are none.
        damping: lam = rho / (rho + eps), (B, 1); None if the marginal is to be met exactly.
    """

    weight: Tensor
    log_weight: Tensor
    null: Tensor | None
    damping: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, damping: Tensor | None) -> Marginal:
        """The marginal of nonnegative weights (B, n)."""
        null = (weight == 0).to(weight.dtype)
        if not null.any():
            return cls(weight, weight.log(), None, damping)
        positive = weight + null
        return cls(positive, positive.log().masked_fill(null.bool(), -torch.inf), null, damping)

    def take(self, index: Tensor | slice) -> Marginal:
        """The same side of the problems at `index`."""
        return self._each(lambda part: part[index])

    def to(self, dtype: torch.dtype) -> Marginal:
        """The same side in another precision."""
        return self._each(lambda part: part.to(dtype))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Marginal:
        null, damping = (part if part is None else change(part) for part in (self.null, self.damping))
        return Marginal(change(self.weight), change(self.log_weight), null, damping)

    def filled(self, mass: Tensor) -> Tensor:
        """The mass per unit of scaling, where atoms without mass have 1."""
        return mass if self.null is None else mass + self.null

    def target(self, mass: Tensor, potential: Tensor) -> Tensor:
        """The scaling (B, n) that a plain step chooses, given the plan's `mass` at scaling 1 and `potential`."""
        exact = self.weight / mass
        if self.damping is None:
            return exact
        return exact**self.damping * ((self.damping - 1) * potential).exp()

    def residual(self, mass: Tensor, potential: Tensor, scaling: Tensor | float = 1.0) -> Tensor:
        """Mass (B,) that one more plain step would move; for a balanced problem the L1 error of the marginal."""
        return (mass * (self.target(mass, potential) - scaling)).abs().sum(-1)

    def potential(self, log_mass: Tensor) -> Tensor:
        """The potential after a plain step, from the log of mass per weight that the plan has at potential 0."""
        return -log_mass if self.damping is None else -self.damping * log_mass

    def live(self, potential: Tensor) -> Tensor:
        """The potential with 0 at the atoms without mass, which keeps them out of the way while iterating."""
        return potential if self.null is None else potential.masked_fill(self.null.bool(), 0.0)


@dataclass(frozen=True)
class Problems:
    """A batch of problems: costs C (B, n, m), 1 / eps (B, 1, 1), and the two sides; M = C / eps is never held."""

    cost: Tensor
    inverse: Tensor
    rows: Marginal
    columns: Marginal

    def take(self, index: Tensor | slice) -> Problems:
        """The problems at `index`."""
        return Problems(
            self.cost[index], self.inverse[index], self.rows.take(index), self.columns.take(index)
        )

    def plan(self, f: Tensor, g: Tensor, work: Tensor | None = None) -> Tensor:
        """P (B, n, m) of potentials F (B, n) and G (B, m), written into `work` if given."""
        return self.log_plan(f, g, work).exp_()

    def log_plan(self, f: Tensor, g: Tensor, work: Tensor | None = None) -> Tensor:
        """log P (B, n, m) of potentials F (B, n) and G (B, m), written into `work` if given."""
        rows = (f + self.rows.log_weight).unsqueeze(-1)
        left = torch.addcmul(rows, self.cost, self.inverse, value=-1, out=work)
        return left.add_((g + self.columns.log_weight).unsqueeze(-2))

    def update_rows(self, g: Tensor) -> Tensor:
        """The plain log-domain step F <- F(G)."""
        return self.rows.potential(
            torch.logsumexp((g + self.columns.log_weight).unsqueeze(-2) - self.cost * self.inverse, -1)
        )

    def update_columns(self, f: Tensor) -> Tensor:
        """The plain log-domain step G <- G(F)."""
        return self.columns.potential(
            torch.logsumexp((f + self.rows.log_weight).unsqueeze(-1) - self.cost * self.inverse, -2)
        )

    def residual(self, plan: Tensor, f: Tensor, g: Tensor) -> Tensor:
        """Mass (B,) that a further step on either side would move: the summed L1 errors of the marginals."""
        rows = self.rows.residual(self.rows.filled(plan.sum(-1)), f)
        return rows + self.columns.residual(self.columns.filled(plan.sum(-2)), g)

    def start(self, work: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Potentials at which max_j (F + G - M)_ij = 0 = max_i (F + G - M)_ij, so that no row or column is lost."""
        inverse = self.inverse.squeeze(-1)
        least = self.cost.amin(-1)
        return least * inverse, torch.sub(self.cost, least.unsqueeze(-1), out=work).amin(-2) * inverse

    def finish(self, f: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The potentials with those of the atoms without mass put in."""
        if self.rows.null is not None:
            f = torch.where(self.rows.null.bool(), self.update_rows(g), f)
        if self.columns.null is not None:
            g = torch.where(self.columns.null.bool(), self.update_columns(f), g)
        return f, g

    def log_steps(
        self, f: Tensor, g: Tensor, omega: Tensor | float, steps: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`steps` steps in the log domain: potentials and error."""
        for _ in range(steps):
            f = f + omega * (self.rows.live(self.update_rows(g)) - f)
            g = g + omega * (self.columns.live(self.update_columns(f)) - g)
        return f, g, self.residual(self.plan(f, g), f, g)
