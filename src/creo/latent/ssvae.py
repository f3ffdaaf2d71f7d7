r"""Semi-supervised VAE (model M2): labels are known for some of the data, and inferred for the rest.

    y ~ uniform over classes,    z ~ N(0, I),    x ~ head(decoder(z, y))

How it is trained, which labels are missing, and what its likelihood is: `creo.latent.class_vae`. With a condition
Categories(C), `log_prob(x, c)` is a bound on log p(x | y = c) and `sample(n, c)` draws of that class; `classify(x)` are
the probabilities q(y | x). Without a condition all labels are missing, and y is a cluster.

Reference: Kingma, Rezende, Mohamed, Welling (2014), https://arxiv.org/abs/1406.5298.
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from creo.distributions.heads import HeadName, head_for
from creo.errors import OptionError, SpaceError
from creo.latent.class_vae import ClassVAE, classes_for
from creo.latent.networks import encoder_decoder
from creo.model import Terms
from creo.nn.shaped import NetworkName, reader
from creo.spaces import Categories, Continuous, Ordinal, Space

#: Buckets of the hash that chooses which labels are kept.
BUCKETS = 2**20


class SSVAE(ClassVAE):
    """The model of the module docstring; arguments as of `ClassVAE`, and

    Args:
        labelled: share of the labels that training sees.
        label_seed: of the choice.
        alpha: weight of the classifier's log-likelihood on labelled examples.
    """

    def __init__(
        self, *args: Any, labelled: float = 1.0, label_seed: int = 0, alpha: float = 1.0, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        if not 0 <= labelled <= 1 or alpha < 0:
            raise OptionError(
                f"labelled is a share in [0, 1] and alpha at least 0; received {labelled}, {alpha}"
            )
        self.labelled, self.label_seed, self.alpha = labelled, label_seed, alpha

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        labelled: float = 0.1,
        label_seed: int = 0,
        alpha: float = 10.0,
        classes: int = 0,
        latent: int = 16,
        hidden: int = 128,
        layers: int = 2,
        network: NetworkName = "auto",
        channels: int = 16,
        head: HeadName = "auto",
        components: int = 3,
        std: float = 0.0,
        samples: int = 16,
        width: int = 16,
    ) -> Self:
        """A semi-supervised VAE with networks that suit the space.

        Args:
            space: Continuous or Ordinal.
            condition: Categories, the labels; or None: all labels are missing.
            labelled: share of the training labels that are kept.
            label_seed: which ones.
            alpha: weight of the classifier's log-likelihood on labelled examples.
            classes: of y where there is no condition; 0: 10, or 3 in a space of few dimensions.
            latent: dimensions of the latent z.
            hidden: units of each hidden layer of the perceptrons.
            layers: hidden layers of each perceptron.
            network: mlp or conv (images only); auto is conv for images of at least 16 x 16.
            channels: channels of the convolutional networks at full size.
            head: distribution of a pixel or variable given z and y, as of vae.
            components: logistics in the mixture of the logistic head.
            std: fixed standard deviation of the gaussian head, in raw units; 0 learns it.
            samples: draws in log_prob.
            width: size of the label's embedding.
        """
        if condition is not None and not isinstance(condition, Categories):
            raise SpaceError(f"the labels of ssvae are Categories; received {condition}")
        if not isinstance(space, Continuous | Ordinal):
            raise SpaceError(f"ssvae models Continuous and Ordinal; received {space}")
        of_pixel = head_for(space, head, components=components, std=std or None)
        shared: dict[str, Any] = dict(network=network, hidden=(hidden,) * layers, channels=channels)
        size = classes_for(space, classes) if condition is None else condition.size
        encoder, decoder = encoder_decoder(
            space.shape, 2 * latent, latent, of_pixel.size, context=width, **shared
        )
        classifier = reader(space.shape, size, **shared)
        return cls(
            space, classifier, encoder, decoder, of_pixel, classes=size, latent=latent, width=width,
            samples=samples, condition=condition, labelled=labelled, label_seed=label_seed, alpha=alpha,
        )  # fmt: skip

    def _told(self, y: Tensor) -> Tensor:
        return self.embedding(y)

    def _prior(self, y: Tensor) -> tuple[Tensor, Tensor]:
        zero = torch.zeros(len(y), self.latent, dtype=self.dtype, device=y.device)
        return zero, zero

    def class_log_prior(self) -> Tensor:
        return torch.full((self.classes,), -math.log(self.classes), dtype=self.dtype, device=self.device)

    def keeps_label(self, x: Tensor) -> Tensor:
        """Whether the label of each raw example is one of those that training sees, (B,) boolean."""
        flat = x.flatten(1)
        bits = flat.float().view(torch.int32).long() if flat.is_floating_point() else flat.long()
        factor = torch.Generator().manual_seed(self.label_seed)
        weight = torch.randint(1, 2**30, (flat.shape[1],), generator=factor).to(x.device)
        return _mixed((bits * weight).sum(1)) < self.labelled * BUCKETS

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """-U(x) without a label, alpha times the cross-entropy - L(x, y) + log p(y) with one; nats, averaged."""
        self.check_batch(x, c)
        if c is None:
            return self._mean_terms(self._unlabelled(x))
        kept = self.keeps_label(x)
        rows, x1, y1 = kept.nonzero().squeeze(1), x[kept], c[kept].long()
        parts = self._unlabelled(x)
        known = self._labelled(x1, y1)
        mixed = {name: value.index_put((rows,), known[name]) for name, value in parts.items()}
        entropy = -self.class_log_posterior(x1)[torch.arange(len(y1)), y1].sum() / len(x)
        right = (self.class_log_posterior(x).argmax(1) == c).to(entropy.dtype).mean()
        terms = self._mean_terms(mixed, self.alpha * entropy)
        return Terms(terms.loss, {**terms.parts, "accuracy": right.detach(), "labels": kept.sum()})

    def classify(self, x: Tensor) -> Tensor:
        """q(y | x) of raw data, (B, classes)."""
        return self.class_log_posterior(x).exp()

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Mean of p(x | z, y) at the given class (a draw of p(y) without), rounded to a level on ordinal data."""
        return self._decoded(z, self._classes_for(len(z), c), draw=False)


def _mixed(number: Tensor) -> Tensor:
    """Integers scrambled to [0, BUCKETS): the finaliser of MurmurHash3, in 64-bit arithmetic that wraps."""
    number = (number ^ (number >> 33)) * -49064778989728563
    number = (number ^ (number >> 33)) * -4265267296055464877
    return (number ^ (number >> 33)) % BUCKETS
