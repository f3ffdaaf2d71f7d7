r"""Minibatch coupling: pair the points of two batches so that little has to move.

For batches x (n, d), y (n, d) the pairing is the permutation that solves

    min_s  sum_i |x_i - y_s(i)|^2,

the exact plan between the two uniform batches (Birkhoff), found by assignment. Every point is used exactly once,
so both batches keep their distribution; drawing pairs from the plan with replacement, or from an entropic plan,
does not: it loses about 1 - 1/e of a batch's points. With more points in y than in x, each x is given its own
y. Training flows and diffusions on such pairs straightens their paths (Pooladian et al. 2023; Tong et al. 2024).

References:
    A.-A. Pooladian et al. (2023), https://arxiv.org/abs/2304.14772.
    A. Tong et al. (2024), https://arxiv.org/abs/2302.00482.
"""

from __future__ import annotations

import torch
from torch import Tensor

from creo.divergences.transport.problem import check_cost, check_points, cost_matrix
from creo.errors import DataError


def minibatch_coupling(x: Tensor, y: Tensor, *, p: float = 2.0) -> Tensor:
    """The index s (n,) that pairs x_i with y[s_i] at the least total |x_i - y_s(i)|^p, each y at most once.

    Args:
        x: points (n, *event), flattened for the cost.
        y: points (m, *event), m >= n.
        p: the power of the Euclidean distance, at least 1.

    Raises:
        DataError: NaN, different events, fewer points in y than in x.
        OptionError: p below 1.
    """
    if x.shape[1:] != y.shape[1:]:
        raise DataError(
            f"x and y must hold points of one shape; received {tuple(x.shape)} and {tuple(y.shape)}"
        )
    x, y = (check_points(t.detach().reshape(len(t), -1), what) for t, what in ((x, "x"), (y, "y")))
    return assignment(cost_matrix(x, y, p=p))


def assignment(cost: Tensor) -> Tensor:
    """The column s_i (n,) of each row of a cost (n, m), m >= n, all different, with the least sum of C_i,s(i).

    Raises:
        DataError: NaN, more rows than columns, a batch of costs.
    """
    from scipy.optimize import linear_sum_assignment

    check_cost(cost)
    if cost.ndim != 2 or cost.shape[0] > cost.shape[1]:
        raise DataError(f"an assignment needs a cost (n, m) with n <= m; received {tuple(cost.shape)}")
    _, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.from_numpy(columns).to(cost.device)
