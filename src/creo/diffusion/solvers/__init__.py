"""Solvers over a denoiser: from noise to data along a grid of times; `SOLVERS` has one of each by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from creo.diffusion.solvers.adaptive import BOGACKI_SHAMPINE as BOGACKI_SHAMPINE
from creo.diffusion.solvers.adaptive import DORMAND_PRINCE as DORMAND_PRINCE
from creo.diffusion.solvers.adaptive import Adaptive as Adaptive
from creo.diffusion.solvers.multistep import DPM as DPM
from creo.diffusion.solvers.multistep import DPMPP as DPMPP
from creo.diffusion.solvers.multistep import LMS as LMS
from creo.diffusion.solvers.multistep import ROWS as ROWS
from creo.diffusion.solvers.multistep import SDE_DPMPP as SDE_DPMPP
from creo.diffusion.solvers.multistep import VELOCITY_ADAMS as VELOCITY_ADAMS
from creo.diffusion.solvers.multistep import Multistep as Multistep
from creo.diffusion.solvers.multistep import RowOf as RowOf
from creo.diffusion.solvers.multistep import multistep_coefficients as multistep_coefficients
from creo.diffusion.solvers.noise import Streams as Streams
from creo.diffusion.solvers.noise import noise_source as noise_source
from creo.diffusion.solvers.one_step import DDIM as DDIM
from creo.diffusion.solvers.one_step import Ancestral as Ancestral
from creo.diffusion.solvers.one_step import Heun as Heun
from creo.diffusion.solvers.solver import Denoiser as Denoiser
from creo.diffusion.solvers.solver import Node as Node
from creo.diffusion.solvers.solver import Noise as Noise
from creo.diffusion.solvers.solver import Record as Record
from creo.diffusion.solvers.solver import Solver as Solver
from creo.diffusion.solvers.solver import Spacing as Spacing
from creo.diffusion.solvers.solver import nodes as nodes
from creo.diffusion.solvers.solver import time_grid as time_grid
from creo.diffusion.solvers.stochastic import AnnealedLangevin as AnnealedLangevin
from creo.diffusion.solvers.stochastic import Churn as Churn
from creo.diffusion.solvers.stochastic import EulerMaruyama as EulerMaruyama
from creo.diffusion.solvers.stochastic import langevin as langevin
from creo.errors import OptionError, UnknownName, suggestion

SOLVERS: Mapping[str, Solver] = {
    "ddim": DDIM(),
    "ancestral": Ancestral(),
    "lms": Multistep(LMS, 3),
    "dpm": Multistep(DPM, 2),
    "dpm++": Multistep(DPMPP, 2),
    "sde-dpm++": Multistep(SDE_DPMPP, 2),
    "velocity-adams": Multistep(VELOCITY_ADAMS, 3),
    "heun": Heun(),
    "adaptive": Adaptive(),
    "churn": Churn(),
    "euler-maruyama": EulerMaruyama(),
    "predictor-corrector": EulerMaruyama(corrections=1),
    "annealed-langevin": AnnealedLangevin(),
}


def find_solver(solver: Solver | str, *, tolerance: float | None = None) -> Solver:
    """A solver, or the one of that name, with a tolerance if one is given.

    Raises:
        UnknownName: with the nearest names. OptionError: a tolerance for a solver that has none.
    """
    if isinstance(solver, str):
        if solver not in SOLVERS:
            raise UnknownName(f"no solver named {solver!r}{suggestion(solver, SOLVERS)}")
        solver = SOLVERS[solver]
    if tolerance is None:
        return solver
    if not isinstance(solver, Adaptive):
        raise OptionError("only an adaptive solver has a tolerance: take solver='adaptive', or give steps")
    return replace(solver, tolerance=tolerance)
