"""Binarised pictures: a pixel is 1 with probability grey / 255.

`NAME-binary` draws the training pictures anew whenever they are taken (Burda, Grosse, Salakhutdinov, "Importance
weighted autoencoders", 2016, https://arxiv.org/abs/1509.00519), validation and test pictures once with a fixed seed;
`NAME-binary-fixed` draws all three once. The fixed draws are creo's own, not the files of Larochelle and Murray
(2011), so likelihoods are comparable with published ones only up to that draw.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from creo.data.dataset import Data, Split
from creo.data.idx import grey
from creo.data.load import Request
from creo.model import seeded
from creo.spaces import Ordinal

SEEDS = {"train": 1, "valid": 2, "test": 3}


def binarise(x: Tensor) -> Tensor:
    """Bernoulli(x / 255) of grey levels uint8, exactly: of the 255 equally likely levels below 255, x are below x."""
    return (torch.randint(255, x.shape, dtype=torch.uint8) < x).to(torch.uint8)


def _once(split: Split, seed: int) -> Split:
    with seeded(seed):
        return Split(binarise(split.x), split.c)


def dynamic(request: Request) -> Data:
    """Training pictures binarised at each take from torch's global generator; validation and test once."""
    data = grey(request, request.name.removesuffix("-binary"))
    train = Split(data.train.store, data.train.c, transform=binarise)
    return _binary(data, train, "training pictures are binarised anew each time they are taken")


def fixed(request: Request) -> Data:
    """All pictures binarised once."""
    data = grey(request, request.name.removesuffix("-binary-fixed"))
    return _binary(data, _once(data.train, SEEDS["train"]), "training pictures binarised once, seed 1")


def _binary(data: Data, train: Split, note: str) -> Data:
    return replace(
        data,
        space=Ordinal((1, 28, 28), 2),
        train=train,
        valid=_once(data.valid, SEEDS["valid"]),
        test=_once(data.test, SEEDS["test"]),
        notes=(*data.notes, note, "validation and test pictures binarised once, seeds 2 and 3"),
    )
