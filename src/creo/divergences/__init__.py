"""Divergences: how far is one distribution from another.

| question                                        | where                                                          |
|-------------------------------------------------|----------------------------------------------------------------|
| both densities (or their ratio) are known       | `f_divergence`: KL, JS, TV, Hellinger, chi-squares, alpha      |
| a critic network is to be trained               | `FDivergence.variational_bound`, `variational`                 |
| only samples are there, a kernel compares them  | `mmd`: MMD, KID, permutation test                              |
| could both samples have one distribution?       | `two_sample`: classifier test, Kolmogorov-Smirnov per marginal |
| the geometry of the sample space matters        | `transport`                                                    |
| how the direction of KL shapes a fit            | `fitting`                                                      |
"""

from __future__ import annotations

import importlib
from typing import Any

from creo.divergences.f_divergence import (
    F_DIVERGENCES,
    KL,
    Alpha,
    Estimate,
    FDivergence,
    Hellinger,
    Jeffreys,
    JensenShannon,
    Neyman,
    Pearson,
    ReverseKL,
    SquaredHellinger,
    TotalVariation,
)
from creo.divergences.fitting import draw_fits, fit_reverse_kl, gaussian_mixture, moment_match
from creo.divergences.mmd import (
    KID,
    Energy,
    Gaussian,
    Kernel,
    MMDTest,
    Polynomial,
    RationalQuadratic,
    kid,
    mmd2,
    mmd_test,
)
from creo.divergences.two_sample import (
    ClassifierTest,
    MarginalTest,
    classifier_two_sample_test,
    ks_marginals,
)
from creo.divergences.variational import donsker_varadhan, nwj

__all__ = [
    "F_DIVERGENCES", "KID", "KL", "Alpha", "ClassifierTest", "Energy", "Estimate", "FDivergence", "Gaussian",
    "Hellinger", "Jeffreys", "JensenShannon", "Kernel", "MMDTest", "MarginalTest", "Neyman", "Pearson", "Polynomial",
    "RationalQuadratic", "ReverseKL", "SquaredHellinger", "TotalVariation", "classifier_two_sample_test",
    "donsker_varadhan", "draw_fits", "fit_reverse_kl", "gaussian_mixture", "kid", "ks_marginals", "mmd2", "mmd_test",
    "moment_match", "nwj",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "transport":  # a folder of its own, imported when first used
        return importlib.import_module("creo.divergences.transport")
    raise AttributeError(f"module 'creo.divergences' has no attribute {name!r}")
