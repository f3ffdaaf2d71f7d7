"""`creo guide-sweep`: what guidance buys and what it costs, over its scale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from creo.cli import tables
from creo.cli.sampling import takes
from creo.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from creo.data.dataset import Data
    from creo.evaluation.features import Extractor


def guide_sweep(
    run: str,
    *,
    scale: tuple[float, ...] = (0.0, 1.0, 1.5, 2.0, 3.0, 5.0),
    n: int = 500,
    steps: int | None = None,
    split: Literal["valid", "test"] = "test",
    which: Literal["best", "last"] = "best",
    seed: int = 0,
    out: str | None = None,
    data_dir: str | None = None,
    json: bool = False,
) -> None:
    """Sample a conditional run at several scales of guidance: quality against diversity, as a table and a picture.

    Accuracy is the share of samples that the data set's own classifier gives the label they were asked for (labelled
    pictures only); precision is the share of samples that look like data, recall that of data that look like samples.

    Args:
        run: folder of a run trained with --conditional.
        scale: scales of guidance; 1 is the model itself, 0 the model without its condition.
        n: how many samples at each, under the labels of as many held-out examples.
        steps: network calls of a sample; default the model's own.
        split: the held-out part.
        which: weights that were best on validation, or the last ones.
        seed: the same noise at every scale.
        out: PNG file of the curve; default RUN/plots/guide-sweep.png. The numbers go beside it as .json.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        json: print JSON.
    """
    if n < 10 or not scale:
        raise OptionError(
            f"sweep with at least 10 samples and one scale; received -n {n}, {len(scale)} scales"
        )
    import creo
    from creo.evaluation.plots import save
    from creo.training import RunFolder
    from creo.training.loading import reload_data

    model, data = creo.load(run, which=which), reload_data(RunFolder(run), data_dir)
    x, c = data.split(split).head(n)
    if c is None or model.condition is None or not takes(model, "guidance"):
        raise OptionError(f"{run} cannot be guided: train a diffusion model with --conditional")
    features, how = _features(data), {} if steps is None else {"steps": steps}
    rows = [_measured(model, features, x, c, s, seed, how) for s in scale]
    file = Path(out) if out is not None else RunFolder(run).path / "plots" / "guide-sweep.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    save(_drawn(rows), file)
    _write(file.with_suffix(".json"), {"features": features.name, "n": len(x), "seed": seed, "rows": rows})
    if json:
        tables.show_json(rows)
        return
    tables.show(tuple(rows[0]), [tuple(f"{v:.4g}" for v in row.values()) for row in rows])
    tables.show_lines(f"features {features.name}, n={len(x)}, {split} split", str(file))


def _features(data: Data) -> Extractor:
    """The data set's classifier for labelled pictures, else standardised vectors."""
    from creo.evaluation.convnet import classifier_features
    from creo.evaluation.features import Standardised
    from creo.spaces import Categories

    if data.space.is_image and isinstance(data.condition, Categories):
        return classifier_features(data)
    return Standardised.of(data.space, data.train.head(10000)[0])


def _measured(
    model: Any, features: Any, x: Tensor, c: Tensor, scale: float, seed: int, how: dict[str, Any]
) -> dict[str, float]:
    """Accuracy (labelled pictures), Frechet distance, precision and recall at one scale."""
    import torch

    from creo.evaluation.frechet import frechet_distance
    from creo.evaluation.prdc import prdc
    from creo.model import seeded

    with seeded(seed):
        drawn = torch.cat([model.sample(len(part), part, guidance=scale, **how) for part in c.split(250)])
    real, made = features(x), features(drawn)
    found = prdc(real, made)
    row = {"scale": scale}
    if hasattr(features, "probabilities"):
        row["accuracy"] = float((features.probabilities(drawn).argmax(1) == c).double().mean())
    distance = frechet_distance(made, real)
    return {**row, "FD": distance, "precision": float(found.precision), "recall": float(found.recall)}


def _drawn(rows: list[dict[str, float]]) -> Figure:
    """Every number against the scale, and precision against recall."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    scales = [row["scale"] for row in rows]
    for name in [k for k in ("accuracy", "precision", "recall") if k in rows[0]]:
        left.plot(scales, [row[name] for row in rows], "o-", ms=3, label=name)
    left.set(xlabel="guidance scale", ylim=(0, 1.03))
    left.legend(fontsize=8)
    middle.plot(scales, [row["FD"] for row in rows], "o-", ms=3, color="#17346e")
    middle.set(xlabel="guidance scale", ylabel="Fréchet distance", ylim=(0, None))
    right.plot(
        [row["recall"] for row in rows], [row["precision"] for row in rows], "o-", ms=3, color="#17346e"
    )
    for row in rows:
        right.annotate(f"{row['scale']:g}", (row["recall"], row["precision"]), fontsize=8)
    right.set(xlabel="recall (diversity)", ylabel="precision (quality)")
    return figure


def _write(file: Path, content: dict[str, Any]) -> None:
    import json

    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
