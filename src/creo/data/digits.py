"""scikit-learn's handwritten digits: 1797 pictures of 8 x 8 with 17 grey levels, and their labels.

Split as in the textbook by Tomczak, "Deep Generative Modeling" (2022): the first 1000 for training, the next 350 for
validation, the last 447 for testing. The data are the test part of the UCI set of Alpaydin and Kaynak (1998),
https://doi.org/10.24432/C50P49, and come with scikit-learn: no download.
"""

from __future__ import annotations

import torch

from creo.data.dataset import Data, Split
from creo.data.listing import find_data
from creo.data.load import Request
from creo.spaces import Categories, Ordinal

TRAIN, VALID = 1000, 350


def load(request: Request) -> Data:
    """The digits with labels as condition."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images).round().to(torch.uint8).reshape(-1, 1, 8, 8)
    c = torch.from_numpy(labels).to(torch.int64)
    parts = (slice(0, TRAIN), slice(TRAIN, TRAIN + VALID), slice(TRAIN + VALID, None))
    train, valid, test = (Split(x[p].clone(), c[p].clone()) for p in parts)
    entry = find_data(request.name)
    return Data(
        request.spec,
        Ordinal((1, 8, 8), 17),
        train,
        valid,
        test,
        condition=Categories(10, tuple("0123456789")),
        source=entry.source,
        licence=entry.licence,
        notes=("split in the published order: first 1000, next 350, last 447",),
    )
