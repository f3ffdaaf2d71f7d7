r"""Linear layers on whole events: every entry of the output may depend on every entry of the input.

| layer        | y = W x + b(e), on the flattened event                     | log |det W|     | inverse              |
|--------------|-----------------------------------------------------------|-----------------|----------------------|
| `LU`         | W = L U, L unit lower, U upper triangular, diag +-exp(s)  | sum s           | two triangular solves|
| `Orthogonal` | W = H_1 H_2 ... H_m, H_v = I - 2 v v^T / |v|^2            | 0               | W^T                  |
| `QR`         | W = Q R, Q `Orthogonal`, R upper triangular, diag exp(s)  | sum s           | W^T, triangular solve|

All start as the identity, b at 0 (an even number of reflections, in equal pairs). D (D + 1) parameters and D^2
operations per sample; `LU` without a permutation reaches all matrices with positive leading minors, `Orthogonal` with
m = D every rotation.

Sources: Householder 1958, https://doi.org/10.1145/320941.320947; LU: Oliva et al. 2018,
https://arxiv.org/abs/1801.09819; Householder flow: Tomczak, Welling 2016, https://arxiv.org/abs/1611.09630.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from creo.errors import OptionError
from creo.flows.layer import Layer


class _Matrix(Layer):
    """y = W x + b(e); subclasses give products with W and W^{-1} of rows (B, D), and log |det W|."""

    def __init__(self, shape: tuple[int, ...], context: int) -> None:
        super().__init__()
        self.dims = torch.Size(shape).numel()
        self.bias = nn.Parameter(torch.zeros(self.dims))
        self.shift = nn.Linear(context, self.dims, bias=False) if context else None
        if self.shift is not None:
            nn.init.zeros_(self.shift.weight)

    def multiply(self, x: Tensor) -> Tensor:
        """W x for every row x."""
        raise NotImplementedError

    def solve(self, y: Tensor) -> Tensor:
        """W^{-1} y for every row y."""
        raise NotImplementedError

    def log_det(self) -> Tensor:
        """log |det W|, a scalar."""
        raise NotImplementedError

    def _offset(self, e: Tensor | None) -> Tensor:
        return self.bias if e is None or self.shift is None else self.bias + self.shift(e).to(self.bias.dtype)

    def forward(self, x: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply, then shift."""
        with torch.autocast(x.device.type, enabled=False):
            y = self.multiply(x.flatten(1)) + self._offset(e)
        return y.reshape_as(x), self.log_det().expand(len(x))

    def inverse(self, y: Tensor, e: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Shift back, then solve."""
        with torch.autocast(y.device.type, enabled=False):
            x = self.solve(y.flatten(1) - self._offset(e))
        return x.reshape_as(y), -self.log_det().expand(len(y))


class LU(_Matrix):
    """W = L U; see the module docstring.

    Args:
        shape: of one sample.
        context: size of a condition's embedding, which shifts; 0 for none.
    """

    sign: Tensor

    def __init__(self, shape: tuple[int, ...], *, context: int = 0) -> None:
        super().__init__(shape, context)
        pairs = self.dims * (self.dims - 1) // 2
        self.lower, self.upper = nn.Parameter(torch.zeros(pairs)), nn.Parameter(torch.zeros(pairs))
        self.log_scale = nn.Parameter(torch.zeros(self.dims))
        self.register_buffer("sign", torch.ones(self.dims))

    @torch.no_grad()
    def set_matrix(self, matrix: Tensor) -> Tensor:
        """Become `matrix` up to the order of its rows; returns that order: W = matrix[order]."""
        permutation, lower, upper = torch.linalg.lu(matrix.double())
        rows, columns = torch.tril_indices(self.dims, self.dims, -1)
        self.lower.copy_(lower[rows, columns])
        self.upper.copy_(upper[columns, rows])
        self.log_scale.copy_(upper.diagonal().abs().log())
        self.sign.copy_(upper.diagonal().sign())
        return permutation.argmax(0)

    def _triangles(self) -> tuple[Tensor, Tensor]:
        rows, columns = torch.tril_indices(self.dims, self.dims, -1, device=self.lower.device)
        lower = torch.eye(self.dims, dtype=self.lower.dtype, device=self.lower.device)
        upper = torch.diag(self.sign * self.log_scale.exp())
        return lower.index_put((rows, columns), self.lower), upper.index_put((columns, rows), self.upper)

    def multiply(self, x: Tensor) -> Tensor:
        """U, then L."""
        lower, upper = self._triangles()
        return x @ (lower @ upper).T

    def solve(self, y: Tensor) -> Tensor:
        """Two triangular solves."""
        lower, upper = self._triangles()
        x = torch.linalg.solve_triangular(lower, y.T, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, x, upper=True).T

    def log_det(self) -> Tensor:
        """The sum of U's log-diagonal."""
        return self.log_scale.sum()


def householder(v: Tensor) -> Tensor:
    """H_1 H_2 ... H_m of the reflections along the rows of v (..., m, D), (..., D, D)."""
    v = v / v.norm(dim=-1, keepdim=True)
    product = torch.eye(v.shape[-1], dtype=v.dtype, device=v.device).expand(*v.shape[:-2], -1, -1)
    for i in range(v.shape[-2]):
        product = product - 2 * (product @ v[..., i, :, None]) @ v[..., None, i, :]
    return product


def paired_directions(size: int, count: int) -> Tensor:
    """Directions of an even number of reflections, (count, size), each one twice: their product is the identity."""
    if count < 2 or count % 2:
        raise OptionError(f"an even number of reflections starts as the identity; received {count}")
    v = torch.randn(count // 2, size)
    return torch.cat([v, v.flip(0)])


class Orthogonal(_Matrix):
    """W = a product of reflections; keeps volume and lengths.

    Args:
        shape: of one sample.
        reflections: how many, even; if not given, D rounded up to an even number.
        context: size of a condition's embedding, which shifts; 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], *, reflections: int | None = None, context: int = 0) -> None:
        super().__init__(shape, context)
        count = self.dims + self.dims % 2 if reflections is None else reflections
        self.directions = nn.Parameter(paired_directions(self.dims, count))

    def multiply(self, x: Tensor) -> Tensor:
        """All reflections."""
        return x @ householder(self.directions).T

    def solve(self, y: Tensor) -> Tensor:
        """The transpose."""
        return y @ householder(self.directions)

    def log_det(self) -> Tensor:
        """0."""
        return self.directions.new_zeros(())


class QR(Orthogonal):
    """W = Q R; see the module docstring. Arguments as of `Orthogonal`."""

    def __init__(self, shape: tuple[int, ...], *, reflections: int | None = None, context: int = 0) -> None:
        super().__init__(shape, reflections=reflections, context=context)
        self.upper = nn.Parameter(torch.zeros(self.dims * (self.dims - 1) // 2))
        self.log_scale = nn.Parameter(torch.zeros(self.dims))

    def _triangle(self) -> Tensor:
        rows, columns = torch.triu_indices(self.dims, self.dims, 1, device=self.upper.device)
        return torch.diag(self.log_scale.exp()).index_put((rows, columns), self.upper)

    def multiply(self, x: Tensor) -> Tensor:
        """R, then Q."""
        return super().multiply(x @ self._triangle().T)

    def solve(self, y: Tensor) -> Tensor:
        """Q^T, then a triangular solve."""
        return torch.linalg.solve_triangular(self._triangle(), super().solve(y).T, upper=True).T

    def log_det(self) -> Tensor:
        """The sum of R's log-diagonal."""
        return self.log_scale.sum()
