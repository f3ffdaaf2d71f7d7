"""`creo complete`: let a run's model fill in what a mask hides of held-out examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from creo.cli import tables
from creo.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from creo.model import GenerativeModel
    from creo.spaces import Space


def complete(
    run: str,
    *,
    mask: Literal["top", "bottom", "left", "right", "random"] = "top",
    n: int = 8,
    times: int = 3,
    temperature: float | None = None,
    particles: int | None = None,
    seed: int = 0,
    out: str = "completed.png",
    which: Literal["best", "last"] = "best",
    data_dir: str | None = None,
) -> None:
    """Complete examples of the test split of which the model of a run is shown a part.

    A picture has a row for each example: the example, what is shown of it, and its completions. An archive has the
    arrays x, known and completed; a .csv or .txt file the completions, those of an example one after another.

    Args:
        run: folder of the run of a model that answers `complete` (`creo models` says which).
        mask: the part that is shown; top of a sequence or vector is its first half.
        n: how many examples.
        times: completions of each.
        temperature: 1 (the default) completes exactly, 0 takes the most probable symbol at each step.
        particles: candidates that are weighed where something shown comes after something hidden; default: the
            model's own number.
        seed: the same seed gives the same completions.
        out: file to write; its suffix says how, as in `creo sample`.
        which: weights that were best on validation, or the last ones.
        data_dir: folder with the publishers' files; default $CREO_DATA.
    """
    said = {"temperature": temperature, "particles": particles}
    for name, value in (("n", n), ("times", times), ("particles", particles)):
        if value is not None and value < 1:
            raise OptionError(f"--{name} must be at least 1; received {value}")
    if not Path(out).absolute().parent.is_dir():
        raise OptionError(f"there is no folder {Path(out).parent} for --out {out}")

    import creo
    from creo.autoregressive import known_part
    from creo.data.export import check_path
    from creo.model import seeded
    from creo.training import RunFolder

    model = creo.load(run, which=which).eval()
    check_path(out, model.space)
    fill, options = _way(model, {k: v for k, v in said.items() if v is not None})
    data = creo.load_data(RunFolder(run).config["data"]["spec"], data_dir=data_dir)
    x, c = data.test.head(n)
    with seeded(seed):
        known = known_part(data.space, mask)
        # one example's completions side by side
        given, labels = x.repeat_interleave(times, 0), None
        if model.condition is not None and c is not None:
            labels = c.repeat_interleave(times, 0)
        filled = fill(given, known, labels, **options)
    _save(x, known, filled.unflatten(0, (len(x), times)), data.space, Path(out))
    tables.show_lines(out)


def _way(model: GenerativeModel, options: dict[str, Any]) -> tuple[Callable[..., Tensor], dict[str, Any]]:
    """The model's `complete` and the options it is called with.

    Raises:
        OptionError: it has none, or not with such an option.
    """
    import inspect

    from creo.model import Completes

    if not isinstance(model, Completes):
        raise OptionError(
            f"{type(model).__name__} cannot fill in what is missing; `creo models` says which models answer complete"
        )
    known = inspect.signature(model.complete).parameters
    for name in options:
        if name not in known:
            raise OptionError(f"the completion of {type(model).__name__} has no --{name}")
    return model.complete, options


def _save(x: Tensor, known: Tensor, filled: Tensor, space: Space, out: Path) -> None:
    """Examples (n, *shape), mask (*shape) and completions (n, times, *shape) in one file."""
    import numpy as np
    import torch

    from creo.data.export import save_samples
    from creo.data.files import replacing
    from creo.data.picture import png_bytes, sample_picture

    if out.suffix not in (".png", ".npz"):
        save_samples(filled.flatten(0, 1), space, out)
        return
    with replacing(out) as file:
        if out.suffix == ".npz":
            arrays = {"x": x.numpy(), "known": known.numpy(), "completed": filled.numpy()}
            np.savez(file, allow_pickle=False, **arrays)
            return
        shown = torch.where(known, x, torch.zeros_like(x))
        rows = torch.cat([x[:, None], shown[:, None], filled], 1)
        file.write(png_bytes(sample_picture(rows.flatten(0, 1), space, columns=rows.shape[1])))
