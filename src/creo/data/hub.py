"""`hf:NAME`: a Hugging Face data set, by name on the hub or as a folder written by `save_to_disk`.

What its columns are is guessed: a column of pictures makes an image set, a single column of texts a text, anything
else a table; a column of class labels beside pictures is the condition. Splits called train, validation (valid, val)
and test are kept; those that are lacking are held out from train at random. Needs the extra `hub`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from creo.data.columns import Column, Missing, from_values
from creo.data.dataset import Data
from creo.data.images import Mode, collect
from creo.data.load import Request
from creo.data.splits import keep_only, own_data, random_split
from creo.data.table import table_data
from creo.data.text import text_data
from creo.errors import DataError, MissingExtra, OptionError, suggestion
from creo.spaces import Categories, Ordinal

_VALID = ("validation", "valid", "val", "dev")


def load(
    request: Request,
    *,
    config: str | None = None,
    label: str | None = None,
    size: int | None = None,
    mode: Mode = "auto",
    length: int = 64,
    missing: Missing = "error",
    drop: tuple[str, ...] = (),
    memory_gib: float = 2.0,
) -> Data:
    """A Hugging Face data set.

    Args:
        request: name or folder is its target.
        config: the configuration, for data sets that have several.
        label: the column that is the condition; class labels beside pictures are, without being named.
        size: side of the square pictures are brought to, as for `images:`.
        mode: grey, rgb or auto, as for `images:`.
        length: characters in one sample of a text.
        missing: error or drop, as for `table:`.
        drop: columns to leave out.
        memory_gib: pictures larger than this are decoded when taken.
    """
    parts, fields = _open(request, config)
    joined, index, note = _join(parts, request)
    features = {name: f for name, f in joined.features.items() if name not in drop}
    for name in (*drop, *([label] if label else [])):
        if name not in joined.features:
            raise OptionError(f"{request.spec}: no column {name!r}{suggestion(name, joined.features)}")
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    pictures = [name for name, kind in kinds.items() if kind == "Image"]
    texts = [name for name in features if getattr(features[name], "dtype", "") in ("string", "large_string")]
    if pictures:
        label = label or next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
        return _pictures(request, joined, index, pictures[0], label, note, size=size, mode=mode,
                         memory_gib=memory_gib, **fields)  # fmt: skip
    if texts == list(features):
        return _text(request, list(joined[texts[0]]), index, length, **fields)
    columns = [_column(joined, name, request.spec) for name in features]
    return table_data(request, columns, missing=missing, drop=(), label=label, space="table",
                      index=index, notes=note, **fields)  # fmt: skip


def _open(request: Request, config: str | None) -> tuple[Any, dict[str, str]]:
    """The dataset or dictionary of datasets, and where it is from."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("hf: data sets", "hub") from error
    folder = Path(request.target).expanduser()
    if folder.is_dir() and not any((folder / f).is_file() for f in ("dataset_dict.json", "state.json")):
        raise DataError(f"{request.spec}: {folder} was not written by datasets' save_to_disk; "
                        "for a folder of pictures use images:, for a file table: or array:")  # fmt: skip
    try:
        if folder.is_dir():
            return datasets.load_from_disk(str(folder)), {"source": str(folder)}
        found = datasets.load_dataset(request.target, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{request.spec} cannot be loaded: {why}") from error
    info = next(iter(found.values())).info
    licence = info.license or "see its page"
    return found, {"source": f"https://huggingface.co/datasets/{request.target}", "licence": licence}


def _join(parts: Any, request: Request) -> tuple[Any, tuple[Tensor, ...] | None, tuple[str, ...]]:
    """All splits as one dataset, the indices of train, valid and test in it (None: split it all), and notes."""
    import datasets

    if not hasattr(parts, "keys"):
        return parts, None, ()
    valid = next((name for name in _VALID if name in parts), None)
    named = {
        "train": "train" if "train" in parts else None,
        "valid": valid,
        "test": "test" if "test" in parts else None,
    }
    if named["train"] is None:
        raise DataError(f"{request.spec} has no split train; it has {', '.join(parts)}")
    there = {ours: theirs for ours, theirs in named.items() if theirs is not None}
    joined = datasets.concatenate_datasets([parts[theirs] for theirs in there.values()])
    index = dict(
        zip(there, torch.arange(len(joined)).split([len(parts[t]) for t in there.values()]), strict=True)
    )
    lacking = [name for name in ("valid", "test") if name not in there]
    if not lacking:
        return joined, (index["train"], index["valid"], index["test"]), ()
    held = random_split(len(index["train"]), request.spec, (0.1,) * len(lacking))
    index |= dict(zip(("train", *lacking), held, strict=True))
    note = f"{' and '.join(lacking)}: a tenth of train each, at random, seed 0"
    return joined, (index["train"], index["valid"], index["test"]), (note,)


def _pictures(
    request: Request,
    joined: Any,
    index: tuple[Tensor, ...] | None,
    column: str,
    label: str | None,
    note: tuple[str, ...],
    *,
    size: int | None,
    mode: Mode,
    memory_gib: float,
    **fields: Any,
) -> Data:
    only = joined.select_columns([column])
    names = [f"picture {i}" for i in range(len(only))]
    found = collect(
        lambda i: only[i][column], names, size=size, mode=mode, memory_gib=memory_gib, what=request.spec
    )
    c, condition = None, None
    if label is not None:
        condition, c = _labels(joined, label, request.spec)
        c = c[found.good]
    readable = torch.zeros(len(names), dtype=torch.bool).index_fill(0, found.good, True)
    return own_data(request, Ordinal(found.shape, 256), found.x, c, condition=condition,
                    notes=(*note, *found.notes), index=keep_only(index, readable), **fields)  # fmt: skip


def _text(
    request: Request, texts: list[str], index: tuple[Tensor, ...] | None, length: int, **fields: Any
) -> Data:
    """The texts joined by line ends, each split by itself where splits are given."""
    if index is None:
        return text_data(request, "\n".join(texts), length=length, stride=None, **fields)
    parts = ["".join(texts[i] + "\n" for i in part.tolist()) for part in index]
    train, valid, test = map(len, parts)
    return text_data(
        request, "".join(parts), length=length, stride=None, sizes=(train, valid, test), **fields
    )


def _labels(joined: Any, label: str, what: str) -> tuple[Categories, Tensor]:
    values = torch.tensor(joined[label][:])
    if values.is_floating_point() or values.ndim != 1 or int(values.min()) < 0:
        raise DataError(f"{what}: column {label!r} does not hold labels 0..k-1 for every example")
    names = getattr(joined.features[label], "names", None)
    size = len(names) if names else int(values.max()) + 1
    return Categories(size, tuple(names) if names else None), values.long()


def _column(joined: Any, name: str, what: str) -> Column:
    values = list(joined[name])
    names = getattr(joined.features[name], "names", None)
    if names:
        values = [None if v is None or v < 0 else names[v] for v in values]
    return from_values(name, values, what)
