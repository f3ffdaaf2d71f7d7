r"""Invertible residual layers: the identity plus a contraction.

    y = x + g(x, e),      Lip(g) <= c < 1

is a bijection of the whole space, with no triangular structure at all. g is a perceptron whose L matrices are scaled
down where their spectral norms exceed c^(1/L), and whose activation silu(.) / 1.1 has slope below 1. A condition
shifts the hidden units, which leaves the Lipschitz constant in x as it is.

| log |det(I + J)|, J = dg/dx | value                                                        | cost                    |
|-----------------------------|--------------------------------------------------------------|-------------------------|
| `exact`                     | slogdet of the Jacobian                                      | D vector products, D^3  |
| `roulette`                  | sum_{k=1}^{N} (-1)^{k+1} / (k P(N >= k)) eps^T J^k eps       | N vector products       |

The second is unbiased: the power series of log(1 + J) cut off at a random N, `CERTAIN` plus a geometric number, each
term weighted by the inverse of its chance of being reached, traces by Hutchinson's eps uniform on +-1. It is for
training; in `eval()` the determinant is exact.

The inverse iterates x <- y - g(x), which converges at the rate c, and ends with one Newton step, which also carries the
exact gradient of the inverse.

Sources: Behrmann et al. 2019 (i-ResNet), https://arxiv.org/abs/1811.00995; Chen, Behrmann, Duvenaud, Jacobsen 2019
(residual flow), https://arxiv.org/abs/1906.02735.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from creo.errors import OptionError
from creo.flows.layer import Layer

LogDetName = Literal["exact", "roulette"]

#: Terms of the series that are always taken.
CERTAIN = 4
#: Chance of stopping after each later one.
STOP = 0.3
#: The largest slope of silu is 1.0999.
SILU = 1.1
#: Steps of the fixed point iteration after which it is given up.
MOST = 2000


class Contraction(nn.Module):
    """g: a perceptron (B, D) -> (B, D) with Lip(g) <= c; see the module docstring.

    Args:
        dims: D.
        hidden: widths of the hidden layers.
        context: size of a condition's embedding; 0 for none.
        lipschitz: c.
    """

    def __init__(self, dims: int, *, hidden: Sequence[int], context: int = 0, lipschitz: float = 0.9) -> None:
        super().__init__()
        sizes = (dims, *hidden, dims)
        if not hidden or min(sizes) < 1 or not 0 < lipschitz < 1:
            raise OptionError(
                "a contraction needs hidden layers of at least 1 unit and a lipschitz in (0, 1); "
                f"received hidden={tuple(hidden)}, lipschitz={lipschitz}"
            )
        self.layers: Sequence[nn.Linear] = nn.ModuleList(  # type: ignore[assignment]
            nn.Linear(a, b) for a, b in pairwise(sizes)
        )
        self.context = nn.ModuleList(nn.Linear(context, b, bias=False) for b in hidden if context)
        self.largest = lipschitz ** (1 / len(self.layers))

    def weights(self) -> list[Tensor]:
        """The matrices, scaled down where their spectral norm is too large."""
        matrices = [layer.weight for layer in self.layers]
        norms = [torch.linalg.matrix_norm(m, 2) for m in matrices]
        return [m * (self.largest / s).clamp(max=1.0) for m, s in zip(matrices, norms, strict=True)]

    def forward(self, x: Tensor, e: Tensor | None, weights: list[Tensor]) -> Tensor:
        """(B, D), with `weights` of the method of that name (computed once for many calls)."""
        for i, (weight, layer) in enumerate(zip(weights, self.layers, strict=True)):
            x = F.linear(x, weight, layer.bias)
            if i + 1 < len(weights):
                x = F.silu(x if e is None else x + self.context[i](e)) / SILU
        return x


class Residual(Layer):
    """y = x + g(x, e) on events of any shape.

    Args:
        network: g, a contraction.
        log_det: in training; `exact` is always used in `eval()`.
    """

    def __init__(self, network: Contraction, *, log_det: LogDetName = "exact") -> None:
        super().__init__()
        if log_det not in ("exact", "roulette"):
            raise OptionError(f"log_det is exact or roulette; received {log_det!r}")
        self.network, self.log_det = network, log_det

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x + g(x), and log |det(I + J)|."""
        flat, weights = x.flatten(1), self.network.weights()
        with torch.autocast(x.device.type, enabled=False):
            if self.training and self.log_det == "roulette":
                g, log_det = self._roulette(flat, e, weights)
            else:
                g, jacobian = self._jacobian(flat, e, weights)
                log_det = _log_det(jacobian)
        return x + g.reshape_as(x), log_det

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The fixed point, and -log |det(I + J)| there."""
        flat, weights = y.flatten(1), self.network.weights()
        with torch.autocast(y.device.type, enabled=False):
            root = self._fixed_point(flat.detach(), e, weights)
            g, jacobian = self._jacobian(root, e, weights)
            eye = torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
            x = root - torch.linalg.solve(eye + jacobian.detach(), root + g - flat)
            log_det = -_log_det(self._jacobian(x, e, weights)[1])
        return x.reshape_as(y), log_det

    @torch.no_grad()
    def generate(self, y: Tensor, e: Tensor | None = None) -> Tensor:
        """The fixed point without the log-determinant."""
        with torch.autocast(y.device.type, enabled=False):
            return self._fixed_point(y.flatten(1), e, self.network.weights()).reshape_as(y)

    @torch.no_grad()
    def _fixed_point(self, y: Tensor, e: Tensor | None, weights: list[Tensor]) -> Tensor:
        x, enough = y, 8 * torch.finfo(y.dtype).eps
        for _ in range(MOST):
            new = y - self.network(x, e, weights)
            if torch.allclose(new, x, rtol=enough, atol=enough):
                return new
            x = new
        return x

    def _jacobian(self, x: Tensor, e: Tensor | None, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
        """g (B, D) and J (B, D, D), by one backward pass through D copies of the batch."""
        graph, dims = torch.is_grad_enabled(), x.shape[1]
        with torch.enable_grad():
            copies = x.repeat_interleave(dims, 0)
            copies = copies if copies.requires_grad else copies.requires_grad_()
            value = self.network(copies, None if e is None else e.repeat_interleave(dims, 0), weights)
            basis = torch.eye(dims, dtype=x.dtype, device=x.device).repeat(len(x), 1)
            (rows,) = torch.autograd.grad(value, copies, basis, create_graph=graph)
        g, jacobian = value[::dims], rows.unflatten(0, (-1, dims))
        return (g, jacobian) if graph else (g.detach(), jacobian.detach())

    def _roulette(self, x: Tensor, e: Tensor | None, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
        """g and an unbiased estimate of log |det(I + J)|; one N for the batch, one eps per sample."""
        graph, extra = torch.is_grad_enabled(), int(torch.empty(()).geometric_(STOP))  # 1, 2, ...
        noise = torch.randint_like(x, 2) * 2 - 1
        with torch.enable_grad():
            at = x if x.requires_grad else x.detach().requires_grad_()
            g = self.network(at, e, weights)
            product, log_det = noise, x.new_zeros(len(x))
            for k in range(1, CERTAIN + extra):
                (product,) = torch.autograd.grad(g, at, product, create_graph=graph, retain_graph=True)
                reached = (1 - STOP) ** max(k - CERTAIN, 0)
                log_det = log_det + (-1) ** (k + 1) / (k * reached) * (product * noise).sum(1)
        return (g, log_det) if graph else (g.detach(), log_det.detach())


def _log_det(jacobian: Tensor) -> Tensor:
    """log |det(I + J)| of every J (B, D, D)."""
    eye = torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
    return torch.linalg.slogdet(eye + jacobian).logabsdet
