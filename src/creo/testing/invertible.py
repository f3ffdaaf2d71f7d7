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
        z: noise, (B, ...); by default coordinates of forward(x), each shuffled over the batch.
        tolerance: allowed error relative to 1 + |value|.
        seed: of the shuffling, and of random layers.
    """
    exact, x, c = _in_float64(flow, x, c, seed)
    with seeded(seed), torch.no_grad():
        noise, forward_det = exact.forward(x, c)
        back, inverse_det = exact.inverse(noise, c)
        require_close(back, x, "inverse(forward(x)) against x", atol=tolerance, rtol=tolerance)
        what = "log_det of inverse against minus log_det of forward"
        require_close(inverse_det, -forward_det, what, atol=tolerance, rtol=tolerance)
        z = _shuffled(noise) if z is None else z.double()
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
        z: noise, (B, ...); by default coordinates of forward(x), each shuffled over the batch.
        tolerance: allowed error relative to 1 + |value|.
        most: number of examples looked at (a Jacobian each).
        seed: of the shuffling.
    """
    exact, x, c = _in_float64(flow, x, c, seed)
    with seeded(seed):
        if z is None:
            with torch.no_grad():
                z = _shuffled(exact.forward(x, c)[0])
        for name, function, where in (("forward", exact.forward, x), ("inverse", exact.inverse, z.double())):
            _check_direction(name, function, where[:most], None if c is None else c[:most], tolerance)


def _check_direction(name: str, function: Map, x: Tensor, c: Tensor | None, tolerance: float) -> None:
    got = function(x, c)[1]
    want = torch.stack(
        [_log_det(function, x[i : i + 1], None if c is None else c[i : i + 1]) for i in range(len(x))]
    )
    require(got.shape == (len(x),), f"log_det of {name} has shape {tuple(got.shape)} instead of ({len(x)},)")
    require_finite(got, f"log_det of {name}")
    hint = " (its sign is reversed)" if torch.allclose(got, -want, atol=tolerance) else ""
    what = f"log_det of {name} against autograd's Jacobian{hint}"
    require_close(got, want, what, atol=tolerance, rtol=tolerance)


def _log_det(function: Map, x: Tensor, c: Tensor | None) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(lambda v: function(v, c)[0].flatten(), x)
    square = jacobian.reshape(len(jacobian), -1)
    require(
        square.shape[0] == square.shape[1],
        f"the map goes from {square.shape[1]} to {square.shape[0]} dimensions: it has no log-determinant",
    )
    return torch.linalg.slogdet(square).logabsdet


def _in_float64(flow: nn.Module, x: Tensor, c: Tensor | None, seed: int) -> tuple[Any, Tensor, Tensor | None]:
    if not x.is_floating_point():
        with seeded(seed):
            x = x + torch.rand(x.shape, dtype=torch.float64)
    c = c.double() if c is not None and c.is_floating_point() else c
    return copy.deepcopy(flow).double().eval(), x.double(), c


def _shuffled(z: Tensor) -> Tensor:
    flat = z.flatten(1)
    rows = torch.rand_like(flat).argsort(0)
    return flat.gather(0, rows).view_as(z)
