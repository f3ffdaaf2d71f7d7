r"""Amortised posteriors q(z | x): what the encoder's outputs h mean.

| posterior  | z                                   | log q(z)                                   | outputs        |
|------------|-------------------------------------|--------------------------------------------|----------------|
| `Diagonal` | mu + sigma eps                      | log N(z; mu, diag sigma^2)                 | 2 d            |
| `Full`     | mu + L eps, L lower triangular      | log N(z; mu, L L^T)                        | d + d (d+1) / 2 |
| `Flowing`  | mu + sigma f(eps; h), f a flow      | log N(eps; 0, I) - log |det f'| - sum log sigma | 2 d + context |

A family (a module, with the flow's parameters if there are any) turns outputs (b, size) into the posterior of a batch.
The flow is any registered one that can be conditioned on a vector and inverted; `iaf` draws in one pass.

References:
    Kingma, Welling (2014), https://arxiv.org/abs/1312.6114;
    Rezende, Mohamed (2015), https://arxiv.org/abs/1505.05770 (planar);
    Kingma et al. (2016), https://arxiv.org/abs/1606.04934 (IAF).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from creo.distributions.gaussian import LOG_2PI, diagonal_log_prob
from creo.errors import OptionError
from creo.spaces import Continuous

#: The posterior's log standard deviation stays within this, so that no sample, however far out, overflows.
LOG_STD_LIMIT = 10.0
#: Outputs of the encoder beyond mean and deviation that a flow posterior is conditioned on.
CONTEXT = 16


class Posterior(ABC):
    """q(z | x) of a batch of b data.

    Args:
        mean: mu, (b, d).
        log_std: log sigma (of a full covariance: log of L's diagonal), (b, d).
    """

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.mean, self.log_std = mean, log_std

    def noise(self, n: int) -> Tensor:
        """Standard normal noise for n draws of each, (n, b, d)."""
        return torch.randn(n, *self.mean.shape, dtype=self.mean.dtype, device=self.mean.device)

    @abstractmethod
    def push(self, noise: Tensor, *, path: bool = True, parameters: bool = True) -> tuple[Tensor, Tensor]:
        """z (n, b, d) and log q(z) (n, b), differentiated through z if `path`, through q itself if `parameters`."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z | x_b) of z (..., b, d), broadcast: (..., b) nats."""

    def kl_to_standard(self) -> Tensor | None:
        """KL(q || N(0, I)) in parts that add up, (b, parts) nats; None where it has no closed form."""
        return None

    def at_centre(self) -> Tensor:
        """Where the noise 0 goes, (b, d): the posterior's mean, or nearly."""
        return self.mean


class Diagonal(Posterior):
    """Independent entries."""

    def push(self, noise: Tensor, *, path: bool = True, parameters: bool = True) -> tuple[Tensor, Tensor]:
        z = torch.addcmul(self.mean, self.log_std.exp(), noise)
        if (
            path and parameters
        ):  # the noise itself: log q as a function of z and q, whose slopes through z cancel
            constant = 0.5 * (noise.square().sum(-1) + LOG_2PI * noise.shape[-1])
            return z, -(constant + self.log_std.sum(-1))
        z = z if path else z.detach()
        mean, log_std = (t if parameters else t.detach() for t in (self.mean, self.log_std))
        return z, diagonal_log_prob(z, mean, log_std)

    def log_prob(self, z: Tensor) -> Tensor:
        return diagonal_log_prob(z, self.mean, self.log_std)

    def kl_to_standard(self) -> Tensor:
        return 0.5 * (self.mean.square() + (2 * self.log_std).exp() - 1) - self.log_std


class Full(Posterior):
    """A full covariance by its Cholesky factor.

    Args:
        mean: mu, (b, d).
        log_std: log of L's diagonal, (b, d).
        below: L strictly below the diagonal, row by row, (b, d (d-1) / 2).
    """

    def __init__(self, mean: Tensor, log_std: Tensor, below: Tensor) -> None:
        super().__init__(mean, log_std)
        d = mean.shape[1]
        row, column = torch.tril_indices(d, d, -1, device=mean.device)
        tril = torch.diag_embed(log_std.exp())
        tril[:, row, column] = below
        self.tril = tril

    def push(self, noise: Tensor, *, path: bool = True, parameters: bool = True) -> tuple[Tensor, Tensor]:
        z = self.mean + torch.einsum("bij,nbj->nbi", self.tril, noise)
        z = z if path else z.detach()
        return z, self._density(z, parameters)

    def _density(self, z: Tensor, parameters: bool = True) -> Tensor:
        mean, tril, log_std = (t if parameters else t.detach() for t in (self.mean, self.tril, self.log_std))
        centred = (z - mean).unsqueeze(-1)
        white = torch.linalg.solve_triangular(tril, centred, upper=False).squeeze(-1)
        return -0.5 * (white.square().sum(-1) + LOG_2PI * z.shape[-1]) - log_std.sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        return self._density(z)

    def kl_to_standard(self) -> Tensor:
        trace = self.tril.square().sum((1, 2)) + self.mean.square().sum(1) - self.mean.shape[1]
        return (0.5 * trace - self.log_std.sum(1)).unsqueeze(1)


class Flowing(Posterior):
    """Noise through a flow, then scaled and moved.

    Args:
        mean: mu, (b, d).
        log_std: log sigma, (b, d).
        flow: of Continuous((d,)), conditioned on Continuous((context,)).
        context: h, (b, context).
    """

    def __init__(self, mean: Tensor, log_std: Tensor, flow: Any, context: Tensor) -> None:
        super().__init__(mean, log_std)
        self.flow, self.context = flow, context

    def push(self, noise: Tensor, *, path: bool = True, parameters: bool = True) -> tuple[Tensor, Tensor]:
        if not parameters:
            raise OptionError(
                "a flow posterior has the pathwise and the score estimator; received stl or dreg"
            )
        if not path:
            with torch.no_grad():
                z = self.push(noise)[0]
            return z, self.log_prob(z)
        y, log_det = self.flow.inverse(noise.flatten(0, 1), self._contexts(len(noise)))
        log_noise = -0.5 * (noise.square().sum(-1) + LOG_2PI * noise.shape[-1])
        z = torch.addcmul(self.mean, self.log_std.exp(), y.view_as(noise))
        return z, log_noise - log_det.view(noise.shape[:2]) - self.log_std.sum(-1)

    def _contexts(self, n: int) -> Tensor:
        return self.context.repeat(n, 1)

    def log_prob(self, z: Tensor) -> Tensor:
        y = ((z - self.mean) * (-self.log_std).exp()).reshape(-1, z.shape[-1])
        log_q = self.flow.log_prob(y, self._contexts(len(y) // len(self.context)))
        return log_q.view(z.shape[:-1]) - self.log_std.sum(-1)

    def at_centre(self) -> Tensor:
        return self.push(torch.zeros_like(self.mean)[None])[0][0]


class Family(nn.Module, ABC):
    """Turns the encoder's outputs (b, size) into posteriors over d latent entries.

    Args:
        latent: d.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    @property
    @abstractmethod
    def size(self) -> int:
        """How many outputs of the encoder it reads."""

    @abstractmethod
    def forward(self, h: Tensor) -> Posterior:
        """The posteriors of outputs (b, size)."""

    def _halves(self, h: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = h.split(self.latent, 1)
        return mean, raw.clamp(-LOG_STD_LIMIT, LOG_STD_LIMIT)


class Diagonals(Family):
    """`Diagonal` posteriors: outputs are [mu | log sigma]."""

    @property
    def size(self) -> int:
        return 2 * self.latent

    def forward(self, h: Tensor) -> Diagonal:
        return Diagonal(*self._halves(h))


class Fulls(Family):
    """`Full` posteriors: outputs are [mu | log diagonal | below it]."""

    @property
    def size(self) -> int:
        return 2 * self.latent + self.latent * (self.latent - 1) // 2

    def forward(self, h: Tensor) -> Full:
        first, below = h[:, : 2 * self.latent], h[:, 2 * self.latent :]
        return Full(*self._halves(first), below)


class Flows(Family):
    """`Flowing` posteriors: outputs are [mu | log sigma | context].

    Args:
        latent: d.
        flow: of Continuous((d,)), conditioned on Continuous((context,)).
    """

    def __init__(self, latent: int, flow: Any) -> None:
        super().__init__(latent)
        self.flow = flow

    @property
    def size(self) -> int:
        return 2 * self.latent + self.flow.condition.dims

    def forward(self, h: Tensor) -> Flowing:
        first, context = h[:, : 2 * self.latent], h[:, 2 * self.latent :]
        return Flowing(*self._halves(first), self.flow, context)


def posterior_for(name: str, latent: int) -> Family:
    """The family called `name`.

    Args:
        name: diagonal, full, or a registered flow that can be inverted (iaf, planar, realnvp, ...).
        latent: d.

    Raises:
        OptionError: no such posterior.
    """
    if name in _FAMILIES:
        return _FAMILIES[name](latent)
    from creo.registry import build, models

    known = models()
    able = [n for n, m in known.items() if "inverse" in m.answers and m.promise.get("Continuous") == "exact"]
    if name not in able:
        raise OptionError(f"no posterior {name!r}; there are {', '.join([*_FAMILIES, *able])}")
    return Flows(latent, build(name, Continuous((latent,)), Continuous((CONTEXT,))))


_FAMILIES: dict[str, type[Family]] = {"diagonal": Diagonals, "full": Fulls}
