"""Diffusion, score and flow matching as one family: a path, a prediction, an objective, a solver, each on its own.

| object            | what varies                                     | where                          |
|-------------------|-------------------------------------------------|--------------------------------|
| path              | alpha, sigma: VP, VE, sub-VP, EDM, linear, ...  | `paths`                        |
| prediction        | data, noise, score, v, velocity, F              | `predictions`                  |
| objective         | time density, loss weight                       | `objective`                    |
| coupling          | independent, optimal, entropic                  | `coupling`                     |
| solver            | the multistep table and others                  | `solvers`                      |
| guidance          | a denoiser that wraps denoisers                 | `guidance`, `classifier`       |
| questions         | samples, trajectories, latents, scores          | `sampling`, `encoding`         |
| likelihood        | probability flow; variational bound             | `likelihood`, `bound`          |
| recipes           | ddpm, ncsn, vp-sde, edm, flow-matching, ...     | `recipes`                      |
| more is learned   | noise levels; variances; times from the losses  | `vdm`, `learned_variance`, `history` |
| other ends        | from any distribution to any other              | `bridge`, `interpolants`       |
| few steps         | reflow; consistency                             | `reflow`, `consistency`        |
"""

from creo.diffusion import paths as paths
from creo.diffusion.classifier import NoisyClassifier as NoisyClassifier
from creo.diffusion.exact import Mixture as Mixture
from creo.diffusion.guidance import classified as classified
from creo.diffusion.guidance import guided as guided
from creo.diffusion.likelihood import flow_log_prob as flow_log_prob
from creo.diffusion.model import Choices as Choices
from creo.diffusion.model import Diffusion as Diffusion
from creo.diffusion.objective import Objective as Objective
from creo.diffusion.predictions import PREDICTIONS as PREDICTIONS
from creo.diffusion.recipes import DDPM as DDPM
from creo.diffusion.recipes import EDM as EDM
from creo.diffusion.recipes import NCSN as NCSN
from creo.diffusion.recipes import VESDE as VESDE
from creo.diffusion.recipes import VPSDE as VPSDE
from creo.diffusion.recipes import FlowMatching as FlowMatching
from creo.diffusion.recipes import OTFlowMatching as OTFlowMatching
from creo.diffusion.recipes import RectifiedFlow as RectifiedFlow
from creo.diffusion.recipes import SubVPSDE as SubVPSDE
from creo.diffusion.sampling import Trajectory as Trajectory
from creo.diffusion.solvers import SOLVERS as SOLVERS
from creo.diffusion.solvers import Adaptive as Adaptive
from creo.diffusion.solvers import Solver as Solver
from creo.diffusion.solvers import time_grid as time_grid
