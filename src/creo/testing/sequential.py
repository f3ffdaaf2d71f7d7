"""Does a sequential model look only backwards, at everything behind it, and is its cache right?

`check_causal` measures the influence of symbol j on the logits of symbol i for all pairs: by autograd for real inputs,
by substituting other symbols for discrete ones. `check_cached_equals_uncached` walks `step` through given data and
compares with the model's whole-sequence `logits` and `log_prob`, also after `reorder` and `repeat`.

Symbols are numbered in the model's own order of generation: the i-th is `x.flatten(1)[:, order[i]]`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from creo.model import GenerativeModel, Likelihood, Sequential, seeded
from creo.testing.failure import fail, first_index, require, require_close
from creo.testing.measure import double
from creo.testing.tiny import sizes

Logits = Callable[[Tensor], Tensor]


def check_causal(
    model: Any,
    x: Tensor,
    c: Tensor | None = None,
    *,
    order: Tensor | None = None,
    size: int | None = None,
    all_used: bool = True,
    tolerance: float = 1e-9,
    seed: int = 0,
) -> None:
    """The logits of the i-th symbol depend on all symbols before it and on no other, for all pairs.

    Args:
        model: a `Sequential` model (its whole-sequence `logits(x, c)` if it has one, else its `step`), or a function
            of x that returns (B, D, ...), one block per symbol in the order of generation.
        x: examples, (B, *shape) with D entries each; a few are enough.
        c: conditions, (B, *condition.shape), or None.
        order: (D,) position in the flattened sample of the i-th symbol; the model's own, or 0..D-1.
        size: number of symbols, when `model` is a function of discrete x.
        all_used: also require that every predecessor has an influence.
        tolerance: influence (largest change of a logit) that counts as none.
        seed: of the directions in which gradients are taken.
    """
    function, dims = _logits_of(model, c), x[0].numel()
    if isinstance(model, GenerativeModel):
        size = size or max(s or 0 for s in sizes(model.space))
    order = getattr(model, "order", torch.arange(dims)) if order is None else order
    require(
        sorted(order.tolist()) == list(range(dims)),
        f"order {order.tolist()} is no permutation of {dims} symbols",
    )
    with seeded(seed):
        if x.is_floating_point():
            influence = _by_gradient(function, x.double(), order)
        elif size:
            influence = _by_substitution(function, x, order, size)
        else:
            fail("check_causal of a function of discrete x needs size, the number of symbols")
    _read(influence, order, tolerance, all_used)


def _read(influence: Tensor, order: Tensor, tolerance: float, all_used: bool) -> None:
    earlier = torch.ones_like(influence).tril(-1).bool()
    leak = (influence > tolerance) & ~earlier
    if leak.any():
        i, j = first_index(leak)
        kind = "itself" if i == j else f"symbol {j} (position {int(order[j])}), which comes later"
        fail(
            f"logits of symbol {i} (position {int(order[i])}) depend on {kind}: influence {influence[i, j]:.3g}; "
            f"{int(leak.sum())} such pairs"
        )
    unused = (influence <= tolerance) & earlier
    if all_used and unused.any():
        i, j = first_index(unused)
        fail(
            f"logits of symbol {i} (position {int(order[i])}) ignore its predecessor {j} (position {int(order[j])}); "
            f"{int(unused.sum())} of {int(earlier.sum())} predecessors are unused"
        )


def _logits_of(model: Any, c: Tensor | None) -> Logits:
    if not isinstance(model, Sequential):
        return cast(Logits, model)
    exact: Any = double(cast(GenerativeModel, model))
    if callable(getattr(exact, "logits", None)):
        return torch.no_grad()(lambda x: exact.logits(x, _fit(c, x)))
    return torch.no_grad()(lambda x: stepwise_logits(exact, x, _fit(c, x)))


def _fit(c: Tensor | None, x: Tensor) -> Tensor | None:
    return None if c is None else c[: len(x)]


def _by_gradient(function: Logits, x: Tensor, order: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    rows = []
    out = function(x).flatten(2)
    for i in range(out.shape[1]):
        towards = (out[:, i] * torch.randn_like(out[:, i])).sum()
        (gradient,) = torch.autograd.grad(towards, x, retain_graph=True, allow_unused=True)
        rows.append(torch.zeros(len(order)) if gradient is None else gradient.flatten(1).abs().amax(0)[order])
    return torch.stack([row.double() for row in rows])


def _by_substitution(function: Logits, x: Tensor, order: Tensor, size: int) -> Tensor:
    base = function(x).flatten(2)
    columns = []
    for j in order.tolist():
        largest = torch.zeros(base.shape[1], dtype=base.dtype)
        for shift in range(1, min(size, 4)):
            other = x.flatten(1).clone()
            other[:, j] = (other[:, j].long() + shift).remainder(size).to(x.dtype)
            change = (function(other.view_as(x)).flatten(2) - base).abs().amax((0, 2))
            largest = torch.maximum(largest, change)
        columns.append(largest)
    return torch.stack(columns, 1)


def stepwise_logits(model: Any, x: Tensor, c: Tensor | None = None) -> Tensor:
    """Logits (B, D, size) of given data, from `init_state` and one `step` per symbol.

    Args:
        model: a `Sequential` model.
        x: raw data, (B, *space.shape).
        c: conditions, (B, *condition.shape), or None.
    """
    symbols = x.flatten(1)[:, model.order].long()
    state, token, found = model.init_state(len(x), c), None, []
    for i in range(symbols.shape[1]):
        logits, state = model.step(state, token)
        found.append(logits)
        token = symbols[:, i]
    return torch.stack(found, 1)


def check_cached_equals_uncached(
    model: Any, x: Tensor, c: Tensor | None = None, *, tolerance: float = 1e-8, seed: int = 0
) -> None:
    """Stepping through x with the cache gives the model's own `logits` and `log_prob`, and branches stay apart.

    Args:
        model: a `Sequential` generative model.
        x: raw data, (B, *space.shape) with B at least 2.
        c: conditions, (B, *condition.shape), or None.
        tolerance: of log-probabilities, relative to 1 + |value|; float64.
        seed: of the permutation that states are reordered by.
    """
    exact: Any = double(model)
    symbols = x.flatten(1)[:, exact.order].long()
    with seeded(seed), torch.no_grad():
        cached = stepwise_logits(exact, x, c).log_softmax(-1)
        if callable(getattr(exact, "logits", None)):
            whole = exact.logits(x, c).log_softmax(-1)
            require_close(
                cached, whole, "log-probs of step against logits(x)", atol=tolerance, rtol=tolerance
            )
        if exact.likelihood is Likelihood.EXACT:
            total = cached.gather(-1, symbols[..., None]).squeeze(-1).sum(1)
            what = "sum of the steps' log-probs against log_prob(x)"
            require_close(total, exact.log_prob(x, c), what, atol=tolerance, rtol=tolerance)
        _check_branches(exact, symbols, c, cached, tolerance)


def _check_branches(model: Any, symbols: Tensor, c: Tensor | None, want: Tensor, tolerance: float) -> None:
    batch, dims = symbols.shape
    order = torch.randperm(batch)
    cut = dims // 2
    state, token = model.init_state(batch, c), None
    for i in range(cut):
        _, state = model.step(state, token)
        token = symbols[:, i]
    branches = {
        "reorder": (model.reorder(state, order), order),
        "repeat": (model.repeat(state, 2), torch.arange(batch).repeat_interleave(2)),
        "the original after reorder and repeat": (state, torch.arange(batch)),
    }
    for name, (branch, rows) in branches.items():
        token = symbols[rows, cut - 1] if cut else None
        for i in range(cut, dims):
            logits, branch = model.step(branch, token)
            token = symbols[rows, i]
            what = f"log-probs of symbol {i} after {name}, against those without"
            require_close(logits.log_softmax(-1), want[rows, i], what, atol=tolerance, rtol=tolerance)
