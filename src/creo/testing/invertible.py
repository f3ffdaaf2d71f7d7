"""Is a flow its own inverse, and is its log-determinant that of its Jacobian?

Both checks take a model or a single layer: anything with `forward(x, c) -> (z, log_det)` and
`inverse(z, c) -> (x, log_det)`. The determinant is held against autograd's Jacobian, in each direction by itself: a
check that only adds up both directions would not see an error that cancels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from creo.model import seeded
from creo.testing.failure import require, require_close, require_finite

Map = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


def check_invertible(
    flow: nn.Module,
    x: Tensor,
    c: Tensor | None = None,
    *,
    z: Tensor | None = None,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> None:
    """`inverse(forward(x)) = x`, `forward(inverse(z)) = z`, and the log-determinants are opposite, in float64.

    A flow over levels speaks of dequantised samples: integer x is taken as x + u with u uniform on [0, 1).

    Args:
        flow: a model that is `Invertible`, or one of its layers.
        x: data, (B, ...).
        c: conditions, (B, ...), or None.
        z: noise, (B, ...); by default points near forward(x).
        tolerance: allowed error relative to 1 + |value|.
        seed: of dequantisation and random layers.
    """
    exact, x, c = _in_float64(flow, x, c, seed)
    with seeded(seed), torch.no_grad():
        noise, forward_det = exact.forward(x, c)
        back, inverse_det = exact.inverse(noise, c)
        require_close(back, x, "inverse(forward(x)) against x", atol=tolerance, rtol=tolerance)
        what = "log_det of inverse against minus log_det of forward"
        require_close(inverse_det, -forward_det, what, atol=tolerance, rtol=tolerance)
        z = _nearby(noise) if z is None else z.double()
        there, _ = exact.forward(exact.inverse(z, c)[0], c)
        require_close(there, z, "forward(inverse(z)) against z", atol=tolerance, rtol=tolerance)


def check_log_det(
    flow: nn.Module,
    x: Tensor,
    c: Tensor | None = None,
    *,
    z: Tensor | None = None,
    tolerance: float = 1e-8,
    most: int = 4,
    seed: int = 0,
) -> None:
    """log_det of `forward` and of `inverse` is log|det J| with J from autograd, in float64.

    Args:
        flow: a model that is `Invertible`, or one of its layers.
        x: data, (B, ...); integers are dequantised as in `check_invertible`.
        c: conditions, (B, ...), or None.
        z: noise, (B, ...); by default points near forward(x).
        tolerance: allowed error relative to 1 + |value|.
        most: number of examples looked at (a Jacobian each).
        seed: of dequantisation and random layers.
    """
    exact, x, c = _in_float64(flow, x, c, seed)
    with seeded(seed):
        if z is None:
            with torch.no_grad():
                z = _nearby(exact.forward(x, c)[0])
        for name, function, where in (("forward", exact.forward, x), ("inverse", exact.inverse, z.double())):
            _check_direction(name, function, where[:most], None if c is None else c[:most], tolerance)


def _check_direction(name: str, function: Map, x: Tensor, c: Tensor | None, tolerance: float) -> None:
    got, want = function(x, c)[1], _log_dets(function, x, c)
    require(got.shape == (len(x),), f"log_det of {name} has shape {tuple(got.shape)} instead of ({len(x)},)")
    require_finite(got, f"log_det of {name}")
    hint = " (its sign is reversed)" if torch.allclose(got, -want, atol=tolerance) else ""
    what = f"log_det of {name} against autograd's Jacobian{hint}"
    require_close(got, want, what, atol=tolerance, rtol=tolerance)


def _log_dets(function: Map, x: Tensor, c: Tensor | None) -> Tensor:
    x = x.clone().requires_grad_()
    z = function(x, c)[0].flatten(1)
    dims = (x[0].numel(), z.shape[1])
    require(
        dims[0] == dims[1], f"the map goes from {dims[0]} to {dims[1]} dimensions: it has no log-determinant"
    )
    # Examples do not depend on each other, so the gradient of a sum over the batch is every example's own.
    rows = [torch.autograd.grad(z[:, i].sum(), x, retain_graph=True)[0].flatten(1) for i in range(dims[1])]
    return torch.linalg.slogdet(torch.stack(rows, 1)).logabsdet


def _in_float64(flow: nn.Module, x: Tensor, c: Tensor | None, seed: int) -> tuple[Any, Tensor, Tensor | None]:
    if not x.is_floating_point():
        with seeded(seed):
            x = x + torch.rand(x.shape, dtype=torch.float64)
    c = c.double() if c is not None and c.is_floating_point() else c
    return copy.deepcopy(flow).double().eval(), x.double(), c


def _nearby(z: Tensor) -> Tensor:
    """New points near the given ones, inside their convex hull: a flow need not cover all of its noise's space."""
    return 0.95 * z + 0.05 * z.roll(1, 0)
