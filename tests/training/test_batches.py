"""The order of the data is a function of the seed and the batch's number alone."""

import pytest
import torch

from creo.data.dataset import Split
from creo.errors import OptionError
from creo.training.batches import Batches

CPU = torch.device("cpu")


def batches(n=103, size=10, seed=0, **options):
    c = torch.arange(n) % 3
    return Batches(Split(torch.arange(n), c), size, seed=seed, conditional=True, device=CPU, **options)


def test_an_epoch_visits_every_example_once():
    take = batches()
    seen = torch.cat([take(k)[0] for k in range(take.per_epoch)])
    assert len(seen) == 100
    assert len(seen.unique()) == 100


def test_conditions_come_along():
    for k in (0, 5, 17):
        x, c = batches()(k)
        assert torch.equal(c, x % 3)


def test_order_needs_no_memory_and_differs_by_seed_and_epoch():
    a, b = batches(), batches()
    forward = [a(k)[0] for k in range(25)]
    assert torch.equal(b(24)[0], forward[24])  # asked for at once, in another order
    assert torch.equal(b(3)[0], forward[3])
    assert not torch.equal(forward[0], forward[10])
    assert not torch.equal(batches(seed=1)(0)[0], forward[0])


def test_processes_share_the_global_batch():
    whole = batches()(4)[0]
    parts = [batches(rank=r, world=2)(4)[0] for r in (0, 1)]
    assert torch.equal(torch.stack(parts, 1).flatten(), whole)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(OptionError, match="shared equally by 3"):
        batches(rank=0, world=3)


def test_small_data_gives_smaller_batches():
    assert batches(n=4, size=10)(0)[0].shape == (4,)


class Reader:
    """A store that is not a tensor, and counts what is read."""

    def __init__(self, n):
        self.n, self.read = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.read.append(index.clone())
        return index * 10


def test_streamed_data_comes_in_the_same_order_and_is_read_ahead_once():
    store = Reader(103)
    stream = Batches(Split(store, transform=lambda x: x + 1), 10, seed=0, conditional=False, device=CPU)
    resident = batches()
    for k in range(25):
        x, c = stream(k)
        assert c is None
        assert torch.equal(x, resident(k)[0] * 10 + 1)
    stream._reader.shutdown()
    assert len(store.read) == 26  # each batch once, and one ahead
