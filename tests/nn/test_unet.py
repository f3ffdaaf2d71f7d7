"""The U-Net and its fused normalisation against PyTorch's own kernels and autograd in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from creo.nn.group_norm import EPS, Norm, _RowNorm, plain
from creo.nn.unet import UNet


def rows(batch=3, pixels=4, channels=8):
    torch.manual_seed(0)
    sizes = ((batch, pixels, channels), (batch, 1, channels), (1, 1, channels))
    return [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in sizes]


@pytest.mark.parametrize("silu", [True, False])
def test_fused_norm_and_both_derivatives(silu, monkeypatch):
    monkeypatch.setattr("creo.nn.group_norm.CACHED", 2 * 4 * 8)  # parts of two images, the last of one

    def fused(*a):
        return _RowNorm.apply(*a, 4, silu)

    x, w, b = rows()
    torch.testing.assert_close(fused(x, w, b), plain(x, w, b, 4, silu), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(fused, (x, w, b))
    assert torch.autograd.gradgradcheck(fused, (x, w, b))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_norm_is_group_norm_modulated(layout, dtype):
    torch.manual_seed(0)
    norm, x = Norm(24), 3 + torch.randn(4, 24, 6, 5, dtype=dtype).to(memory_format=layout)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    scale, shift = torch.randn(4, 24), torch.randn(4, 24)
    one = F.group_norm(x.double(), 8, norm.weight.double(), norm.bias.double(), EPS)
    want = F.silu(one * (1 + scale[..., None, None]) + shift[..., None, None])
    error = (
        norm.to(torch.float64 if dtype == torch.float64 else torch.float32)(x, torch.cat([scale, shift], 1))
        - want
    ).abs()
    assert error.max() < (
        1e-6 if dtype == torch.float64 else 0.15
    )  # bfloat16 has 8 bits: 2^-8 of values up to 30


def test_large_offsets_do_not_cancel():
    x = 1e4 + torch.randn(2, 8, 16, 16).to(memory_format=torch.channels_last)
    y = Norm(8, silu=False)(x)
    assert abs(float(y.detach().std()) - 1) < 1e-2


def untrivial(net):
    torch.manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return net


def test_training_in_bfloat16_is_near_float32_and_evaluation_is_float32():
    nets = [UNet((1, 12, 12), channels=16, attend=(6,), precision=p) for p in ("float32", "bfloat16")]
    untrivial(nets[0])
    nets[1].load_state_dict(nets[0].state_dict())
    x, u = torch.randn(8, 1, 12, 12), torch.randn(8)
    full, half = (net(x, u) for net in nets)
    assert half.dtype == torch.float32
    assert 0 < (full - half).abs().max() < 0.05 * full.abs().max()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in nets[1].parameters())
    torch.testing.assert_close(nets[0].eval()(x, u), nets[1].eval()(x, u), rtol=0, atol=0)


def test_layouts_agree():
    nets = [
        UNet((3, 9, 7), channels=8, attend=4, precision="float32", channels_last=c) for c in (True, False)
    ]
    untrivial(nets[0].double())
    nets[1].double().load_state_dict(nets[0].state_dict())
    x, u = torch.randn(2, 3, 9, 7, dtype=torch.float64), torch.randn(2, dtype=torch.float64)
    torch.testing.assert_close(nets[0](x, u), nets[1](x, u), rtol=1e-9, atol=1e-9)


def test_attention_sits_where_asked():
    def attending(attend):
        net = UNet((1, 28, 28), channels=8, blocks=1, attend=attend)
        return [type(b.attention).__name__ == "Attention" for row in (*net.down, [net.middle]) for b in row]

    assert attending(0) == [False, False, False, False]
    assert attending(16) == [False, True, True, True]
    assert attending((14,)) == [False, True, False, True]
