r"""What can be asked of whoever answers E[y | x_t, c], however that was learned: samples, ways, latents, scores.

    sample       noise at t_max along a solver's grid to t_min, then what is left is denoised
    trajectory   the same, and where it went
    encode       data to noise by the probability flow; `decode` the way back (`creo.diffusion.encoding`)
    denoise      E[x_0 | x_t] in the data's units; `score` the gradient of log p_t there

Guidance, negative conditions and a weaker model turn the denoiser into another one (`creo.diffusion.guidance`); seeds
and temperature are the noise's (`creo.diffusion.solvers.noise`); all of them compose with every solver.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from creo.diffusion.choices import Choices
from creo.diffusion.encoding import TOLERANCE, Counted, Encoding, encoded, to_data, to_noise
from creo.diffusion.guidance import guided
from creo.diffusion.paths import columns
from creo.diffusion.solvers import Denoiser, Record, Solver, find_solver, noise_source, time_grid
from creo.diffusion.units import Units
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel


@dataclass(frozen=True)
class Trajectory:
    """Samples and how they came about.

    Args:
        times: of the solver's grid, falling, (T,).
        points: x_t at these times in the data's units, as `score` and `denoise` take them, (T, n, *space.shape).
        samples: raw data, (n, *space.shape).
        evaluations: calls of the denoiser (a guided one calls the network up to twice).
    """

    times: Tensor
    points: Tensor
    samples: Tensor
    evaluations: int


class ReverseProcess(GenerativeModel):
    """See the module docstring; a subclass gives `conditioned`, `choices` and `units`."""

    choices: Choices
    units: Units

    @abstractmethod
    def conditioned(self, c: Tensor | None) -> Denoiser:
        """E[y | x_t, c] of (x_t (n, *shape), t) in the units of the diffusion, c (n, *condition.shape).

        Without c it is that of the unconditional distribution, E[y | x_t].
        """

    def denoiser(
        self,
        n: int,
        c: Tensor | None = None,
        *,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        rescale: float = 0.0,
        negative: Tensor | None = None,
        weaker: ReverseProcess | None = None,
    ) -> Denoiser:
        """E[y | x_t] as a function of (x_t (n, *shape), t) in the units of the diffusion, guided if wanted.

        Args:
            n: batch size.
            c: conditions, (n, *condition.shape) or one for all.
            guidance: scale: 1 is the (conditional) model itself, 0 what it is guided away from.
            interval: times at which to guide.
            rescale: see `creo.diffusion.guidance.guided`.
            negative: conditions to be guided away from, as c; None: from the model without condition.
            weaker: model to be guided away from, of the same data and path (autoguidance), under `negative` if that
                is given and else under c.

        Raises:
            OptionError: there is nothing to guide away from, or it has no effect at scale 1.
        """
        c = self.expand_condition(n, c)
        if guidance == 1 and (negative is not None or weaker is not None):
            raise OptionError(
                "negative conditions and a weaker model act through guidance: give a scale, e.g. 2"
            )
        if guidance == 1:
            return self.conditioned(c)
        if c is None and weaker is None:
            raise OptionError(
                f"guidance needs a conditional model, or a weaker one; received guidance={guidance}"
            )
        avoided = None if negative is None else self.expand_condition(n, negative)
        if weaker is None:
            other = self.conditioned(avoided)
        else:
            _check_alike(self, weaker)
            shown = c if avoided is None else avoided
            other = weaker.conditioned(None if weaker.condition is None else shown)
        return guided(self.conditioned(c), other, guidance, interval=interval, rescale=rescale)

    def sample(
        self,
        n: int,
        c: Tensor | None = None,
        *,
        solver: Solver | str | None = None,
        steps: int | None = None,
        tolerance: float | None = None,
        guidance: float = 1.0,
        interval: tuple[float, float] = (0.0, 1.0),
        rescale: float = 0.0,
        negative: Tensor | None = None,
        weaker: ReverseProcess | None = None,
        temperature: float = 1.0,
        seeds: Sequence[int] | Tensor | None = None,
        record: Record | None = None,
    ) -> Tensor:
        """Draw samples.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one for all.
            solver: one of `creo.diffusion.SOLVERS`, its name, or None for the recipe's.
            steps: times on the grid, or None for the recipe's; a one-call solver calls the network as often. An
                adaptive one takes as many steps between these times as it needs, by default between the two ends.
            tolerance: of an adaptive solver.
            guidance: scale of guidance; 1 is none.
            interval: times at which to guide.
            rescale: share of the way back from a guided sample's spread to that of the model, at every time.
            negative: conditions to be guided away from, instead of the model without condition.
            weaker: model to be guided away from, of the same data and path, e.g. one trained for a shorter time.
            temperature: variance of all noise of the reverse process; 1 is the model itself, less is more typical.
            seeds: of n random streams, one for each sample: the same sample whatever the batch around it.
            record: called with the noisy sample at every time, in the units of the diffusion.
        """
        return self._solved(
            n, c, solver=solver, steps=steps, tolerance=tolerance, temperature=temperature, seeds=seeds,
            record=record, guidance=guidance, interval=interval, rescale=rescale, negative=negative, weaker=weaker,
        ).samples  # fmt: skip

    def trajectory(self, n: int, c: Tensor | None = None, **how: Any) -> Trajectory:
        """Draw samples and keep x_t at every time of the grid.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one for all.
            **how: as of `sample`.
        """
        seen: list[Tensor] = []
        found = self._solved(n, c, record=seen.append, **how)
        return replace(found, points=torch.stack([self.units.points(y) for y in seen]))

    @torch.no_grad()
    def _solved(
        self,
        n: int,
        c: Tensor | None,
        *,
        solver: Solver | str | None = None,
        steps: int | None = None,
        tolerance: float | None = None,
        temperature: float = 1.0,
        seeds: Sequence[int] | Tensor | None = None,
        record: Record | None = None,
        **guidance: Any,
    ) -> Trajectory:
        """Samples without the way."""
        denoise = Counted(self.denoiser(n, c, **guidance))
        chosen = find_solver(self.choices.solver if solver is None else solver, tolerance=tolerance)
        count = (2 if chosen.adaptive else self.choices.steps) if steps is None else steps
        path = self.choices.path
        times, noise = time_grid(path, count, spacing=chosen.spacing), noise_source(seeds, temperature)
        alpha, sigma = path(times[0])
        spread = float((alpha.square() + sigma.square()).sqrt())
        x = spread * noise(torch.empty(n, *self.space.shape, dtype=self.dtype, device=self.device))
        x = chosen(denoise, path, times, x, noise=noise, record=record)
        y = denoise(x, times[-1].to(x.device))
        return Trajectory(times, y.new_empty(0), self.units.data(y), denoise.calls)

    def _centre(self, x: Tensor, c: Tensor | None) -> Tensor:
        """Raw data in the units of the diffusion, levels as the middle of their cells."""
        self.check_batch(x, c)
        return self.units(x.to(self.dtype) + 0.5 if self.space.discrete else x)

    @torch.no_grad()
    def encode(self, x: Tensor, c: Tensor | None = None, *, tolerance: float = TOLERANCE) -> Tensor:
        """The noise that the probability flow carries data to, (B, *space.shape), standard normal of the model's data.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.
            tolerance: of a step of the solver.
        """
        y = self._centre(x, c)
        return to_noise(self.conditioned(c), self.choices.path, y, tolerance=tolerance)

    @torch.no_grad()
    def decode(self, z: Tensor, c: Tensor | None = None, *, tolerance: float = TOLERANCE) -> Tensor:
        """The data that the probability flow carries noise to, (B, *space.shape): the inverse of `encode`.

        Args:
            z: latents, (B, *space.shape).
            c: conditions, (B, *condition.shape) or one for all, or None.
            tolerance: of a step of the solver.
        """
        if z.shape[1:] != self.space.shape or not z.is_floating_point():
            raise SpaceError(
                f"latents are floating, (B, {self.space.shape}); received {z.dtype} of shape {tuple(z.shape)}"
            )
        given = self.expand_condition(len(z), c)
        return self.units.data(
            to_data(self.conditioned(given), self.choices.path, z.to(self.dtype), tolerance=tolerance)
        )

    @torch.no_grad()
    def encoding(self, x: Tensor, c: Tensor | None = None, *, tolerance: float = TOLERANCE) -> Encoding:
        """The latents of `encode`, with the network evaluations and the solver's error; arguments as there."""
        y = self._centre(x, c)
        return encoded(self.conditioned(c), self.choices.path, y, tolerance=tolerance)

    def _at(self, x: Tensor, t: Tensor, c: Tensor | None) -> tuple[Tensor, Denoiser]:
        if not x.is_floating_point() or x.shape[1:] != self.space.shape:
            raise SpaceError(
                f"noisy samples are floating, (B, {self.space.shape}); received {tuple(x.shape)}"
            )
        if bool(((t < self.choices.path.t_min) | (t > self.choices.path.t_max)).any()):
            ends = f"[{self.choices.path.t_min}, {self.choices.path.t_max}]"
            raise OptionError(f"times of this path are in {ends}; received {t}")
        return self.units(x.to(self.dtype)), self.denoiser(len(x), c)

    def denoise(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """E[x_0 | x_t = x] in the data's units, (B, *space.shape) floating.

        Args:
            x: noisy samples in the data's units, mean + std (alpha y + sigma z), floating (B, *space.shape).
            t: times, (B,) or ().
            c: conditions, (B, *condition.shape), or None.
        """
        y, denoise = self._at(x, t, c)
        return self.units.points(denoise(y, t))

    def score(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """Gradient of log p_t at x with respect to x, in nats per unit of the data, (B, *space.shape).

        Args:
            x: noisy samples, as of `denoise`.
            t: times, (B,) or ().
            c: conditions, (B, *condition.shape), or None.
        """
        y, denoise = self._at(x, t, c)
        alpha, sigma = (columns(k, y) for k in self.choices.path(t.double()))
        return (alpha * denoise(y, t) - y) / sigma.square() * (-self.units.log_std).exp()


def _check_alike(model: ReverseProcess, weaker: ReverseProcess) -> None:
    """Whether two models' noisy samples mean the same.

    Raises:
        OptionError: they do not.
    """
    if not isinstance(weaker, ReverseProcess):
        raise OptionError(f"the weaker model must be a diffusion; received {type(weaker).__name__}")
    if model.space != weaker.space or weaker.condition not in (None, model.condition):
        raise OptionError(
            f"the weaker model must be of {model.space} given {model.condition} or nothing; "
            f"received one of {weaker.space} given {weaker.condition}"
        )
    u = torch.linspace(0, 1, 9, dtype=torch.float64)
    mine, others = (
        torch.stack(m.choices.path(m.choices.path.t_min + u * (m.choices.path.t_max - m.choices.path.t_min)))
        for m in (model, weaker)
    )
    if not torch.allclose(mine, others, rtol=1e-6):
        raise OptionError("the weaker model must noise data along the same path: train it by the same recipe")
    shift = (model.units.mean - weaker.units.mean).abs() / model.units.log_std.exp()
    if float(shift.max()) > 0.05 or not torch.allclose(model.units.log_std, weaker.units.log_std, atol=0.05):
        raise OptionError("the weaker model must be trained on the same data: their units differ")
