"""Causal attention against its formula in float64, on either way of computing it."""

import pytest
import torch

from creo.nn import attention
from creo.nn.attention import causal_attention


def by_hand(q, k, v):
    """y of the module's docstring, place by place."""
    rows = [
        ((q[..., i : i + 1, :] * k[..., : i + 1, :]).sum(-1) / q.shape[-1] ** 0.5).softmax(-1).unsqueeze(-2)
        @ v[..., : i + 1, :]
        for i in range(q.shape[-2])
    ]
    return torch.cat(rows, -2)


@pytest.mark.parametrize("short", [0, 128], ids=["torch's", "as written"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.bfloat16, 0.02)], ids=str)
def test_values_and_gradients(monkeypatch, short, dtype, error):
    """bfloat16 keeps 8 bits: weights and values are each wrong by 2^-9 of themselves, values here are up to 4."""
    monkeypatch.setattr(attention, "SHORT", short)
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, 9, 4).to(dtype).requires_grad_() for _ in range(3)]
    exact = [u.detach().double().requires_grad_() for u in inputs]
    pull = torch.randn(2, 3, 9, 4).to(dtype)
    y, want = causal_attention(*inputs), by_hand(*exact)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), want, rtol=0, atol=error)
    slopes = torch.autograd.grad((y * pull).sum(), inputs)
    wanted = torch.autograd.grad((want * pull.double()).sum(), exact)
    for slope, right in zip(slopes, wanted, strict=True):
        torch.testing.assert_close(slope.double(), right, rtol=0, atol=3 * error)
