r"""Optimal transport: how far one distribution is from another when distance between points counts.

    W_p(a, b)^p = min_P  sum_ij P_ij |x_i - y_j|^p      over plans P >= 0 with marginals a and b.

Unlike an f-divergence it is finite and has a useful gradient when the supports do not meet. What can be computed
depends on what one has:

| have                      | use                                           | cost             | result              |
|---------------------------|-----------------------------------------------|------------------|---------------------|
| points on a line          | `wasserstein_1d`                              | n log n          | exact, any p        |
| many points, any d        | `sliced_wasserstein`, `max_sliced_wasserstein`| k n log n        | lower bounds of W_p |
| Gaussians                 | `bures_wasserstein`, `gaussian_barycentre`, ..| d^3              | exact, p = 2        |
| up to some thousand points| `exact_transport`                             | n^3              | exact, with plan    |
| a loss, many problems     | `sinkhorn`, `sinkhorn_divergence`             | n^2 a step       | entropic, smooth    |
| several histograms        | `entropic_barycentre`                         | k n^2 a step     | entropic            |
| two minibatches to pair   | `minibatch_coupling`, `assignment`            | n^3              | a permutation       |

`sinkhorn` and `exact_transport` return a `Transport`: value, plan, potentials and convergence. Smaller is nearer.
"""

from creo.divergences.transport.barycentre import Barycentre, entropic_barycentre
from creo.divergences.transport.coupling import assignment, minibatch_coupling
from creo.divergences.transport.debiased import SinkhornDivergence, sinkhorn_divergence
from creo.divergences.transport.exact import exact_transport
from creo.divergences.transport.gaussian import (
    Gaussian,
    GaussianBarycentre,
    bures_wasserstein,
    entropic_gaussian,
    gaussian_barycentre,
    gaussian_map,
)
from creo.divergences.transport.one_dimensional import wasserstein_1d
from creo.divergences.transport.problem import Transport, cost_matrix
from creo.divergences.transport.sinkhorn import Entropic, cost_scale, sinkhorn
from creo.divergences.transport.sliced import MaxSliced, Sliced, max_sliced_wasserstein, sliced_wasserstein

__all__ = [
    "Barycentre",
    "Entropic",
    "Gaussian",
    "GaussianBarycentre",
    "MaxSliced",
    "SinkhornDivergence",
    "Sliced",
    "Transport",
    "assignment",
    "bures_wasserstein",
    "cost_matrix",
    "cost_scale",
    "entropic_barycentre",
    "entropic_gaussian",
    "exact_transport",
    "gaussian_barycentre",
    "gaussian_map",
    "max_sliced_wasserstein",
    "minibatch_coupling",
    "sinkhorn",
    "sinkhorn_divergence",
    "sliced_wasserstein",
    "wasserstein_1d",
]
