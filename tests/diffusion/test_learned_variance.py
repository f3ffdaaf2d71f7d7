"""DDPM with learned variances: on Gaussians the best variance and the bound it gives are known."""

from itertools import pairwise

import pytest
import torch

from creo.diffusion import Mixture, time_grid
from creo.diffusion.bound import gaussian_reconstruction, variational_bound
from creo.diffusion.learned_variance import STEPS, ImprovedDDPM, interpolated
from creo.diffusion.paths import SteppedVP, cosine_betas
from creo.diffusion.solvers import nodes
from creo.diffusion.solvers.one_step import posterior_std
from creo.model import seeded
from creo.spaces import Continuous, Ordinal
from creo.testing import settle, tiny_data

D = torch.float64
S = 0.6
PATH = SteppedVP(cosine_betas(STEPS))


def true_variances(times):
    """Of the reverse chain of data N(0, S^2): the posterior's plus what is not known of x_0."""
    out = []
    for here, there in pairwise(nodes(PATH, times)):
        b = posterior_std(here, there) ** 2
        doubt = S**2 * here.sigma**2 / (here.alpha**2 * S**2 + here.sigma**2)
        out.append(b + (there.alpha * b / there.sigma**2) ** 2 * doubt)
    return torch.tensor(out, dtype=D)


def test_variances_as_a_function_and_as_numbers_give_one_bound():
    times, x = time_grid(PATH, 12), torch.tensor([[-0.5], [0.9]], dtype=D)
    denoise = Mixture(PATH, *(torch.tensor(v, dtype=D) for v in ([1.0], [[0.0]], [S])))
    numbers = true_variances(times)
    by_node = dict(zip((n.alpha for n in nodes(PATH, times)), numbers.tolist(), strict=False))
    values = [
        variational_bound(
            denoise, PATH, times, x, gaussian_reconstruction(x), variance=v, noise=torch.ones_like
        )
        for v in (numbers, lambda y, here, there: torch.full_like(y, by_node[here.alpha]))
    ]
    torch.testing.assert_close(values[0].steps, values[1].steps, rtol=1e-12, atol=1e-14)


def test_hybrid_loss_is_least_at_the_true_variances():
    """Of all shares w the one whose v is the reverse chain's own has the least divergence, at every kind of step."""
    model = ImprovedDDPM.for_space(Continuous((1,)), hidden=(8,)).double()
    shares = torch.linspace(-0.2, 1.2, 1401, dtype=D)[:, None]
    times = PATH.times()
    for i in (3, 40, 500, 900):
        here, there = nodes(PATH, times[[i, i - 1]])
        want = true_variances(times[[i, i - 1]])
        doubt = S**2 * here.sigma**2 / (here.alpha**2 * S**2 + here.sigma**2)
        error = torch.full_like(shares, doubt**0.5)  # its mean square is what the exact denoiser leaves
        t = times[i].expand(len(shares))
        best = shares[model._divergence(error, shares, t).argmin()]
        b = torch.tensor(posterior_std(here, there) ** 2, dtype=D)
        found = interpolated(best, b, b * (here.sigma / there.sigma) ** 2)
        exact = (want.log() - b.log()) / (2 * torch.tensor(here.sigma / there.sigma, dtype=D).log())
        assert best.item() == pytest.approx(exact.item(), abs=2e-3)
        torch.testing.assert_close(found, want, rtol=2e-3, atol=0)
    first = model._divergence(error[:3], shares[:3], times[:1].expand(3))
    assert (first == 0).all()


def test_the_loss_has_both_terms_and_the_second_moves_only_the_variances():
    space = Continuous((2,))
    x, _ = tiny_data(space)
    model = settle(ImprovedDDPM.for_space(space, hidden=(16,)), x)
    y, t = model.units(x), torch.full((len(x),), 0.4, dtype=D)
    with seeded(0):
        noisy = PATH.perturb(y, torch.randn_like(y), t)
    noise, share = model.heads(noisy, t, None)
    again = model._output(noisy, t, None)
    torch.testing.assert_close(noise, again)
    terms = model.loss(x)
    torch.testing.assert_close(terms.loss, terms.parts["denoising"] + terms.parts["variances"])
    slopes = torch.autograd.grad(
        model._divergence(y - noisy, share, t).mean(), [noise, share], allow_unused=True
    )
    assert slopes[0] is None
    assert slopes[1].abs().max() > 0


def test_trained_variances_tighten_the_bound():
    """Nearly normal levels, for which the larger variances are nearly right: learned ones find that out."""
    space = Ordinal((2,), 9)
    with seeded(0):
        x = (4.5 + 1.5 * torch.randn(2000, 2)).clamp(0, 8).to(torch.uint8)
        model = ImprovedDDPM.for_space(space, hidden=(48, 48))
        model.initialise(x)
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(200):
            optimiser.zero_grad()
            model.loss(x[torch.randint(2000, (256,))]).loss.backward()
            optimiser.step()
        model.eval()
        small, large, learned = (
            {k: model.bound(x[:100], steps=k, variance=v).log_prob.mean() for k in (50, STEPS)}
            for v in ("small", "large", "learned")
        )
        drawn = model.sample(1000, steps=8)
    assert learned[50] > small[50] + 10
    assert learned[STEPS] > small[STEPS] + 0.3
    assert learned[STEPS] > large[STEPS] - 0.1
    assert (drawn.float().mean(0) - x.float().mean(0)).abs().max() < 0.3
    assert (drawn.float().std(0) - x.float().std(0)).abs().max() < 0.4
    calls = []
    model.network.register_forward_hook(lambda *_: calls.append(1))
    model.sample(3, steps=7)
    assert len(calls) == 7
    calls.clear()
    seen = model.trajectory(3, steps=5, seeds=[1, 2, 3])
    assert seen.points.shape == (5, 3, 2)
    assert seen.evaluations == len(calls) == 5
    assert torch.equal(seen.samples[1:2], model.sample(1, steps=5, seeds=[2]))
