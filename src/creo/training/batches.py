"""The order of the data: batch k of an endless sequence, a function of the seed and k alone.

Epoch e visits the training set in a random permutation drawn from (seed, e), without its last incomplete batch.
Nothing has to be remembered to go on after a kill but the number of batches taken. With W processes, process r
takes rows r, r + W, ... of each global batch.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from creo.data.dataset import Split
from creo.errors import OptionError

#: A split of at most this many bytes is copied to the accelerator whole.
RESIDENT_BYTES = 2 << 30


class Batches:
    """Batches of a split.

    Args:
        split: the training data.
        batch_size: examples of a global batch (at most the whole split).
        seed: of the order.
        conditional: whether conditions are handed out.
        device: where batches go; a split that is in memory and small enough is moved there once.
        rank, world: this process and the number of processes.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int,
        conditional: bool,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.size = min(batch_size, len(split) - len(split) % world)
        if self.size % world or self.size == 0:
            raise OptionError(f"a batch of {self.size} cannot be shared equally by {world} processes")
        self.per_epoch = len(split) // self.size
        self.seed, self.conditional, self.device, self.rank, self.world = (
            seed,
            conditional,
            device,
            rank,
            world,
        )
        self.split = _resident(split, device)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._reader = None if split.in_memory else ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[Tensor]] | None = None

    def index(self, k: int) -> Tensor:
        """Positions in the split of this process's part of batch k."""
        epoch, i = divmod(k, self.per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(len(self.split), generator=generator)
            self._epoch, self._order = epoch, order.to(self.device) if self.split.in_memory else order
        batch = self._order[i * self.size : (i + 1) * self.size]
        return batch if self.world == 1 else batch[self.rank :: self.world]

    def __call__(self, k: int) -> tuple[Tensor, Tensor | None]:
        """Batch k as (x, c) on the device."""
        index = self.index(k)
        if self._reader is None:
            x, c = self.split.take(index)
            return x, c if self.conditional else None
        x = self._read_ahead(k, index)
        if self.split.transform is not None:
            x = self.split.transform(x)
        c = self.split.conditions(index) if self.conditional else None
        return x.to(self.device), None if c is None else c.to(self.device)

    def _read_ahead(self, k: int, index: Tensor) -> Tensor:
        """Examples of batch k, decoded in the background while batch k - 1 was computed with."""
        reader, read = self._reader, self.split.store.__getitem__
        if reader is None:
            return read(index)
        at, future = self._ahead if self._ahead is not None else (-1, None)
        x = future.result() if future is not None and at == k else read(index)
        self._ahead = (k + 1, reader.submit(read, self.index(k + 1)))
        return x


def _resident(split: Split, device: torch.device) -> Split:
    if device.type == "cpu" or not isinstance(split.store, Tensor):
        return split
    if split.store.numel() * split.store.element_size() > RESIDENT_BYTES:
        return split
    c = None if split.c is None else split.c.to(device)
    return Split(
        split.store.to(device), c, name=split.name, transform=split.transform, c_transform=split.c_transform
    )
