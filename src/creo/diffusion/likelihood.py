r"""log p by the probability flow: an ordinary differential equation from data to noise, and its divergence.

In w = x / sqrt(alpha^2 + sigma^2), over l = log(alpha / sigma), with k = alpha / sqrt(alpha^2 + sigma^2), the flow is

    dw/dl = k (x_0(w) - k w)                    log p(w_data) = log p(w_noise) + integral of div dw/dl,
    div   = k (div x_0 - k D)

which is bounded at both ends. It is integrated from the path's t_min, where w has the least noise, to t_max, where it
is standard normal, on a grid of steps in l that grow towards both ends, by Adams' method of order 4: one network call
and, in more than `EXACT_TRACE` dimensions, one vector-Jacobian product a step for Hutchinson's estimate of the trace,
div = E v' (dx_0/dw) v with entries v of +-1 that stay the same all along one solve. Below, the trace is exact.

The model is the density at t_min, scaled back by 1/alpha, so that it is normalised whatever the network.

Sources: Chen et al. 2018, https://arxiv.org/abs/1806.07366; Grathwohl et al. 2019, https://arxiv.org/abs/1810.01367;
Song et al. 2021, https://arxiv.org/abs/2011.13456.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from creo.diffusion.paths import Path
from creo.diffusion.solvers import Denoiser, multistep_coefficients
from creo.errors import OptionError

#: Dimensions up to which the trace is exact.
EXACT_TRACE = 3
ORDER = 4
#: Half-width, in l, of the range where steps are short.
MIDDLE = 4.0


def flow_log_prob(
    denoise: Denoiser, path: Path, x0: Tensor, *, steps: int, probe: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """log p of clean data under the probability flow, and the noise it is carried to.

    Args:
        denoise: (x (B, *), t ()) to E[x_0 | x_t = x]; differentiable in x.
        path: of the noising; the data should have about unit variance.
        x0: data, (B, *).
        steps: network calls.
        probe: v of Hutchinson's trace, (B, *), where that is not exact; None: drawn.

    Returns:
        (B,) nats, and w at t_max, (B, *).

    Raises:
        OptionError: if there is no step.
    """
    if steps < 1:
        raise OptionError(f"at least 1 step; received {steps}")
    ends = torch.tensor([path.t_min, path.t_max], dtype=torch.float64)
    first, last = (path.log_snr(ends) / 2).tolist()
    taus, gains = _plan(first, last, steps)
    trace = trace_of(x0, probe)
    scale = _share(first)
    w, log_p = scale * x0, torch.full_like(x0.flatten(1)[:, 0], x0[0].numel() * math.log(scale))
    history: deque[tuple[Tensor, Tensor]] = deque(maxlen=ORDER)
    for i in range(steps):
        t = path.time(torch.tensor(2 * taus[i], dtype=torch.float64)).clamp(path.t_min, path.t_max)
        history.appendleft(_slope(denoise, path, w, t, _share(taus[i]), trace))
        for gain, (dw, dl) in zip(gains[i], history, strict=True):
            w, log_p = w + gain * dw, log_p + gain * dl
    normal = -(w.square() + math.log(2 * math.pi)).flatten(1).sum(1) / 2
    return log_p + normal, w


@lru_cache(maxsize=32)
def _plan(first: float, last: float, steps: int) -> tuple[list[float], list[list[float]]]:
    """The grid of l and the coefficients of every step."""
    start, end = (math.asinh(l / MIDDLE) for l in (first, last))
    taus = [MIDDLE * math.sinh(start + (end - start) * i / steps) for i in range(steps + 1)]
    past = (taus[max(0, i + 1 - ORDER) : i + 1][::-1] for i in range(steps))
    return taus, [multistep_coefficients(p, taus[i + 1], 0) for i, p in enumerate(past)]


def _share(half_log_snr: float) -> float:
    return (1 + math.exp(-2 * half_log_snr)) ** -0.5


Trace = Callable[[Tensor, Tensor], Tensor]


def _slope(
    denoise: Denoiser, path: Path, w: Tensor, t: Tensor, k: float, trace: Trace
) -> tuple[Tensor, Tensor]:
    """dw/dl and its divergence."""
    norm = float(sum(s.square() for s in path(t))) ** 0.5
    with torch.enable_grad():
        w = w.detach().requires_grad_()
        x0 = denoise(norm * w, t.to(w.device))
        divergence = trace(x0, w)
    return k * (x0.detach() - k * w.detach()), k * (divergence - k * w[0].numel())


def trace_probe(like: Tensor) -> Tensor:
    """Directions of +-1 entries for Hutchinson's trace, (B, *)."""
    return torch.randint_like(like, 2) * 2 - 1


def trace_of(like: Tensor, probe: Tensor | None) -> Trace:
    """The trace of a Jacobian as a function of (output, input): exact, or along directions drawn once, here."""
    if like[0].numel() <= EXACT_TRACE:
        return _exact
    v = trace_probe(like) if probe is None else probe
    return lambda y, x: (torch.autograd.grad((y * v).sum(), x)[0] * v).flatten(1).sum(1)


def _exact(y: Tensor, x: Tensor) -> Tensor:
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for i, column in enumerate(y.flatten(1).sum(0)):
        total = total + torch.autograd.grad(column, x, retain_graph=True)[0].flatten(1)[:, i]
    return total
