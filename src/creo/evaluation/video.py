r"""Videos beyond the length that a model draws, and how well a continuation is.

A model of T' frames given k continues any video: `roll_out` draws T' frames after the last k, and again after the last
k of those, so that errors add up as in any forecast. `forecast_error` compares continuations with the truth, frame by
frame, beside what repeating the last given frame scores.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel


@torch.no_grad()
def roll_out(
    model: GenerativeModel, given: Tensor, frames: int, *, draw: Callable[[int, Tensor], Tensor] | None = None
) -> Tensor:
    """Continue videos for as long as wanted.

    Args:
        model: of T' frames (T', H, W) given k frames (k, H, W).
        given: first frames, (N, k, H, W).
        frames: how many to draw after them.
        draw: (n, conditions) to samples, `model.sample` if not given: for its options.

    Returns:
        The drawn frames, (N, frames, H, W).

    Raises:
        SpaceError: the model is not of videos given frames, or given are other frames than it is conditioned on.
    """
    space, condition = model.space, model.condition
    if condition is None or not (
        space.is_grid and condition.is_grid and space.shape[1:] == condition.shape[1:]
    ):
        raise SpaceError(
            f"a model of frames given frames continues videos; this one is of {space} given {condition}"
        )
    if frames < 1:
        raise OptionError(f"continue a video by at least 1 frame; received {frames}")
    k, whole = condition.shape[0], condition.check(given, "given")
    while whole.shape[1] < k + frames:
        last = whole[:, -k:].contiguous()
        drawn = (draw or model.sample)(len(last), last)
        whole = torch.cat([whole, drawn.to(whole.dtype)], 1)
    return whole[:, k : k + frames]


def forecast_error(drawn: Tensor, truth: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of every frame, (T,) each: of continuations, and of repeating the last given frame.

    Args:
        drawn, truth: (N, T, H, W).
        given: (N, k, H, W).
    """
    still = given[:, -1:].double()
    errors = [(video.double() - truth.double()).square().mean((0, 2, 3)) for video in (drawn, still)]
    return errors[0], errors[1]
