"""`creo sample`: draw samples from a run's model into a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from creo.cli import tables
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
    which: Literal["best", "last"] = "best",
) -> None:
    """Draw samples from the model of a run.

    Args:
        run: folder of the run.
        n: how many samples.
        seed: the same seed gives the same samples.
        out: file to write; its suffix says how: .png (a picture), .npz (raw data, which array:FILE reads
            back), .csv (tables, vectors), .txt (text, labels).
        c: labels (or numbers, joined by commas) to condition on, used in turn; for runs trained with --conditional.
        which: weights that were best on validation, or the last ones.
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
    given = conditions(c, model.condition)
    shown = sys.stderr.isatty() and n > 1
    with Bar("sampling") if shown else Silent() as bar:
        x = draw(model, n, given, seed=seed, report=lambda done: bar.show(done / n, done, {"samples": done}))
    kept = None if given is None else given[[i % len(given) for i in range(n)]]
    save_samples(x, model.space, out, c=kept)
    tables.show_lines(out)


def conditions(labels: Sequence[str], space: Space | None) -> Tensor | None:
    """Typed labels as a batch of conditions (len(labels), *space.shape).

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

    rows = [
        _index(label, space) if isinstance(space, Categories) else _numbers(label, space) for label in labels
    ]
    return space.check(torch.tensor(rows, dtype=space.dtype).reshape(len(rows), *space.shape), "--c")


def _known(space: Space) -> str:
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
