"""`creo interpolate`: paths between the codes of held-out examples, decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from creo.cli import tables
from creo.errors import OptionError


def interpolate(
    run: str,
    *,
    path: Literal["linear", "spherical"] = "linear",
    n: int = 6,
    steps: int = 9,
    seed: int = 0,
    out: str = "interpolation.png",
    which: Literal["best", "last"] = "best",
    data_dir: str | None = None,
) -> None:
    """Decode paths between the codes of pairs of test examples, a row each, its ends included.

    Args:
        run: folder of the run of a model that answers `encode` and `decode` in real numbers.
        path: straight, or along a great circle, which keeps to where codes of many numbers lie.
        n: how many pairs, drawn at random.
        steps: pictures along each path.
        seed: the same seed draws the same pairs.
        out: file to write; its suffix says how, as in `creo sample`.
        which: weights that were best on validation, or the last ones.
        data_dir: folder with the publishers' files; default $CREO_DATA.
    """
    if n < 1 or steps < 2:
        raise OptionError(f"--n must be at least 1 and --steps at least 2; received {n} and {steps}")
    if not Path(out).absolute().parent.is_dir():
        raise OptionError(f"there is no folder {Path(out).parent} for --out {out}")

    import torch

    import creo
    from creo.cli.codes import answering
    from creo.data.export import check_path, png_bytes, sample_picture, save_samples
    from creo.data.files import replacing
    from creo.latent.interpolation import PATHS
    from creo.model import seeded
    from creo.training import RunFolder
    from creo.training.loading import reload_data

    model = answering(answering(creo.load(run, which=which), "encode"), "decode")
    target = check_path(out, model.space)
    test = reload_data(RunFolder(run), data_dir).test
    with seeded(seed), torch.no_grad():
        x, labels = test.take(torch.randint(len(test), (2 * n,)))
        given = labels if model.condition is not None else None
        z = model.encode(x, given)
        if not z.is_floating_point():
            raise OptionError(
                f"codes of {type(model).__name__} are no real numbers: nothing lies between two"
            )
        along = None if given is None else given[:n].repeat_interleave(steps, 0)
        between = PATHS[path](z[:n].flatten(1), z[n:].flatten(1), steps)
        rows = model.decode(between.flatten(0, 1).unflatten(1, z.shape[1:]), along)
    if target.suffix.lower() == ".png" and model.space.is_image:
        with replacing(target) as file:
            file.write(png_bytes(sample_picture(rows, model.space, columns=steps)))
    else:
        save_samples(rows, model.space, target, c=along)
    tables.show_lines(out)
