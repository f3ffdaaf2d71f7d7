"""Data: what models learn from. `load_data` by name or from files of one's own; `catalogue` lists the names.

Names are imported when first used, so that listing the data sets imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from creo.data.listing import DataSet, catalogue

if TYPE_CHECKING:
    from creo.data.dataset import Data, Split, Store
    from creo.data.export import save_samples
    from creo.data.load import load_data
    from creo.data.picture import sample_picture
    from creo.data.words import caption

_HOME = {
    "Data": "dataset",
    "Split": "dataset",
    "Store": "dataset",
    "load_data": "load",
    "save_samples": "export",
    "sample_picture": "picture",
    "caption": "words",
}

__all__ = [
    "Data", "DataSet", "Split", "Store", "caption", "catalogue", "load_data", "sample_picture", "save_samples",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'creo.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"creo.data.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))
