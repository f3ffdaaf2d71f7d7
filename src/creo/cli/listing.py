"""`creo models` and `creo data`: what there is. Neither imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from creo.cli import tables


def models(*, json: bool = False) -> None:
    """List the models: family, kind of likelihood on each space, what they answer, paper.

    Likelihood is per kind of space a model can model: exact; bound (a lower bound on log p); estimate; or none
    (samples only). Every model can `sample`; `answers` says what else.

    Args:
        json: print JSON.
    """
    from creo.registry import models as registered

    entries = registered().values()
    if json:
        tables.show_json([_model_as_json(m) for m in entries])
        return
    columns = ("name", "family", "likelihood on spaces", "answers", "paper")
    tables.show(
        columns, [(m.name, m.family, _promise(m.promise), ", ".join(m.answers), m.paper) for m in entries]
    )


def _promise(promise: Mapping[str, str]) -> str:
    """`exact Continuous; bound Ordinal, Tokens`: the spaces of each kind of likelihood."""
    kinds = dict.fromkeys(promise.values())
    return "; ".join(f"{kind} {', '.join(s for s, k in promise.items() if k == kind)}" for kind in kinds)


def _model_as_json(model: Any) -> dict[str, Any]:
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    return {"family": model.family} | fields | {"promise": dict(model.promise)}


def data(*, json: bool = False) -> None:
    """List the data sets: space, sizes of the splits, size, licence, where it comes from.

    Names that end in a colon are followed by a file, folder or name of your own: `images:photos`.

    Args:
        json: print JSON.
    """
    from creo.data import catalogue

    entries = catalogue().values()
    if json:
        tables.show_json([dataclasses.asdict(d) for d in entries])
        return
    columns = ("name", "space", "train/valid/test", "what", "size", "licence", "source")
    rows = [(d.name, d.space, d.splits, d.summary, d.size, d.licence, d.source) for d in entries]
    tables.show(columns, rows, expendable=("source", "licence", "size", "train/valid/test"))
