"""Train a flow on its own pairs of noise and sample, so that it is followed in fewer steps: `creo.diffusion.reflow`.

straight = reflow(creo.load("runs/flow"), pairs=20_000, steps=2000)
few_steps(straight, 100, calls=1)
reflow_run("runs/flow", "runs/straight", steps=2000)         # `creo reflow`: from a run to a run

The new run is finished; resumed with a larger budget it would go on as any flow does, on data instead of pairs.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from creo.data.dataset import Data, Split
from creo.diffusion.model import Diffusion
from creo.diffusion.reflow import Paired
from creo.errors import OptionError, RunError
from creo.model import GenerativeModel, seeded
from creo.training.folder import RunFolder, check_free
from creo.training.loading import load, reload_data
from creo.training.progress import progress as make_progress
from creo.training.run import Run, config_of, fit
from creo.training.state import State, tensors_of
from creo.training.team import assemble
from creo.training.trainer import Trainer


def reflow(
    model: Diffusion, *, pairs: int = 20_000, conditions: Tensor | None = None, seed: int = 0, **settings: Any
) -> Diffusion:
    """A straighter copy of a trained flow; repeat it for a straighter one still.

    Args:
        model: trained, on straight lines (flow-matching, ot-flow-matching, rectified-flow); it is not changed.
        pairs: how many samples to make and train on, at least 20; a tenth of them is held out.
        conditions: to draw those of the samples from, (N, *condition.shape); needed by conditional models.
        seed: of the pairs and of training.
        **settings: the fields of `creo.training.Settings`: steps, minutes, batch_size, lr, ...

    Raises:
        OptionError: another path, too few pairs, or no conditions for a conditional model.
    """
    return _straightened(model, pairs, conditions, seed, settings)[0]


def reflow_run(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    pairs: int = 20_000,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Diffusion:
    """The straightened flow of a run, as a run of its own.

    Args:
        run: folder of a run of a flow along straight lines.
        out: folder of the new run (must not exist).
        pairs, seed, **settings: as of `reflow`; conditions are those of the run's training data.
        data_dir: where to look for the data's files first.

    Raises:
        OptionError: another model. RunError: no such run, or `out` exists.
    """
    check_free(Path(out))
    folder, model = RunFolder(run), load(run)
    if not isinstance(model, Diffusion):
        raise OptionError(f"reflow straightens flow-matching models; {run} is of {type(model).__name__}")
    data = reload_data(folder, data_dir)
    c = None if model.condition is None else data.train.head(len(data.train))[1]
    straight, done = _straightened(model, pairs, c, seed, settings)
    if done.stopped == "interrupted":
        raise RunError(f"stopped after {done.steps} steps; nothing was written: start `creo reflow` again")
    _write(straight, data, done, out, {"run": str(run), "pairs": pairs})
    return straight


def _straightened(
    model: Diffusion, pairs: int, conditions: Tensor | None, seed: int, settings: dict[str, Any]
) -> tuple[Diffusion, Run]:
    """The straighter copy, and how it was trained."""
    if pairs < 20 or (model.condition is not None and conditions is None):
        raise OptionError(
            f"reflow needs at least 20 pairs, and conditions to draw from if the model has some; received {pairs} "
            f"pairs, {'no ' if conditions is None else ''}conditions, condition {model.condition}"
        )
    paired = Paired(copy.deepcopy(model))
    with seeded(seed):
        c = None if conditions is None else conditions[torch.randint(len(conditions), (pairs,))]
        x = paired.sample(pairs, c).cpu()
    a, b = pairs * 8 // 10, pairs * 9 // 10
    train, valid, test = (
        Split(x[rows], None if c is None else c[rows], name=name)
        for name, rows in (("train", slice(a)), ("valid", slice(a, b)), ("test", slice(b, pairs)))
    )
    data = Data("pairs", paired.space, train, valid, test, model.condition)
    done = fit(paired, data, seed=seed, **settings)
    return paired.student.eval(), done


def _write(
    model: GenerativeModel, data: Data, done: Run, out: str | os.PathLike[str], origin: dict[str, Any]
) -> None:
    """A finished run's folder with these weights."""
    team = assemble(done.settings.device)
    trainer = Trainer(
        model, data, done.settings, model.training_defaults(), folder=None, team=team,
        display=make_progress("reflow", False),
    )  # fmt: skip
    trainer.assemble()
    trainer.state = State(
        step=done.steps, seconds=done.seconds, cpu_seconds=done.cpu_seconds, initialised=True, ended="budget"
    )
    config = config_of(trainer) | {"reflow": origin}
    folder = RunFolder.create(out, config, tensors_of(trainer), trainer.state.to_dict())
    for row in done.history:
        folder.append(row)
