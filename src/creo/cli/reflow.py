"""`creo reflow`: straighten the flow of a run, so that it is sampled in a few steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from creo.cli import tables
from creo.errors import OptionError

if TYPE_CHECKING:
    from creo.diffusion.model import Diffusion


def reflow(
    run: str,
    *,
    out: str,
    pairs: int = 20_000,
    steps: int = 2000,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    n: int = 500,
    data_dir: str | None = None,
    progress: bool = True,
    json: bool = False,
) -> None:
    """Train a straighter flow on a flow's own pairs of noise and sample, as a new run.

    Says how far the paths of both are from straight lines (mean squared distance of velocities, 0 for straight).

    Args:
        run: folder of a run of flow-matching, ot-flow-matching or rectified-flow.
        out: folder of the new run.
        pairs: how many samples to make and train on.
        steps: train this many updates.
        batch_size: examples per update; default the model's own.
        lr: peak learning rate; default the model's own.
        seed: of pairs and training.
        n: how many paths to judge by.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        progress: show progress on standard error.
        json: print JSON.
    """
    if n < 1:
        raise OptionError(f"--n must be at least 1; received {n}")
    import creo
    from creo.diffusion.reflow import crookedness
    from creo.model import seeded
    from creo.training.reflow import reflow_run

    said = {k: v for k, v in {"batch_size": batch_size, "lr": lr}.items() if v is not None}
    straight = reflow_run(
        run, out, pairs=pairs, seed=seed, data_dir=data_dir, steps=steps, progress=progress, **said
    )
    before, conditions = creo.load(run), None
    if before.condition is not None:
        from creo.training import RunFolder
        from creo.training.loading import reload_data

        conditions = reload_data(RunFolder(run), data_dir).test.head(n)[1]
    found = {}
    for name, model in ((run, before), (out, straight)):
        with seeded(seed):
            count = n if conditions is None else len(conditions)
            found[name] = crookedness(cast("Diffusion", model), count, conditions)
    if json:
        tables.show_json([{"run": name, "crookedness": value} for name, value in found.items()])
        return
    tables.show(("run", "crookedness"), [(name, f"{value:.4g}") for name, value in found.items()])
