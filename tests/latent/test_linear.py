"""Linear latent models: PPCA, factor analysis, linear autoencoder against closed forms, sklearn and the bound."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from creo.errors import OptionError, SpaceError
from creo.latent import PPCA, Autoencoder, importance_weighted_bound
from creo.spaces import Categories, Continuous, Ordinal, Tokens

D = 5


def data(n=400):
    torch.manual_seed(0)
    w = torch.randn(D, 2, dtype=torch.float64) * torch.tensor([3.0, 1.5])
    scale = torch.tensor([0.3, 0.5, 0.4, 0.8, 0.6], dtype=torch.float64)
    return torch.randn(n, 2, dtype=torch.float64) @ w.T + scale * torch.randn(n, D, dtype=torch.float64) + 4.0


def fitted(x, **options):
    torch.manual_seed(1)
    model = PPCA.for_space(
        Continuous((D,)), **{"latent": 2, "steps": 5000, "tolerance": 1e-11, **options}
    ).double()
    model.initialise(x)
    return model


def test_ppca_has_the_maximum_likelihood_and_sklearns_number():
    from sklearn.decomposition import PCA

    x = data()
    model, pca = fitted(x), PCA(2).fit(x.numpy())
    covariance = model.weight @ model.weight.T + model.variance.diag()
    normal = torch.distributions.MultivariateNormal(model.mean, covariance)
    torch.testing.assert_close(model.log_prob(x), normal.log_prob(x))
    # sklearn's covariance divides by n - 1, so its numbers are those of data larger by sqrt(n / (n - 1))
    assert model.log_prob(x).mean().item() == pytest.approx(pca.score(x.numpy()), abs=2e-2)
    centred = x - x.mean(0)
    values = torch.linalg.eigvalsh(centred.T @ centred / len(x))
    torch.testing.assert_close(model.variance, values[:3].mean().expand(D))
    best = model.log_prob(x).mean()
    for _ in range(20):  # no neighbour is better
        other = fitted(x)
        other.weight += 0.05 * torch.randn_like(other.weight)
        other.variance *= math.exp(0.05 * torch.randn(()).item())
        assert other.log_prob(x).mean() < best


def test_em_finds_the_closed_form_and_never_falls():
    x = data()
    rounds = []
    torch.manual_seed(1)
    model = PPCA.for_space(Continuous((D,)), latent=2, fit="em", steps=5000, tolerance=1e-12).double()
    model.initialise(x, report=lambda terms: rounds.append(-float(terms.loss)))
    assert all(b >= a - 1e-9 for a, b in pairwise(rounds))
    closed = fitted(x)
    assert rounds[-1] == pytest.approx(closed.log_prob(x).mean().item(), abs=1e-6)
    torch.testing.assert_close(
        model.weight @ model.weight.T, closed.weight @ closed.weight.T, rtol=1e-3, atol=1e-3
    )


def test_factor_analysis_against_sklearn():
    from sklearn.decomposition import FactorAnalysis

    x = data()
    model = fitted(x, noise="diagonal")
    other = FactorAnalysis(2, tol=1e-10, max_iter=5000, svd_method="lapack").fit(x.numpy())
    assert model.log_prob(x).mean().item() == pytest.approx(other.score(x.numpy()), abs=1e-4)
    assert model.log_prob(x).mean() > fitted(x).log_prob(x).mean()


@pytest.mark.parametrize("noise", ["isotropic", "diagonal"])
def test_posteriors_are_those_of_the_joint_normal(noise):
    x = data(50)
    model = fitted(x, noise=noise, steps=50)
    c = model.weight @ model.weight.T + model.variance.diag()
    gain = model.weight.T @ torch.linalg.inv(c)
    torch.testing.assert_close(model.encode(x), (x - model.mean) @ gain.T)
    torch.testing.assert_close(
        model.posterior_covariance(), torch.eye(2, dtype=torch.float64) - gain @ model.weight
    )


def test_the_best_elbo_is_the_likelihood_and_em_is_the_bound():
    """log w at q = p(z | x) is constant and equals log p(x); after the E step the ELBO touches the likelihood, and the
    M step that follows raises both: EM is coordinate ascent on the bound of `creo.latent.bounds`."""
    x = data(60)
    model = fitted(x, noise="diagonal", steps=3, tolerance=0.0)

    def log_weights(p, q, k):
        z = torch.distributions.MultivariateNormal(q.encode(x), q.posterior_covariance()).sample((k,))
        log_q = torch.distributions.MultivariateNormal(q.encode(x), q.posterior_covariance()).log_prob(z)
        log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        likelihood = torch.distributions.Normal(p.decode(z.flatten(0, 1)).view(k, 60, D), p.variance.sqrt())
        return likelihood.log_prob(x).sum(-1) + log_prior - log_q

    tight = log_weights(model, model, 7)
    torch.testing.assert_close(tight, model.log_prob(x).expand(7, -1))
    torch.testing.assert_close(importance_weighted_bound(tight[None]), model.log_prob(x))
    after = fitted(x, noise="diagonal", steps=4, tolerance=0.0)
    torch.manual_seed(2)
    elbo = log_weights(after, model, 4000).mean(
        0
    )  # new parameters, old posterior: what the M step has raised
    error = float(log_weights(after, model, 4000).std(0).mean()) / math.sqrt(4000 * 60)
    before, now = model.log_prob(x).mean(), after.log_prob(x).mean()
    assert before < elbo.mean() + 4.5 * error
    assert elbo.mean() < now + 4.5 * error
    assert now > before


def test_a_mixtures_em_is_the_bound_with_its_responsibilities():
    """ELBO(q) = sum_k q_k (log w_k p_k(x) - log q_k) = log p(x) - KL(q || responsibilities), for every q."""
    torch.manual_seed(3)
    joint = torch.randn(4, 3, dtype=torch.float64)  # log w_k p_k(x_n)
    evidence = joint.logsumexp(1)
    for q in (joint.softmax(1), torch.randn(4, 3, dtype=torch.float64).softmax(1)):
        elbo = (q * (joint - q.log())).sum(1)
        kl = (q * (q.log() - joint.log_softmax(1))).sum(1)
        torch.testing.assert_close(elbo, evidence - kl)
    responsibilities = joint.softmax(1)
    log_w = (joint - responsibilities.log()).T[
        :, None, :
    ]  # (k as groups, 1, n): constant at the exact posterior
    torch.testing.assert_close(importance_weighted_bound(log_w), evidence)


def test_a_linear_autoencoder_finds_the_plane_of_pca():
    torch.manual_seed(4)
    x = data(300).float()
    model = Autoencoder.for_space(Continuous((D,)), latent=2, layers=0, std=1.0)
    model.initialise(x)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = model.eval().loss(x).loss
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        error = (model.decode(model.encode(x)) - x).square().sum(1).mean().item()
    centred = (x - x.mean(0)).double()
    values = torch.linalg.eigvalsh(centred.T @ centred / len(x))
    assert error == pytest.approx(values[:3].sum().item(), rel=1e-3)  # Baldi, Hornik: no better one exists


def test_corruption_and_sparsity_act_in_training_alone_and_samples_look_like_codes():
    torch.manual_seed(5)
    x = torch.randint(0, 2, (256, 12), dtype=torch.uint8)
    plain = Autoencoder.for_space(Ordinal((12,), 2), latent=3, hidden=16)
    noisy = Autoencoder.for_space(
        Ordinal((12,), 2), latent=3, hidden=16, corruption=1.0, masking=0.5, sparsity=2.0
    )
    noisy.load_state_dict(plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(
            noisy.eval().loss(x).parts["distortion"], plain.eval().loss(x).parts["distortion"]
        )
        extra = noisy.loss(x).loss - plain.loss(x).loss
        torch.testing.assert_close(extra, 2.0 * plain.encode(x).abs().sum(1).mean())
        assert (noisy.train().loss(x).parts["distortion"] - plain.loss(x).parts["distortion"]).abs() > 1e-4
        for _ in range(3):
            plain.train().loss(x)
        z = plain.encode(x)
        torch.testing.assert_close(plain.code_mean, z.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(plain.code_square, z.T @ z / len(z), rtol=1e-4, atol=1e-5)


def test_errors_say_what_to_do():
    with pytest.raises(SpaceError, match="Continuous spaces of at least 2 dimensions; received Ordinal"):
        PPCA.for_space(Ordinal((3,), 2))
    with pytest.raises(OptionError, match=r"latent in \[1, 4\]"):
        PPCA.for_space(Continuous((D,)), latent=5)
    with pytest.raises(OptionError, match="fit='em'"):
        PPCA.for_space(Continuous((D,)), noise="diagonal", fit="closed")
    with pytest.raises(SpaceError, match="Categories, Continuous or Ordinal; received Tokens"):
        PPCA.for_space(Continuous((D,)), Tokens(3, 5))
    with pytest.raises(OptionError, match="masking in"):
        Autoencoder.for_space(Continuous((D,)), masking=1.0)


def test_a_conditional_ppca_is_the_conditional_of_the_joint_gaussian():
    """With D - 1 factors PPCA is any Gaussian, so p(x | c) is that of the Gaussian fitted to (x, c)."""
    both = data()
    x, c = both[:, :3], both[:, 3:]
    torch.manual_seed(2)
    model = PPCA.for_space(Continuous((3,)), Continuous((2,)), latent=2).double()
    model.initialise(x, c)

    def normal(v):
        return torch.distributions.MultivariateNormal(v.mean(0), v.T.cov(correction=0))

    want = normal(both).log_prob(both) - normal(c).log_prob(c)
    torch.testing.assert_close(model.log_prob(x, c), want)
    drawn = model.sample(20_000, c[0]) - model.decode(torch.zeros(1, 2, dtype=torch.float64), c[0])
    assert (drawn.mean(0).abs() < 5 * drawn.std(0) / 20_000**0.5).all()
    z = model.encode(x, c)
    assert ((x - model.decode(z, c)).std(0) < (x - model.decode(0 * z, c)).std(0)).all()


def test_labels_move_the_mean_and_one_that_was_never_seen_moves_it_little():
    x, y = data(), torch.arange(400) % 3
    x = x + 10.0 * y[:, None]
    model = PPCA.for_space(Continuous((D,)), Categories(4), latent=2).double()
    model.initialise(x, y)
    means = model.decode(torch.zeros(4, 2, dtype=torch.float64), torch.arange(4))
    torch.testing.assert_close(means[:3], torch.stack([x[y == k].mean(0) for k in range(3)]))
    assert (means[3] > means[0]).all()
    assert (means[3] < means[2]).all()
