"""TarFlow: causal over patches in both orders, one inverse by kept keys and by whole passes, and it learns."""

import pytest
import torch

import creo
from creo.errors import OptionError, SpaceError
from creo.flows import PatchAutoregressive
from creo.flows.tarflow import default_patch
from creo.spaces import Continuous, Ordinal


def layer(**options):
    torch.manual_seed(0)
    made = PatchAutoregressive((1, 4, 6), patch=2, width=8, depth=2, heads=2, **options).double()
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return made


@pytest.mark.parametrize("reverse", [False, True])
def test_a_patch_depends_on_itself_entry_by_entry_and_on_all_patches_before_it(reverse):
    made = layer(reverse=reverse)
    x = torch.randn(1, 1, 4, 6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: made.forward(v)[0], x).reshape(24, 24)
    patch = (torch.arange(4)[:, None] // 2 * 3 + torch.arange(6) // 2).flatten()
    before = patch[:, None] < patch if reverse else patch[:, None] > patch
    same = torch.eye(24, dtype=torch.bool)
    assert torch.equal(jacobian != 0, before | same)


def test_both_ways_to_invert_agree():
    made = layer(reverse=True).eval()
    y = torch.randn(3, 1, 4, 6, dtype=torch.float64)
    passes, steps = made.inverse(y), torch.no_grad()(made.inverse)(y)
    assert passes[0].requires_grad
    assert not steps[0].requires_grad
    for a, b in zip(passes, steps, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_default_patches():
    sizes = {(1, 2, 2): 1, (3, 4, 4): 1, (1, 8, 8): 2, (1, 28, 28): 4, (3, 32, 32): 4, (1, 9, 8): 1}
    assert {shape: default_patch(shape) for shape in sizes} == sizes


def test_what_lies_between_neighbours_is_learned():
    torch.manual_seed(0)
    row = torch.randn(4000, 1, 4, 1).cumsum(2).expand(-1, -1, -1, 4) + 0.1 * torch.randn(4000, 1, 4, 4)
    model = creo.build("tarflow", Continuous((1, 4, 4)), layers=2, width=16, depth=1)
    model.initialise(row)
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(80):
        optimiser.zero_grad()
        model.loss(row[torch.randint(4000, (128,))]).loss.backward()
        optimiser.step()
    flat = row.flatten(1).double()
    gaussian = torch.distributions.MultivariateNormal(flat.mean(0), torch.cov(flat.T))
    with torch.no_grad():
        gap = float((gaussian.log_prob(flat) - model.eval().log_prob(row).double()).mean())
    independent = torch.distributions.Normal(flat.mean(0), flat.std(0)).log_prob(flat).sum(1)
    assert gap < 0.25 * float((gaussian.log_prob(flat) - independent).mean())


def test_wrong_options_get_one_line():
    with pytest.raises(SpaceError, match="images"):
        creo.build("tarflow", Continuous((4,)))
    with pytest.raises(OptionError, match="patch must divide"):
        creo.build("tarflow", Ordinal((1, 4, 4), 4), patch=3)
    with pytest.raises(OptionError, match="layers and depth"):
        creo.build("tarflow", Ordinal((1, 4, 4), 4), depth=0)
