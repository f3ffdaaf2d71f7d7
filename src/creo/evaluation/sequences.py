r"""Features of texts and sounds.

- `ngrams`: how often each single symbol, pair and triple of neighbours occurs in a text, as shares; what does not fit
  into `BUCKETS` buckets is hashed into them.
- `log-mel` (`log-mel:RATE`, samples per second, 16000 if not said): mean and standard deviation over time of the
  logarithm of the power in 40 bands, triangles evenly spaced on the mel scale, mel(f) = 2595 log10(1 + f / 700).

Both forget where in the sequence something happens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from creo.errors import OptionError, SpaceError
from creo.evaluation.kept import digest
from creo.spaces import Space

BUCKETS, ORDERS = 1024, (1, 2, 3)
BANDS, WINDOW = 40, 512
_MULTIPLIER = 1_000_003


@dataclass(frozen=True)
class NGrams:
    """Shares of 1-, 2- and 3-grams of texts, (B, at most 3 * BUCKETS)."""

    space: Space
    name: str = "ngrams"
    costly: bool = False

    def __post_init__(self) -> None:
        if self.space.kind != "Tokens":
            raise SpaceError(f"features ngrams are of texts (Tokens); received {self.space}")

    @property
    def key(self) -> str:
        """Hash of the space and of how n-grams are counted."""
        return digest([repr(self.space), BUCKETS, ORDERS, _MULTIPLIER])

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([self._shares(x.cpu(), n) for n in ORDERS if n <= self.space.shape[0]], 1)

    def _shares(self, x: Tensor, n: int) -> Tensor:
        size = self.space.size  # type: ignore[attr-defined]
        grams = torch.zeros_like(x[:, : x.shape[1] - n + 1])
        exact = size**n <= BUCKETS
        for i in range(n):
            grams = grams * (size if exact else _MULTIPLIER) + x[:, i : x.shape[1] - n + 1 + i]
        buckets = size**n if exact else BUCKETS
        counts = torch.zeros(len(x), buckets)
        counts.scatter_add_(1, grams.remainder(buckets), torch.ones(grams.shape))
        return counts / grams.shape[1]


def mel_bands(rate: float, window: int) -> Tensor:
    """(BANDS, window // 2 + 1) triangular weights of the frequencies 0 .. rate/2."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, BANDS + 2, dtype=torch.float64) / 2595) - 1)
    frequencies = torch.linspace(0, rate / 2, window // 2 + 1, dtype=torch.float64)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (centre - low), (high - frequencies) / (high - centre)
    return torch.minimum(rising, falling).clamp_min(0).float()


@dataclass(frozen=True)
class LogMel:
    """Mean and deviation of log-mel power over time of waveforms (B, length), (B, 80)."""

    space: Space
    rate: float = 16000.0
    costly: bool = False

    def __post_init__(self) -> None:
        long_enough = len(self.space.shape) == 1 and self.space.shape[0] >= 64
        if self.space.kind not in ("Continuous", "Ordinal") or not long_enough:
            raise SpaceError(
                f"features log-mel are of waveforms (length at least 64,); received {self.space}"
            )
        if not self.rate > 0:
            raise OptionError(f"log-mel:RATE takes samples per second; received {self.rate}")

    @property
    def name(self) -> str:
        """The rate is part of what is measured."""
        return f"log-mel:{self.rate:g}"

    @property
    def key(self) -> str:
        """Hash of the space and of the bands."""
        return digest([repr(self.space), self.rate, BANDS, WINDOW])

    def __call__(self, x: Tensor) -> Tensor:
        x = x.cpu().float()
        if self.space.kind == "Ordinal":
            x = 2 * x / (self.space.levels - 1) - 1  # type: ignore[attr-defined]
        window = min(WINDOW, x.shape[1] // 2 * 2)
        shape = torch.hann_window(window)
        power = torch.stft(x, window, window // 4, window=shape, return_complex=True).abs().square()
        log_mel = (mel_bands(self.rate, window) @ power / shape.square().sum() + 1e-6).log()
        return torch.cat([log_mel.mean(2), log_mel.std(2, correction=0)], 1)
