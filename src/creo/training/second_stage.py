r"""Runs of two stages: which description of the data a model is trained on, and both stages again from their folders.

    fit(*second_stage("made", on="runs/a"))                  a model of codes
    fit(*second_stage("latent-diffusion", on="runs/b"))      a model of latents

Codes are what models of Tokens, or of Ordinal spaces alone, are trained on, where the first stage has them; all models
of Continuous spaces otherwise are trained on latents.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from creo import registry
from creo.data.dataset import Data
from creo.errors import OptionError, RunError
from creo.model import GenerativeModel
from creo.spaces import Continuous, Tokens
from creo.training.folder import RunFolder
from creo.training.latents import LatentTwoStage, latents_of
from creo.training.stages import Described, SecondStage, fingerprint, loaded
from creo.training.two_stage import TwoStage, codes_of, has_codes, suited


def second_stage(
    name: str,
    on: str | os.PathLike[str] | GenerativeModel,
    data: Data | None = None,
    *,
    conditional: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> tuple[GenerativeModel, Described]:
    """A registered model of a first stage's codes or latents, and these: `fit(*second_stage("made", on="runs/a"))`.

    Args:
        name: of a model of Ordinal or Tokens spaces (codes) or of Continuous ones (latents).
        on: folder of the run of a model with codes or latents, or such a model.
        data: the data set; None: the one the run was trained on.
        conditional: learn p(z | label) instead of p(z).
        data_dir: where to look for the data's files first.
        **options: of the model.

    Raises:
        OptionError: the first stage has no codes or latents, or no labels to be conditional on. RunError: no such run.
    """
    promise = registry.find(name).promise
    run = None if isinstance(on, GenerativeModel) else Path(on)
    first = loaded(run) if run is not None else on
    described: Described
    if "Continuous" in promise and "Tokens" not in promise:
        described = latents_of(first, _data(data, run, data_dir))
    else:
        ordered = has_codes(first, f"{run or type(first).__name__}").ordered  # type: ignore[arg-type]
        tokens = "Tokens" in promise and (not ordered or "Ordinal" not in promise)
        described = codes_of(first, _data(data, run, data_dir), tokens=tokens)
        options = options if ordered or tokens else suited(name) | options
    described.run = run
    if conditional and described.condition is None:
        raise OptionError(f"{described.name} has no labels to be conditional on: leave out --conditional")
    condition = described.condition if conditional else None
    return registry.build(name, described.space, condition, **options), described


def _data(data: Data | None, run: Path | None, data_dir: str | os.PathLike[str] | None) -> Data | None:
    from creo.training.stages import data_of

    return data_of(run, data_dir) if data is None and run is not None else data


def joined(first: GenerativeModel, prior: GenerativeModel) -> SecondStage:
    """Both stages as one model: of latents if the second one's space is Continuous, else of codes."""
    return (LatentTwoStage if isinstance(prior.space, Continuous) else TwoStage)(first, prior)


def first_of(folder: RunFolder) -> GenerativeModel | None:
    """The first stage that a run was trained on, None if it is no second stage.

    Raises:
        RunError: it is not there any more, or not as it was.
    """
    on = folder.config.get("on")
    if on is None:
        return None
    path = first_run(folder)
    if not (path / "config.yaml").is_file():
        raise RunError(f"{folder.path} was trained on {path}, which is not there any more: put it back")
    first = loaded(path)
    if fingerprint(first) != on["weights"]:
        raise RunError(
            f"{path} is not what {folder.path} was trained on: its weights have changed since; "
            f"train the second stage again with --on {path}"
        )
    return first


def first_run(folder: RunFolder) -> Path:
    """Where the first stage of a second stage's run is."""
    return Path(os.path.normpath(folder.path / folder.config["on"]["run"]))


def training_data(folder: RunFolder, model: GenerativeModel, data: Data) -> Data:
    """What a run's model is trained on: the data set itself, or its codes or latents by the first stage."""
    first = first_of(folder)
    if first is None:
        return data
    described: Described
    if isinstance(model.space, Continuous):
        described = latents_of(first, data)
    else:
        described = codes_of(first, data, tokens=isinstance(model.space, Tokens))
    described.run = first_run(folder)
    return described
