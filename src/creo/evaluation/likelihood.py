r"""Likelihood on held-out data: what does the model think of samples it has not seen?

    NLL = -1/n sum_i log p(x_i | c_i)         nats per raw sample, lower is better
    bits/dim = NLL / (D ln 2)                 D = number of dimensions of the space

with standard error s / sqrt(n), s the standard deviation of the n terms. What log p is (exact, a lower bound, an
estimate) is the model's promise, `model.likelihood`; the sign before the number says it: a lower bound on log p
gives `NLL <= value`.

    perplexity = exp(NLL / length)            of texts: how many equally likely symbols there are at each place

For data whose own density q is known the entropy can be taken out, and what remains has a zero:

    KL(q || p) = 1/n sum_i log q(x_i) - log p(x_i)        nats, 0 iff p = q; with its own, much smaller, standard error.

Noise in a bound or estimate is drawn from generators seeded here, so the same call gives the same number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from creo.errors import NoLikelihood
from creo.evaluation.value import Value, missing
from creo.model import GenerativeModel, Likelihood, seeded
from creo.spaces import Tokens, bits_per_dim


@contextmanager
def evaluating(model: GenerativeModel, seed: int) -> Iterator[None]:
    """Run a block without gradients, with the model in evaluation mode and torch's generators at `seed`."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), seeded(seed):
            yield
    finally:
        model.train(was_training)


def log_probs(
    model: GenerativeModel, x: Tensor, c: Tensor | None = None, *, batch_size: int = 256, seed: int = 0
) -> Tensor:
    """Log-probabilities of raw samples, chunk by chunk.

    Args:
        x: raw data of the model's space, (n, *shape); values are checked.
        c: conditions, (n, *condition.shape), or None.
        batch_size: samples per call of `model.log_prob`.
        seed: seeds the noise of bounds and estimates; the caller's generators are left as they were.

    Returns:
        (n,) float64 nats, on the CPU.

    Raises:
        SpaceError: if x or c is not of the model's space. NoLikelihood: if the model has none.
    """
    model.space.check(x)
    with evaluating(model, seed):
        parts = []
        for i in range(0, len(x), batch_size):
            part = x[i : i + batch_size].to(model.device)
            given = None if c is None else c[i : i + batch_size].to(model.device)
            parts.append(model.log_prob(part, given).double().cpu())
    return torch.cat(parts)


def mean_and_error(terms: Tensor) -> tuple[float, float | None]:
    """Mean of (n,) terms and its standard error; None for a single term or terms that are not finite."""
    mean = float(terms.mean())
    if len(terms) < 2 or not math.isfinite(mean):
        return mean, None
    return mean, float(terms.std() / math.sqrt(len(terms)))


def _perplexity(nats: float, error: float | None) -> tuple[float, float | None]:
    """exp of nats per symbol, and its standard error by the delta method."""
    value = math.exp(nats) if nats < 700 else math.inf
    return value, None if error is None else value * error


def _note(model: GenerativeModel, nll: Tensor) -> str:
    notes = [model.likelihood_note] if model.likelihood_note else []
    bad = int((~nll.isfinite()).sum())
    if bad:
        notes.append(f"log_prob is infinite or not a number for {bad} of {len(nll)} samples")
    return "; ".join(notes)


def likelihood_values(
    model: GenerativeModel,
    x: Tensor,
    c: Tensor | None = None,
    *,
    truth: Callable[[Tensor], Tensor] | None = None,
    split: str = "",
    batch_size: int = 256,
    seed: int = 0,
    protocol: Mapping[str, Any] | None = None,
) -> list[Value]:
    """NLL in nats and bits/dim, and KL(truth || model) where the true log-density `truth` is known.

    A model without likelihood gives the same values without a number; their note says why.
    """
    common: dict[str, Any] = {"split": split, "n": len(x), "seed": seed, "protocol": dict(protocol or {})}
    names = ["NLL", "bits/dim"] + (["KL"] if truth is not None else [])
    units = {"NLL": "nats", "bits/dim": "", "KL": "nats"}
    if isinstance(model.space, Tokens):
        names.append("perplexity")
        units["perplexity"] = ""
    if model.likelihood is Likelihood.NONE:
        return [missing(name, model.no_likelihood, unit=units[name], kind="", **common) for name in names]
    try:
        nll = -log_probs(model, x, c, batch_size=batch_size, seed=seed)
    except NoLikelihood as error:
        return [missing(name, str(error), unit=units[name], kind="", **common) for name in names]
    common |= {"kind": model.likelihood.sign, "note": _note(model, nll)}
    terms = {"NLL": nll, "bits/dim": bits_per_dim(nll, model.space)}
    if truth is not None:
        terms["KL"] = truth(x.double()).double().cpu() + nll
    estimates = {name: mean_and_error(t) for name, t in terms.items()}
    if isinstance(model.space, Tokens):
        estimates["perplexity"] = _perplexity(*mean_and_error(nll / model.space.length))
    return [Value(k, v, unit=units[k], stderr=error, **common) for k, (v, error) in estimates.items()]
