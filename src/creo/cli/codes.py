"""`creo encode` and `creo decode`: codes of held-out data to a file, and codes from a file to data.

The file is .npz with the array `z` (n, ...), and with `c`, the labels, where the data has them; nothing is pickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from creo.cli import tables
from creo.errors import DataError, OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from creo.model import GenerativeModel

#: Examples encoded or decoded at a time.
CHUNK = 256


def encode(
    run: str,
    *,
    split: Literal["train", "valid", "test"] = "test",
    n: int = 1000,
    out: str = "codes.npz",
    which: Literal["best", "last"] = "best",
    data_dir: str | None = None,
) -> None:
    """Write the codes that the latent model of a run gives to data.

    Args:
        run: folder of the run of a model that answers `encode` (`creo models` says which).
        split: whose first examples are encoded.
        n: how many examples.
        out: .npz file to write: codes z, and labels c where the data has them.
        which: weights that were best on validation, or the last ones.
        data_dir: folder with the publishers' files; default $CREO_DATA.
    """
    if n < 1:
        raise OptionError(f"--n must be at least 1; received {n}")
    target = _npz(out)

    import numpy as np
    import torch

    import creo
    from creo.data.files import replacing
    from creo.training import RunFolder
    from creo.training.loading import reload_data

    model = answering(creo.load(run, which=which), "encode")
    x, c = getattr(reload_data(RunFolder(run), data_dir), split).head(n)
    given = c if model.condition is not None else None
    with torch.no_grad():
        parts = [
            model.encode(x[i : i + CHUNK], None if given is None else given[i : i + CHUNK])
            for i in range(0, len(x), CHUNK)
        ]
    arrays = {"z": torch.cat(parts).cpu().numpy()} | ({} if c is None else {"c": c.cpu().numpy()})
    with replacing(target) as file:
        np.savez(file, allow_pickle=False, **arrays)
    tables.show_lines(out)


def decode(
    run: str,
    codes: str,
    *,
    out: str = "decoded.png",
    n: int | None = None,
    c: tuple[str, ...] = (),
    which: Literal["best", "last"] = "best",
) -> None:
    """Write the data that codes stand for, by the decoder of a run's latent model.

    Args:
        run: folder of the run of a model that answers `decode`.
        codes: .npz file with an array z (n, ...), as `creo encode` writes it.
        out: file to write; its suffix says how, as in `creo sample`.
        n: only the first n codes.
        c: labels to decode under, used in turn, of a conditional model; default: those in the file.
        which: weights that were best on validation, or the last ones.
    """
    if n is not None and n < 1:
        raise OptionError(f"--n must be at least 1; received {n}")
    if not Path(out).absolute().parent.is_dir():
        raise OptionError(f"there is no folder {Path(out).parent} for --out {out}")

    import torch

    import creo
    from creo.data.export import check_path, save_samples

    model = answering(creo.load(run, which=which), "decode")
    check_path(out, model.space)
    z, kept = _read(codes)
    z = (z.to(model.dtype) if z.is_floating_point() else z)[:n]
    given = _given(model, c, kept, len(z))
    with torch.no_grad():
        try:
            x = model.decode(z.to(model.device), given)
        except RuntimeError as error:  # torch's own words about sizes; they name both
            raise DataError(f"codes {tuple(z.shape)} of {codes} do not suit this model: {error}") from error
    save_samples(x, model.space, out, c=given)
    tables.show_lines(out)


def answering(model: GenerativeModel, question: str) -> Any:
    """The model in evaluation mode, if it answers the question.

    Raises:
        OptionError: it does not.
    """
    from creo.model import questions

    if question not in questions(model):
        raise OptionError(
            f"{type(model).__name__} has no codes; `creo models` says which models answer {question}"
        )
    return model.eval()


def _npz(path: str) -> Path:
    target = Path(path)
    if target.suffix.lower() != ".npz" or not target.absolute().parent.is_dir():
        raise OptionError(f"--out is an .npz file in a folder that exists; received {path}")
    return target


def _read(path: str) -> tuple[Tensor, Tensor | None]:
    """The arrays z and c of a file."""
    import numpy as np
    import torch

    if not Path(path).is_file():
        raise DataError(f"no file {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]) for name in ("z", "c") if name in file}
    except (ValueError, OSError, TypeError) as error:
        raise DataError(f"{path} is no .npz file of plain arrays: {error}") from error
    if "z" not in arrays or arrays["z"].ndim < 2 or len(arrays["z"]) == 0:
        raise DataError(f"{path} has no array z of codes (n, ...), as `creo encode` writes it")
    return arrays["z"], arrays.get("c")


def _given(model: GenerativeModel, labels: tuple[str, ...], kept: Tensor | None, n: int) -> Tensor | None:
    """The conditions that n codes are decoded under."""
    from creo.cli.sample import conditions

    if model.condition is not None and not labels and kept is not None and len(kept) >= n:
        return model.condition.check(kept[:n], "c of the codes")
    given = conditions(labels, model.condition)
    return None if given is None else given[[i % len(given) for i in range(n)]]
