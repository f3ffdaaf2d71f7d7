"""DiT: starts as zero, keeps shapes, every pixel reaches every other; attention against the fused kernel."""

import pytest
import torch
import torch.nn.functional as F

from creo import build
from creo.errors import OptionError
from creo.nn.dit import Attention, DiT
from creo.spaces import Continuous


def test_attention_is_scaled_dot_product_attention():
    torch.manual_seed(0)
    layer, h = Attention(128).double(), torch.randn(3, 10, 128, dtype=torch.float64)
    q, k, v = (a.unflatten(-1, (2, 64)).transpose(1, 2) for a in layer.qkv(h).chunk(3, -1))
    want = layer.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(h), want, rtol=1e-10, atol=1e-12)


def test_starts_at_zero_and_every_pixel_reaches_every_other():
    torch.manual_seed(0)
    net = DiT((3, 6, 4), patch=2, width=32, layers=2, context=5).double()
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64, requires_grad=True)
    u, e = torch.randn(1, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    assert not net(x, u, e).any()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    y = net(x, u, e)
    assert y.shape == x.shape
    slope = torch.autograd.grad(y[0, 1, 5, 3], x, retain_graph=True)[0]
    assert (slope[0] != 0).all()
    assert not slope[1].any()
    torch.testing.assert_close(net(x, u.expand(2), e), y)  # one noise level for all is that level for each


def test_a_diffusion_model_with_it_learns():
    torch.manual_seed(0)
    model = build("flow-matching", Continuous((1, 4, 4)), network="dit", channels=4, blocks=1)
    x = torch.randn(256, 1, 1, 1) * torch.ones(1, 1, 4, 4)
    model.initialise(x)
    adam, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(60):
        loss = model.loss(x).loss
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    with pytest.raises(OptionError, match="DiT"):
        build("flow-matching", Continuous((3,)), network="dit")
