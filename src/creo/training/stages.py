r"""What two stages have in common, whatever the second one is trained on.

A first stage describes x by z(x), codes or latents, and shows what these look like. A second model, of any family, is
trained on the descriptions of the first one's data; both together are one model of x. Its run refers to that of the
first by its folder and a digest of its weights, so a first stage that was trained on since is noticed.

    SecondStage    the whole model (`creo.training.two_stage` of codes, `creo.training.latents` of latents)
    Described      the data set of descriptions: computed once, kept in memory, conditions as they were
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from creo.data.dataset import Data, Split
from creo.errors import RunError
from creo.model import GenerativeModel, Player, TrainingDefaults, seeded
from creo.spaces import Space

#: How many examples are described at a time.
ROWS = 512


class SecondStage(GenerativeModel):
    """A first stage, kept as it is, and a model of its descriptions.

    Args:
        first: a trained model that describes x.
        prior: a model of the descriptions.
    """

    def __init__(self, first: GenerativeModel, prior: GenerativeModel) -> None:
        super().__init__(first.space, prior.condition or first.condition)
        self.first, self.prior = first, prior
        if first.recipe and prior.recipe:
            name = f"{prior.recipe['model']} on {first.recipe['model']}"
            self.recipe = {**prior.recipe, "model": name, "space": first.space.to_dict(), "on": first.recipe}

    @abstractmethod
    def described(self, x: Tensor, c: Tensor | None) -> Tensor:
        """z(x) of raw data as the second stage takes it."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.first.eval()
        return self

    def training_defaults(self) -> TrainingDefaults:
        return self.prior.training_defaults()

    def players(self) -> list[Player]:
        """Those of the second stage, on the descriptions of what they are given."""

        def of_descriptions(player: Player) -> Player:
            return replace(player, loss=lambda x, c: player.loss(*self._for_prior(x, c)))

        return [of_descriptions(player) for player in self.prior.players()]

    def _of(self, model: GenerativeModel, c: Tensor | None) -> Tensor | None:
        """The conditions that one of the two takes."""
        return None if model.condition is None else c

    def _for_prior(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Descriptions and conditions of raw data as the second stage takes them."""
        self.check_batch(x, c)
        return self.described(x, c), self._of(self.prior, c)

    def _drawn(self, n: int, c: Tensor | None, options: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Descriptions from the second stage, and the conditions that the first one decodes them under."""
        c = self.expand_condition(n, c)
        return self.prior.sample(n, self._of(self.prior, c), **options), self._of(self.first, c)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """The first stage's latents of x."""
        return self.first.encode(x, self._of(self.first, c))  # type: ignore[operator]

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """What latents of the first stage look like."""
        return self.first.decode(z, self._of(self.first, c))  # type: ignore[operator]

    def pictures(self, x: Tensor, c: Tensor | None = None) -> Mapping[str, Any]:
        """Those of the first stage."""
        return self.first.pictures(x, self._of(self.first, c))


@dataclass(repr=False)
class Described(Data):
    """The descriptions of a data set as a data set.

    Args:
        first: the model whose descriptions they are.
        of: the data set they describe.
        run: the folder of the first stage's run, or None.
    """

    first: GenerativeModel = field(kw_only=True)
    of: Data = field(kw_only=True)
    run: Path | None = field(kw_only=True, default=None)

    def __repr__(self) -> str:
        return super().__repr__().replace("Data(", f"{type(self).__name__}(", 1)

    @property
    def content_hash(self) -> str:
        """That of the data set described."""
        return self.of.content_hash

    def whole(self, prior: GenerativeModel) -> SecondStage:
        """The model of the data set described that a model of the descriptions makes."""
        raise NotImplementedError

    def reference(self, folder: str | os.PathLike[str]) -> dict[str, str]:
        """How the config of a run in `folder` refers to the first stage.

        Raises:
            RunError: the first stage has no folder to refer to.
        """
        if self.run is None:
            raise RunError(
                "a second stage with a folder needs a first stage with one: train it with out=..., or leave out out"
            )
        path = os.path.relpath(self.run.resolve(), Path(folder).resolve())
        return {"run": path, "weights": fingerprint(self.first)}


def whole(model: GenerativeModel, data: Data) -> GenerativeModel:
    """The model of raw data that a model trained on `data` is or makes."""
    return data.whole(model) if isinstance(data, Described) else model


def fingerprint(model: GenerativeModel) -> str:
    """16 hex digits of a model's weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, t in sorted(model.state_dict().items()):
        digest.update(
            name.encode() + t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def loaded(run: Path) -> GenerativeModel:
    """The model of a run."""
    from creo.training.loading import load

    return load(run)


def data_of(run: Path, data_dir: str | os.PathLike[str] | None) -> Data:
    """The data set that a run was trained on."""
    from creo.training.folder import RunFolder
    from creo.training.loading import reload_data

    return reload_data(RunFolder(run), data_dir)


@torch.no_grad()
def describe(
    first: GenerativeModel, split: Split, form: Space, of: Callable[[Tensor, Tensor | None], Tensor]
) -> Split:
    """A split of descriptions; what is random in taking examples is drawn once, the same at every call.

    Args:
        first: put in evaluation mode.
        split: of raw data.
        form: space of the descriptions.
        of: (raw data, conditions or None) to descriptions, on the device of the first stage.
    """
    parts: list[Tensor] = []
    first.eval()
    with seeded(0):
        for index in torch.arange(len(split)).split(ROWS):
            x, c = split.take(index)
            given = None if first.condition is None or c is None else c.to(first.device)
            parts.append(of(x.to(first.device), given).cpu().reshape(len(index), *form.shape).to(form.dtype))
    return Split(torch.cat(parts), split.c, c_transform=split.c_transform)
