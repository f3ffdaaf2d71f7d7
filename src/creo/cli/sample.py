"""`creo sample`: draw samples from a run's model into a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from creo.cli import tables
from creo.cli.sampling import sampling_options
from creo.errors import OptionError
from creo.spaces import Categories, Space

if TYPE_CHECKING:
    from torch import Tensor


def sample(
    run: str,
    *,
    n: int = 64,
    seed: int = 0,
    out: str = "samples.png",
    c: tuple[str, ...] = (),
    guidance: float | None = None,
    interval: tuple[float, float] | None = None,
    rescale: float | None = None,
    negative: str | None = None,
    weaker: str | None = None,
    temperature: float | None = None,
    solver: str | None = None,
    steps: int | None = None,
    tolerance: float | None = None,
    which: Literal["best", "last"] = "best",
    data_dir: str | None = None,
) -> None:
    """Draw samples from the model of a run.

    Args:
        run: folder of the run.
        n: how many samples.
        seed: the same seed gives the same samples.
        out: file to write; its suffix says how: .png (a picture), .gif (videos that move), .npz (raw data, which
            array:FILE reads back), .csv (tables, vectors), .txt (text, labels).
        c: labels, captions such as "a small seven", or numbers joined by commas to condition on, used in turn; `test`
            for the conditions of the first test examples, whatever they are. For runs trained with --conditional.
        guidance: how much the condition is emphasised, for diffusion models; 1 is not at all.
        interval: times, 0 (data) to 1 (noise), at which to guide; default all.
        rescale: share of the way back from a guided sample's spread to that of the model.
        negative: label to be guided away from, instead of the model without its condition.
        weaker: folder of the run of a weaker model to be guided away from, e.g. one trained for a shorter time.
        temperature: 1 is the model itself, less is more typical; for models that have it.
        solver: of a diffusion: ddim, ancestral, lms, dpm, dpm++, sde-dpm++, velocity-adams, heun, adaptive, churn,
            euler-maruyama, predictor-corrector or annealed-langevin; default the model's own.
        steps: network calls of a sample, for diffusion models; default the model's own.
        tolerance: of the adaptive solver.
        which: weights that were best on validation, or the last ones.
        data_dir: folder with the publishers' files, for --c test; default $CREO_DATA.
    """
    if n < 1:
        raise OptionError(f"sample at least 1; received -n {n}")
    if not Path(out).absolute().parent.is_dir():
        raise OptionError(f"there is no folder {Path(out).parent} for --out {out}")

    import creo
    from creo.data.export import check_path, save_samples
    from creo.evaluation import draw
    from creo.training.progress import Bar, Silent

    model = creo.load(run, which=which)
    check_path(out, model.space)
    options = sampling_options(
        model, guidance=guidance, interval=interval, rescale=rescale, negative=negative, weaker=weaker,
        temperature=temperature, solver=solver, steps=steps, tolerance=tolerance,
    )  # fmt: skip
    given = conditions(c, model.condition, lambda: _held_out(run, n, data_dir))
    shown = sys.stderr.isatty() and n > 1
    with Bar("sampling") if shown else Silent() as bar:
        x = draw(model, n, given, seed=seed, options=options,
                 report=lambda done: bar.show(done / n, done, {"samples": done}))  # fmt: skip
    kept = None if given is None else given[[i % len(given) for i in range(n)]]
    save_samples(x, model.space, out, c=kept)
    tables.show_lines(out)


def _held_out(run: str, n: int, data_dir: str | None) -> Tensor:
    """Conditions of the first n test examples of a run's data."""
    from creo.training import RunFolder
    from creo.training.loading import reload_data

    _, c = reload_data(RunFolder(run), data_dir).test.head(n)
    if c is None:
        raise OptionError(f"the data of {run} have no conditions")
    return c


def conditions(
    labels: Sequence[str], space: Space | None, held_out: Callable[[], Tensor] | None = None
) -> Tensor | None:
    """Typed labels as a batch of conditions (len(labels), *space.shape).

    Args:
        labels: what was typed.
        space: of the conditions, or None.
        held_out: what `test` stands for.

    Raises:
        OptionError: none given where one is needed, one given where none is, or one that is not in the space.
    """
    if space is None:
        if labels:
            raise OptionError("this run is unconditional (trained without --conditional): leave out --c")
        return None
    if not labels:
        raise OptionError(f"this run is conditional: give --c, {_known(space)}")
    import torch

    from creo.data.words import caption, has_words

    names = space.names or () if isinstance(space, Categories) else ()
    if list(labels) == ["test"] and held_out is not None and "test" not in names:
        return held_out()
    if has_words(space):
        return caption(list(labels), space)
    rows = [
        _index(label, space) if isinstance(space, Categories) else _numbers(label, space) for label in labels
    ]
    return space.check(torch.tensor(rows, dtype=space.dtype).reshape(len(rows), *space.shape), "--c")


def _known(space: Space) -> str:
    from creo.data.words import has_words

    if has_words(space):
        return f"captions of the words {', '.join(space.symbols[1:])}"  # type: ignore[attr-defined]
    if space.is_grid:
        return f"test for those of held-out examples ({space})"
    if not isinstance(space, Categories):
        return f"{space.dims} numbers joined by commas ({space})"
    names = space.names or [str(i) for i in range(space.size)]
    shown = ", ".join(names[:20])
    return f"one or more of {shown}{', ...' if len(names) > 20 else ''}"


def _index(label: str, space: Categories) -> int:
    if space.names and label in space.names:
        return space.names.index(label)
    if label.isdigit() and int(label) < space.size:
        return int(label)
    raise OptionError(f"no label {label!r}: --c takes {_known(space)}")


def _numbers(label: str, space: Space) -> list[float]:
    try:
        numbers = [float(v) for v in label.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != space.dims:
        raise OptionError(f"--c takes {_known(space)}; received {label!r}")
    return numbers
