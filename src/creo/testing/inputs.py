"""Are conditions listened to, and is what is not of the space refused in one clear line?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from creo.errors import NoLikelihood, OptionError, SpaceError
from creo.model import GenerativeModel, Likelihood, seeded
from creo.testing.failure import fail, require
from creo.testing.tiny import shake
from creo.testing.training import losses


def check_refuses(kind: type[Exception], call: Callable[[], Any], what: str) -> None:
    """`call()` raises exactly this kind of error, with a message of one line.

    Args:
        kind: of error expected.
        call: what to try.
        what: how the message of a failure names it.
    """
    try:
        call()
    except kind as error:
        message = str(error)
        require(bool(message) and "\n" not in message, f"{what}: the error must be one line, not {message!r}")
    except Exception as error:  # noqa: BLE001 (any other kind is what this check is looking for)
        fail(
            f"{what} raises {type(error).__name__} ({' '.join(str(error).split())}) instead of {kind.__name__}"
        )
    else:
        fail(f"{what} is accepted; it should raise {kind.__name__}")


def _asked(model: GenerativeModel) -> dict[str, Callable[[Tensor, Tensor | None], Any]]:
    """Everything of a model that takes a batch of raw data."""
    found: dict[str, Callable[[Tensor, Tensor | None], Any]] = {
        f"loss of {name!r}": loss for name, loss in losses(model).items()
    }
    if model.likelihood is not Likelihood.NONE:
        found["log_prob"] = model.log_prob
    return found


def check_rejects_bad_input(model: GenerativeModel, x: Tensor, c: Tensor | None = None) -> None:
    """Wrong shape and wrong kind of dtype raise SpaceError, no samples at all OptionError, each in one line.

    A model without likelihood raises NoLikelihood for `log_prob`.

    Args:
        model: any model.
        x: raw data that is right, (B, *space.shape).
        c: conditions that are right, (B, *condition.shape), or None.
    """
    wrong = {
        "x with an axis too many": x[..., None],
        "one example without batch axis": x[0],
        "x of the wrong kind of dtype": x.long() if x.is_floating_point() else x.float(),
    }
    if x.ndim > 1:
        wrong["x with an entry too many"] = torch.cat([x, x[..., :1]], -1)
    for name, ask in _asked(model).items():
        for what, bad in wrong.items():
            check_refuses(SpaceError, lambda ask=ask, bad=bad: ask(bad, c), f"{name} of {what}")  # type: ignore[misc]
    one = None if c is None else c[0]
    for n in (0, -1):
        check_refuses(OptionError, lambda n=n: model.sample(n, one), f"sample({n})")  # type: ignore[misc]
    if model.likelihood is Likelihood.NONE:
        check_refuses(NoLikelihood, lambda: model.log_prob(x, c), "log_prob of a model without likelihood")


def check_conditional(
    model: GenerativeModel, x: Tensor, c: Tensor | None = None, *, n: int = 256, seed: int = 0
) -> None:
    """Conditions change losses, log-probs and samples; missing, superfluous or misshapen ones raise SpaceError.

    Args:
        model: conditional or not; an unconditional one must refuse conditions.
        x: raw data, (B, *space.shape) with B at least 2.
        c: conditions, (B, *condition.shape), not all the same; None if unconditional.
        n: samples drawn to see whether conditions change them.
        seed: of the model's own noise, the same for every condition that is compared.
    """
    if c is None:
        require(model.condition is None, f"the model is conditioned on {model.condition}: pass conditions c")
        label = torch.zeros(len(x), dtype=torch.long)
        for name, ask in _asked(model).items():
            check_refuses(SpaceError, lambda ask=ask: ask(x, label), f"{name} with superfluous conditions")  # type: ignore[misc]
        check_refuses(SpaceError, lambda: model.sample(len(x), label), "sample with superfluous conditions")
        return
    _check_refusals(model, x, c)
    _check_influence(model, x, c, seed)
    _check_samples(model, c, n, seed)


def _check_refusals(model: GenerativeModel, x: Tensor, c: Tensor) -> None:
    wrong: dict[str, Tensor | None] = {
        "no conditions": None,
        "conditions with an axis too many": c[..., None],
        "conditions of the wrong kind of dtype": c.long() if c.is_floating_point() else c.float(),
        "fewer conditions than examples": c[:-1],
    }
    for what, bad in wrong.items():
        for name, ask in _asked(model).items():
            check_refuses(SpaceError, lambda ask=ask, bad=bad: ask(x, bad), f"{name} with {what}")  # type: ignore[misc]
        check_refuses(SpaceError, lambda bad=bad: model.sample(len(x), bad), f"sample with {what}")  # type: ignore[misc]


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(torch.equal(a, b))


def _with_seed(call: Callable[[], Tensor], seed: int) -> Tensor:
    with seeded(seed):
        return call().detach()


def _check_influence(model: GenerativeModel, x: Tensor, c: Tensor, seed: int) -> None:
    other = next((r for r in (c.roll(k, 0) for k in range(1, len(c))) if not _same(r, c)), None)
    if other is None:
        fail("all conditions given are the same: pass different ones")
    for name, ask in _asked(model).items():

        def value(cond: Tensor, ask: Callable[..., Any] = ask) -> Tensor:
            answer = ask(x, cond)
            return answer if isinstance(answer, Tensor) else answer.loss

        changed = not _same(_with_seed(lambda: value(c), seed), _with_seed(lambda: value(other), seed))
        require(changed, f"{name} does not change when the conditions are permuted: it ignores them")


def _check_samples(model: GenerativeModel, c: Tensor, n: int, seed: int) -> None:
    first, *rest = c.unique(dim=0)
    one = _with_seed(lambda: model.sample(n, first), seed)
    batch = _with_seed(lambda: model.sample(n, first.expand(n, *first.shape)), seed)
    require(_same(one, batch), "sample(n, one condition) differs from sample(n, that condition n times)")
    # A small influence may not move any of n coarse samples; that of a model shaken hard does, unless it has none.
    for noise in (0.0, 0.1, 0.3):
        shaken = shake(copy.deepcopy(model), noise, seed)
        drawn = [_with_seed(lambda o=o, m=shaken: m.sample(n, o), seed) for o in (first, *rest[:3])]  # type: ignore[misc]
        if any(not _same(drawn[0], other) for other in drawn[1:]):
            return
    fail(f"{n} samples are the same for different conditions: sample ignores them")
