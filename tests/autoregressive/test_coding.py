"""How networks see values: the codes by hand, and a learned code against the one-hot network that it abbreviates."""

import pytest
import torch

from creo.autoregressive import GatedPixelCNN
from creo.autoregressive.coding import Coding, Learned, coding_name, coding_of
from creo.errors import OptionError
from creo.model import seeded
from creo.spaces import Ordinal, Tokens
from creo.testing.tiny import shake


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("onehot", [[1, 0, 0, 0], [0, 0, 1, 0]]),
        ("thermometer", [[-1, -1, -1], [1, 1, -1]]),
        ("scaled", [[-1], [1 / 3]]),
    ],
)
def test_fixed_codes_by_hand(name, codes):
    coding, want = Coding(name, 4), torch.tensor(codes, dtype=torch.float64)
    assert coding.size == want.shape[1]
    torch.testing.assert_close(coding(torch.tensor([0, 2]), torch.float64), want)


def test_a_learned_code_is_a_row_of_its_table_and_so_is_its_gradient():
    coding = Learned(5, 3).double()
    v = torch.tensor([[4, 1], [1, 0]])
    codes = coding(v, torch.float64)
    assert torch.equal(codes, coding.table.detach()[v])
    (slope,) = torch.autograd.grad(codes.sum(), coding.table)
    assert torch.equal(slope[:, 0], torch.bincount(v.flatten(), minlength=5).double())


def test_auto_goes_by_order_and_number():
    assert coding_name(Tokens(3, 4), "auto") == "onehot"
    assert coding_name(Ordinal((3,), 32), "auto") == "thermometer"
    assert coding_name(Ordinal((3,), 33), "auto") == "scaled"
    learned = coding_of(Tokens(3, 4), "learned", 4, 7)
    assert (learned.levels, learned.size, learned.fixed.name) == (4, 7, "onehot")
    with pytest.raises(OptionError, match="without an order"):
        coding_of(Tokens(3, 4), "thermometer", 4, 7)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_learned_code_abbreviates_one_hot_numbers(channels):
    """The same network on one-hot codes has E W in place of W in its first layer, level by level of each channel."""
    space = Ordinal((channels, 4, 5), 6)
    options = {"width": 8, "layers": 2, "head": "categorical"}
    with seeded(0):
        short = shake(GatedPixelCNN.for_space(space, coding="learned", **options), 0.3).double().eval()
        long = GatedPixelCNN.for_space(space, coding="onehot", **options).double().eval()
    weights = {n: p for n, p in short.state_dict().items() if not n.startswith("coding.")}
    for part in ("vertical", "horizontal"):
        name = f"network.layers.0.{part}.weight"
        split = weights[name].unflatten(1, (channels, -1))
        weights[name] = torch.einsum("ocwij,lw->oclij", split, short.coding.table).flatten(1, 2)
    long.load_state_dict(weights)
    x = torch.randint(6, (7, *space.shape), dtype=torch.uint8)
    torch.testing.assert_close(short.log_prob(x), long.log_prob(x), rtol=1e-12, atol=0)
