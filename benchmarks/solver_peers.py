"""Solvers of the flow beside azula's samplers and diffusers' schedulers, on one exactly known denoiser.

Eight Gaussians on a circle as in `diffusion_solvers`: 512 points of the same noise in float64, root mean squared
distance to where 2000 steps of Heun carry them, at the same number of calls of the same denoiser. azula's samplers run
on our path and times, each beside the row that is the same method (its last evaluation denoises, as ours does);
diffusers' with their own grids over DDPM's thousand betas, of which our path is the limit, from the same noise to their
own end, beside the best row of ours. The adaptive solver is given tolerances, its evaluations are in the name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.diffusion_solvers import BUDGETS, DETERMINISTIC, mixture, row, solved
from creo.diffusion import Mixture
from creo.diffusion.encoding import Counted
from creo.diffusion.solvers import Adaptive, Heun, Spacing, time_grid
from creo.model import seeded

TOLERANCES = (1e-1, 1e-2, 1e-3)

#: azula's sampler that is the same method as ours of that name, and its options.
AZULA: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMSampler", {}),
    "heun": ("HeunSampler", {}),
    "lms": ("zABSampler", {"order": 3}),
    "lms order 2": ("zABSampler", {"order": 2}),
    "dpm": ("zEABSampler", {"order": 2}),
    "dpm++": ("xEABSampler", {"order": 2}),
    "dpm++ order 3": ("xEABSampler", {"order": 3}),
    "velocity-adams": ("vABSampler", {"order": 3}),
    "velocity-adams order 2": ("vABSampler", {"order": 2}),
}
#: diffusers' schedulers with what sets them up.
DIFFUSERS: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {"set_alpha_to_one": True, "clip_sample": False},
    "DPMSolverMultistepScheduler": {"solver_order": 2},
    "DPMSolverMultistepScheduler, log-SNR grid": {"solver_order": 2, "use_lu_lambdas": True},
    "UniPCMultistepScheduler": {"solver_order": 2},
    "HeunDiscreteScheduler": {},
}


Error = Callable[[Tensor], float]


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the deterministic solvers, of the adaptive one, and beside schedulers; quick: one budget, few points."""
    torch.set_num_threads(1)
    truth, budgets = mixture(), BUDGETS[1:2] if quick else BUDGETS
    with seeded(0):
        x = torch.randn(128 if quick else 512, 2, dtype=torch.float64)
    end = solved(truth, "heun", Heun(), 401 if quick else 4001, x)

    def error(y: Tensor) -> float:
        return float(f"{(y.double() - end).square().sum(1).mean().sqrt():.3g}")

    return (
        samplers(truth, x, error, budgets) + adaptive(truth, x, error) + schedulers(truth, x, error, budgets)
    )


def samplers(truth: Mixture, x: Tensor, error: Error, budgets: tuple[int, ...]) -> list[dict[str, Any]]:
    """Every deterministic solver beside azula's sampler of the same method."""
    rows = []
    for name, solver in DETERMINISTIC.items():
        for budget in budgets:
            theirs = by_azula(name, truth, solver.spacing, budget, x)
            beside = (
                {} if theirs is None else {"peer": f"azula {AZULA[name][0]}", "peer_value": error(theirs)}
            )
            value = error(solved(truth, name, solver, budget, x))
            rows.append(row(f"{name}, {budget} evaluations: distance to the exact flow", value, "", **beside))
    return rows


def adaptive(truth: Mixture, x: Tensor, error: Error) -> list[dict[str, Any]]:
    """The adaptive solver at some tolerances."""
    rows = []
    for tolerance in TOLERANCES:
        counted, times = Counted(truth), time_grid(truth.path, 2)
        y = counted(Adaptive(tolerance)(counted, truth.path, times, x), times[-1])
        name = f"adaptive, tolerance {tolerance:g}, {counted.calls} evaluations: distance to the exact flow"
        rows.append(row(name, error(y), ""))
    return rows


def schedulers(truth: Mixture, x: Tensor, error: Error, budgets: tuple[int, ...]) -> list[dict[str, Any]]:
    """diffusers' schedulers, each beside the best of ours at that budget."""
    rows = []
    for budget in budgets:
        ours = {n: error(solved(truth, n, s, budget, x)) for n, s in DETERMINISTIC.items()}
        best = min(ours, key=lambda n: ours[n])
        for name in DIFFUSERS:
            theirs = by_diffusers(name, truth, budget, x)
            beside = {} if theirs is None else {"peer": f"diffusers {name}", "peer_value": error(theirs)}
            said = f"best of ours ({best}), {budget} evaluations: distance to the exact flow"
            rows.append(row(said, ours[best], "", **beside))
    return rows


def by_azula(name: str, truth: Mixture, spacing: Spacing, evaluations: int, x: Tensor) -> Tensor | None:
    """Noise x carried to data on our own grid, the last evaluation to denoise."""
    if name not in AZULA:
        return None
    try:
        from azula import sample
        from azula.denoise import Denoiser, DiracPosterior
        from azula.noise import Schedule
    except ImportError:
        return None

    class OfPath(Schedule):
        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            return truth.path(t)

    class Ours(Denoiser):
        schedule = OfPath()

        def forward(self, x_t: Tensor, t: Tensor, **how: Any) -> Any:
            return DiracPosterior(truth(x_t, t))

    steps = (evaluations - 1) // 2 + 1 if name == "heun" else evaluations
    times = time_grid(truth.path, steps, spacing=spacing)
    kind, options = AZULA[name]
    cls = getattr(sample, kind)
    on_grid = type("OnGrid", (cls,), {"timesteps": property(lambda self: times)})
    end = on_grid(Ours(), steps=steps - 1, silent=True, **options)(x)
    return truth(end, times[-1])


def by_diffusers(name: str, truth: Mixture, evaluations: int, x: Tensor) -> Tensor | None:
    """Noise x carried to data by a scheduler over DDPM's betas, told the noise that the denoiser implies."""
    try:
        import diffusers
    except ImportError:
        return None
    steps = (evaluations + 1) // 2 if name.startswith("Heun") else evaluations
    scheduler = getattr(diffusers, name.partition(",")[0])(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
        timestep_spacing="linspace", **DIFFUSERS[name],
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    y = x * scheduler.init_noise_sigma
    for i in scheduler.timesteps:
        seen = scheduler.scale_model_input(y, i)
        t = truth.path.time(_log_snr(scheduler.alphas_cumprod, i)).clamp(truth.path.t_min, truth.path.t_max)
        alpha, sigma = truth.path(t)
        noise = (seen.double() - alpha * truth(seen.double(), t)) / sigma
        y = scheduler.step(noise, i, y).prev_sample
    return y


def _log_snr(bars: Tensor, i: Tensor) -> Tensor:
    """log-SNR of a scheduler's (possibly fractional) step i, linear between the published ones."""
    levels = (bars.double() / (1 - bars.double())).log()
    low = int(torch.floor(i.double()).clamp(0, len(levels) - 2))
    return levels[low] + (levels[low + 1] - levels[low]) * (i.double() - low)
