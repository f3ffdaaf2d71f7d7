"""The pictures of a model's family: every one is drawn, and shows something."""

from __future__ import annotations

import io

from torch import Tensor

from creo.model import GenerativeModel, seeded
from creo.testing.failure import require


def check_pictures(model: GenerativeModel, x: Tensor, c: Tensor | None = None) -> None:
    """Draw every picture the model offers; each is a figure or an image of more than one colour.

    Args:
        model: the model.
        x: raw data, (B, *space.shape).
        c: their conditions, (B, *condition.shape), or None.
    """
    from PIL import Image

    model.eval()
    for name, draw in model.pictures(x, c).items():
        with seeded(0):
            picture = draw()
        if not isinstance(picture, Image.Image):
            file = io.BytesIO()
            picture.savefig(file, format="png", dpi=40)
            picture = Image.open(file)
        colours = picture.convert("RGB").getcolors(maxcolors=1)
        require(colours is None, f"the picture {name!r} of {type(model).__name__} is blank")
