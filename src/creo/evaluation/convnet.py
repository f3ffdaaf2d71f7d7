r"""Features from small convolutional networks: one with random weights, one trained on a data set's own labels.

- `random-convnet`: weights drawn with seed 0 and never trained. Random convolutions see edges and textures of any
  pictures, and their distances are known to rank models sensibly without favouring any class of pictures.
- `NAME-cnn` (`cnn`: of the data at hand): a network trained to tell the labels of data set NAME apart; features are
  the 64 activations before its last layer. It knows what its data set is about: that a three is not an eight. It is
  trained once for `STEPS` steps, and kept on disk under a key of data, labels and protocol.

A classifier also gives p(y | x), from which the Inception-style score is computed (`score.py`).

Sources: Naeem et al. 2020, https://arxiv.org/abs/2002.09797 (random embeddings); Heusel et al. 2017.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from creo.data.dataset import Data, Split
from creo.errors import SpaceError
from creo.evaluation.kept import digest, kept
from creo.evaluation.pixels import in_batches, picture_shape, unit
from creo.model import seeded
from creo.nn.conv import ConvEncoder
from creo.spaces import Categories, Space

STEPS, BATCH, RATE, SEED = 1000, 128, 2e-3, 0
PROTOCOL = ("ConvEncoder 16 -> 64 -> classes", "AdamW", "one cycle", STEPS, BATCH, RATE, SEED)


@dataclass(frozen=True, eq=False)
class RandomConvnet:
    """256 outputs of an untrained `ConvEncoder`."""

    space: Space
    network: ConvEncoder
    key: str
    name: str = "random-convnet"
    costly: bool = False

    @classmethod
    def of(cls, space: Space) -> Self:
        """The network for pictures of a space; always the same one."""
        with seeded(SEED):
            network = ConvEncoder(picture_shape(space, cls.name), 256, channels=32)
        return cls(space, network, digest([repr(space), *network.state_dict().values()]))

    def __call__(self, x: Tensor) -> Tensor:
        return in_batches(self.network, unit(x.cpu(), self.space))


class Classifier(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] to logits (B, classes), through 64 features."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.encoder, self.out = ConvEncoder(shape, 64, channels=16), nn.Linear(64, classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, 64), not negative."""
        return self.encoder(x).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


@dataclass(frozen=True, eq=False)
class ClassifierFeatures:
    """What a trained classifier makes of pictures; `accuracy` is that on its data set's test split."""

    name: str
    key: str
    space: Space
    network: Classifier
    accuracy: float
    costly: bool = True

    @property
    def note(self) -> str:
        """How good the classifier is."""
        return f"{self.name}: test accuracy {self.accuracy:.4f}"

    def __call__(self, x: Tensor) -> Tensor:
        return in_batches(self.network.features, unit(x.cpu(), self.space))

    def probabilities(self, x: Tensor) -> Tensor:
        """p(y | x), (B, classes)."""
        return in_batches(self.network, unit(x.cpu(), self.space)).softmax(1)


def classifier_features(data: Data) -> ClassifierFeatures:
    """The classifier of a data set's labels, trained now or found where it was kept.

    Raises:
        SpaceError: the data set has no labels, or is not of pictures.
    """
    name = f"{data.name}-cnn"
    shape = picture_shape(data.space, name)
    if not isinstance(data.condition, Categories) or data.train.c is None:
        raise SpaceError(
            f"features {name} need labels, and {data.name} has none: use random-convnet or standardised"
        )
    network = Classifier(shape, data.condition.size)
    protocol = [data.content_hash, repr(data.space), *(s.c for s in (data.train, data.test)), *PROTOCOL]
    found = kept(_slug(name), protocol, lambda: _trained(network, data, name))
    accuracy = float(found.pop("accuracy"))
    network.load_state_dict(found)
    network.eval()
    key = digest(tensor for _, tensor in sorted(found.items()))
    return ClassifierFeatures(name, key, data.space, network, accuracy)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "-" for c in name)


def _trained(network: Classifier, data: Data, name: str) -> dict[str, Tensor]:
    """Weights and test accuracy after training on the data set's own labels; says so on standard error."""
    print(f"training {name}, once: {STEPS} steps ...", file=sys.stderr, flush=True)  # noqa: T201
    with seeded(SEED):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        _fit(network, data)
    right = accuracy(network.eval(), data.test, data.space)
    print(f"{name}: test accuracy {right:.4f}", file=sys.stderr, flush=True)  # noqa: T201
    return {**network.state_dict(), "accuracy": torch.tensor(right, dtype=torch.float64)}


def _labelled(split: Split, index: Tensor) -> tuple[Tensor, Tensor]:
    x, c = split.take(index)
    if c is None:
        raise SpaceError(f"the {split.name} split has no labels")
    return x, c


def _fit(network: Classifier, data: Data) -> None:
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS)
    for _ in range(STEPS):
        x, c = _labelled(data.train, torch.randint(len(data.train), (BATCH,)))
        loss = cross_entropy(network(unit(x, data.space)), c)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


def accuracy(network: Classifier, split: Split, space: Space) -> float:
    """Share of a labelled split that the classifier gets right."""
    x, c = _labelled(split, torch.arange(len(split)))
    return float(in_batches(network, unit(x, space)).argmax(1).eq(c).double().mean())
