"""`creo evaluate` and `creo report`: what a run's model is worth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from creo.cli import tables
from creo.errors import OptionError

if TYPE_CHECKING:
    from creo.training import RunFolder


def evaluate(
    run: str,
    *,
    split: Literal["train", "valid", "test"] = "test",
    which: Literal["best", "last"] = "best",
    samples: int = 2000,
    seed: int = 0,
    save: bool = False,
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
        save: keep it in the run's folder as evaluation.json, where `creo report` shows it.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        json: print JSON.
    """
    import creo
    from creo.training import RunFolder

    if samples < 10:
        raise OptionError(f"judge by at least 10 samples; received --samples {samples}")
    folder = RunFolder(run)
    data = creo.load_data(folder.config["data"]["spec"], data_dir=data_dir)
    model = creo.load(run, which=which)
    found = creo.evaluate(
        model, data.split(split), samples=samples, seed=seed, training=_training(folder), pictures=save
    )
    if save:
        found.save(folder.path)
    if json:
        tables.show_json(found.to_dict())
    else:
        tables.show_rich(found.table())


def _training(folder: RunFolder) -> Any:
    """Steps and time the run's newest checkpoint has seen."""
    _, state, _ = folder.newest()
    return SimpleNamespace(steps=state["step"], seconds=state["seconds"], cpu_seconds=state["cpu_seconds"])


def report(run: str) -> None:
    """Write report.html of a run: curves, samples, numbers, in one file without external requests.

    Args:
        run: folder of the run.
    """
    from creo.evaluation import run_report

    tables.show_lines(str(run_report(run)))
