"""`creo outliers`: does a run's model know what does not belong?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from creo.cli import tables
from creo.errors import OptionError

if TYPE_CHECKING:
    from creo.model import GenerativeModel


def outliers(
    run: str,
    *,
    against: str,
    data: str | None = None,
    background: str | None = None,
    n: int = 2000,
    split: Literal["valid", "test"] = "test",
    which: Literal["best", "last"] = "best",
    seed: int = 0,
    data_dir: str | None = None,
    json: bool = False,
) -> None:
    """Tell a model's own kind of data from another kind: AUROC by every score that the model can give.

    1 is perfect, 0.5 is chance, below 0.5 is the wrong way round. Scores: -log p, its distance from the typical value,
    the ratio to a background model, energy and reconstruction, where the model has them.

    Args:
        run: folder of the run.
        against: data of another kind in the same space, e.g. mnist for a model of fashion-mnist.
        data: its own kind; default what it was trained on.
        background: folder of the run of a simpler model, for the likelihood ratio; default, where values are
            counted (pixels, symbols), a histogram per dimension.
        n: how many of each kind, at most.
        split: which part of both.
        which: weights that were best on validation, or the last ones.
        seed: seeds bounds and estimates.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        json: print JSON.
    """
    if n < 2:
        raise OptionError(f"judge by at least 2 samples of each kind; received -n {n}")
    import creo
    from creo.evaluation.outliers import compare_kinds
    from creo.training import RunFolder

    own = creo.load_data(data or RunFolder(run).config["data"]["spec"], data_dir=data_dir)
    other = creo.load_data(against, data_dir=data_dir)
    simple: GenerativeModel | None = None if background is None else creo.load(background)
    found = compare_kinds(
        creo.load(run, which=which), own, other, split=split, n=n, background=simple, seed=seed
    )
    if json:
        tables.show_json([v.to_dict() for v in found])
        return
    rows = [(str(v.protocol["score"]), v.text, v.note) for v in found]
    tables.show_lines(f"{own.name} ({split}) against {other.name}, n={found[0].n}")
    tables.show(("score", "AUROC", "note"), rows, expendable=("note",))
