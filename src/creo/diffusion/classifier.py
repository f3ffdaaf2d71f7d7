r"""A classifier of noisy samples, p_t(c | x_t): what classifier guidance needs.

    loss = E_{x_0, c, z, t ~ density}  -log p_t(c | alpha x_0 + sigma z)                 nats

It is trained on data noised through the path and at the times of the diffusion it guides. What it can know falls from
the classes' own separation, at little noise, to their frequencies, at much.

Source: Dhariwal, Nichol 2021, https://arxiv.org/abs/2105.05233.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from creo.diffusion.objective import TimeDensity, stratified
from creo.diffusion.paths import Path, columns
from creo.errors import OptionError
from creo.nn.noisy_features import NoisyFeatures
from creo.spaces import Categories, Space


class NoisyClassifier(nn.Module):
    """The classifier of the module docstring.

    Args:
        shape: of one sample.
        condition: the labels.
        path: of the noising; samples are in its units.
        network: (x (B, *shape) of unit variance, log(sigma/alpha) (B,) or (1,)) to (B, classes); None: one that suits
            the shape.

    Raises:
        OptionError: if the condition is no label.
    """

    def __init__(
        self, shape: tuple[int, ...], condition: Space | None, path: Path, *, network: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not isinstance(condition, Categories):
            raise OptionError(
                f"a classifier guides towards labels (Categories); received condition {condition}: "
                "leave out guide='classifier'"
            )
        self.path = path
        self.network = NoisyFeatures(shape, condition.size) if network is None else network

    def log_probs(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t(c | x) of all labels, (B, classes), for noisy x (B, *shape) at times t, (B,) or one for all."""
        alpha, sigma = self.path(t.double())
        level = (sigma.log() - alpha.clamp_min(1e-30).log()).reshape(-1)
        scale = columns((alpha.square() + sigma.square()).rsqrt(), x)
        return self.network(scale * x, level.to(x.dtype)).log_softmax(1)

    def log_prob(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """log p_t(c | x) of labels c (B,), (B,) nats."""
        return self.log_probs(x, t).gather(1, c.long()[:, None])[:, 0]

    def loss(self, x0: Tensor, c: Tensor, density: TimeDensity) -> Tensor:
        """The cross-entropy on noised data x0 (B, *shape) with labels c (B,), a scalar, nats."""
        t = density(self.path, stratified(len(x0), x0))
        return -self.log_prob(self.path.perturb(x0, torch.randn_like(x0), t), t, c).mean()
