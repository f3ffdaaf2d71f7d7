"""The contract: what every generative model is, whatever its family.

A model of a distribution p(x) or p(x | c) on a `Space` takes and returns raw data of that space and answers

    loss(x, c)      -> Terms      the scalar to minimise, and its named parts
    sample(n, c)    -> (n, *space.shape)
    log_prob(x, c)  -> (B,)       nats of the raw sample; what the number means is `likelihood`

and, where its family has them, the questions of the protocols below (`Encodes`, `Decodes`, `Completes`, `Invertible`,
`Sequential`, `Scores`, `Denoises`, `HasEnergy`). Training is a game of one or more `Player`s; a training loop that
can play the game can train every model. Randomness comes from torch's global generator, as in
`torch.distributions`; wrap a call in `seeded(seed)` to fix it.

This file knows no family.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from creo.errors import NoLikelihood, OptionError, SpaceError
from creo.spaces import Space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


class Likelihood(Enum):
    """What the number returned by `log_prob` is."""

    EXACT = "exact"  #: log p(x) up to float error
    BOUND = "bound"  #: a lower bound on log p(x), in expectation over the model's own noise
    ESTIMATE = "estimate"  #: a consistent estimate that may err on either side
    NONE = "none"  #: the model has no density; `log_prob` raises `NoLikelihood`

    @property
    def sign(self) -> str:
        """How a negative log-likelihood of this kind relates to the number printed: `NLL <sign> value`."""
        return {"exact": "=", "bound": "<=", "estimate": "~", "none": ""}[self.value]


@dataclass(frozen=True)
class Terms:
    """A scalar loss to minimise and the named scalar parts that explain it (parts need no gradient)."""

    loss: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Player:
    """One player of the training game: it owns `parameters` and lowers its `loss` `steps` times a round.

    Args:
        name: shown in logs; unique within the game.
        parameters: what this player's optimiser may change.
        loss: `(x, c) -> Terms` on a batch of raw data.
        steps: updates per round, each on a fresh batch (a critic often has several).
        optimiser: overrides of the training settings for this player, e.g. `{"betas": (0.5, 0.9)}`.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[Tensor, Tensor | None], Terms]
    steps: int = 1
    optimiser: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingDefaults:
    """What trains a model well on its space when nobody says otherwise; every field can be overridden in `fit`.

    Args:
        batch_size: examples per update.
        optimiser: `adam`, or `muon` for the matrices (`creo.training.muon`), which then means Adam for the rest.
        lr: peak learning rate.
        betas: Adam's moment decay rates.
        weight_decay: decoupled weight decay (AdamW).
        clip: largest L2 norm of a player's gradient; 0 turns clipping off.
        ema: decay of the moving average of weights that is evaluated and sampled; 0 turns it off.
        warmup: steps over which the learning rate rises linearly from 0.
        schedule: `cosine` (to 0 at the end of the budget) or `constant`.
    """

    batch_size: int = 128
    optimiser: str = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = 5.0
    ema: float = 0.999
    warmup: int = 100
    schedule: str = "cosine"


Report = Callable[[Terms], None]


class GenerativeModel(nn.Module, ABC):
    """Base class of all models; see the module docstring for the contract.

    A subclass calls `super().__init__(space, condition)`, gives `sample`, and gives `log_prob` or sets
    `likelihood = Likelihood.NONE`. The default `loss` is maximum likelihood. `for_space` builds a model with
    networks that suit a space.
    """

    likelihood: Likelihood = Likelihood.EXACT
    #: What a bound or estimate was computed with, e.g. "importance-weighted, 128 samples"; shown beside the number.
    likelihood_note: str = ""
    #: Why there is no density (used by `log_prob` when `likelihood` is NONE).
    no_likelihood: ClassVar[str] = "it defines samples but no density"

    def __init__(self, space: Space, condition: Space | None = None) -> None:
        super().__init__()
        self.space = space
        self.condition = condition
        #: name, space, condition and options the registry built this model from; None if built by hand.
        self.recipe: dict[str, Any] | None = None

    @classmethod
    def for_space(cls, space: Space, condition: Space | None = None) -> Self:
        """A model of `space` given `condition` with networks that suit them; subclasses add typed options."""
        raise OptionError(f"{cls.__name__} is built directly: it has no networks of its own for {space}")

    @abstractmethod
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw samples.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one condition without batch axis for all; None if unconditional.

        Returns:
            Raw data of the space, (n, *space.shape).
        """

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Log-probability (or -density) of raw samples in nats; larger is better. See `likelihood`.

        Args:
            x: raw data, (B, *space.shape).
            c: conditions, (B, *condition.shape), or None.

        Returns:
            (B,) nats per raw sample.

        Raises:
            NoLikelihood: if `likelihood` is NONE.
            SpaceError: if x or c is not of the model's space.
        """
        raise NoLikelihood(
            f"{type(self).__name__} has no likelihood: {self.no_likelihood}; "
            "compare its samples instead (creo.evaluate does)"
        )

    def loss(self, x: Tensor, c: Tensor | None = None) -> Terms:
        """The negative log-likelihood in nats per sample, averaged over the batch (override for other objectives)."""
        nll = -self.log_prob(x, c).mean()
        return Terms(nll, {"nll": nll.detach()})

    def players(self) -> list[Player]:
        """The players of the training game; one that owns all trainable parameters unless overridden."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        return [Player("model", trainable, self.loss)] if trainable else []

    def training_defaults(self) -> TrainingDefaults:
        """What trains this model well on its space."""
        return TrainingDefaults()

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Set everything that is computed from data rather than learned by gradient.

        Standardisation, data-dependent initialisation, k-means, EM and closed forms live here; it is called once,
        before the game, with the training set (all of it when it fits in memory, else its first part). A model
        that is done after this has no players.

        Args:
            x: raw training data, (N, *space.shape).
            c: conditions, (N, *condition.shape), or None.
            report: called with the `Terms` of every iteration, for logs and progress.
        """

    def pictures(self, x: Tensor, c: Tensor | None = None) -> Mapping[str, Callable[[], Figure | Image]]:
        """The family's own pictures by name, each drawn when called: what `creo plot` shows besides samples.

        Args:
            x: raw held-out data, (B, *space.shape).
            c: their conditions, (B, *condition.shape), or None.
        """
        return {}

    def check_batch(self, x: Tensor, c: Tensor | None = None) -> None:
        """Raise `SpaceError` unless x and c have the shapes and dtypes of this model's space and condition."""
        self.space.check_shape(x)
        if self.condition is None:
            if c is not None:
                raise SpaceError(f"this {type(self).__name__} is unconditional but received conditions c")
            return
        if c is None:
            raise SpaceError(
                f"this {type(self).__name__} is conditional: pass c, a batch of {self.condition}"
            )
        self.condition.check_shape(c, "c")
        if len(c) != len(x):
            raise SpaceError(f"x and c must have the same batch size; received {len(x)} and {len(c)}")

    def expand_condition(self, n: int, c: Tensor | None) -> Tensor | None:
        """The batch of `n` conditions meant by `c` in `sample(n, c)`: as it is, or one repeated n times."""
        if n < 1:
            raise OptionError(f"sample at least 1; received n={n}")
        if self.condition is None:
            if c is not None:
                raise SpaceError(f"this {type(self).__name__} is unconditional but received conditions c")
            return None
        if c is None:
            raise SpaceError(
                f"this {type(self).__name__} is conditional: pass c, one or {n} of {self.condition}"
            )
        c = torch.as_tensor(c, device=self.device)
        if c.ndim == len(self.condition.shape):
            c = c.expand(n, *c.shape)
        self.condition.check(c, "c")
        if len(c) != n:
            raise SpaceError(f"{n} samples need {n} conditions; received {len(c)}")
        return c

    def expand_known(self, x: Tensor, known: Tensor) -> Tensor:
        """The mask meant by `known` in `complete(x, known)`: (*space.shape) or (B, *space.shape) as (B, dims) booleans.

        Raises:
            SpaceError: x is not of the model's space. OptionError: the mask fits neither the batch nor one sample.
        """
        self.space.check(x)
        if known.dtype != torch.bool or known.shape not in (x.shape, x.shape[1:]):
            raise OptionError(
                f"known must be a boolean mask of shape {tuple(x.shape[1:])} or {tuple(x.shape)}; "
                f"received {known.dtype} of shape {tuple(known.shape)}"
            )
        return known.to(self.device).expand(x.shape).reshape(len(x), -1)

    def _anchor(self) -> Tensor:
        floats = (t for group in (self.parameters(), self.buffers()) for t in group if t.is_floating_point())
        return next(floats, torch.empty(0))

    @property
    def device(self) -> torch.device:
        """Where the model's parameters live."""
        return self._anchor().device

    @property
    def dtype(self) -> torch.dtype:
        """The floating dtype the model computes in."""
        return self._anchor().dtype


@runtime_checkable
class Encodes(Protocol):
    """Latent models: what explains x."""

    def encode(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Raw data (B, *space.shape) to latents (B, *latent)."""


@runtime_checkable
class Decodes(Protocol):
    """Latent models: what a latent looks like."""

    def decode(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Latents (B, *latent) to raw data (B, *space.shape)."""


@runtime_checkable
class Completes(Protocol):
    """Models that fill in what is missing."""

    def complete(self, x: Tensor, known: Tensor, c: Tensor | None = None) -> Tensor:
        """Raw data (B, *space.shape), drawn anew where `known` (booleans, of that shape or one sample's) is False."""


@runtime_checkable
class Invertible(Protocol):
    """Flows: `forward` is data to noise, `inverse` noise to data; both return (B,) log|det Jacobian|.

    On ordinal spaces they speak of dequantised samples x + u in [0, levels), floating, of which `floor` are the levels.
    """

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(z, log_det)"""

    def inverse(self, z: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(x, log_det)"""


@runtime_checkable
class Scores(Protocol):
    """Score models: the gradient of log p_t with respect to x."""

    def score(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """(B, *space.shape) at times t (B,)."""


@runtime_checkable
class Denoises(Protocol):
    """Diffusion models: the posterior mean of the clean sample."""

    def denoise(self, x: Tensor, t: Tensor, c: Tensor | None = None) -> Tensor:
        """E[x_0 | x_t = x], (B, *space.shape)."""


@runtime_checkable
class HasEnergy(Protocol):
    """Energy-based models: p(x) = exp(-energy(x)) / Z."""

    def energy(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """(B,) nats, smaller is more probable."""


class Sequential(ABC):
    """Models that generate one symbol after another, with a cache; decoding strategies are written over this.

        state = model.init_state(batch, c)
        logits, state = model.step(state, None)      # of the first symbol
        logits, state = model.step(state, token)     # of the next one, given the symbol just chosen

    Symbols come in the model's own order: the i-th is `x.flatten(1)[:, model.order[i]]`. A state is any nest of
    tuples, lists, dicts and named tuples whose tensors have the batch as their first axis.
    """

    #: (D,) the position in the flattened sample of the i-th symbol generated.
    order: Tensor

    @abstractmethod
    def init_state(self, batch: int, c: Tensor | None = None) -> Any:
        """The state before the first symbol, for a batch of sequences."""

    @abstractmethod
    def step(self, state: Any, token: Tensor | None) -> tuple[Tensor, Any]:
        """Take in the symbol just chosen (B,), None at the first step; logits (B, size) of the next, new state."""

    def reorder(self, state: Any, index: Tensor) -> Any:
        """The state of the sequences `index`, (B',): beam search keeps, drops and duplicates with it."""
        return pytree.tree_map_only(torch.Tensor, lambda t: t.index_select(0, index), state)

    def repeat(self, state: Any, k: int) -> Any:
        """Every sequence k times, copies side by side."""
        return pytree.tree_map_only(torch.Tensor, lambda t: t.repeat_interleave(k, 0), state)


PROTOCOLS: Mapping[str, type] = {
    "encode": Encodes,
    "decode": Decodes,
    "complete": Completes,
    "inverse": Invertible,
    "step": Sequential,
    "score": Scores,
    "denoise": Denoises,
    "energy": HasEnergy,
}


def questions(model: type[GenerativeModel] | GenerativeModel) -> tuple[str, ...]:
    """The questions beyond `sample` and `log_prob` that a model (or its class) answers, in a fixed order."""
    cls = model if isinstance(model, type) else type(model)

    def offers(protocol: type) -> bool:
        if protocol is Sequential:
            return issubclass(cls, Sequential)
        methods = [m for m in vars(protocol) if not m.startswith("_")]
        return all(callable(getattr(cls, m, None)) for m in methods)

    return tuple(name for name, protocol in PROTOCOLS.items() if offers(protocol))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's random generators at `seed`, and put them back as they were afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
