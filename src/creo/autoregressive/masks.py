"""Known parts by name, for completion: boolean masks over one sample, True where a value is kept.

top, bottom     half of the rows of an image; of a sequence or vector, its first or second half
left, right     half of the columns of an image; of a sequence or vector as top and bottom
random          each place of an image (all its channels), or each variable, with probability 1/2
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from creo.errors import OptionError
from creo.spaces import Space

MaskName = Literal["top", "bottom", "left", "right", "random"]


def known_part(space: Space, name: MaskName) -> Tensor:
    """The mask called `name`, booleans of shape (*space.shape).

    Args:
        space: with at least one axis.
        name: see the module docstring; `random` draws from torch's global generator.

    Raises:
        OptionError: no such mask, or samples are single values.
    """
    if name not in get_args(MaskName):
        raise OptionError(f"no mask {name!r}; there are {', '.join(get_args(MaskName))}")
    if not space.shape:
        raise OptionError(f"a sample of {space} is one value: there is nothing to complete")
    places = space.shape[-2:]
    if name == "random":
        return (torch.rand(places) < 0.5).expand(space.shape)
    axis = -1 if name in ("left", "right") or len(places) == 1 else -2
    half = space.shape[axis] // 2
    first = (torch.arange(space.shape[axis]) < half) == (name in ("top", "left"))
    return (first if axis == -1 else first[:, None]).expand(space.shape)
