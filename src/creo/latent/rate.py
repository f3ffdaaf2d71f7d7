r"""What the rate KL(q(z | x) || p(z)) costs in the loss: beta, warm-up, free bits, capacity.

With rates r_i of the latent entries, averaged over the batch, at training step t:

| setting         | cost                                    | why                                             |
|-----------------|-----------------------------------------|-------------------------------------------------|
| `beta`          | beta sum_i r_i                          | above 1 simpler codes, below 1 sharper pictures |
| `warmup` = T    | min(1, t / T) of it                     | the decoder learns to use z before z costs      |
| `free_bits` = l | beta sum_i max(l, r_i)                  | up to l nats an entry are free: no collapse     |
| `capacity` = C  | beta abs(sum_i r_i - C min(1, t / T_C)) | a rate that is asked for, rising with time      |

The minimum of the loss is -ELBO only for beta = 1 without the others; `log_prob` depends on none of them.

References:
    Higgins et al. (2017), beta-VAE, https://openreview.net/forum?id=Sy2fzU9gl;
    Bowman et al. (2016), warm-up, https://arxiv.org/abs/1511.06349; Kingma et al. (2016), free bits,
    https://arxiv.org/abs/1606.04934; Burgess et al. (2018), capacity, https://arxiv.org/abs/1804.03599.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from creo.errors import OptionError


def _risen(step: int, steps: int) -> float:
    """How far something that rises linearly over `steps` is at `step`, in [0, 1]."""
    return min(1.0, step / steps) if steps else 1.0


@dataclass(frozen=True)
class RateCost:
    """The cost of the module docstring.

    Args:
        beta: weight of the rate.
        warmup: steps over which that weight rises from 0.
        free_bits: nats of every entry that cost nothing more.
        capacity: nats the rate is drawn to; 0: it is simply low that is good.
        capacity_steps: steps over which the capacity rises from 0.
    """

    beta: float = 1.0
    warmup: int = 0
    free_bits: float = 0.0
    capacity: float = 0.0
    capacity_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("beta", "warmup", "free_bits", "capacity", "capacity_steps"):
            value = getattr(self, name)
            if not value >= 0:
                raise OptionError(f"{name} must be at least 0; received {value}")
        if self.free_bits and self.capacity:
            raise OptionError(
                "free_bits and capacity both say how large the rate should be: give one of them"
            )

    @property
    def shapes(self) -> bool:
        """Whether it is more than a weight."""
        return bool(self.free_bits or self.capacity)

    def weight(self, step: int) -> float:
        """beta at a training step."""
        return self.beta * _risen(step, self.warmup)

    def __call__(self, rates: Tensor, step: int) -> Tensor:
        """The cost, a scalar in nats.

        Args:
            rates: mean rate of every part, (parts,) nats.
            step: training steps taken.
        """
        if self.free_bits:
            return self.weight(step) * rates.clamp_min(self.free_bits).sum()
        if self.capacity:
            goal = self.capacity * _risen(step, self.capacity_steps)
            return self.weight(step) * (rates.sum() - goal).abs()
        return self.weight(step) * rates.sum()
