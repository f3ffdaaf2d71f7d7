r"""The Sinkhorn divergence: entropic transport without its bias.

Entropic transport of a measure onto itself is not free, so on its own it pulls a model towards a shrunken copy
of the data. Subtracting what each measure costs against itself repairs that (Genevay et al. 2018):

    S(a, b) = V(a, b) - V(a, a) / 2 - V(b, b) / 2 + eps / 2 (mass(a) - mass(b))^2.

For the costs |x - y| and |x - y|^2, S >= 0, it is 0 only if the measures are equal, it is convex in each, and
it metrises weak convergence (Feydy et al. 2019; the last term is for unbalanced problems, Sejourne et al. 2019).
It goes from transport (epsilon -> 0) to an energy distance or squared difference of means (epsilon -> infinity).
All three terms use one epsilon: relative to the scale of the cost between a and b.

References:
    A. Genevay, G. Peyre, M. Cuturi (2018), https://arxiv.org/abs/1706.00292.
    J. Feydy, T. Sejourne, F.-X. Vialard, S. Amari, A. Trouve, G. Peyre (2019), https://arxiv.org/abs/1810.08278.
    T. Sejourne, J. Feydy, F.-X. Vialard, A. Trouve, G. Peyre (2019), https://arxiv.org/abs/1910.12958.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from creo.divergences.transport.problem import Transport, check_weights, cost_matrix
from creo.divergences.transport.sinkhorn import Entropic, cost_scale, sinkhorn, with_changes


@dataclass(frozen=True)
class SinkhornDivergence:
    """S and the three problems it is made of.

    Args:
        value: S (*), in the unit of the cost; carries the gradient.
        between: the problem from x to y.
        within_x: the problem from x to itself.
        within_y: the problem from y to itself.
    """

    value: Tensor
    between: Transport
    within_x: Transport
    within_y: Transport

    @property
    def converged(self) -> Tensor:
        """Whether all three problems have converged (*)."""
        return self.between.converged & self.within_x.converged & self.within_y.converged


def sinkhorn_divergence(
    x: Tensor,
    y: Tensor,
    *,
    a: Tensor | None = None,
    b: Tensor | None = None,
    p: float = 2.0,
    options: Entropic | None = None,
    **changes: Any,
) -> SinkhornDivergence:
    """The debiased divergence between weighted point clouds under the cost |x - y|^p.

    Args:
        x: points (*, n, d).
        y: points (*, m, d).
        a: weights of x, (n,) or (*, n); uniform with sum 1 if None.
        b: weights of y, (m,) or (*, m).
        p: the cost's power; S is a divergence for 1 <= p <= 2.
        options: an `Entropic`; the defaults if None.
        changes: fields of `Entropic` to set or change, e.g. `epsilon=0.01`.

    Raises:
        DataError: NaN, negative weights, wrong shapes, or balanced weights of different mass.
        OptionError: an unknown option or one out of its range.
    """
    options = with_changes(options, changes)
    cost = cost_matrix(x, y, p=p)
    a = check_weights(a, tuple(x.shape[:-1]), cost, "a")
    b = check_weights(b, tuple(y.shape[:-1]), cost, "b")
    scale = cost_scale(cost, a, b) if options.relative else cost.new_ones(cost.shape[:-2])
    between = sinkhorn(cost, options, a=a, b=b, scale=scale)
    within_x = sinkhorn(cost_matrix(x, x, p=p), options, a=a, b=a, scale=scale)
    within_y = sinkhorn(cost_matrix(y, y, p=p), options, a=b, b=b, scale=scale)
    imbalance = between.epsilon / 2 * (a.sum(-1) - b.sum(-1)).square()
    value = between.value - within_x.value / 2 - within_y.value / 2
    return SinkhornDivergence(
        value if options.reach is None else value + imbalance, between, within_x, within_y
    )
