"""Muon against singular values, torch's own Muon and AdamW."""

import pytest
import torch
from torch import nn

import creo
from creo.model import TrainingDefaults
from creo.training.adamw import AdamW
from creo.training.muon import Muon, matrices, orthogonal


class Mixed(nn.Module):
    """Two equal matrices, a tall one, a convolution in channels-last order, an embedding and free parameters."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.tall = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(3, 9, bias=False)
        self.kernel = nn.Conv2d(2, 5, 3).to(memory_format=torch.channels_last)
        self.embedding = nn.Embedding(7, 4)
        self.table = nn.Parameter(torch.randn(5, 5))


@pytest.mark.parametrize("shape", [(5, 5), (4, 30), (30, 4), (3, 4, 30)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 0.1)]
)
def test_it_keeps_singular_vectors_and_levels_singular_values(shape, dtype, tolerance):
    torch.manual_seed(0)
    u, _, vt = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    s = torch.linspace(1.0, 0.1, u.shape[-1], dtype=torch.float64)
    found = orthogonal((3 * u * s) @ vt, dtype)
    inside = u.mT @ found @ vt.mT  # diagonal if and only if the singular vectors are the same
    levels = inside.diagonal(dim1=-2, dim2=-1)
    assert (inside - torch.diag_embed(levels)).abs().max() < tolerance
    assert levels.min() > 0.65 - tolerance
    assert levels.max() < 1.25 + tolerance


def test_a_matrix_of_zeros_moves_nowhere():
    assert (orthogonal(torch.zeros(3, 4)) == 0).all()


def test_matrices_are_weights_of_linear_maps_only():
    model = Mixed()
    found = {id(p) for p in matrices(model)}
    assert found == {id(m.weight) for m in (model.first, model.second, model.tall, model.kernel)}


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_it_is_torchs_muon_for_matrices_and_adamw_for_the_rest(decay):
    torch.manual_seed(0)
    ours, theirs = Mixed(), Mixed()
    theirs.load_state_dict(ours.state_dict())
    settings = TrainingDefaults(weight_decay=decay)
    mine = Muon(list(ours.parameters()), settings, ours, torch.bfloat16)
    flat = [nn.Parameter(p.detach().flatten(1)) for p in matrices(theirs)]
    muon = torch.optim.Muon(flat, lr=1.0, weight_decay=decay / 10, momentum=0.95, adjust_lr_fn="original")
    rest = [p for p in theirs.parameters() if id(p) not in {id(q) for q in matrices(theirs)}]
    adam = AdamW(rest, settings)
    for k in range(5):
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            skipped = name == "second.weight" and k == 2
            a.grad = None if skipped else torch.randn_like(a)
            b.grad = None if skipped else a.grad.clone()
        for p, q in zip(flat, matrices(theirs), strict=True):
            p.grad = None if q.grad is None else q.grad.flatten(1)
        mine.step(0.01 * (k + 1))
        muon.param_groups[0]["lr"] = 10 * 0.01 * (k + 1)
        muon.step()
        adam.step(0.01 * (k + 1))
    for a, b in zip(matrices(ours), flat, strict=True):
        way = 10 * 0.01 * 15 * max(1.0, b.shape[0] / b.shape[1]) ** 0.5  # of all five steps
        torch.testing.assert_close(
            a.flatten(1), b, rtol=0, atol=0.02 * way
        )  # bfloat16 errs by 1 in 100 of it
    torch.testing.assert_close(ours.table, theirs.table, rtol=0, atol=0)
    torch.testing.assert_close(ours.embedding.weight, theirs.embedding.weight, rtol=0, atol=0)


def test_a_run_with_muon_resumes_to_the_same_bits(tmp_path):
    data = creo.load_data("digits")

    def fresh():
        torch.manual_seed(0)
        return creo.build("vae", data.space, hidden=16, latent=2)

    options = {"optimiser": "muon", "schedule": "constant", "progress": False, "eval_every": 20}
    whole = creo.fit(fresh(), data, steps=20, **options)
    creo.fit(fresh(), data, steps=10, out=tmp_path / "half", **options)
    more = creo.resume(tmp_path / "half", steps=20, progress=False)
    for a, b in zip(whole.model.state_dict().values(), more.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
