r"""The named models of the literature, as choices.

| name           | path                  | predicts | times              | weight   | samples with                  |
|----------------|-----------------------|----------|--------------------|----------|-------------------------------|
| ddpm           | 1000 published steps  | noise    | the steps, uniform | simple   | ancestral, 100 strided steps  |
| ncsn           | 50 levels, geometric  | noise    | the levels         | simple   | annealed Langevin             |
| vp-sde         | VP                    | noise    | uniform            | simple   | DPM-Solver++ of order 2       |
| sub-vp-sde     | sub-VP                | noise    | uniform            | simple   | DPM-Solver++ of order 2       |
| ve-sde         | VE                    | noise    | uniform            | simple   | predictor-corrector           |
| edm            | EDM                   | F        | log-normal         | edm      | Heun                          |
| flow-matching  | linear                | velocity | uniform            | output   | Adams of order 3              |
| ot-flow-matching | linear, optimal pairs | velocity | uniform | output | the same                       |
| rectified-flow | linear                | velocity | logit-normal       | output   | Euler                         |

Next to these, with an objective of their own, each in its file:

| name                   | what is special                                                    | file               |
|------------------------|--------------------------------------------------------------------|--------------------|
| improved-ddpm          | cosine steps, variances of the steps back learned by the bound     | `learned_variance` |
| vdm                    | learned noise levels, trained on the bound in continuous time      | `vdm`, `schedule`  |
| stochastic-interpolant | noise on the way between any two distributions; flow or diffusion  | `bridge`           |
| sb-flow-matching       | Brownian bridges between ends paired by entropic transport         | `bridge`           |
| consistency            | where the flow ends, in one call; from data or distilled           | `consistency`      |

Noise levels are relative to data of unit variance. Any solver samples any of them: `sample(n, solver=, steps=)`.
Predicting the noise with weight `simple` is predicting the score with weight sigma^2, which is NCSN's objective.

Sources: ddpm: Ho, Jain, Abbeel 2020, https://arxiv.org/abs/2006.11239; ncsn: Song, Ermon 2019,
https://arxiv.org/abs/1907.05600, and 2020, https://arxiv.org/abs/2006.09011; the SDEs: Song et al. 2021,
https://arxiv.org/abs/2011.13456; edm: Karras et al. 2022, https://arxiv.org/abs/2206.00364; flow matching: Lipman et
al. 2023, https://arxiv.org/abs/2210.02747; optimal transport: Tong et al. 2024, https://arxiv.org/abs/2302.00482;
rectified flow: Liu, Gong, Liu 2023, https://arxiv.org/abs/2209.03003.
"""

from __future__ import annotations

from typing import ClassVar

from creo.diffusion.coupling import optimal
from creo.diffusion.model import Choices, Diffusion
from creo.diffusion.objective import Levels, LogitNormal, LogNormal, Objective, Uniform
from creo.diffusion.paths import EDM as EDMPath
from creo.diffusion.paths import VE, VP, Linear, SteppedVP, SubVP, linear_betas
from creo.diffusion.predictions import NOISE, VELOCITY, F
from creo.diffusion.solvers import (
    DPMPP,
    VELOCITY_ADAMS,
    Ancestral,
    AnnealedLangevin,
    EulerMaruyama,
    Heun,
    Multistep,
)

_SIMPLE = Objective(NOISE, Uniform(), "simple")
_MATCHING = Objective(VELOCITY, Uniform(), "output")


class DDPM(Diffusion):
    """Denoising diffusion probabilistic model: 1000 steps of noise, undone one by one."""

    recipe_choices: ClassVar[Choices] = Choices(
        SteppedVP(linear_betas(1000)), Objective(NOISE, Levels(1000), "simple"), Ancestral(), steps=100
    )


class NCSN(Diffusion):
    """Noise-conditional score network: scores at many noise levels, sampled by annealed Langevin dynamics."""

    recipe_choices: ClassVar[Choices] = Choices(
        VE(0.01, 20.0), Objective(NOISE, Levels(50), "simple"), AnnealedLangevin(steps=10), steps=50
    )


class VPSDE(Diffusion):
    """Score model of the variance-preserving SDE."""

    recipe_choices: ClassVar[Choices] = Choices(VP(), _SIMPLE, Multistep(DPMPP, 2), steps=30)


class SubVPSDE(Diffusion):
    """Score model of the sub-VP SDE."""

    recipe_choices: ClassVar[Choices] = Choices(SubVP(), _SIMPLE, Multistep(DPMPP, 2), steps=30)


class VESDE(Diffusion):
    """Score model of the variance-exploding SDE, sampled by predictor and corrector."""

    recipe_choices: ClassVar[Choices] = Choices(
        VE(0.01, 50.0), _SIMPLE, EulerMaruyama(corrections=1), steps=100
    )


class EDM(Diffusion):
    """Preconditioned denoiser over noise levels, sampled by Heun's method."""

    recipe_choices: ClassVar[Choices] = Choices(EDMPath(), Objective(F, LogNormal(), "edm"), Heun(), steps=18)


class FlowMatching(Diffusion):
    """Velocity of straight paths from data to independent noise."""

    recipe_choices: ClassVar[Choices] = Choices(Linear(), _MATCHING, Multistep(VELOCITY_ADAMS, 3), steps=30)


class OTFlowMatching(Diffusion):
    """Flow matching with each batch's noise assigned to its data by optimal transport."""

    recipe_choices: ClassVar[Choices] = Choices(
        Linear(), _MATCHING, Multistep(VELOCITY_ADAMS, 3), steps=20, coupling=optimal
    )


class RectifiedFlow(Diffusion):
    """Velocity of straight paths with most training at middle times, sampled by Euler's method."""

    recipe_choices: ClassVar[Choices] = Choices(
        Linear(), Objective(VELOCITY, LogitNormal(), "output"), Multistep(VELOCITY_ADAMS, 1), steps=50
    )
