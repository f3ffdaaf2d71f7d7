r"""Priors p(z): what samples start from, and what the rate is measured against.

| prior       | p(z)                                                                    |
|-------------|-------------------------------------------------------------------------|
| `Standard`  | N(0, I)                                                                 |
| `Mixture`   | sum_j w_j N(z; m_j, diag s_j^2), all learned                            |
| `Vamp`      | 1/J sum_j q(z | u_j): the encoder's posteriors of learned pseudo-inputs |
| `Learned`   | any model of real vectors with an exact likelihood: flows, MADE         |

The prior that minimises the rate is the aggregate posterior, the mean of q(z | x) over the data; a richer prior may
come nearer to it (`creo.latent.diagnostics` measures how near).

References:
    Tomczak, Welling (2018), VampPrior, https://arxiv.org/abs/1705.07120;
    Chen et al. (2017), https://arxiv.org/abs/1611.02731 (autoregressive flow priors);
    Hoffman, Johnson (2016), ELBO surgery, http://approximateinference.org/accepted/HoffmanJohnson2016.pdf.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from creo.distributions.gaussian import LOG_2PI, diagonal_log_prob
from creo.errors import OptionError
from creo.latent.posteriors import Posterior
from creo.model import GenerativeModel
from creo.spaces import Continuous

#: Draws of N(0, I) from which a learned prior takes its scales, so that it starts near it.
START_DRAWS = 512


class Prior(nn.Module, ABC):
    """A distribution of real vectors z, (d,)."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """z (..., d) to (...) nats."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """Draws, (n, d)."""

    def rate(self, q: Posterior) -> Tensor | None:
        """KL(q || p) in parts that add up, (b, parts) nats, where it has a closed form."""
        return None

    def initialise(self, rows: Callable[[int], Tensor]) -> None:
        """Take from training data what is taken from data.

        Args:
            rows: n random examples as the encoder sees them, (n, *shape).
        """


class Standard(Prior):
    """N(0, I).

    Args:
        latent: d.
    """

    origin: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("origin", torch.zeros(latent), persistent=False)

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square().sum(-1) + LOG_2PI * z.shape[-1])

    def sample(self, n: int) -> Tensor:
        return torch.randn(n, len(self.origin), dtype=self.origin.dtype, device=self.origin.device)

    def rate(self, q: Posterior) -> Tensor | None:
        return q.kl_to_standard()


class Mixture(Prior):
    """Gaussians with learned weights, means and deviations.

    Args:
        latent: d.
        components: J.
    """

    def __init__(self, latent: int, components: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(torch.randn(components, latent))
        self.log_std = nn.Parameter(torch.zeros(components, latent))

    def log_prob(self, z: Tensor) -> Tensor:
        each = diagonal_log_prob(z.unsqueeze(-2), self.mean, self.log_std)
        return torch.logsumexp(each + self.logits.log_softmax(0), -1)

    def sample(self, n: int) -> Tensor:
        j = self.logits.softmax(0).multinomial(n, replacement=True)
        return self.mean[j] + self.log_std[j].exp() * torch.randn_like(self.mean[j])


class Vamp(Prior):
    """The encoder's posteriors of pseudo-inputs, which start as training data.

    Args:
        shape: of what the encoder sees.
        encode: the encoder, from scaled data to posteriors; its parameters are not the prior's own.
        components: J.
    """

    def __init__(
        self, shape: tuple[int, ...], encode: Callable[[Tensor], Posterior], components: int
    ) -> None:
        super().__init__()
        self.inputs = nn.Parameter(0.01 * torch.randn(components, *shape))
        self._encode = encode

    def log_prob(self, z: Tensor) -> Tensor:
        each = self._encode(self.inputs).log_prob(z.unsqueeze(-2))
        return torch.logsumexp(each, -1) - math.log(len(self.inputs))

    def sample(self, n: int) -> Tensor:
        j = torch.randint(len(self.inputs), (n,), device=self.inputs.device)
        q = self._encode(self.inputs[j])
        return q.push(q.noise(1))[0][0]

    @torch.no_grad()
    def initialise(self, rows: Callable[[int], Tensor]) -> None:
        self.inputs.copy_(rows(len(self.inputs)))


class Learned(Prior):
    """A model of real vectors, trained with the rest.

    Args:
        model: of Continuous((d,)), with an exact likelihood.
    """

    def __init__(self, model: GenerativeModel) -> None:
        super().__init__()
        self.model = model

    def log_prob(self, z: Tensor) -> Tensor:
        return self.model.log_prob(z.flatten(0, -2)).view(z.shape[:-1])

    def sample(self, n: int) -> Tensor:
        return self.model.sample(n)

    def initialise(self, rows: Callable[[int], Tensor]) -> None:
        shape = (START_DRAWS, *self.model.space.shape)
        self.model.initialise(torch.randn(shape, dtype=self.model.dtype, device=self.model.device))


def prior_for(
    name: str,
    latent: int,
    *,
    components: int,
    shape: tuple[int, ...],
    encode: Callable[[Tensor], Posterior] | None,
) -> Prior:
    """The prior called `name`.

    Args:
        name: standard, mixture, vamp, or a registered model with an exact likelihood of Continuous spaces.
        latent: d.
        components: of a mixture, or pseudo-inputs.
        shape: of what the encoder sees.
        encode: scaled data to posteriors; None if that needs a condition as well.

    Raises:
        OptionError: no such prior, or a VampPrior of a conditional model.
    """
    if components < 1:
        raise OptionError(f"a prior has at least 1 component; received {components}")
    if name == "vamp" and encode is None:
        raise OptionError(
            "prior='vamp' needs posteriors of x alone, and this model's depend on a condition as well"
        )
    made: dict[str, Callable[[], Prior]] = {
        "standard": lambda: Standard(latent),
        "mixture": lambda: Mixture(latent, components),
        "vamp": lambda: Vamp(shape, encode, components),  # type: ignore[arg-type]
    }
    if name in made:
        return made[name]()
    from creo.registry import build, models

    able = [n for n, m in models().items() if m.promise.get("Continuous") == "exact"]
    if name not in able:
        raise OptionError(f"no prior {name!r}; there are {', '.join([*made, *able])}")
    return Learned(build(name, Continuous((latent,))))
