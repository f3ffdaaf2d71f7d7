r"""Inception-v3 in the form that FID means: 2048 features of a picture, and p(y | x) over its 1008 classes.

The network of Szegedy et al. 2016 with the weights of the original TensorFlow graph (2015-12-05), which differs from
later ports in three places: average pools do not count the padding, the pool of the last block takes maxima, and
there are 1008 outputs. Pictures in [0, 1] are resized to 299 x 299 (bilinear) and scaled to [-1, 1]; greys are
repeated in three colours. Widths are those of the weights, so the code says only how blocks are connected. A name of
the weights is `BLOCK.BRANCH.conv.weight`, with batch normalisation beside it, which is folded into the convolution.

Sources: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567; Heusel et al. 2017, https://arxiv.org/abs/1706.08500.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from creo.errors import DataError
from creo.evaluation.pixels import in_batches, picture_shape, unit
from creo.evaluation.weights import Source, Weights, read_weights
from creo.spaces import Space

SOURCE = Source(
    "inception",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)
_VALID = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3")  # convolutions of stride 1 or 2 without padding
_EPS = 1e-3


def folded(weights: Weights) -> dict[str, tuple[Tensor, Tensor]]:
    """Name of a convolution -> kernel and bias, batch normalisation included."""
    found = {}
    for name, kernel in weights.items():
        if name.endswith(".conv.weight"):
            base = name.removesuffix(".conv.weight")
            gain, shift, mean, variance = (
                weights[f"{base}.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gain / (variance + _EPS).sqrt()
            found[base] = (kernel * scale[:, None, None, None], shift - mean * scale)
    return found


@dataclass(frozen=True)
class Network:
    """The graph, over convolutions by name."""

    convs: Mapping[str, tuple[Tensor, Tensor]]

    def conv(self, x: Tensor, *names: str, stride: int = 1) -> Tensor:
        """Convolutions with ReLU, one after the other; `stride` is the last one's, which then has no padding."""
        for name in names:
            kernel, bias = self.convs[name]
            step = stride if name == names[-1] else 1
            valid = step > 1 or name in _VALID
            padding = (0, 0) if valid else (kernel.shape[2] // 2, kernel.shape[3] // 2)
            x = F.conv2d(x, kernel, bias, stride=step, padding=padding).relu()
        return x

    def chain(self, x: Tensor, block: str, branch: str, length: int, *, stride: int = 1) -> Tensor:
        """BLOCK.BRANCH_1 to BLOCK.BRANCH_length."""
        return self.conv(x, *(f"{block}.{branch}_{i + 1}" for i in range(length)), stride=stride)

    def pooled(self, x: Tensor, block: str, *, largest: bool = False) -> Tensor:
        """The branch that pools 3 x 3 neighbours."""
        near = F.max_pool2d(x, 3, 1, 1) if largest else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return self.conv(near, f"{block}.branch_pool")

    def coarse(self, x: Tensor, block: str) -> Tensor:
        """35 x 35: 1x1, 5x5, two 3x3, pool."""
        five, threes = self.chain(x, block, "branch5x5", 2), self.chain(x, block, "branch3x3dbl", 3)
        return torch.cat([self.conv(x, f"{block}.branch1x1"), five, threes, self.pooled(x, block)], 1)

    def middle(self, x: Tensor, block: str) -> Tensor:
        """17 x 17: 1x1, 7x7 as 1x7 and 7x1, twice that, pool."""
        once, twice = self.chain(x, block, "branch7x7", 3), self.chain(x, block, "branch7x7dbl", 5)
        return torch.cat([self.conv(x, f"{block}.branch1x1"), once, twice, self.pooled(x, block)], 1)

    def fine(self, x: Tensor, block: str, *, largest: bool) -> Tensor:
        """8 x 8: 1x1, 3x3 as 1x3 beside 3x1, the same after another 3x3, pool."""
        one, two = self.chain(x, block, "branch3x3", 1), self.chain(x, block, "branch3x3dbl", 2)
        split = [self.conv(one, f"{block}.branch3x3_2{end}") for end in "ab"]
        split += [self.conv(two, f"{block}.branch3x3dbl_3{end}") for end in "ab"]
        pool = self.pooled(x, block, largest=largest)
        return torch.cat([self.conv(x, f"{block}.branch1x1"), *split, pool], 1)

    def __call__(self, x: Tensor) -> Tensor:
        """Pictures (B, 3, 299, 299) in [-1, 1] to features (B, 2048)."""
        x = self.conv(x, "Conv2d_1a_3x3", stride=2)
        x = F.max_pool2d(self.conv(x, "Conv2d_2a_3x3", "Conv2d_2b_3x3"), 3, 2)
        x = F.max_pool2d(self.conv(x, "Conv2d_3b_1x1", "Conv2d_4a_3x3"), 3, 2)
        for letter in "bcd":
            x = self.coarse(x, f"Mixed_5{letter}")
        three = self.conv(x, "Mixed_6a.branch3x3", stride=2)
        threes = self.chain(x, "Mixed_6a", "branch3x3dbl", 3, stride=2)
        x = torch.cat([three, threes, F.max_pool2d(x, 3, 2)], 1)
        for letter in "bcde":
            x = self.middle(x, f"Mixed_6{letter}")
        three = self.chain(x, "Mixed_7a", "branch3x3", 2, stride=2)
        seven = self.chain(x, "Mixed_7a", "branch7x7x3", 4, stride=2)
        x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
        x = self.fine(self.fine(x, "Mixed_7b", largest=False), "Mixed_7c", largest=True)
        return x.mean((2, 3))


@dataclass(frozen=True, eq=False)
class Inception:
    """Features and class probabilities; build it with `inception`."""

    space: Space
    network: Network
    head: Tensor
    key: str
    name: str = "inception"
    costly: bool = True

    def _prepared(self, x: Tensor) -> Tensor:
        x = unit(x, self.space)
        x = x.expand(-1, 3, -1, -1)
        return 2 * F.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1

    def __call__(self, x: Tensor) -> Tensor:
        return in_batches(lambda part: self.network(self._prepared(part)), x.cpu(), batch=32)

    def probabilities(self, x: Tensor) -> Tensor:
        """p(y | x), (B, classes); like the original graph's, without the bias of the last layer."""
        return (self(x) @ self.head.T).softmax(1)


def inception(space: Space, target: str = "") -> Inception:
    """Inception-v3 with the weights of a file.

    Raises:
        SpaceError: not pictures. DataError: no weights, or others.
    """
    picture_shape(space, "inception")
    path = SOURCE.file(target)
    weights, key = read_weights(path)
    try:
        network, head = Network(folded(weights)), weights["fc.weight"]
        with torch.no_grad():
            network(torch.zeros(1, 3, 299, 299))
    except (KeyError, RuntimeError) as error:
        raise DataError(f"{path} does not hold Inception-v3 ({error}); get {SOURCE.origin}") from None
    return Inception(space, network, head, key)
