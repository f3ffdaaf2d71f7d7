"""`creo plot`: the pictures of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from creo.cli import tables
from creo.errors import OptionError, suggestion


def plot(
    run: str,
    *,
    picture: tuple[str, ...] = (),
    n: int = 1000,
    seed: int = 0,
    out: str | None = None,
    which: Literal["best", "last"] = "best",
    data_dir: str | None = None,
) -> None:
    """Draw the pictures of a run: samples, training curve, density in the plane, and those of the model's family.

    Args:
        run: folder of the run.
        picture: names of pictures; default all of them (a wrong name lists them).
        n: how many held-out examples the pictures may use.
        seed: the same seed gives the same pictures.
        out: folder for the PNG files; default RUN/plots.
        which: weights that were best on validation, or the last ones.
        data_dir: folder with the publishers' files; default $CREO_DATA.
    """
    if n < 2:
        raise OptionError(f"--n must be at least 2; received {n}")

    import creo
    from creo.evaluation.plots import pictures_of, save, training_curve
    from creo.model import seeded
    from creo.training import RunFolder
    from creo.training.loading import reload_data

    model, folder = creo.load(run, which=which), RunFolder(run)
    x, c = reload_data(folder, data_dir).test.head(n)
    c = None if model.condition is None else c
    pictures = pictures_of(model, x, c) | {"training": lambda: training_curve(folder.rows())}
    for name in picture:
        if name not in pictures:
            raise OptionError(f"this run has no picture {name!r}{suggestion(name, pictures)}")
    where = Path(out) if out is not None else folder.path / "plots"
    where.mkdir(parents=True, exist_ok=True)
    for name in picture or pictures:
        with seeded(seed):
            save(pictures[name](), where / f"{name}.png")
        tables.show_lines(str(where / f"{name}.png"))
