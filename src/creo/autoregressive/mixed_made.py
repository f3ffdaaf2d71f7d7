r"""MADE for real and mixed variables, in one or several orders.

Each variable of a table, vector or image is real (a mixture of Gaussians or logistics) or has levels or categories
(a table); all of them are one autoregressive model. With K orders pi_k, drawn at random after the first, the model is
the mixture of K masked networks,

    log p(x) = logsumexp_k log p_k(x) - log K,      log p_k(x) = sum_i log p_k(x_{pi_k(i)} | x_{pi_k(j)}, j < i)

a true density or probability: never an average of logits. In nats of the raw sample, levels counted, reals by length.
Sampling picks an order for every sample and goes through its network once, incrementally.

References:
    Germain, Gregor, Murray, Larochelle (2015), https://arxiv.org/abs/1502.03509;
    Uria, Murray, Larochelle (2013), RNADE, https://arxiv.org/abs/1306.0186.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from creo.autoregressive.columns import Group, groups_of
from creo.autoregressive.made import generation_order
from creo.distributions.real_mixture import Shape
from creo.errors import OptionError
from creo.model import GenerativeModel, TrainingDefaults
from creo.nn import ConditionEmbedding
from creo.nn.masked import MaskedMLP
from creo.spaces import Space


class MixedMADE(GenerativeModel):
    """The model of the module docstring.

    Args:
        space: what one sample is.
        networks: one per order, from coded variables in that order to the parameters of each.
        orders: (K, D) permutations: positions in the flattened sample.
        groups: how variables are coded and distributed; together they cover every variable once.
        condition: what it is conditioned on, or None.
        width: size of the condition's embedding.
    """

    orders: Tensor

    def __init__(
        self,
        space: Space,
        networks: Sequence[MaskedMLP],
        orders: Tensor,
        groups: Sequence[Group],
        *,
        condition: Space | None = None,
        width: int = 32,
    ) -> None:
        super().__init__(space, condition)
        self.networks: Sequence[MaskedMLP] = nn.ModuleList(networks)  # type: ignore[assignment]
        self.groups: Sequence[Group] = nn.ModuleList(groups)  # type: ignore[assignment]
        self.register_buffer("orders", orders)
        self.embedding = None if condition is None else ConditionEmbedding(condition, width)
        self.inputs = max(group.inputs for group in groups)
        #: for every variable: its group, and its place in it
        self._home = {int(v): (g, i) for g, group in enumerate(groups) for i, v in enumerate(group.index)}

    @classmethod
    def for_space(
        cls,
        space: Space,
        condition: Space | None = None,
        *,
        hidden: tuple[int, ...] = (),
        orders: int = 1,
        order_seed: int = 0,
        components: int = 8,
        shape: Shape = "gaussian",
        dropout: float = 0.1,
        width: int = 32,
    ) -> Self:
        """A MADE that suits the space.

        Args:
            space: Continuous, Table or Ordinal.
            condition: what it is conditioned on, or None.
            hidden: units of each masked hidden layer; empty: two layers of 16 per variable, 64 to 512.
            orders: K; the first is the variables as they lie.
            order_seed: which random orders.
            components: of the mixture of each real variable.
            shape: of these components.
            dropout: probability of dropping a hidden unit in training.
            width: size of the condition's embedding.
        """
        if orders < 1:
            raise OptionError(f"a MADE needs at least one order; received orders={orders}")
        groups = groups_of(space, components=components, shape=shape)
        units = min(max(16 * space.dims, 64), 512)
        networks = [
            MaskedMLP(
                space.dims,
                max(group.inputs for group in groups),
                max(group.outputs for group in groups),
                hidden=hidden or (units, units),
                context=0 if condition is None else width,
                dropout=dropout,
            )
            for _ in range(orders)
        ]
        ways = ["raster"] + ["random"] * (orders - 1)
        places = [generation_order(space.dims, way, order_seed + k) for k, way in enumerate(ways)]
        return cls(space, networks, torch.stack(places), groups, condition=condition, width=width)

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=128, lr=1e-3, weight_decay=0.01, ema=0.99)

    def initialise(self, x: Tensor, c: Tensor | None = None, report: Any = None) -> None:
        """Take location and scale of real variables and conditions from data."""
        for group in self.groups:
            group.initialise(x.flatten(1).double()[:, group.index])
        if self.embedding is not None and c is not None:
            self.embedding.initialise(c)

    def _context(self, c: Tensor | None) -> Tensor | None:
        return None if self.embedding is None else self.embedding(c)

    def _codes(self, flat: Tensor) -> Tensor:
        """Raw float64 (B, D) to codes (B, D, inputs), padded with zeros."""
        codes = torch.zeros(*flat.shape, self.inputs, dtype=self.dtype, device=flat.device)
        for group in self.groups:
            codes[:, group.index, : group.inputs] = group.code(
                flat[:, group.index], group.everyone, self.dtype
            )
        return codes

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        return torch.logsumexp(self.log_prob_by_order(x, c), 0) - math.log(len(self.orders))

    def log_prob_by_order(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Nats of raw samples under each order's model, (K, B)."""
        self.check_batch(x, c)
        flat, e = x.reshape(len(x), -1).double(), self._context(c)
        codes = self._codes(flat)
        return torch.stack([self._of_order(k, flat, codes, e) for k in range(len(self.orders))])

    def _of_order(self, k: int, flat: Tensor, codes: Tensor, e: Tensor | None) -> Tensor:
        order = self.orders[k]
        params = self.networks[k](codes[:, order].flatten(1), e)[:, order.argsort()]
        parts = [
            group.log_prob(params[:, group.index, : group.outputs], flat[:, group.index], group.everyone).sum(
                1
            )
            for group in self.groups
        ]
        return torch.stack(parts).sum(0)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Draw samples, each in an order of its own.

        Args:
            n: how many.
            c: conditions, (n, *condition.shape) or one for all.
        """
        e = self._context(self.expand_condition(n, c))
        which = torch.randint(len(self.orders), (n,), device=self.device)
        flat = torch.empty(n, self.space.dims, dtype=torch.float64, device=self.device)
        nothing = torch.zeros_like(flat, dtype=torch.bool)
        for k in which.unique().tolist():
            rows = (which == k).nonzero().squeeze(1)
            flat[rows], _ = self._draw(k, flat[rows], nothing[rows], None if e is None else e[rows])
        return self._raw(flat)

    def _raw(self, flat: Tensor) -> Tensor:
        dtype = self.space.dtype if self.space.kind != "Continuous" else self.dtype
        return flat.view(-1, *self.space.shape).to(dtype)

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, c: Tensor | None = None, *, particles: int = 64) -> Tensor:
        """Fill in the unknown part of every sample, given the known one.

        Every order draws `particles` candidates, the unknown variables from their conditionals, and weighs each by
        the probability of the known variables given those before them; one of all candidates is drawn by its weight.
        The law tends to p(unknown | known) as particles grow, and is it for any number where the order is one and
        no known variable follows an unknown one.

        Args:
            x: raw data (B, *space.shape); values where `known` is False are ignored (but must be in range).
            known: booleans, (*space.shape) for all samples or (B, *space.shape).
            c: conditions, (B, *condition.shape) or one for all; None if unconditional.
            particles: candidates of each order.

        Returns:
            (B, *space.shape), equal to x where known.
        """
        if particles < 1:
            raise OptionError(f"complete with at least 1 particle; received {particles}")
        keep = self.expand_known(x, known)
        e = self._context(self.expand_condition(len(x), c))
        flat = x.to(self.device).reshape(len(x), -1).double()
        spread = [None if t is None else t.repeat_interleave(particles, 0) for t in (flat, keep, e)]
        drawn = [self._draw(k, *spread) for k in range(len(self.orders))]  # type: ignore[arg-type]
        candidates = torch.cat([d.unflatten(0, (len(x), particles)) for d, _ in drawn], 1)
        weights = torch.cat([w.unflatten(0, (len(x), particles)) for _, w in drawn], 1).softmax(1)
        chosen = candidates[torch.arange(len(x)), torch.multinomial(weights, 1).squeeze(1)]
        return torch.where(keep.view(x.shape), x.to(self.device), self._raw(chosen).to(x.dtype))

    def _draw(self, k: int, given: Tensor, keep: Tensor, e: Tensor | None) -> tuple[Tensor, Tensor]:
        """Samples of the k-th order's model that agree with `given` where `keep`, both (n, D), and the log-probability
        (n,) of what was kept given what came before it."""
        network, n = self.networks[k], len(given)
        cache, flat, log_w = network.begin(n, e), given.clone(), given.new_zeros(n)
        code = None
        for i, v in enumerate(self.orders[k].tolist()):
            params = network.advance(cache, i, code)
            group, which = self._group_of(v)
            mine = params[:, None, : group.outputs]
            if bool(keep[:, v].any()):
                seen = group.log_prob(mine, given[:, v : v + 1], which).squeeze(1)
                log_w = log_w + torch.where(keep[:, v], seen.double(), 0.0)
            value = torch.where(keep[:, v : v + 1], given[:, v : v + 1], group.sample(mine, which).double())
            flat[:, v] = value.squeeze(1)
            code = torch.zeros(n, self.inputs, dtype=self.dtype, device=self.device)
            code[:, : group.inputs] = group.code(value, which, self.dtype).squeeze(1)
        return flat, log_w

    def _group_of(self, variable: int) -> tuple[Group, Tensor]:
        """The group of a variable, and its place in it, (1,)."""
        g, i = self._home[variable]
        return self.groups[g], torch.tensor([i], device=self.device)
