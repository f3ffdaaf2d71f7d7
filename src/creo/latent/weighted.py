r"""log p(x) of a latent model by importance weights, in bounded memory, with a standard error.

    log 1/K sum_k w_k,      w_k = p(x, z_k | c) / q(z_k | x, c),      z_k ~ q(z | x, c)            <= log p(x | c)

in expectation: a lower bound that grows with K. Examples are encoded once; their K draws go through the decoder a few
at a time, so that no more than `CHUNK_NUMBERS` numbers of the head are held at once, however large K is. A model says
how its weights are drawn (`weigher`); all else is here. Nats of the raw sample.

Reference: Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519, equation 8.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from creo.distributions.heads import Head
from creo.errors import OptionError
from creo.latent.bounds import iwae_with_error
from creo.model import GenerativeModel, Likelihood

#: How many head parameters are held in memory at a time (a million float32 are 4 MiB, and stay in cache).
CHUNK_NUMBERS = 2**20

#: Draws k latents of every example and answers log w, (k, B) nats.
Weigher = Callable[[int], Tensor]


class Weighted(GenerativeModel):
    """A model with the bound of the module docstring."""

    likelihood = Likelihood.BOUND
    head: Head
    #: K where nothing else is said
    samples: int

    @abstractmethod
    def weigher(self, x: Tensor, c: Tensor | None = None) -> Weigher:
        """Encode raw data (B, *space.shape) and conditions once, for any number of draws."""

    def numbers_per_draw(self, c: Tensor | None) -> int:
        """How many head parameters one draw for one example needs."""
        return self.space.dims * self.head.size

    def log_weights(self, x: Tensor, c: Tensor | None = None, *, samples: int) -> Tensor:
        """log p(x, z_k | c) - log q(z_k | x, c) for z_k ~ q: (samples, B) nats."""
        self.check_batch(x, c)
        return self.weigher(x, c)(samples)

    def log_prob(self, x: Tensor, c: Tensor | None = None, *, samples: int | None = None) -> Tensor:
        """Importance-weighted lower bound on log p(x | c), in nats of the raw sample, in bounded memory.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            samples: K, draws per example; None: the model's own number.

        Returns:
            (B,) nats.
        """
        return self.log_prob_with_error(x, c, samples=samples)[0]

    def log_prob_with_error(
        self, x: Tensor, c: Tensor | None = None, *, samples: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The bound of `log_prob`, and the standard error that its own draws give it, (B,) nats each."""
        total = self.samples if samples is None else samples
        if total < 1:
            raise OptionError(f"a bound needs at least 1 sample; received samples={total}")
        self.check_batch(x, c)
        of_one = self.numbers_per_draw(c)
        rows = max(1, min(len(x), CHUNK_NUMBERS // of_one))
        chunk = max(1, CHUNK_NUMBERS // (of_one * rows))
        found = [
            iwae_with_error(
                self.weigher(x[i : i + rows], None if c is None else c[i : i + rows]), total, chunk
            )
            for i in range(0, max(len(x), 1), rows)
        ]
        value, error = (torch.cat(part) for part in zip(*found, strict=True))
        return value, error
