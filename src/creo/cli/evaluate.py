"""`creo evaluate` and `creo report`: what a run's model is worth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from creo.cli import tables
from creo.errors import OptionError

if TYPE_CHECKING:
    from creo.evaluation import Evaluation
    from creo.training import RunFolder


def evaluate(
    run: str | None = None,
    *,
    samples: str | None = None,
    data: str | None = None,
    split: Literal["train", "valid", "test"] = "test",
    which: Literal["best", "last"] = "best",
    n: int = 2000,
    features: str = "standardised",
    seed: int = 0,
    save: bool = False,
    data_dir: str | None = None,
    json: bool = False,
) -> None:
    """Evaluate the model of a run, or samples made elsewhere: likelihood, distance to the data, memorisation, cost.

    Every number comes with its unit, split, sample count and kind (=, <= for a bound, ~ for an estimate).

    Args:
        run: folder of the run; left out with --samples.
        samples: folder of pictures, .npz or .npy of samples made by anyone's model, judged against --data.
        data: what to judge against; with a run by default what it was trained on.
        split: the part of the data to evaluate on.
        which: weights that were best on validation, or the last ones.
        n: how many samples to draw (or take) and examples to judge them by, at most.
        features: what distances are measured in: standardised, identity, pixels, random-convnet, digits-cnn
            (NAME-cnn: a classifier of that data set), inception[:FILE], dinov2[:FILE], ngrams, log-mel[:RATE].
        seed: seeds everything random in it.
        save: keep it in the run's folder as evaluation.json, where `creo report` shows it.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        json: print JSON.
    """
    if n < 10:
        raise OptionError(f"judge by at least 10 samples; received -n {n}")
    if (run is None) == (samples is None):
        raise OptionError(
            "evaluate a run (creo evaluate RUN) or samples (creo evaluate --samples FOLDER --data NAME)"
        )
    how = {"features": features, "seed": seed}
    if run is None:
        found = _of_samples(str(samples), data, split, data_dir, save, {**how, "most": n})
    else:
        found = _of_run(run, data, split, which, data_dir, save, {**how, "samples": n})
    if json:
        tables.show_json(found.to_dict())
    else:
        tables.show_rich(found.table())


def _of_samples(
    samples: str, data: str | None, split: str, data_dir: str | None, save: bool, how: dict[str, Any]
) -> Evaluation:
    if data is None:
        raise OptionError(f"say with --data what the samples in {samples} are to be judged against")
    if save:
        raise OptionError("--save keeps an evaluation in a run's folder; samples have none: use --json")
    import creo

    held_out = creo.load_data(data, data_dir=data_dir).split(split)
    return creo.evaluation.evaluate_samples(samples, held_out, pictures=False, **how)


def _of_run(
    run: str, data: str | None, split: str, which: Any, data_dir: str | None, save: bool, how: dict[str, Any]
) -> Evaluation:
    import creo
    from creo.training import RunFolder

    folder = RunFolder(run)
    loaded = creo.load_data(data or folder.config["data"]["spec"], data_dir=data_dir)
    model = creo.load(run, which=which)
    found = creo.evaluate(model, loaded.split(split), training=_training(folder), pictures=save, **how)
    if save:
        found.save(folder.path)
    return found


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
