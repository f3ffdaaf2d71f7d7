r"""A second stage on codes: a model of the symbols by which a model that was trained before describes its data.

A first stage describes x by a code k(x) and decodes it, p(x | k) (`creo.latent.coded`). A second model p(k), of any
family, is trained on the codes of the first one's data; both together are one model of x,

    sample      k ~ p(k | c),  x ~ p(x | k, c)
    log_prob    log p(k(x) | c) + log p(x | k(x), c) <= log p(x | c)        nats of the raw sample, a bound

    codes_of(on, data)          the data set of codes: computed once, kept in memory, conditions as they were
    TwoStage(first, prior)      the whole model; what `fit`, `resume` and `load` give back for such a run

Codes without an order go to a model of Tokens where it promises that space, else as Ordinal (h, w) with a categorical
head and one-hot coding, where the model has these options. How a run is made of both: `creo.training.second_stage`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, get_type_hints, runtime_checkable

import torch
from torch import Tensor

from creo import registry
from creo.data.dataset import Data
from creo.errors import OptionError
from creo.model import GenerativeModel, Likelihood
from creo.spaces import Ordinal, Space, Tokens
from creo.training.stages import Described, SecondStage, data_of, describe, loaded

_UNORDERED = {"head": "categorical", "coding": "learned"}


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


class TwoStage(SecondStage):
    """The whole model of the module docstring; the first stage is kept as it is.

    Args:
        first: a trained model with codes.
        prior: a model of these codes, of `first.code_space` or of as many Tokens.
    """

    def __init__(self, first: GenerativeModel, prior: GenerativeModel) -> None:
        super().__init__(first, prior)
        self.code_shape = has_codes(first, type(first).__name__).code_space.shape
        bound = prior.likelihood in (Likelihood.EXACT, Likelihood.BOUND)
        self.likelihood = Likelihood.BOUND if bound else prior.likelihood
        note = f"; {prior.likelihood_note}" if prior.likelihood_note else ""
        self.likelihood_note = "code and residue: log p(k(x)) + log p(x | k(x))" + note

    @torch.no_grad()
    def codes(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """k(x), (B, *code_space.shape)."""
        return self.first.codes(x, self._of(self.first, c))  # type: ignore[operator]

    def described(self, x: Tensor, c: Tensor | None) -> Tensor:
        return self.codes(x, c).reshape(-1, *self.prior.space.shape).to(self.prior.space.dtype)

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        if self.likelihood is Likelihood.NONE:
            return super().log_prob(x, c)
        codes, given = self._for_prior(x, c)
        residue = self.first.log_likelihood(  # type: ignore[operator]
            x, codes.reshape(-1, *self.code_shape).long(), self._of(self.first, c)
        )
        return self.prior.log_prob(codes, given) + residue

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, **options: Any) -> Tensor:
        """Draw codes from the second stage, with options of its own, then x given them from the first."""
        codes, given = self._drawn(n, c, options)
        return self.first.decode_codes(codes.reshape(n, *self.code_shape), given, draw=True)  # type: ignore[operator]


class Codes(Described):
    """The codes of a data set as a data set."""

    def whole(self, prior: GenerativeModel) -> TwoStage:
        return TwoStage(self.first.to(prior.device), prior).train(prior.training)


def has_codes(model: GenerativeModel, what: str) -> Any:
    """The model, if it has codes.

    Raises:
        OptionError: it has none.
    """
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
    first = on if isinstance(on, GenerativeModel) else loaded(Path(on))
    if data is None:
        if run is None:
            raise OptionError("codes of a model that has no run need a data set: pass data")
        data = data_of(run, data_dir)
    space = has_codes(first, f"{run or type(first).__name__}").code_space
    if first.space != data.space:
        raise OptionError(f"the first stage is for {first.space}, but {data.name} is {data.space}")
    form: Space = Tokens(space.dims, space.levels) if tokens else space
    train, valid, test = (
        describe(first, s, form, first.codes)  # type: ignore[arg-type]
        for s in (data.train, data.valid, data.test)
    )
    return Codes(
        data.name, form, train, valid, test, data.condition, data.source, data.licence,
        first=first, of=data, run=run,
    )  # fmt: skip


def suited(name: str) -> dict[str, str]:
    """The options for levels without an order that a model has."""
    hints = get_type_hints(registry.find(name).load().for_space)
    return {k: v for k, v in _UNORDERED.items() if v in get_args(hints.get(k, Literal[""]))}
