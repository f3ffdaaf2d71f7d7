"""Options of sampling that were typed, for whichever model has them; of two stages, the second one has them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from creo.errors import OptionError

if TYPE_CHECKING:
    from creo.model import GenerativeModel


def sampled(model: GenerativeModel) -> GenerativeModel:
    """The model whose `sample` takes options: the model itself, or its second stage."""
    from creo.training.stages import SecondStage

    return model.prior if isinstance(model, SecondStage) else model


def takes(model: GenerativeModel, option: str) -> bool:
    """Whether samples of the model have an option of that name."""
    return option in inspect.signature(sampled(model).sample).parameters


def sampling_options(
    model: GenerativeModel, *, negative: str | None = None, weaker: str | None = None, **typed: Any
) -> dict[str, Any]:
    """The options of `model.sample` that were typed, those that are None left out.

    Args:
        model: to be sampled.
        negative: a label to be guided away from.
        weaker: folder of the run of a model to be guided away from.
        **typed: all others by name.

    Raises:
        OptionError: the model's samples have no such option.
    """
    given = {**typed, "negative": negative, "weaker": weaker}
    found = {name: value for name, value in given.items() if value is not None}
    for name in found:
        if not takes(model, name):
            raise OptionError(f"samples of {type(sampled(model)).__name__} have no --{name}: leave it out")
    if negative is not None:
        found["negative"] = _label(negative, model)
    if weaker is not None:
        found["weaker"] = _weaker(weaker)
    return found


def _label(label: str, model: GenerativeModel) -> Any:
    from creo.cli.sample import conditions

    rows = conditions((label,), sampled(model).condition)
    return None if rows is None else rows[0]


def _weaker(run: str) -> GenerativeModel:
    import creo

    return sampled(creo.load(run))
