r"""Models that describe a sample by a few symbols: what they share, whoever chose the symbols.

A coded model has a code k(x), a tensor of integers of its `code_space`, a decoder p(x | k), and some simple prior p(k).
Since p(x) = sum_k p(k) p(x | k) is at least any one of its terms,

    log p(x | c) >= log p(k(x)) + log p(x | k(x), c)

which is what `log_prob` answers, in nats of the raw sample: the length of a description in two parts, code and residue.
The simple prior makes poor samples; a second stage replaces it by a model that is trained on the codes
(`creo.training.two_stage`), and every coded model takes part in that through the methods below.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from creo.distributions.heads import Head
from creo.model import GenerativeModel, Likelihood, Report, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.spaces import Ordinal, Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

#: How many examples are encoded or decoded at a time where many are given.
ROWS = 512


class CodedModel(GenerativeModel):
    """See the module docstring.

    Args:
        space: what one sample is.
        code_space: what one code is.
        head: the distribution of every variable given the decoder's numbers.
        ordered: whether neighbouring values of a code mean similar samples.
        condition: what it is conditioned on, or None.
        embedding: maps raw conditions to the networks' context vectors; None if unconditional.
    """

    likelihood = Likelihood.BOUND
    likelihood_note = "code and residue: log p(k(x)) + log p(x | k(x))"

    def __init__(
        self,
        space: Space,
        code_space: Ordinal,
        head: Head,
        *,
        ordered: bool = False,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__(space, condition)
        self.code_space, self.head, self.ordered, self.embedding = code_space, head, ordered, embedding

    @abstractmethod
    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """k(x): raw data (B, *space.shape) to codes (B, *code_space.shape), int64."""

    @abstractmethod
    def vectors(self, codes: Tensor) -> Tensor:
        """What the decoder is shown of codes: features of every place, (B, D, *grid)."""

    @abstractmethod
    def log_code_prior(self, codes: Tensor) -> Tensor:
        """log p(k) of the simple prior, (B,) nats."""

    @abstractmethod
    def draw_codes(self, n: int) -> Tensor:
        """n codes from the simple prior."""

    @abstractmethod
    def parameters_of(self, vectors: Tensor, e: Tensor | None) -> Tensor:
        """The head's numbers (B, *space.shape, head.size) for the decoder's features and a condition's embedding."""

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=64, lr=2e-3, ema=0.99)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        self.head.initialise(x)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def context(self, c: Tensor | None) -> Tensor | None:
        """The embedding of conditions, (B, width), or None."""
        return None if self.embedding is None else self.embedding(c)

    def log_likelihood(self, x: Tensor, codes: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(x | k, c), (B,) nats."""
        params = self.parameters_of(self.vectors(codes), self.context(c))
        return self.head.log_prob(params, x).flatten(1).sum(1)

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        codes = self.codes(x, c)
        return self.log_code_prior(codes) + self.log_likelihood(x, codes, c)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """What the decoder is shown of x: the vectors of its code, (B, D, *grid)."""
        return self.vectors(self.codes(x, c))

    def decode(self, z: Tensor, c: Tensor | None = None, *, draw: bool = False) -> Tensor:
        """What vectors look like, those of codes or others.

        Args:
            z: (B, D, *grid).
            c: conditions, (B, *condition.shape) or one for all, or None.
            draw: sample x from p(x | z, c); otherwise its mean (rounded to a level on ordinal data).

        Returns:
            Raw data, (B, *space.shape).
        """
        params = self.parameters_of(z, self.context(self.expand_condition(len(z), c)))
        x = self.head.sample(params) if draw else self.head.mean(params)
        return x.round().to(self.space.dtype) if self.space.discrete else x

    def decode_codes(self, codes: Tensor, c: Tensor | None = None, *, draw: bool = False) -> Tensor:
        """What codes (B, *code_space.shape) look like; see `decode`."""
        return self.decode(self.vectors(codes), c, draw=draw)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw codes from the simple prior, then x from p(x | k, c)."""
        c = self.expand_condition(n, c)
        return self.decode_codes(self.draw_codes(n), c, draw=True)

    def pictures(self, x: Tensor, c: Tensor | None = None) -> dict[str, Callable[[], Figure | Image]]:
        """`code-usage`: how often each code is chosen; `code-maps` (pictures): examples, codes, reconstructions."""
        from creo.latent.code_plots import code_maps, code_usage

        found: dict[str, Callable[[], Any]] = {"code-usage": lambda: code_usage(self, x, c)}
        if self.space.is_image and len(self.code_space.shape) in (2, 3):
            found["code-maps"] = lambda: code_maps(self, x[:8], None if c is None else c[:8])
        return found


@torch.no_grad()
def all_codes(model: Any, x: Tensor, c: Tensor | None = None) -> Tensor:
    """Codes of many examples on the CPU, a few at a time, in evaluation mode.

    Args:
        model: a coded model, on any device.
        x: raw data, (N, *space.shape).
        c: conditions, (N, *condition.shape), or None.
    """
    training = model.training
    model.eval()
    c = None if model.condition is None else c
    parts = [
        model.codes(
            x[i : i + ROWS].to(model.device), None if c is None else c[i : i + ROWS].to(model.device)
        ).cpu()
        for i in range(0, len(x), ROWS)
    ]
    model.train(training)
    return torch.cat(parts)
