r"""VAEs with a class y beside the code z: the Gaussian-mixture VAE and the semi-supervised one.

| model   | generates                        | infers                     | the class is                           |
|---------|----------------------------------|----------------------------|----------------------------------------|
| `gmvae` | p(y) p(z | y) p(x | z)           | q(y | x) q(z | x, y)       | a cluster: never observed              |
| `ssvae` | p(y) p(z) p(x | z, y)            | q(y | x) q(z | x, y)       | the label: observed for a share of data |

The sum over the y of C classes is exact, so no estimator of discrete gradients is needed, at C passes of the decoder:

    L(x, y) = E_q(z | x, y) [ log p(x | z, y) + log p(z | y) + log p(y) - log q(z | x, y) ]
    U(x)    = sum_y q(y | x) [ L(x, y) - log q(y | x) ]                                            <= log p(x)

Training raises U where the class is missing. Where it is known, `ssvae` raises L(x, y) - log p(y) <= log p(x | y) and,
for the classifier, `alpha` log q(y | x). `log_prob` sums over classes inside the logarithm,

    log 1/K sum_k sum_y p(x, y, z_yk) / q(z_yk | x, y),      z_yk ~ q(z | x, y)                    <= log p(x),

without the sum over y when y is given. Nats of the raw sample.

**Which labels are missing.** With a condition, labels come with the data as in any conditional model, and `labelled` of
them are kept: an example's label is kept if a hash of its own values and of `label_seed` is below that share. So it is
the same examples in every epoch and every run, no list has to be stored, and no other model is treated differently. (Of
data that are drawn anew at each visit every draw has its own hash: take data that are fixed.) Without a condition, all
labels are missing.

References:
    Kingma, Rezende, Mohamed, Welling (2014), model M2, https://arxiv.org/abs/1406.5298;
    Dilokthanakul et al. (2016), https://arxiv.org/abs/1611.02648; Jiang et al. (2017), https://arxiv.org/abs/1611.05148.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from creo.distributions.gaussian import diagonal_log_prob
from creo.distributions.heads import Head
from creo.errors import OptionError
from creo.latent.likelihood import log_likelihood
from creo.latent.networks import start_from_marginals
from creo.latent.posteriors import LOG_STD_LIMIT, Diagonal
from creo.latent.weighted import Weigher, Weighted
from creo.model import Report, Terms, TrainingDefaults
from creo.spaces import Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

#: Classes where nothing is said, and in a space of fewer than FEW_DIMS dimensions.
CLASSES, FEW_CLASSES, FEW_DIMS = 10, 3, 16


def classes_for(space: Space, classes: int) -> int:
    """How many classes: what is asked for, or a number that suits the space if that is 0."""
    return classes or (CLASSES if space.dims >= FEW_DIMS else FEW_CLASSES)


class ClassVAE(Weighted):
    """What the two models share: everything but p(z | y), p(y) and what the decoder sees of y.

    Args:
        space: what one sample is.
        classifier: (scaled x (B, *shape)) to logits of q(y | x), (B, classes).
        encoder: (scaled x, embedding of y (B, width)) to (B, 2 * latent): mean and log deviation of q(z | x, y).
        decoder: (z (B, latent), what `_told` makes of y) to head parameters (B, *shape, head.size).
        head: the distribution of every variable given its parameters.
        classes: C.
        latent: dimensions of z.
        width: of the embedding of y.
        samples: K of `log_prob`.
        condition: Categories(classes), or None.
    """

    def __init__(
        self,
        space: Space,
        classifier: nn.Module,
        encoder: nn.Module,
        decoder: nn.Module,
        head: Head,
        *,
        classes: int,
        latent: int,
        width: int,
        samples: int,
        condition: Space | None = None,
    ) -> None:
        super().__init__(space, condition)
        if classes < 1 or samples < 1:
            raise OptionError(f"classes and samples must be at least 1; received {classes} and {samples}")
        self.classifier, self.encoder, self.decoder, self.head = classifier, encoder, decoder, head
        self.classes, self.latent, self.samples = classes, latent, samples
        self.embedding = nn.Embedding(classes, width)
        self.likelihood_note = f"importance-weighted bound, {samples} samples"

    @abstractmethod
    def _told(self, y: Tensor) -> Tensor | None:
        """What the decoder sees of classes y (n,): (n, width), or nothing."""

    @abstractmethod
    def _prior(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation of p(z | y) of classes y (n,), (n, latent) each."""

    @abstractmethod
    def class_log_prior(self) -> Tensor:
        """log p(y), (classes,) nats."""

    @abstractmethod
    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Mean of p(x | z, y), (B, *space.shape), rounded to a level on ordinal data."""

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=1e-3, ema=0.99)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        self.head.initialise(x)
        start_from_marginals(self.decoder, self.head, x)

    # -- the parts of the bound --------------------------------------------------------------------------------------

    def class_log_posterior(self, x: Tensor) -> Tensor:
        """log q(y | x) of raw data, (B, classes) nats."""
        self.space.check_shape(x)
        return self.classifier(self.head.scaled(x, self.dtype)).to(self.dtype).log_softmax(-1)

    def _posterior(self, x: Tensor, y: Tensor) -> Diagonal:
        """q(z | x, y) of raw data and classes (n,)."""
        outputs = self.encoder(self.head.scaled(x, self.dtype), self.embedding(y)).to(self.dtype)
        mean, log_std = outputs.chunk(2, -1)
        return Diagonal(mean, log_std.clamp(-LOG_STD_LIMIT, LOG_STD_LIMIT))

    def _log_weights(self, x: Tensor, y: Tensor, q: Diagonal, k: int) -> tuple[Tensor, Tensor]:
        """log p(x | z, y) and log p(z | y) - log q(z | x, y) of k draws, (k, n) each; x and y (n, ...) correspond."""
        z, log_q = q.push(q.noise(k))
        told = self._told(y)
        params = self.decoder(z.flatten(0, 1), None if told is None else told.repeat(k, 1))
        likelihood = log_likelihood(self.head, params.unflatten(0, z.shape[:2]), x)
        return likelihood, diagonal_log_prob(z, *self._prior(y)) - log_q

    def _every_class(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each example once for every class, class after class, (classes B, ...), and the classes."""
        y = torch.arange(self.classes, device=x.device).repeat_interleave(len(x))
        return x.repeat(self.classes, *[1] * len(self.space.shape)), y

    def _unlabelled(self, x: Tensor) -> dict[str, Tensor]:
        """The parts of -U(x), (B,) nats each."""
        many, y = self._every_class(x)
        likelihood, rest = (
            t.view(self.classes, -1) for t in self._log_weights(many, y, self._posterior(many, y), 1)
        )
        log_q = self.class_log_posterior(x).T  # (classes, B)
        weight = log_q.exp()
        rate_of_class = (weight * (log_q - self.class_log_prior()[:, None])).sum(0)
        return {
            "distortion": -(weight * likelihood).sum(0),
            "rate": -(weight * rest).sum(0) + rate_of_class,
            "class rate": rate_of_class,
        }

    def _labelled(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The parts of -L(x, y) + log p(y), (B,) nats each."""
        likelihood, rest = (t[0] for t in self._log_weights(x, y, self._posterior(x, y), 1))
        return {"distortion": -likelihood, "rate": -rest, "class rate": torch.zeros_like(rest)}

    # -- questions ---------------------------------------------------------------------------------------------------

    def numbers_per_draw(self, c: Tensor | None) -> int:
        return super().numbers_per_draw(c) * (self.classes if c is None else 1)

    def weigher(self, x: Tensor, c: Tensor | None = None) -> Weigher:
        many, y = self._every_class(x) if c is None else (x, c.long())
        q = self._posterior(many, y)

        def log_w(k: int) -> Tensor:
            likelihood, rest = self._log_weights(many, y, q, k)
            if c is not None:
                return likelihood + rest
            each = (likelihood + rest).view(k, self.classes, -1) + self.class_log_prior()[:, None]
            return torch.logsumexp(each, 1)

        return log_w

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Mean of q(z | x, y) at the given class, or at the most probable one, (B, latent)."""
        self.check_batch(x, c)
        y = self.class_log_posterior(x).argmax(1) if c is None else c.long()
        return self._posterior(x, y).mean

    def _decoded(self, z: Tensor, y: Tensor, draw: bool) -> Tensor:
        params = self.decoder(z, self._told(y))
        x = self.head.sample(params) if draw else self.head.mean(params)
        return x.round().to(self.space.dtype) if self.space.discrete else x

    def _classes_for(self, n: int, c: Tensor | None) -> Tensor:
        """Given classes, or draws of p(y), (n,)."""
        given = self.expand_condition(n, c)
        if given is not None:
            return given.long()
        return self.class_log_prior().exp().multinomial(n, replacement=True)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw y (unless it is given), then z, then x."""
        return self._sample(self._classes_for(n, c))

    def _sample(self, y: Tensor) -> Tensor:
        mean, log_std = self._prior(y)
        return self._decoded(mean + log_std.exp() * torch.randn_like(mean), y, draw=True)

    def pictures(self, x: Tensor, c: Tensor | None = None) -> Mapping[str, Callable[[], Figure | Image]]:
        """Those of a latent model, and samples class by class."""
        from creo.latent.plots import class_rows, latent_pictures

        own: dict[str, Callable[[], Any]] = {}
        if self.space.is_image:
            own["classes"] = lambda: class_rows(self._sample, self.classes, self.space)
        return latent_pictures(self, x, c) | own

    def _mean_terms(self, parts: Mapping[str, Tensor], extra: Tensor | None = None) -> Terms:
        """Distortion + rate (+ something more), averaged."""
        nll = (parts["distortion"] + parts["rate"]).mean()
        said = {"nll": nll, **{name: value.mean() for name, value in parts.items()}}
        return Terms(nll if extra is None else nll + extra, {k: v.detach() for k, v in said.items()})
