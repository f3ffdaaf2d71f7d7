"""`creo evaluate` and `creo report`: what a run's model is worth."""

from __future__ import annotations

from typing import Literal

from creo.cli import tables


def evaluate(
    run: str,
    *,
    split: Literal["train", "valid", "test"] = "test",
    which: Literal["best", "last"] = "best",
    samples: int = 2000,
    seed: int = 0,
    data_dir: str | None = None,
    json: bool = False,
) -> None:
    """Evaluate the model of a run: likelihood, distance of its samples to the data, memorisation, cost.

    Every number comes with its unit, split, sample count and kind (=, <= for a bound, ~ for an estimate).

    Args:
        run: folder of the run.
        split: the part of its data to evaluate on.
        which: weights that were best on validation, or the last ones.
        samples: how many samples to draw and examples to judge them by, at most.
        seed: seeds everything random in it.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        json: print JSON.
    """
    import creo
    from creo.training import RunFolder

    data = creo.load_data(RunFolder(run).config["data"]["spec"], data_dir=data_dir)
    model = creo.load(run, which=which)
    found = creo.evaluate(model, data.split(split), samples=samples, seed=seed, pictures=False)
    if json:
        tables.show_json(found.to_dict())
    else:
        tables.show_rich(found.table())


def report(run: str) -> None:
    """Write report.html of a run: curves, samples, numbers, in one file without external requests.

    Args:
        run: folder of the run.
    """
    from creo.evaluation import run_report

    tables.show_lines(str(run_report(run)))
