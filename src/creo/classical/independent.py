r"""Independent marginals: what is known before looking at how variables go together.

    P(x | c) = prod_i P_i(x_i | c),      P_i(v | c) = (n_i(v, c) + a) / (n(c) + a V)

with n_i(v, c) the number of training samples of class c whose i-th variable has value v, out of V values, and a the
pseudo-count of every value (Laplace's rule of succession at a = 1). One pass over the data fits it; there is nothing
to train. No model that has learned how variables depend on each other should score worse.

`log_prob` is exact, in nats of the raw sample. Memory: classes x D x V numbers.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.classical.classwise import class_of, class_rows, number_of_classes
from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Report, Terms
from creo.spaces import Categories, Ordinal, Space, Tokens


class Independent(GenerativeModel):
    """A histogram per variable, and per class if conditional; see the module docstring.

    Args:
        space: Ordinal, Tokens or Categories.
        condition: Categories, or None.
        pseudo_count: added to the count of every value; positive, so that no value is impossible.

    Raises:
        SpaceError: for other spaces or conditions.
    """

    log_p: Tensor

    def __init__(self, space: Space, condition: Space | None = None, *, pseudo_count: float = 1.0) -> None:
        super().__init__(space, condition)
        if not isinstance(space, Ordinal | Tokens | Categories):
            raise SpaceError(f"histograms are of Ordinal, Tokens or Categories; received {space}")
        if not pseudo_count > 0:
            raise OptionError(f"pseudo_count must be positive; received {pseudo_count}")
        self.pseudo_count = pseudo_count
        values = space.levels if isinstance(space, Ordinal) else space.size
        classes = number_of_classes(condition, "a histogram model")
        self.register_buffer("log_p", torch.zeros(classes, space.dims, values).log_softmax(-1))

    @classmethod
    def for_space(cls, space: Space, condition: Space | None = None, *, pseudo_count: float = 1.0) -> Self:
        """Histograms of `space`, one set per class if `condition` is Categories.

        Args:
            space: Ordinal, Tokens or Categories.
            condition: Categories, or None.
            pseudo_count: added to the count of every value.
        """
        return cls(space, condition, pseudo_count=pseudo_count)

    @torch.no_grad()
    def initialise(self, x: Tensor, c: Tensor | None = None, report: Report | None = None) -> None:
        """Count; see `GenerativeModel.initialise`."""
        self.check_batch(x, c)
        classes, _, values = self.log_p.shape
        flat = x.reshape(len(x), -1).long()
        for k, rows in enumerate(class_rows(c, len(x), classes)):
            counts = torch.stack([column.bincount(minlength=values) for column in flat[rows].T])
            self.log_p[k] = F.normalize(counts.double() + self.pseudo_count, p=1.0, dim=-1).log()
        if report is not None:
            report(Terms(self.loss(x, c).loss))

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Exact log-probability in nats, (B,)."""
        self.check_batch(x, c)
        flat = x.reshape(len(x), -1).long()
        variable = torch.arange(flat.shape[1], device=x.device)
        rows = class_of(c)
        return self.log_p[rows if isinstance(rows, int) else rows[:, None], variable, flat].sum(1)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        """Every variable by itself; see `GenerativeModel.sample`."""
        c = self.expand_condition(n, c)
        x = torch.empty(n, self.space.dims, dtype=torch.long, device=self.device)
        for k, rows in enumerate(class_rows(c, n, len(self.log_p))):
            count = len(x[rows])
            if count:
                x[rows] = self.log_p[k].exp().multinomial(count, replacement=True).T
        return x.reshape(n, *self.space.shape).to(self.space.dtype)

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, c: Tensor | None = None) -> Tensor:
        """Exact draws of p(unknown | known) = p(unknown).

        Args:
            x: raw data (B, *space.shape); values where `known` is False are ignored (but must be in range).
            known: booleans, (*space.shape) for all samples or (B, *space.shape).
            c: conditions, (B,) or one for all; None if unconditional.
        """
        keep = self.expand_known(x, known).view(x.shape)
        return torch.where(keep, x.to(self.device), self.sample(len(x), c))
