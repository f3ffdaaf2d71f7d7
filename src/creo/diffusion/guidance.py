r"""Guidance: a denoiser that wraps denoisers, and so composes with every solver.

    D_w(x, t) = D_0(x, t) + w (D_1(x, t) - D_0(x, t))

| guidance        | D_1 (emphasised)        | D_0 (moved away from)                                              |
|-----------------|-------------------------|--------------------------------------------------------------------|
| classifier-free | with the condition      | without (w = 1: the conditional model, 0: the unconditional one)   |
| negative        | with the condition      | with another condition                                             |
| autoguidance    | the model               | a weaker one, under the same condition                             |
| classifier      | D_0 and the classifier  | without the condition                                              |

It is linear, so the score, noise and velocity are guided alike. Two network calls, one where the scale is 0 or 1 or the
time outside of the interval. A classifier of noisy samples conditions a denoiser by Bayes's rule, score(x | c) =
score(x) + grad log p_t(c | x), which for denoisers is

    D_1(x, t) = D_0(x, t) + sigma^2/alpha grad_x log p_t(c | x).

On classes N(m_c, s^2) of one variance all of these are exact: D_w is the denoiser of N(m_0 + w (m_1 - m_0), s^2).

Sources: Ho, Salimans 2022, https://arxiv.org/abs/2207.12598; classifier: Dhariwal, Nichol 2021,
https://arxiv.org/abs/2105.05233; interval: Kynkaanniemi et al. 2024, https://arxiv.org/abs/2404.07724; rescale: Lin et
al. 2024, https://arxiv.org/abs/2305.08891; autoguidance: Karras et al. 2024, https://arxiv.org/abs/2406.02507.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from creo.diffusion.paths import Path, columns
from creo.diffusion.solvers import Denoiser
from creo.errors import OptionError


def guided(
    denoise: Denoiser,
    other: Denoiser,
    scale: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    rescale: float = 0.0,
) -> Denoiser:
    """The denoiser D_w of the module docstring.

    Args:
        denoise: D_1, to be emphasised.
        other: D_0, to be moved away from.
        scale: w.
        interval: times at which to guide; outside of it the answer is D_1.
        rescale: share of the way back to the standard deviation that D_1 has in each sample.

    Raises:
        OptionError: if rescale is not in [0, 1], or the interval is empty.
    """
    if not 0 <= rescale <= 1 or interval[0] > interval[1]:
        raise OptionError(f"rescale is in [0, 1] and interval rises; received {rescale} and {interval}")
    if scale == 1:
        return denoise

    def both(x: Tensor, t: Tensor) -> Tensor:
        if not interval[0] <= float(t.max()) <= interval[1]:
            return denoise(x, t)
        if scale == 0:
            return other(x, t)
        strong, weak = denoise(x, t), other(x, t)
        out = weak + scale * (strong - weak)
        return out if rescale == 0 else out * (1 - rescale + rescale * _std(strong) / _std(out))

    return both


def _std(x: Tensor) -> Tensor:
    return x.flatten(1).std(1).reshape(-1, *[1] * (x.ndim - 1)).clamp_min(1e-12)


def classified(denoise: Denoiser, path: Path, log_prob: Callable[[Tensor, Tensor], Tensor]) -> Denoiser:
    """The denoiser of p(x | c) from that of p(x) and a classifier of noisy samples.

    Args:
        denoise: D_0, of p(x).
        path: of the noising.
        log_prob: (x_t (B, *), t () or (B,)) to log p_t(c | x_t), (B,), of the condition that is wanted.
    """

    def conditional(x: Tensor, t: Tensor) -> Tensor:
        follow = x.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            y = x if follow else x.detach().requires_grad_()
            slope = torch.autograd.grad(log_prob(y, t).sum(), y, create_graph=follow)[0]
        alpha, sigma = (columns(k, x) for k in path(t.double()))
        return denoise(x, t) + sigma.square() / alpha * slope

    return conditional
