r"""Muon: momentum, orthogonalised, for the matrices of a network; Adam for everything else.

    M <- mu M + (1 - mu) G                          momentum of the gradient, mu = 0.95
    U V^T ~ orthogonal(mu M + (1 - mu) G)           all singular values to about 1 (Nesterov's look ahead inside)
    W <- W - lr (decay W + 10 sqrt(max(1, A / B)) U V^T)       W is A x B, A outputs of B inputs

Every direction of a matrix then learns at the same rate, also those in which the gradient is small, which Adam's rate
for every entry cannot do. The root makes the change of the outputs independent of the widths; the factor 10 makes one
learning rate serve both: 0.002, usual for Adam, is Muon's usual 0.02.

`orthogonal` needs no singular value decomposition: a quintic polynomial p(s) = a s + b s^3 + c s^5, applied five times
to a matrix of norm at most 1, drives every singular value that is not tiny into 0.68 .. 1.21; in matrices
p(X) = a X + (b A + c A A) X with A = X X^T, products alone, which bfloat16 is exact enough for.

Matrices are the weights of linear layers and of convolutions, (out, in * kernel); biases, gains, embeddings and every
other parameter are Adam's. One step costs about 15 A B min(A, B) multiplications more than Adam's whatever the batch,
so that larger batches than Adam's pay.

Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/; the root: Yang, Simon, Bernstein (2023),
https://arxiv.org/abs/2310.17813.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from creo.model import TrainingDefaults
from creo.training.adamw import AdamW

MOMENTUM = 0.95
#: what Muon's learning rate is of Adam's
SCALE = 10.0
#: a, b, c: chosen by Jordan et al. for the largest slope at 0
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


def orthogonal(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """About U V^T of matrices U S V^T.

    Args:
        x: (..., A, B).
        dtype: what the products are computed in.

    Returns:
        (..., A, B) of x's own dtype; 0 where a matrix is 0.
    """
    a, b, c = POLYNOMIAL
    tall = x.shape[-2] > x.shape[-1]
    y = (x.mT if tall else x).to(dtype)
    y = y / torch.linalg.matrix_norm(y, keepdim=True).clamp(min=1e-12)
    for _ in range(ROUNDS):
        gram = y @ y.mT
        y = a * y + (b * gram + c * (gram @ gram)) @ y
    return (y.mT if tall else y).to(x.dtype)


def matrices(model: nn.Module) -> list[Tensor]:
    """The weights of a model's linear layers and convolutions, each once."""
    found = {id(m.weight): m.weight for m in model.modules() if isinstance(m, nn.Linear | _ConvNd)}
    return list(found.values())


class Muon:
    """Muon over a player's parameters.

    Args:
        parameters: what it changes, in a fixed order.
        settings: weight decay, and the betas of Adam; the learning rate is given at each step.
        model: tells which parameters are matrices.
        dtype: what orthogonalisation is computed in.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        settings: TrainingDefaults,
        model: nn.Module,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        mine = {id(p) for p in matrices(model)}
        self.matrices = [p for p in parameters if id(p) in mine]
        self.adam = AdamW([p for p in parameters if id(p) not in mine], settings)
        self.momentum = [torch.zeros_like(p, memory_format=torch.contiguous_format) for p in self.matrices]
        self.settings, self.dtype = settings, dtype

    def zero(self) -> None:
        """Forget the gradients."""
        self.adam.zero()
        for p in self.matrices:
            p.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every parameter that has a gradient, at a learning rate."""
        self.adam.step(rate)
        alike: dict[tuple[torch.Size, torch.device], list[int]] = {}
        for i, p in enumerate(self.matrices):
            if p.grad is not None:
                alike.setdefault((p.flatten(1).shape, p.device), []).append(i)
        for ((rows, columns), _), group in alike.items():
            weights: list[Tensor] = [self.matrices[i] for i in group]
            gradients = [self.matrices[i].grad.flatten(1) for i in group]  # type: ignore[union-attr]
            momenta = [self.momentum[i].flatten(1) for i in group]
            torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
            ahead = torch.stack(torch._foreach_lerp(gradients, momenta, MOMENTUM))
            moves = orthogonal(ahead, self.dtype) * (-SCALE * rate * max(1.0, rows / columns) ** 0.5)
            if self.settings.weight_decay:
                torch._foreach_mul_(weights, 1 - rate * self.settings.weight_decay)
            torch._foreach_add_(weights, [m.view_as(w) for m, w in zip(moves, weights, strict=True)])

    def tensors(self) -> dict[str, Tensor]:
        """Its state by name."""
        own = {f"matrix.{i}.momentum": t for i, t in enumerate(self.momentum)}
        return own | {f"adam.{name}": t for name, t in self.adam.tensors().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the state that `tensors` gave."""
        for name, own in self.tensors().items():
            own.copy_(tensors[name])
