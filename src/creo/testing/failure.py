"""How a check fails: one message with the rule that was broken and the worst offender.

A check raises `CheckFailed`, an `AssertionError`, so any test runner shows it as a failed assertion; nothing here
needs pytest.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor


class CheckFailed(AssertionError):
    """A model breaks a rule of the contract; the message names the rule, the place and the numbers."""


def fail(message: str) -> NoReturn:
    """Raise `CheckFailed(message)`."""
    raise CheckFailed(message)


def require(holds: bool | Tensor, message: str) -> None:
    """Raise `CheckFailed(message)` unless `holds`."""
    if not bool(holds):
        fail(message)


def first_index(mask: Tensor) -> tuple[int, ...]:
    """The index of the first true entry of `mask`."""
    return tuple(int(i) for i in mask.nonzero()[0])


def require_finite(values: Tensor, what: str) -> None:
    """Raise unless every entry of `values` is finite, naming the first that is not."""
    bad = ~values.isfinite()
    if bad.any():
        at = first_index(bad)
        fail(
            f"{what} has {int(bad.sum())} of {bad.numel()} entries not finite, the first {values[at]} at {at}"
        )


def require_close(got: Tensor, want: Tensor, what: str, *, atol: float = 0.0, rtol: float = 0.0) -> None:
    """Raise unless `|got - want| <= atol + rtol |want|` everywhere, naming the entry that is furthest off.

    Args:
        got: what the model computed.
        want: the truth, of the same shape.
        what: the rule, e.g. "log_det of forward against autograd's Jacobian".
        atol: absolute tolerance.
        rtol: relative tolerance.
    """
    require(got.shape == want.shape, f"{what}: shape {tuple(got.shape)} instead of {tuple(want.shape)}")
    if not got.numel():
        return
    got, want = got.detach().double(), want.detach().double()
    off = (got - want).abs() - atol - rtol * want.abs()
    off = torch.where(got == want, -torch.inf, off).nan_to_num(nan=torch.inf)
    if off.max() > 0:
        at = tuple(int(i) for i in torch.unravel_index(off.argmax(), off.shape))
        count = int((off > 0).sum())
        fail(
            f"{what}: {count} of {off.numel()} entries differ, the worst at {at}: "
            f"{got[at].item():.10g} instead of {want[at].item():.10g}"
        )
