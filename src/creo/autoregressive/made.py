"""MADE: all the conditionals of p(x | c) = prod_i p(x_i | x_<i, c) from one pass through a masked network.

The D variables are taken in a fixed order (raster, or a random permutation of it) and coded as numbers
(`creo.autoregressive.coding`); a masked perceptron (`creo.nn.masked`) answers the parameters of a table of levels
(`creo.distributions.heads`) for each, block i from the variables before it alone. The likelihood is exact, in nats of
the raw sample:

    log p(x) = sum_i log P_i(x_i),      P_i = head(network(x)_i)

Generating takes D steps, but each computes only the hidden units that have become computable, so that a whole sample
costs about one forward pass instead of D.

Reference: Germain, Gregor, Murray, Larochelle (2015), MADE: Masked Autoencoder for Distribution Estimation,
https://arxiv.org/abs/1502.03509.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from creo.autoregressive.coding import FEW_LEVELS, Coding, CodingName, Learned, coding_of
from creo.autoregressive.decoding import ancestral, complete
from creo.distributions.heads import DiscreteHead, head_for
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Sequential, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.masked import MaskedMLP
from creo.nn.nade import NADENetwork
from creo.spaces import Ordinal, Space, Tokens

TableName = Literal["auto", "categorical", "adjacent", "logistic"]

#: Numbers of a learned code of one variable.
CODE = 32

#: Up to this many variables the defaults regularise for the small data sets that have so few.
SMALL = 144


class State(NamedTuple):
    """How far a generation is: the network's cache, and how many symbols it has taken in.

    Steps write into the cache: a state shares its memory with the states that follow from it. To branch from
    one state, `repeat` or `reorder` it first.
    """

    cache: Any
    position: int


class MADE(GenerativeModel, Sequential):
    """The model of the module docstring.

    Args:
        space: Ordinal or Tokens.
        network: maps coded variables in generation order to the head's parameters, and is incremental.
        coding: how the network sees a variable.
        head: turns parameters into the probabilities of the levels.
        order: (D,) permutation: the position in the flattened sample of the i-th variable generated.
        condition: what it is conditioned on, or None.
        embedding: maps raw conditions to the network's context vectors; None if unconditional.
    """

    def __init__(
        self,
        space: Ordinal | Tokens,
        network: MaskedMLP | NADENetwork,
        coding: Coding | Learned,
        head: DiscreteHead,
        order: Tensor,
        *,
        condition: Space | None = None,
        embedding: ConditionEmbedding | None = None,
    ) -> None:
        super().__init__(space, condition)
        self.network, self.embedding = network, embedding
        self.coding, self.head = coding, head
        self.register_buffer("order", order)

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        hidden: tuple[int, ...] = (),
        order: Literal["raster", "random"] = "raster",
        order_seed: int = 0,
        coding: CodingName = "auto",
        head: TableName = "auto",
        components: int = 5,
        direct: bool = False,
        dropout: float | None = None,
        width: int = 32,
    ) -> Self:
        """A MADE with networks that suit the space.

        Args:
            space: Ordinal or Tokens.
            condition: what it is conditioned on, or None.
            hidden: units of each masked hidden layer; empty: one layer of 8 units per variable, 256 to 2048.
            order: in which order the variables are generated: raster (as they lie), or a random permutation.
            order_seed: which random permutation.
            coding: how the network sees a variable: onehot, thermometer (one number per threshold), scaled (one
                number in [-1, 1]), learned (a vector for every level), or auto: onehot for tokens, thermometer up to
                32 levels, scaled above.
            head: how the network gives the probabilities of the levels: categorical (a logit each), adjacent (the
                log-odds of neighbouring levels), logistic (discretised, mixture), or auto: categorical for
                tokens, adjacent up to 32 levels, logistic above.
            components: logistics in the mixture of the logistic head.
            direct: connect the variables' codes to the outputs directly too, as logistic regressions.
            dropout: probability of dropping a hidden unit in training; None: 0.5 for up to 144 variables, as data of
                so few come in small sets, else 0.
            width: size of the condition's embedding.
        """
        if not isinstance(space, Ordinal | Tokens):
            raise SpaceError(f"MADE models Ordinal and Tokens; received {space}")
        of_variable = table_head(space, head, components)
        code = coding_of(space, coding, of_variable.levels, CODE)
        embedding = None if condition is None else ConditionEmbedding(condition, width)
        network = MaskedMLP(
            space.dims,
            code.size,
            of_variable.size,
            hidden=hidden or (min(max(8 * space.dims, 256), 2048),),
            context=0 if embedding is None else width,
            direct=direct,
            dropout=(0.5 if space.dims <= SMALL else 0.0) if dropout is None else dropout,
        )
        permutation = generation_order(space.dims, order, order_seed)
        return cls(space, network, code, of_variable, permutation, condition=condition, embedding=embedding)

    def training_defaults(self) -> TrainingDefaults:
        decay = 0.3 if self.space.dims <= SMALL else 0.01
        return TrainingDefaults(batch_size=128, lr=1e-3, weight_decay=decay, ema=0.99)

    def _context(self, c: Tensor | None) -> Tensor | None:
        return None if self.embedding is None else self.embedding(c)

    def _ordered(self, x: Tensor) -> Tensor:
        """Raw samples as symbols in generation order, (B, D) int64."""
        return x.flatten(1)[:, self.order].long()

    def _parameters_of(self, symbols: Tensor, c: Tensor | None) -> Tensor:
        """The head's parameters for every variable, (B, D, head.size), of symbols (B, D) in generation order."""
        return self.network(self.coding(symbols, self.dtype).flatten(1), self._context(c))

    def logits(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Log-probabilities of every variable's levels given those before it, in generation order: (B, D, levels)."""
        self.check_batch(x, c)
        return self.head.log_probs(self._parameters_of(self._ordered(x), c))

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        symbols = self._ordered(x)
        return self.head.log_prob(self._parameters_of(symbols, c), symbols).sum(-1)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Draw samples by ancestral sampling.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one for all; None if unconditional.
            temperature: 1 samples the model's distribution, 0 takes the most probable value at every step.
        """
        return ancestral(self, n, c, temperature=temperature)

    def complete(
        self,
        x: Tensor,
        known: Tensor,
        c: Tensor | None = None,
        *,
        temperature: float = 1.0,
        particles: int = 16,
    ) -> Tensor:
        """Fill in what is not known of every sample; see `creo.autoregressive.complete`."""
        return complete(self, x, known, c, temperature=temperature, particles=particles)

    def init_state(self, batch: int, c: Tensor | None = None) -> State:
        return State(self.network.begin(batch, self._context(c)), 0)

    def step(self, state: State, token: Tensor | None) -> tuple[Tensor, State]:
        coded = None if token is None else self.coding(token.long(), self.dtype)
        params = self.network.advance(state.cache, state.position, coded)
        return self.head.log_probs(params), State(state.cache, state.position + 1)


def table_head(space: Ordinal | Tokens, name: TableName, components: int) -> DiscreteHead:
    """A head that has a table of levels; `auto`: by neighbours' odds for up to 32 levels, logistic above."""
    if name == "auto" and isinstance(space, Ordinal):
        name = "adjacent" if space.levels <= FEW_LEVELS else "logistic"
    head = head_for(space, name, components=components)
    if not isinstance(head, DiscreteHead):
        raise OptionError(f"MADE needs a table of levels; received head {name!r}")
    return head


def generation_order(dims: int, order: str, seed: int) -> Tensor:
    """(D,): as the variables lie (`raster`), or a permutation drawn with the seed (`random`)."""
    if order == "raster":
        return torch.arange(dims)
    return torch.randperm(dims, generator=torch.Generator().manual_seed(seed))
