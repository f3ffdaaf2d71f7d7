r"""Variational fitting: a flow approximates a density known up to a constant (reverse Kullback-Leibler divergence).

    minimise   KL(q || p) + const = E_{z ~ N(0, I)} [ log q(x) - log p~(x) ],      x = f_theta^{-1}(z)

with p~ = Z p, so that the minimum of the loss is -log Z and its negative a lower bound on log Z. Samples are
reparametrised; the gradient is

| estimator | gradient                                                                         | at q = p          |
|-----------|----------------------------------------------------------------------------------|-------------------|
| `path`    | (d/dx [log q_{theta'}(x) - log p~(x)]) dx/dtheta, with theta' = theta held fixed | exactly 0         |
| `total`   | the same plus the score d log q_theta(x) / dtheta, whose mean is 0               | only 0 on average |

The path gradient ("sticking the landing") has no variance left where the fit is perfect. log q is evaluated with a
frozen copy of the flow, and the samples carry the gradient: one inverse and one forward pass a step, against one
inverse for `total`.

The reverse divergence covers modes: a flow that misses one is not told. Models that sample in one pass (`iaf`,
`realnvp`, `nsf`) are made for it; others pay their slow direction in every step.

Sources: Rezende, Mohamed 2015, https://arxiv.org/abs/1505.05770; Roeder, Wu, Duvenaud 2017,
https://arxiv.org/abs/1703.09194; for flows: Vaitl et al. 2022, https://arxiv.org/abs/2207.08219.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from creo.distributions.gaussian import standard_log_prob
from creo.errors import NonFinite, OptionError
from creo.flows.flow import Flow
from creo.model import Terms

EstimatorName = Literal["path", "total"]

LogDensity = Callable[[Tensor], Tensor]


def reverse_divergence(
    model: Flow,
    log_density: LogDensity,
    *,
    n: int = 256,
    estimator: EstimatorName = "path",
    frozen: Flow | None = None,
) -> Terms:
    """The loss of the module docstring on n fresh samples, in nats; its gradient is that of the estimator.

    Args:
        model: a flow on a continuous space, without a condition.
        log_density: log p~ of samples (n, *shape), (n,); differentiable.
        n: samples.
        estimator: path or total.
        frozen: a copy of the model whose parameters take no gradient; made afresh if not given.

    Returns:
        The loss; part `bound` is its negative, a lower bound on log Z, and `std` its deviation over samples.

    Raises:
        OptionError: unknown estimator, or a model with a condition or levels.
    """
    if estimator not in ("path", "total"):
        raise OptionError(f"estimator is path or total; received {estimator!r}")
    if model.dequantise is not None or model.condition is not None:
        raise OptionError(
            f"a density is fitted by an unconditional model of a Continuous space; received {model.space}"
        )
    z = torch.randn(n, *model.space.shape, dtype=model.dtype, device=model.device)
    x, log_det = model.inverse(z)
    if estimator == "total":
        log_q = standard_log_prob(z) - log_det
    else:
        held = freeze(model) if frozen is None else match(frozen, model)
        noise, held_log_det = held.forward(x)
        log_q = standard_log_prob(noise) + held_log_det
    gap = log_q - log_density(x)
    loss = gap.mean()
    return Terms(loss, {"bound": -loss.detach(), "std": gap.detach().std()})


def freeze(model: Flow) -> Flow:
    """A copy whose parameters take no gradient."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def match(frozen: Flow, model: Flow) -> Flow:
    """Give a frozen copy the model's present parameters and buffers."""
    for mine, theirs in zip(_state(frozen), _state(model), strict=True):
        mine.copy_(theirs)
    return frozen.train(model.training)


def _state(model: Flow) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def fit_to_density(
    model: Flow,
    log_density: LogDensity,
    *,
    steps: int = 1000,
    n: int = 256,
    lr: float = 3e-3,
    estimator: EstimatorName = "path",
    clip: float = 10.0,
    report: Callable[[int, Terms], None] | None = None,
) -> Flow:
    """Fit a flow to a density known up to a constant, by Adam with a cosine schedule.

    Args:
        model: a flow on a continuous space, without a condition; trained in place.
        log_density: log p~ of samples (n, *shape), (n,); differentiable.
        steps: updates.
        n: samples of an update.
        lr: learning rate at the start.
        estimator: path or total.
        clip: largest norm of a gradient.
        report: called with the step and its terms.

    Returns:
        The model, in evaluation mode.

    Raises:
        NonFinite: if the loss is not a number.
        OptionError: as `reverse_divergence`.
    """
    frozen = freeze(model)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    model.train()
    for step in range(steps):
        terms = reverse_divergence(model, log_density, n=n, estimator=estimator, frozen=frozen)
        if not terms.loss.isfinite():
            raise NonFinite(f"the reverse divergence is {float(terms.loss)} at step {step}; lower lr={lr}")
        optimiser.zero_grad()
        terms.loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        optimiser.step()
        schedule.step()
        if report is not None:
            report(step, terms)
    return model.eval()


@torch.no_grad()
def interpolate(model: Flow, a: Tensor, b: Tensor, *, steps: int = 8, c: Tensor | None = None) -> Tensor:
    """Data between pairs of data, along great circles between their noises.

    Noise of D dimensions lies near a sphere of radius sqrt(D), which straight lines leave: directions turn evenly,
    lengths change linearly. On ordinal spaces a and b are dequantised by half a level, and levels come back.

    Args:
        model: a flow.
        a, b: raw data, (B, *shape).
        steps: points, both ends among them.
        c: conditions of both, (B, *condition.shape), or None.

    Returns:
        (steps, B, *shape), raw data.
    """
    if steps < 2:
        raise OptionError(f"an interpolation has at least its two ends; received steps={steps}")
    half = 0.5 if model.dequantise is not None else 0.0
    first, last = (model.forward(x.to(model.dtype) + half, c)[0].flatten(1) for x in (a, b))
    lengths = [z.norm(dim=1, keepdim=True) for z in (first, last)]
    angle = ((first * last).sum(1, keepdim=True) / (lengths[0] * lengths[1])).clamp(-1, 1).acos()
    path = []
    for t in torch.linspace(0, 1, steps).tolist():
        turn = [torch.where(angle > 1e-4, (s * angle).sin() / angle.sin(), s) for s in (1 - t, t)]
        direction = turn[0] * first / lengths[0] + turn[1] * last / lengths[1]
        z = direction * ((1 - t) * lengths[0] + t * lengths[1])
        y = model.flow.generate(z.reshape(a.shape), model._embed(c))
        path.append(y if model.dequantise is None else model.dequantise.inverse(y)[0])
    return torch.stack(path)
