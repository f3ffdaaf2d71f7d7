"""Videos as pictures that move: `gif_bytes` plays several in a grid, and begins again.

Frames that were given come first, in amber; those that a model drew are grey.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from creo.data.picture import grey_levels, grid
from creo.spaces import Continuous, Ordinal, Space

#: Milliseconds (tens, as the format has it) that a frame and the last one are shown; colour of given frames.
FRAME, LAST, AMBER = 120, 500, np.array([1.0, 0.78, 0.3])


def frames(x: Tensor, space: Space, given: Tensor | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Videos (N, T, H, W) as colours (N, K + T, H, W, 3), after `given` (N, K, H, W) if those are frames."""
    if given is not None and (given.ndim != 4 or given.shape[2:] != x.shape[2:]):
        given = None
    whole = x if given is None else torch.cat([given.to(x), x], 1)
    one = (1, *space.shape[1:])
    plain = Ordinal(one, space.levels) if isinstance(space, Ordinal) else Continuous(one)
    shown = grey_levels(whole.reshape(-1, *one), plain).reshape(*whole.shape, 3).copy()
    if given is not None:
        k = given.shape[1]
        shown[:, :k] = (shown[:, :k] * AMBER).round().astype(np.uint8)
    return shown


def gif_bytes(x: Tensor, space: Space, given: Tensor | None = None) -> bytes:
    """Videos (N, T, H, W) playing side by side, as the content of a .gif file.

    Args:
        x: raw samples.
        space: what one sample is, a video.
        given: conditions of the samples; frames among them come first.
    """
    shown = frames(x.detach().cpu(), space, None if given is None else given.detach().cpu())
    first, *others = (grid(shown[:, t], None) for t in range(shown.shape[1]))
    pause = [*[FRAME] * len(others), LAST]
    buffer = io.BytesIO()
    first.save(buffer, format="gif", save_all=True, append_images=others, duration=pause, loop=0)
    return buffer.getvalue()
