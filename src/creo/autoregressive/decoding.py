"""Decoding: how to generate from any `Sequential` model, written once.

A sequential model factorises p(x | c) = prod_i p(s_i | s_<i, c) over symbols s_i = x.flatten()[order[i]].

Ancestral sampling draws the symbols one after another; it is exact at temperature 1. At temperature T each
conditional is raised to the power 1/T and renormalised; T = 0 takes the most probable symbol (ties: the first).

Completion draws from p(unknown | known) for a known part given as a boolean mask. Drawing only the unknown symbols
conditions each of them on what comes before it in the model's order: that is exact when the known symbols come first
(top of an image in raster order), but blind to known symbols that come later. Those are accounted for by sequential
importance sampling with resampling: K particles per sample; at each known symbol a particle's weight is multiplied
by p(s_i | s_<i); particles are resampled in proportion to their weights when the effective number of them falls
below K/2, and one is drawn at the end. Its law tends to p(unknown | known) as K grows, and is exact for any K where
no known symbol follows an unknown one. Known values are never changed.

Reference: Doucet, de Freitas, Gordon (2001), Sequential Monte Carlo Methods in Practice, chapter 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.model import GenerativeModel, Sequential


def draw(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """One symbol per row.

    Args:
        logits: (B, size), normalised or not.
        temperature: 1 samples exactly, below 1 prefers the probable, 0 takes the most probable.

    Returns:
        (B,) int64.
    """
    if not temperature >= 0:
        raise OptionError(f"temperature must be at least 0; received {temperature}")
    if temperature == 0:
        return logits.argmax(-1)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.multinomial((wide / temperature).softmax(-1), 1).squeeze(-1)


def _sequential(model: GenerativeModel) -> Any:
    if not isinstance(model, Sequential):
        raise OptionError(
            f"{type(model).__name__} does not generate step by step: it is no creo.model.Sequential"
        )
    return model


def _to_samples(model: Any, symbols: Tensor) -> Tensor:
    """Symbols in generation order (B, D) as raw data."""
    flat = torch.empty_like(symbols)
    flat[:, model.order] = symbols
    return flat.view(-1, *model.space.shape).to(model.space.dtype)


@torch.no_grad()
def ancestral(model: GenerativeModel, n: int, c: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
    """Draw samples symbol by symbol.

    Args:
        model: a `Sequential` model.
        n: how many.
        c: conditions, (n, *condition.shape) or one for all; None if unconditional.
        temperature: see `draw`.

    Returns:
        Raw data, (n, *space.shape).
    """
    sequential = _sequential(model)
    state, token = sequential.init_state(n, model.expand_condition(n, c)), None
    symbols = torch.empty(n, model.space.dims, dtype=torch.long, device=model.device)
    for i in range(model.space.dims):
        logits, state = sequential.step(state, token)
        token = symbols[:, i] = draw(logits, temperature=temperature)
    return _to_samples(model, symbols)


@torch.no_grad()
def complete(
    model: GenerativeModel,
    x: Tensor,
    known: Tensor,
    c: Tensor | None = None,
    *,
    temperature: float = 1.0,
    particles: int = 16,
) -> Tensor:
    """Fill in the unknown part of every sample.

    Args:
        model: a `Sequential` model.
        x: raw data (B, *space.shape); values where `known` is False are ignored (but must be in range).
        known: booleans, (*space.shape) for all samples or (B, *space.shape); True keeps the value of x.
        c: conditions, (B, *condition.shape) or one for all; None if unconditional.
        temperature: see `draw`; with 0, the most probable symbol at each unknown place.
        particles: K of the module docstring; 1 ignores known symbols that come after an unknown one.

    Returns:
        (B, *space.shape), equal to x where known.
    """
    sequential = _sequential(model)
    batch, c, known = len(x), model.expand_condition(len(x), c), model.expand_known(x, known)
    k = particles if _known_after_unknown(known[:, sequential.order]) else 1
    given = _spread(x.to(model.device).flatten(1).long()[:, sequential.order], k)
    keep = _spread(known[:, sequential.order], k)
    state, token = sequential.init_state(batch * k, None if c is None else _spread(c, k)), None
    symbols, log_w = torch.empty_like(given), torch.zeros(batch, k, dtype=model.dtype, device=model.device)
    for i in range(model.space.dims):
        logits, state = sequential.step(state, token)
        seen = logits.log_softmax(-1).gather(1, given[:, i : i + 1]).squeeze(1)
        log_w = log_w + torch.where(keep[:, i], seen, 0.0).view(batch, k)
        token = symbols[:, i] = torch.where(keep[:, i], given[:, i], draw(logits, temperature=temperature))
        index, log_w = _resample(log_w)
        if index is not None:
            state, symbols, token = sequential.reorder(state, index), symbols[index], token[index]
    chosen = torch.arange(batch, device=log_w.device) * k + draw(log_w)
    return _to_samples(model, symbols[chosen])


def _spread(t: Tensor, k: int) -> Tensor:
    return t.repeat_interleave(k, 0)


def _known_after_unknown(keep: Tensor) -> bool:
    """Whether any known symbol follows an unknown one, keep being (B, D) in generation order."""
    return bool((keep[:, 1:] & ~keep[:, :-1]).any())


def _resample(log_w: Tensor) -> tuple[Tensor | None, Tensor]:
    """Where the effective number of particles is below K/2: draw K of them anew, with equal weights.

    Args:
        log_w: (B, K).

    Returns:
        Indices into the B * K sequences, None if nobody needs it; the new log weights.
    """
    batch, k = log_w.shape
    w = log_w.softmax(-1)
    poor = 1 / w.square().sum(-1) < k / 2
    if not poor.any():
        return None, log_w
    stay = torch.arange(k, device=w.device).expand(batch, k)
    index = torch.where(poor[:, None], torch.multinomial(w, k, replacement=True), stay)
    log_w = torch.where(poor[:, None], torch.zeros_like(log_w), log_w)
    return (index + k * torch.arange(batch, device=w.device)[:, None]).flatten(), log_w
