"""Conditions that are words: from a caption to symbols and to the question whether a space has words at all.

A space of words is a `Tokens` space whose symbols are words, the first of them empty: it fills captions up at the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from creo.errors import OptionError, SpaceError, suggestion
from creo.spaces import Space, Tokens

if TYPE_CHECKING:
    from torch import Tensor


def has_words(space: Space | None) -> bool:
    """Whether a space's symbols are words, the first of them empty."""
    return isinstance(space, Tokens) and space.symbols is not None and space.symbols[0] == ""


def caption(text: str | Sequence[str], space: Space | None) -> Tensor:
    """Captions as conditions: (length,) of one text, (N, length) of several.

    Args:
        text: words of the space in any case, commas and full stops ignored.
        space: of the captions: `data.condition` or `model.condition`.

    Raises:
        SpaceError: it is no space of words. OptionError: an unknown word, no word, or too many.
    """
    import torch

    if not (isinstance(space, Tokens) and space.symbols and has_words(space)):
        raise SpaceError(
            f"captions are for conditions that are words, as in digits-captions; received {space}"
        )
    if not isinstance(text, str):
        return torch.stack([caption(one, space) for one in text])
    words = re.sub(r"[,.]", " ", text.lower()).split()
    for word in words:
        if word not in space.symbols:
            raise OptionError(f"no word {word!r} in these captions{suggestion(word, space.symbols[1:])}")
    if not 0 < len(words) <= space.length:
        raise OptionError(f"a caption has 1 to {space.length} words; received {len(words)}: {text!r}")
    index = [space.symbols.index(word) for word in words]
    return torch.tensor(index + [0] * (space.length - len(index)))
