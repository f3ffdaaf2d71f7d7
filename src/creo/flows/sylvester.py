r"""Sylvester layers: m planar bumps at once, along orthonormal directions.

    y = x + Q R tanh(S Q^T x + b)             log |det| = sum_i log(1 + (1 - tanh_i^2) R_ii S_ii)

Q is (D, m) with orthonormal columns (a product of reflections), R and S are (m, m) upper triangular with diagonals in
(-1, 1), b is (m,). By Sylvester's identity det(I_D + A B) = det(I_m + B A) the determinant is that of a triangular
matrix. In the coordinates p = Q^T x the inverse is solved from the last to the first, one increasing scalar equation
each. R, S and b may be functions of a context.

Source: van den Berg, Hasenclever, Tomczak, Welling 2018, https://arxiv.org/abs/1803.05649.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from creo.errors import OptionError
from creo.flows.layer import Layer
from creo.flows.linear import householder, paired_directions
from creo.flows.parameters import Parameters
from creo.flows.root import solve_increasing


class Sylvester(Layer):
    """The layer of the module docstring; `forward` is in closed form.

    Args:
        shape: of one sample.
        rank: m, at most D.
        context: size of a condition's embedding, which R, S and b depend on; 0 for none.

    Raises:
        OptionError: if rank is not in 1..D.
    """

    def __init__(self, shape: tuple[int, ...], *, rank: int, context: int = 0) -> None:
        super().__init__()
        dims = torch.Size(shape).numel()
        if not 1 <= rank <= dims:
            raise OptionError(f"rank must be in 1..{dims}; received {rank}")
        self.rank = rank
        self.directions = nn.Parameter(paired_directions(dims, dims + dims % 2))
        self.parameters_of = Parameters((rank * rank, rank * rank, rank), context=context, std=rank**-0.5)

    def _matrices(self, e: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Q (D, m), R and S (., m, m), b (., m)."""
        r, s, b = self.parameters_of(e)
        r, s = (self._triangle(t.unflatten(1, (self.rank, self.rank))) for t in (r, s))
        return householder(self.directions)[:, : self.rank], r, s, b

    @staticmethod
    def _triangle(raw: Tensor) -> Tensor:
        """Upper triangular, the diagonal in (-1, 1); the lower part adds its transpose above, so that none is idle."""
        diagonal = torch.tanh(raw.diagonal(dim1=1, dim2=2))
        return (raw + raw.mT).triu(1) / 2 + torch.diag_embed(diagonal)

    @staticmethod
    def _log_det(t: Tensor, r: Tensor, s: Tensor) -> Tensor:
        product = r.diagonal(dim1=1, dim2=2) * s.diagonal(dim1=1, dim2=2)
        return torch.log1p((1 - t.square()) * product).sum(1)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Add the bumps."""
        with torch.autocast(x.device.type, enabled=False):
            q, r, s, b = self._matrices(e)
            flat = x.flatten(1)
            t = torch.tanh((s @ (flat @ q).unsqueeze(2)).squeeze(2) + b)
            y = flat + (r @ t.unsqueeze(2)).squeeze(2) @ q.T
        return y.reshape_as(x), self._log_det(t, r, s)

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Back substitution in the coordinates of Q, then take the bumps away."""
        with torch.autocast(y.device.type, enabled=False):
            q, r, s, b = self._matrices(e)
            flat = y.flatten(1)
            t = self._solve(flat @ q, r, s, b)
            x = flat - (r @ t.unsqueeze(2)).squeeze(2) @ q.T
        return x.reshape_as(y), -self._log_det(t, r, s)

    def _solve(self, v: Tensor, r: Tensor, s: Tensor, b: Tensor) -> Tensor:
        """The activations t (B, m) of the p with p + R tanh(S p + b) = v."""
        found_p: list[Tensor] = []
        found_t: list[Tensor] = []
        for i in reversed(range(self.rank)):
            offset, rest = b[:, i], v[:, i]
            if found_p:
                offset = offset + (s[:, i, i + 1 :] * torch.stack(found_p, 1)).sum(1)
                rest = rest - (r[:, i, i + 1 :] * torch.stack(found_t, 1)).sum(1)
            p, t = _scalar(rest, r[:, i, i], s[:, i, i], offset)
            found_p.insert(0, p)
            found_t.insert(0, t)
        return torch.stack(found_t, 1)


def _scalar(v: Tensor, r: Tensor, s: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """The p with p + r tanh(s p + offset) = v, and that tanh, (B,)."""

    def f(p: Tensor) -> tuple[Tensor, Tensor]:
        t = torch.tanh(s * p + offset)
        return p + r * t, 1 + r * s * (1 - t.square())

    p = solve_increasing(f, v, v - r.abs(), v + r.abs())
    return p, torch.tanh(s * p + offset)
