r"""Several layers of Gaussian latents, one given the others: what hierarchical VAEs share, whatever their networks.

    p(x, z) = p(z_L) p(z_{L-1} | z_L) ... p(z_1 | z_{>1}) p(x | z),      q(z | x) = q(z_L | x) ... q(z_1 | z_{>1}, x)

Both go from the top down, so that one pass through the same network, `descend`, serves all purposes: at every layer it
asks a chooser for z_i, given the prior's normal distribution there and, where x is known, the posterior's.

    training    z_i ~ q:   -ELBO = distortion + rate,   rate = E_q sum_i KL(q(z_i | z_{>i}, x) || p(z_i | z_{>i}))
    log_prob    z_i ~ q:   log w = log p(x | z) + sum_i log p(z_i | .) - log q(z_i | .), importance-weighted
    sample      z_i ~ p

in nats of the raw sample. In training the rate is weighed by beta, which rises from 0 over the first `warmup` steps,
and no layer's rate counts below `free_bits` nats; neither touches `log_prob` or the part called nll.

References:
    Rezende, Mohamed, Wierstra (2014), https://arxiv.org/abs/1401.4082; Sonderby et al. (2016),
    https://arxiv.org/abs/1602.02282 (warm-up); Kingma et al. (2016), https://arxiv.org/abs/1606.04934 (free bits);
    Burda, Grosse, Salakhutdinov (2016), https://arxiv.org/abs/1509.00519 (importance weights).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from creo.distributions.heads import Head
from creo.errors import OptionError
from creo.latent.chooser import Chooser, Given, Infer
from creo.latent.weighted import Weigher, Weighted
from creo.model import Report, Terms, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.spaces import Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class HierarchicalVAE(Weighted):
    """See the module docstring.

    Args:
        space: what one sample is.
        head: the distribution of every variable given its parameters.
        samples: draws per sample in `log_prob`, where nothing else is said.
        beta: weight of the rate in the loss.
        warmup: training steps over which it rises from 0.
        free_bits: nats below which the rate of a layer, averaged over the batch, does not count.
        condition: what it is conditioned on, or None.
        embedding: maps raw conditions to the networks' context vectors; None if unconditional.
    """

    steps: Tensor

    def __init__(
        self,
        space: Space,
        head: Head,
        *,
        samples: int = 32,
        beta: float = 1.0,
        warmup: int = 200,
        free_bits: float = 0.0,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__(space, condition)
        if samples < 1 or min(beta, warmup, free_bits) < 0:
            raise OptionError(
                "samples must be at least 1 and beta, warmup, free_bits at least 0; "
                f"received samples={samples}, beta={beta}, warmup={warmup}, free_bits={free_bits}"
            )
        self.head, self.embedding, self.samples = head, embedding, samples
        self.beta, self.warmup, self.free_bits = beta, warmup, free_bits
        self.likelihood_note = f"importance-weighted bound, {samples} samples"
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @abstractmethod
    def evidence(self, x: Tensor, e: Tensor | None) -> list[Tensor]:
        """What the layers are told of raw x: tensors with the batch as their first axis."""

    @abstractmethod
    def descend(self, n: int, e: Tensor | None, evidence: Sequence[Tensor] | None, choose: Chooser) -> Tensor:
        """Features for p(x | z), (n, *), from latents that `choose` gives from the top layer to the last."""

    @abstractmethod
    def parameters_of(self, features: Tensor, e: Tensor | None) -> Tensor:
        """The head's numbers, (n, *space.shape, head.size)."""

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=64, lr=1e-3, ema=0.995)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        self.head.initialise(x)
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def context(self, c: Tensor | None) -> Tensor | None:
        """The embedding of conditions, (B, width), or None."""
        return None if self.embedding is None else self.embedding(c)

    def log_likelihood(self, x: Tensor, features: Tensor, e: Tensor | None) -> Tensor:
        """log p(x | z), (B,) nats, from the features of z."""
        return self.head.log_prob(self.parameters_of(features, e), x).flatten(1).sum(1)

    def draw(self, features: Tensor, e: Tensor | None) -> Tensor:
        """x ~ p(x | z) of the features of z."""
        return self.head.sample(self.parameters_of(features, e))

    def _weight(self) -> float:
        """beta now; training counts its steps."""
        if not (self.training and torch.is_grad_enabled()):
            return self.beta
        self.steps += 1
        return self.beta * min(1.0, int(self.steps) / self.warmup) if self.warmup else self.beta

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """distortion + beta rate, in nats per sample, averaged over the batch."""
        self.check_batch(x, c)
        e, choose = self.context(c), Infer()
        features = self.descend(len(x), e, self.evidence(x, e), choose)
        distortion = -self.log_likelihood(x, features, e).mean()
        rates = torch.stack(choose.rates).mean(1)
        parts = {
            "nll": (distortion + rates.sum()).detach(),
            "distortion": distortion.detach(),
            "rate": rates.sum().detach(),
        }
        return Terms(distortion + self._weight() * rates.clamp(min=self.free_bits).sum(), parts)

    def weigher(self, x: Tensor, c: Tensor | None = None) -> Weigher:
        e = self.context(c)
        evidence = self.evidence(x, e)

        def log_w(k: int) -> Tensor:
            def times(t: Tensor) -> Tensor:
                return t.repeat(k, *(1 for _ in t.shape[1:]))

            told, choose = None if e is None else times(e), Infer()
            features = self.descend(k * len(x), told, [times(t) for t in evidence], choose)
            return (self.log_likelihood(times(x), features, told) + choose.log_ratio).view(k, -1)

        return log_w

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw latents from the prior, from the top down, then x from p(x | z, c)."""
        e = self.context(self.expand_condition(n, c))
        x = self.draw(self.descend(n, e, None, Chooser()), e)
        return x.to(self.space.dtype) if self.space.discrete else x

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Posterior means of all layers, each given those above, one after another: (B, total)."""
        self.check_batch(x, c)
        e, choose = self.context(c), Infer(mean=True)
        self.descend(len(x), e, self.evidence(x, e), choose)
        return torch.cat([z.flatten(1) for z in choose.latents], 1)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """What latents (B, total) look like: the mean of p(x | z, c) (rounded to a level on ordinal data)."""
        e = self.context(self.expand_condition(len(z), c))
        x = self.head.mean(self.parameters_of(self.descend(len(z), e, None, Given(z)), e))
        return x.round().to(self.space.dtype) if self.space.discrete else x

    @torch.no_grad()
    def rates(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Rate of every layer from the top, averaged over a batch, (layers,) nats."""
        e, choose = self.context(c), Infer()
        self.descend(len(x), e, self.evidence(x, e), choose)
        return torch.stack(choose.rates).mean(1)

    def pictures(self, x: Tensor, c: Tensor | None = None) -> dict[str, Callable[[], Any]]:
        """`rates`: what each layer contributes to the description of held-out data."""
        c = None if self.condition is None else c
        return {"rates": lambda: _rates_plot(self, x[:256], None if c is None else c[:256])}


def _rates_plot(model: HierarchicalVAE, x: Tensor, c: Tensor | None) -> Figure:
    from matplotlib.figure import Figure

    rates = model.rates(x, c).cpu().double()
    figure = Figure(figsize=(4.5, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(1, len(rates) + 1), rates.numpy(), color="tab:blue")
    axes.set(xlabel="layer, from the top", ylabel="rate, nats")
    axes.set_title(
        f"{float(rates.sum()):.1f} nats in all; {int((rates > 0.1).sum())} layers above 0.1", fontsize=9
    )
    return figure
