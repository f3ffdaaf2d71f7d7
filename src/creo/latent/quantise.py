r"""Vector quantisation: real vectors z in R^D to the nearest of K codes, and how the codes are learned.

    k(z) = argmin_k |z - e_k|^2 = argmin_k ( |e_k|^2 / 2 - z . e_k )

is found by `creo.latent.nearest`. The gradient of what is computed from e_k(z) is handed to z as it is
(straight-through), and a penalty keeps z near its code, summed over dimensions:

    vectors = z + sg(e_k(z) - z),       commitment = |z - sg(e_k(z))|^2        (sg: no gradient)

How the codes move:

    EMACodebook       n_k <- g n_k + (1 - g) N_k / N,   m_k <- g m_k + (1 - g) sum_{k(z)=k} z / N,   e_k = m_k / n_k
    GradientCodebook  the penalty grows by |sg(z) - e_k(z)|^2 / beta, so that beta x penalty holds both in full
    Residual          L codebooks, each of what the ones before have left over:  e = e^1_k1 + ... + e^L_kL

(N_k of the N vectors of a batch chose code k.) Both codebooks start from k-means of encoded training data, and a code
whose share n_k falls below `revive / K` is moved to a random vector of the batch. Finite scalar quantisation, which
has no codebook at all, is in `creo.latent.fsq`.

A quantiser describes a vector by `digits` indices below `size`, (N, digits); it keeps the share of every value of every
digit, which is the simplest prior there is: p(k) = prod_l shares[l, k_l].

References:
    van den Oord, Vinyals, Kavukcuoglu (2017), https://arxiv.org/abs/1711.00937 (appendix A.1: moving averages);
    Dhariwal et al. (2020), Jukebox, https://arxiv.org/abs/2005.00341 (reviving dead codes);
    Juang, Gray (1982), https://doi.org/10.1109/ICASSP.1982.1171604; Zeghidour et al. (2021), SoundStream,
    https://arxiv.org/abs/2107.03312 (residual quantisation).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from creo.errors import OptionError
from creo.latent.nearest import kmeans, nearest

#: Weight of the uniform distribution in the shares as a prior: no code is impossible.
UNIFORM = 0.01
#: Iterations of k-means at the start.
LLOYD_STEPS = 10


def straight_through(z: Tensor, quantised: Tensor) -> Tensor:
    """The values of `quantised` with the gradient of `z`."""
    return z + (quantised - z).detach()


def number_of(index: Tensor, size: int) -> Tensor:
    """One number for each row of digits (N, L), different for different rows (as long as size^L < 2^63)."""
    number = torch.zeros_like(index[:, 0])
    for digit in index.unbind(1):
        number = number * size + digit
    return number


def perplexity(number: Tensor) -> Tensor:
    """exp of the entropy of the values' frequencies: how many codes are in use, as many as if equally often."""
    share = number.unique(return_counts=True)[1].double() / max(1, len(number))
    return torch.special.entr(share).sum().exp()


class Quantised(NamedTuple):
    """What a quantiser makes of vectors (N, D)."""

    vectors: Tensor  # (N, D), with the gradient of the vectors given
    digits: Tensor  # (N, digits) int64
    penalty: Tensor  # (N,), to be weighed by beta


class Quantiser(nn.Module, ABC):
    """What all quantisers share.

    Args:
        dim: D.
        digits: indices that describe one vector.
        size: values of every digit.
        decay: of the moving average of the shares.
    """

    #: (digits, size) how often each value of each digit is chosen; a moving average of batches.
    shares: Tensor
    #: whether neighbouring values of a digit mean neighbouring vectors
    ordered: bool = False

    def __init__(self, dim: int, digits: int, size: int, *, decay: float = 0.99) -> None:
        super().__init__()
        if dim < 1 or digits < 1 or size < 2 or not 0 <= decay < 1:
            raise OptionError(
                "a quantiser needs dim and digits of at least 1, at least 2 codes and a decay in [0, 1); "
                f"received dim={dim}, digits={digits}, codes={size}, decay={decay}"
            )
        self.dim, self.digits, self.size, self.decay = dim, digits, size, decay
        self.register_buffer("shares", torch.full((digits, size), 1 / size))

    @abstractmethod
    def index(self, z: Tensor) -> Tensor:
        """Digits (N, digits) of vectors (N, D)."""

    @abstractmethod
    def lookup(self, index: Tensor) -> Tensor:
        """Vectors (N, D) of digits (N, digits)."""

    @abstractmethod
    def forward(self, z: Tensor) -> Quantised:
        """Quantise vectors (N, D); in training with gradients, learn from them too."""

    def initialise(self, z: Tensor) -> None:
        """Start from vectors (N, D) of training data."""

    @property
    def learning(self) -> bool:
        """Whether a call now is one of training."""
        return self.training and torch.is_grad_enabled()

    @torch.no_grad()
    def count(self, index: Tensor) -> None:
        """Move the shares towards those of a batch."""
        now = torch.stack([torch.bincount(digit, minlength=self.size) for digit in index.unbind(1)])
        self.shares.lerp_(now.to(self.shares.dtype) / len(index), 1 - self.decay)

    def table(self) -> Tensor:
        """The prior of every digit, (digits, size): the shares with a little of the uniform distribution."""
        shares = self.shares / self.shares.sum(1, keepdim=True)
        return (1 - UNIFORM) * shares + UNIFORM / self.size

    def log_prior(self, index: Tensor) -> Tensor:
        """log p(k), (N,) nats of digits (N, digits)."""
        return self.table().log().T.gather(0, index).sum(1)

    def draw(self, n: int) -> Tensor:
        """n rows of digits from that prior, (n, digits)."""
        return torch.multinomial(self.table(), n, replacement=True).T


class Codebook(Quantiser):
    """A quantiser with a list of codes.

    Args:
        dim: D.
        codes: K.
        decay: of the moving averages.
        revive: a code is moved when its share is below revive / K; 0: never.
    """

    codes: Tensor

    def __init__(self, dim: int, codes: int, *, decay: float = 0.95, revive: float = 0.3) -> None:
        super().__init__(dim, 1, codes, decay=decay)
        if not 0 <= revive < 1:
            raise OptionError(f"revive is a share in [0, 1) of 1/codes; received {revive}")
        self.revive = revive

    def index(self, z: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            return nearest(z.to(self.codes.dtype), self.codes)[:, None]

    def lookup(self, index: Tensor) -> Tensor:
        return self.codes[index[:, 0]]

    @torch.no_grad()
    def initialise(self, z: Tensor) -> None:
        codes, counts = kmeans(z.to(self.codes.dtype), self.size, steps=LLOYD_STEPS)
        self._set(torch.arange(self.size, device=z.device), codes, counts / len(z))

    @abstractmethod
    def _set(self, which: Tensor, codes: Tensor, shares: Tensor) -> None:
        """Put the codes `which` (k,) at `codes` (k, D), with these shares (k,)."""

    @torch.no_grad()
    def revive_dead(self, z: Tensor) -> None:
        """Move the codes that are hardly used to random vectors of the batch z (N, D)."""
        dead = (self.shares[0] < self.revive / self.size).nonzero()[:, 0]
        if len(dead):
            chosen = z[torch.randint(len(z), (len(dead),), device=z.device)]
            self._set(dead, chosen.to(self.codes.dtype), self.shares.new_full((len(dead),), 1 / self.size))


class EMACodebook(Codebook):
    """Codes that are moving averages of the vectors that chose them; see the module docstring for the formula."""

    sums: Tensor

    def __init__(self, dim: int, codes: int, *, decay: float = 0.95, revive: float = 0.3) -> None:
        super().__init__(dim, codes, decay=decay, revive=revive)
        start = torch.randn(codes, dim)
        self.register_buffer("codes", start)
        self.register_buffer("sums", start / codes)  # m_k

    def _set(self, which: Tensor, codes: Tensor, shares: Tensor) -> None:
        self.codes[which] = codes
        self.shares[0, which] = shares.to(self.shares.dtype)
        self.sums[which] = codes * shares[:, None].to(codes.dtype)

    @torch.no_grad()
    def update(self, z: Tensor, index: Tensor) -> None:
        """One step of the moving averages, by vectors (N, D) that chose the codes `index` (N, 1)."""
        self.count(index)
        total = torch.zeros_like(self.sums).index_add_(0, index[:, 0], z)
        self.sums.lerp_(total / len(z), 1 - self.decay)
        used = self.shares[0] > 1e-12
        mean = self.sums / self.shares[0].clamp_min(1e-12)[:, None].to(self.sums.dtype)
        self.codes.copy_(torch.where(used[:, None], mean, self.codes))

    def forward(self, z: Tensor) -> Quantised:
        wide = z.to(self.codes.dtype)
        index = self.index(wide)
        chosen = self.lookup(index)
        found = Quantised(straight_through(wide, chosen), index, (wide - chosen).square().sum(1))
        if self.learning:
            self.update(wide.detach(), index)
            self.revive_dead(wide.detach())
        return found


class GradientCodebook(Codebook):
    """Codes that are parameters, drawn to the vectors that chose them by the loss.

    Args:
        dim: D.
        codes: K.
        beta: the weight the penalty will be given, so that the codes' own part of it has weight 1.
        decay: of the moving average of the shares.
        revive: a code is moved when its share is below revive / K; 0: never.
    """

    def __init__(
        self, dim: int, codes: int, *, beta: float = 0.25, decay: float = 0.95, revive: float = 0.3
    ) -> None:
        super().__init__(dim, codes, decay=decay, revive=revive)
        self.beta = beta
        self.codes = nn.Parameter(torch.randn(codes, dim))

    def _set(self, which: Tensor, codes: Tensor, shares: Tensor) -> None:
        self.codes.data[which] = codes
        self.shares[0, which] = shares.to(self.shares.dtype)

    def forward(self, z: Tensor) -> Quantised:
        wide = z.to(self.codes.dtype)
        index = self.index(wide)
        chosen = self.lookup(index)
        commitment = (wide - chosen.detach()).square().sum(1)
        drawn = (wide.detach() - chosen).square().sum(1)
        if self.learning:
            self.count(index)
            self.revive_dead(wide.detach())
        return Quantised(straight_through(wide, chosen), index, commitment + drawn / self.beta)


class Residual(Quantiser):
    """Several codebooks, each of what the ones before have left over; the digits are their indices.

    Args:
        books: codebooks of the same dimension and size, from the coarsest on.
    """

    def __init__(self, books: list[EMACodebook]) -> None:
        super().__init__(books[0].dim, len(books), books[0].size, decay=books[0].decay)
        if len({(book.dim, book.size) for book in books}) > 1:
            raise OptionError("the codebooks of a residual quantiser need the same dim and codes")
        self.books = nn.ModuleList(books)

    def _each(self, z: Tensor) -> list[Tensor]:
        """The index (N,) that each codebook gives to what is left for it."""
        found, left = [], z
        for book in self.books:
            index = book.index(left)  # type: ignore[operator]
            left = left - book.lookup(index)  # type: ignore[operator]
            found.append(index[:, 0])
        return found

    def index(self, z: Tensor) -> Tensor:
        return torch.stack(self._each(z), 1)

    def lookup(self, index: Tensor) -> Tensor:
        parts = [book.lookup(index[:, l : l + 1]) for l, book in enumerate(self.books)]  # type: ignore[operator]
        return torch.stack(parts).sum(0)

    @torch.no_grad()
    def initialise(self, z: Tensor) -> None:
        for l, book in enumerate(self.books):
            book.initialise(z)  # type: ignore[operator]
            self.shares[l] = book.shares[0]  # type: ignore[index]
            z = z - book.lookup(book.index(z))  # type: ignore[operator]

    def forward(self, z: Tensor) -> Quantised:
        left, total, penalty, found = z, torch.zeros_like(z), torch.zeros(len(z), device=z.device), []
        for book in self.books:
            step = book(left)
            chosen = step.vectors.detach()
            total, left = total + chosen, left - chosen
            penalty = penalty + step.penalty
            found.append(step.digits[:, 0])
        index = torch.stack(found, 1)
        if self.learning:
            self.count(index)
        return Quantised(straight_through(z, total), index, penalty)
