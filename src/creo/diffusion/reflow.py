r"""Reflow: straighten a flow by training on its own pairs of noise and sample.

A trained flow carries noise z to a sample y(z). Flow matching on these pairs, x_t = alpha y + sigma z, keeps the
samples' law and lowers every convex cost of transport; where paths no longer cross they are straight, and one step of
Euler follows them. How far from straight a flow is:

    S = int E mean_d (dx_t/dt - (z - y))^2 dt,          0 for straight lines at constant speed

    pairs(model, n)       z, and y(z) in the units of the diffusion, by an adaptive solver
    Paired(model)         the model of such pairs [y, z] that trains a diffusion on them (`creo.training.reflow` does)
    few_steps(model, n)   samples by k network calls: k - 1 steps of Euler to t_max / k, denoised there

For data N(0, s^2) on straight lines: y = s z, before reflow x_t = z sqrt(alpha^2 s^2 + sigma^2), after it
x_t = z (alpha s + sigma), whose velocity is (1 - s) z: straight, S = 0.

Source: Liu, Gong, Liu 2023, https://arxiv.org/abs/2209.03003.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from creo.diffusion.encoding import to_data
from creo.diffusion.model import Diffusion
from creo.diffusion.paths import Linear, columns
from creo.errors import OptionError
from creo.model import GenerativeModel, Likelihood, Report, Terms, TrainingDefaults
from creo.spaces import Continuous

#: Tolerance of the solver that makes pairs, and how many it makes at a time.
TOLERANCE, ROWS = 1e-3, 2048


@torch.no_grad()
def pairs(model: Diffusion, n: int, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Samples y and the noise z they come from, (n, *space.shape) each, in the units of the diffusion.

    Args:
        model: trained.
        n: how many.
        c: conditions, (n, *condition.shape) or one for all.
    """
    c, ys, zs = model.expand_condition(n, c), [], []
    model.eval()
    for rows in torch.arange(n).split(ROWS):
        z = torch.randn(len(rows), *model.space.shape, dtype=model.dtype, device=model.device)
        given = None if c is None else c[rows]
        ys.append(to_data(model.conditioned(given), model.choices.path, z, tolerance=TOLERANCE))
        zs.append(z)
    return torch.cat(ys), torch.cat(zs)


def straight_line(model: Diffusion) -> None:
    """Check that a model's paths are straight lines between data and noise.

    Raises:
        OptionError: they are not.
    """
    if not isinstance(model.choices.path, Linear):
        raise OptionError(
            "reflow straightens flows along straight lines: flow-matching, ot-flow-matching, rectified-flow; "
            f"this path is {type(model.choices.path).__name__}"
        )


class Paired(GenerativeModel):
    """A diffusion and the noise of its samples as a model of pairs [y, z], side by side along the first axis.

    Args:
        student: on straight lines; trained in place.
    """

    likelihood = Likelihood.NONE
    no_likelihood: ClassVar[str] = "it trains a flow on pairs of samples and noise"

    def __init__(self, student: Diffusion) -> None:
        straight_line(student)
        shape = student.space.shape
        super().__init__(Continuous((2 * shape[0], *shape[1:])), student.condition)
        self.student = student

    def training_defaults(self) -> TrainingDefaults:
        return self.student.training_defaults()

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Nothing: units stay those of the student."""
        self.check_batch(x, c)

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """The student's objective on given pairs."""
        self.check_batch(x, c)
        y, z = x.chunk(2, 1)
        error = self.student.matching(y, z, c).mean()
        return Terms(error, {"denoising": error.detach()})

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Pairs of the student's own."""
        return torch.cat(pairs(self.student, n, c), 1)


@torch.no_grad()
def few_steps(model: Diffusion, n: int, c: Tensor | None = None, *, calls: int = 1) -> Tensor:
    """Samples, raw, by Euler's method with this many network calls.

    Args:
        model: on straight lines.
        n: how many.
        c: conditions, (n, *condition.shape) or one for all.
        calls: of the network, at least 1.
    """
    straight_line(model)
    if calls < 1:
        raise OptionError(f"a sample takes at least 1 network call; received {calls}")
    denoise = model.denoiser(n, c)
    x = torch.randn(n, *model.space.shape, dtype=model.dtype, device=model.device)
    top = model.choices.path.t_max
    times = [top * (1 - i / calls) for i in range(calls)]
    for t, after in zip(times, [*times[1:], 0.0], strict=True):
        y = denoise(x, torch.tensor(t, dtype=torch.float64))
        x = y + (after / t) * (x - y)
    return model.units.data(x)


@torch.no_grad()
def crookedness(model: Diffusion, n: int = 1000, c: Tensor | None = None, *, steps: int = 50) -> float:
    """S of the module docstring, by steps of Euler, averaged over dimensions.

    Args:
        model: on straight lines.
        n: how many paths.
        c: conditions, (n, *condition.shape) or one for all.
        steps: network calls.
    """
    straight_line(model)
    denoise, top = model.denoiser(n, c), model.choices.path.t_max
    z = x = torch.randn(n, *model.space.shape, dtype=model.dtype, device=model.device)
    slopes = []
    for i in range(steps):
        t = torch.tensor(top * (1 - i / steps), dtype=torch.float64)
        slopes.append((x - denoise(x, t)) / columns(t, x))
        x = x - top / steps * slopes[-1]
    chord = (z - x) / top
    return float(torch.stack([(s - chord).square().mean() for s in slopes]).mean())
