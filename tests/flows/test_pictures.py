"""Pictures of flows on the plane: which models have them, and that what is drawn is where the layers put it."""

import numpy as np
import pytest
import torch

import creo
from creo.flows.pictures import layers_picture, noise_grid, stages
from creo.spaces import Categories, Continuous, Ordinal


def test_stages_go_from_data_to_noise():
    assert [stages(n) for n in (1, 2, 9)] == [[0, 1], [0, 1, 2], [0, 2, 4, 7, 9]]


def test_who_has_which_pictures():
    x = torch.randn(20, 2)
    assert set(creo.build("nsf", Continuous((2,))).pictures(x)) == {"layers"}
    assert set(creo.build("cnf", Continuous((2,))).pictures(x)) == {"layers", "trajectories"}
    assert not creo.build("maf", Continuous((3,))).pictures(torch.randn(5, 3))
    assert not creo.build("maf", Ordinal((2,), 4)).pictures(torch.randint(4, (5, 2)))


@pytest.mark.parametrize("conditional", [False, True])
def test_grid_points_and_density_of_the_first_panel_are_the_model_s(conditional):
    torch.manual_seed(0)
    model = creo.build("maf", Continuous((2,)), Categories(3) if conditional else None, layers=2)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x, c = torch.randn(20, 2), torch.ones(20, dtype=torch.long) if conditional else None
    e = model._embed(c)
    axes = layers_picture(model.flow, x, e).axes
    drawn = torch.tensor(np.stack([line.get_xydata() for line in axes[0].lines]))
    at = noise_grid().flatten(0, 1)
    with torch.no_grad():
        there, _ = model.inverse(at, None if c is None else c[:1].expand(len(at)))
    torch.testing.assert_close(drawn.flatten(0, 1).float(), there, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(axes[-1].lines[0].get_xydata(), noise_grid()[0], rtol=1e-6)
    np.testing.assert_allclose(axes[0].collections[-1].get_offsets(), x, rtol=1e-6)
    assert [a.get_title() for a in axes] == ["data", "after 1 of 3 layers", "after 2 of 3 layers", "noise"]
