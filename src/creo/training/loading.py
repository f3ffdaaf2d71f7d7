"""A run's model and data again, in any process: by their names, running no code of the run's own."""

from __future__ import annotations

import os
from typing import Literal

import torch

from creo import registry
from creo.data.dataset import Data
from creo.errors import CorruptCheckpoint, OptionError, RunError
from creo.model import GenerativeModel, seeded
from creo.spaces import space_from_dict
from creo.training import checkpoint
from creo.training.folder import RunFolder
from creo.training.second_stage import first_of, joined
from creo.training.state import part


def load(
    path: str | os.PathLike[str],
    *,
    which: Literal["best", "last"] = "best",
    model: GenerativeModel | None = None,
    device: str = "cpu",
) -> GenerativeModel:
    """The model of a run, in evaluation mode; of a second stage, both stages together.

    Args:
        path: the run's folder.
        which: weights that were best on validation (the last ones where nothing was validated), or the last ones;
            both are the moving average where that was on.
        model: a model of the same architecture to load into, for runs of models that are not in the registry.
        device: where to put it.

    Raises:
        RunError: no run there, or a model was built by hand and is not given. CorruptCheckpoint: damaged weights.
    """
    if which not in ("best", "last"):
        raise OptionError(f"which is 'best' or 'last'; received {which!r}")
    folder = RunFolder(path)
    model = model if model is not None else rebuild(folder)
    if which == "best" and folder.best.is_file():
        weights = checkpoint.read(folder.best)[0]
    else:
        weights = _last_weights(folder, model)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{folder.path} does not fit the model: {str(error).splitlines()[0]}") from None
    first = first_of(folder)
    return (model if first is None else joined(first, model)).to(device).eval()


def rebuild(folder: RunFolder) -> GenerativeModel:
    """The model of a run as it was before it learned anything."""
    recipe = folder.config["model"]
    if recipe.get("model") is None:
        raise RunError(
            f"{folder.path} holds a {recipe.get('class')} built by hand: pass the same model, "
            "creo.load(path, model=...)"
        )
    condition = None if recipe["condition"] is None else space_from_dict(recipe["condition"])
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe["options"].items()}
    with seeded(folder.config["settings"]["seed"]):
        return registry.build(recipe["model"], space_from_dict(recipe["space"]), condition, **options)


def _last_weights(folder: RunFolder, model: GenerativeModel) -> dict[str, torch.Tensor]:
    tensors, state, _ = folder.newest()
    weights = part(tensors, "model.")
    if not state["initialised"]:
        raise RunError(f"{folder.path} was stopped before it learned anything: `creo resume {folder.path}`")
    names = {id(p): name for name, p in model.named_parameters()}
    owned = [names[id(p)] for player in model.players() for p in player.parameters]
    averages = {name: tensors[f"average.{i}"] for i, name in enumerate(owned) if f"average.{i}" in tensors}
    if averages and len(averages) != len(owned):
        raise CorruptCheckpoint(
            f"{folder.path}: the checkpoint has {len(averages)} of {len(owned)} averaged weights"
        )
    return weights | averages


def reload_data(folder: RunFolder, data_dir: str | os.PathLike[str] | None) -> Data:
    """The data set of a run, checked to be the same.

    Raises:
        RunError: if its content has changed since.
    """
    from creo.data import load_data

    wanted = folder.config["data"]
    data = load_data(wanted["spec"], data_dir=data_dir)
    if data.content_hash != wanted["content"]:
        raise RunError(
            f"{wanted['spec']} is not the data {folder.path} was trained on (content {data.content_hash}, "
            f"was {wanted['content']}); restore it or start a new run"
        )
    return data
