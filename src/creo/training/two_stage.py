r"""A second stage: a model of the codes of a model that was trained before.

A first stage describes x by a code k(x) and decodes it, p(x | k) (`creo.latent.coded`). A second model p(k), of any
family, is trained on the codes of the first one's data; both together are one model of x,

    sample      k ~ p(k | c),  x ~ p(x | k, c)
    log_prob    log p(k(x) | c) + log p(x | k(x), c) <= log p(x | c)        nats of the raw sample, a bound

    codes_of(on, data)          the data set of codes: computed once, kept in memory, conditions as they were
    second_stage(name, on)      a model built for these codes, and that data set: what `fit` takes
    TwoStage(first, prior)      the whole model; what `fit`, `resume` and `load` give back for such a run

The run of a second stage refers to that of the first by its folder and a digest of its weights, so a first stage that
was trained on since is noticed. Codes without an order go to a model of Tokens where it promises that space, else as
Ordinal (h, w) with a categorical head and one-hot coding, where the model has these options.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self, get_args, get_type_hints, runtime_checkable

import torch
from torch import Tensor

from creo import registry
from creo.data.dataset import Data, Split
from creo.errors import OptionError, RunError
from creo.model import GenerativeModel, Likelihood, Player, TrainingDefaults, seeded
from creo.spaces import Ordinal, Space, Tokens
from creo.training.folder import RunFolder

#: How many examples are encoded at a time.
ROWS = 512
_UNORDERED = {"head": "categorical", "coding": "onehot"}


@runtime_checkable
class HasCodes(Protocol):
    """What a first stage answers."""

    code_space: Ordinal
    ordered: bool

    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Raw data to codes (B, *code_space.shape)."""

    def log_likelihood(self, x: Tensor, codes: Tensor, c: Tensor | None = None) -> Tensor:
        """log p(x | k, c), (B,) nats."""

    def decode_codes(self, codes: Tensor, c: Tensor | None = None, *, draw: bool = False) -> Tensor:
        """Codes to raw data."""


class TwoStage(GenerativeModel):
    """The whole model of the module docstring; the first stage is kept as it is.

    Args:
        first: a trained model with codes.
        prior: a model of these codes, of `first.code_space` or of as many Tokens.
    """

    def __init__(self, first: GenerativeModel, prior: GenerativeModel) -> None:
        super().__init__(first.space, prior.condition or first.condition)
        self.first, self.prior = first, prior
        self.code_shape = _has_codes(first, type(first).__name__).code_space.shape
        bound = prior.likelihood in (Likelihood.EXACT, Likelihood.BOUND)
        self.likelihood = Likelihood.BOUND if bound else prior.likelihood
        note = f"; {prior.likelihood_note}" if prior.likelihood_note else ""
        self.likelihood_note = "code and residue: log p(k(x)) + log p(x | k(x))" + note
        if first.recipe and prior.recipe:
            name = f"{prior.recipe['model']} on {first.recipe['model']}"
            self.recipe = {**prior.recipe, "model": name, "space": first.space.to_dict(), "on": first.recipe}

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.first.eval()
        return self

    def training_defaults(self) -> TrainingDefaults:
        return self.prior.training_defaults()

    def players(self) -> list[Player]:
        """Those of the second stage, on the codes of what they are given."""

        def of_codes(player: Player) -> Player:
            return replace(player, loss=lambda x, c: player.loss(*self._for_prior(x, c)))

        return [of_codes(player) for player in self.prior.players()]

    def _of(self, model: GenerativeModel, c: Tensor | None) -> Tensor | None:
        """The conditions that one of the two takes."""
        return None if model.condition is None else c

    @torch.no_grad()
    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """k(x), (B, *code_space.shape)."""
        return self.first.codes(x, self._of(self.first, c))  # type: ignore[operator]

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        if self.likelihood is Likelihood.NONE:
            return super().log_prob(x, c)
        codes, given = self._for_prior(x, c)
        residue = self.first.log_likelihood(  # type: ignore[operator]
            x, codes.reshape(-1, *self.code_shape).long(), self._of(self.first, c)
        )
        return self.prior.log_prob(codes, given) + residue

    def _for_prior(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Codes and conditions of raw data as the second stage takes them."""
        self.check_batch(x, c)
        codes = self.codes(x, c).reshape(-1, *self.prior.space.shape).to(self.prior.space.dtype)
        return codes, self._of(self.prior, c)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw codes from the second stage, then x given them from the first."""
        c = self.expand_condition(n, c)
        codes = self.prior.sample(n, self._of(self.prior, c)).reshape(n, *self.code_shape)
        return self.first.decode_codes(codes, self._of(self.first, c), draw=True)  # type: ignore[operator]

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
class Codes(Data):
    """The codes of a data set as a data set.

    Args:
        first: the model whose codes they are.
        of: the data set they describe.
        run: the folder of the first stage's run, or None.
    """

    first: GenerativeModel = field(kw_only=True)
    of: Data = field(kw_only=True)
    run: Path | None = field(kw_only=True, default=None)

    def __repr__(self) -> str:
        return super().__repr__().replace("Data(", "Codes(", 1)

    @property
    def content_hash(self) -> str:
        """That of the data set described."""
        return self.of.content_hash

    def whole(self, prior: GenerativeModel) -> TwoStage:
        """The model of the data set described that a model of the codes makes."""
        return TwoStage(self.first.to(prior.device), prior).train(prior.training)

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
    return data.whole(model) if isinstance(data, Codes) else model


def fingerprint(model: GenerativeModel) -> str:
    """16 hex digits of a model's weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, t in sorted(model.state_dict().items()):
        digest.update(
            name.encode() + t.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def _has_codes(model: GenerativeModel, what: str) -> Any:
    if not isinstance(model, HasCodes):
        raise OptionError(
            f"{what} has no codes, which a second stage is trained on; models with codes: vqvae, vqvae2, dvae"
        )
    return model


def codes_of(
    on: str | os.PathLike[str] | GenerativeModel,
    data: Data | None = None,
    *,
    tokens: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> Codes:
    """The codes that a first stage gives to its data set, or to another one of its space.

    Args:
        on: folder of the run of a model with codes, or such a model.
        data: the data set; None: the one the run was trained on.
        tokens: as Tokens, codes one after another, instead of Ordinal.
        data_dir: where to look for the data's files first.

    Raises:
        OptionError: the model has no codes, or a model is given without data. RunError: no such run.
    """
    run = None if isinstance(on, GenerativeModel) else Path(on)
    first = on if isinstance(on, GenerativeModel) else _loaded(Path(on))
    if data is None:
        if run is None:
            raise OptionError("codes of a model that has no run need a data set: pass data")
        from creo.training.loading import reload_data

        data = reload_data(RunFolder(run), data_dir)
    space = _has_codes(first, f"{run or type(first).__name__}").code_space
    if first.space != data.space:
        raise OptionError(f"the first stage is for {first.space}, but {data.name} is {data.space}")
    form: Space = Tokens(space.dims, space.levels) if tokens else space
    train, valid, test = (_encoded(first, split, form) for split in (data.train, data.valid, data.test))
    return Codes(
        data.name, form, train, valid, test, data.condition, data.source, data.licence,
        first=first, of=data, run=run,
    )  # fmt: skip


def _loaded(run: Path) -> GenerativeModel:
    from creo.training.loading import load

    return load(run)


@torch.no_grad()
def _encoded(first: GenerativeModel, split: Split, form: Space) -> Split:
    """A split of codes; what is random in taking examples is drawn once, the same at every call."""
    parts: list[Tensor] = []
    first.eval()
    with seeded(0):
        for index in torch.arange(len(split)).split(ROWS):
            x, c = split.take(index)
            given = None if first.condition is None or c is None else c.to(first.device)
            codes = first.codes(x.to(first.device), given)  # type: ignore[operator]
            parts.append(codes.cpu().reshape(len(index), *form.shape).to(form.dtype))
    return Split(torch.cat(parts), split.c)


def second_stage(
    name: str,
    on: str | os.PathLike[str] | GenerativeModel,
    data: Data | None = None,
    *,
    conditional: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> tuple[GenerativeModel, Codes]:
    """A registered model of a first stage's codes, and these codes: `fit(*second_stage("made", on="runs/a"))`.

    Args:
        name: of a model of Ordinal or Tokens spaces.
        on: folder of the run of a model with codes, or such a model.
        data: the data set; None: the one the run was trained on.
        conditional: learn p(k | label) instead of p(k).
        data_dir: where to look for the data's files first.
        **options: of the model.

    Raises:
        OptionError: the first stage has no codes, or no labels to be conditional on. RunError: no such run.
    """
    promise = registry.find(name).promise
    first = on if isinstance(on, GenerativeModel) else _loaded(Path(on))
    ordered = _has_codes(first, f"{type(first).__name__ if first is on else on}").ordered
    tokens = "Tokens" in promise and (not ordered or "Ordinal" not in promise)
    codes = codes_of(on, data, tokens=tokens, data_dir=data_dir)
    if conditional and codes.condition is None:
        raise OptionError(f"{codes.name} has no labels to be conditional on: leave out --conditional")
    if not ordered and not tokens:
        options = _suited(name) | options
    condition = codes.condition if conditional else None
    return registry.build(name, codes.space, condition, **options), codes


def _suited(name: str) -> dict[str, str]:
    """The options for levels without an order that a model has."""
    hints = get_type_hints(registry.find(name).load().for_space)
    return {k: v for k, v in _UNORDERED.items() if v in get_args(hints.get(k, Literal[""]))}


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
        raise RunError(
            f"{folder.path} was trained on the codes of {path}, which is not there any more: put it back"
        )
    first = _loaded(path)
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
    """What a run's model is trained on: the data set itself, or its codes by the first stage."""
    first = first_of(folder)
    if first is None:
        return data
    codes = codes_of(first, data, tokens=isinstance(model.space, Tokens))
    codes.run = first_run(folder)
    return codes
