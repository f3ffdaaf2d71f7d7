"""NADE and the fully visible sigmoid belief net: the ancestors of MADE, with its orders, codings and heads.

    fvsbn   theta_i = c_i + sum_{j<i} W_ij code(x_j)                                  D^2 parameters, no hidden unit
    nade    theta_i = c_i + V_i sigma(b + sum_{j<i} W_j code(x_j))                    one hidden layer, shared

theta_i are the parameters of the head of variable i; for two levels both are logistic regressions on what comes before.
Likelihoods are exact, in nats of the raw sample.

References:
    Frey, Hinton, Dayan (1996), Does the wake-sleep algorithm produce good density estimators?,
    https://www.cs.toronto.edu/~hinton/absps/wsperf.htm;
    Larochelle, Murray (2011), https://proceedings.mlr.press/v15/larochelle11a.html.
"""

from __future__ import annotations

from typing import Literal, Self

from creo.autoregressive.coding import CodingName, coding_of
from creo.autoregressive.made import CODE, MADE, TableName, generation_order, table_head
from creo.errors import SpaceError
from creo.model import TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.masked import MaskedMLP
from creo.nn.nade import NADENetwork
from creo.spaces import Ordinal, Space, Tokens


def _vectors(space: Space, who: str) -> Ordinal | Tokens:
    if not isinstance(space, Ordinal | Tokens):
        raise SpaceError(f"{who} models Ordinal and Tokens; received {space}")
    return space


class FVSBN(MADE):
    """A fully visible sigmoid belief net: logistic regression of each variable on those before it."""

    @classmethod
    def for_space(  # type: ignore[override]
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        order: Literal["raster", "random"] = "raster",
        order_seed: int = 0,
        coding: CodingName = "auto",
        head: TableName = "auto",
        components: int = 5,
        width: int = 32,
    ) -> Self:
        """A belief net for the space.

        Args:
            space: Ordinal or Tokens.
            condition: what it is conditioned on, or None.
            order, order_seed, coding, head, components: as of MADE.
            width: size of the condition's embedding.
        """
        space = _vectors(space, "FVSBN")
        table = table_head(space, head, components)
        code = coding_of(space, coding, table.levels, CODE)
        embedding = None if condition is None else ConditionEmbedding(condition, width)
        network = MaskedMLP(
            space.dims, code.size, table.size, hidden=(), context=0 if embedding is None else width
        )
        places = generation_order(space.dims, order, order_seed)
        return cls(space, network, code, table, places, condition=condition, embedding=embedding)

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=3e-3, weight_decay=0.1, ema=0.99)


class NADE(MADE):
    """One hidden layer whose weights all conditionals share."""

    @classmethod
    def for_space(  # type: ignore[override]
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        hidden: int = 0,
        order: Literal["raster", "random"] = "raster",
        order_seed: int = 0,
        coding: CodingName = "auto",
        head: TableName = "auto",
        components: int = 5,
        dropout: float = 0.0,
        width: int = 32,
    ) -> Self:
        """A NADE for the space.

        Args:
            space: Ordinal or Tokens.
            condition: what it is conditioned on, or None.
            hidden: hidden units; 0: 4 per variable, 32 to 500.
            order, order_seed, coding, head, components: as of MADE.
            dropout: probability of dropping a hidden unit in training.
            width: size of the condition's embedding.
        """
        space = _vectors(space, "NADE")
        table = table_head(space, head, components)
        code = coding_of(space, coding, table.levels, CODE)
        embedding = None if condition is None else ConditionEmbedding(condition, width)
        network = NADENetwork(
            space.dims,
            code.size,
            table.size,
            hidden=hidden or min(max(4 * space.dims, 32), 500),
            context=0 if embedding is None else width,
            dropout=dropout,
        )
        places = generation_order(space.dims, order, order_seed)
        return cls(space, network, code, table, places, condition=condition, embedding=embedding)

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=3e-3, weight_decay=0.1, ema=0.99)
