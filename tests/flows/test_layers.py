"""Every layer against autograd: its log-determinant in both directions, its inverse, far outside the data, on flat and
image events, with and without a condition. A new layer joins by one line in LAYERS."""

from functools import partial

import pytest
import torch

from creo.errors import OptionError
from creo.flows import (
    LU,
    QR,
    ActNorm,
    Additive,
    Affine,
    Autoregressive,
    ChannelCoupling,
    ChannelNorm,
    Compose,
    Contraction,
    Coupling,
    Emerging,
    Gaussianise,
    Glow,
    Inverted,
    Invertible1x1,
    Leaky,
    Log,
    Logit,
    MaskedConvCoupling,
    Orthogonal,
    PatchAutoregressive,
    Periodic,
    Permutation,
    Planar,
    Radial,
    RationalQuadratic,
    RealNVP,
    Residual,
    Sigmoidal,
    Split,
    Squeeze,
    Standardise,
    Sylvester,
    UniformDequantise,
    alternating_mask,
    channel_mask,
    halves_mask,
)
from creo.nn import MLP
from creo.spaces import Continuous, Ordinal

IMAGE = (2, 4, 4)
LEVELS = Ordinal((5,), 4)


def network(context: int = 0):
    return partial(MLP, hidden=(16, 16), context=context, activation=torch.tanh)


def coupling(shape, index=0, elementwise=None, context=0, unconditional=False):
    mask = alternating_mask(shape, index)
    return Coupling(mask, network(context), elementwise, unconditional=unconditional, context=context)


def stack(shape, layers, context=0):
    return Compose(
        layer for i in range(layers) for layer in (ActNorm(shape), coupling(shape, i, None, context))
    )


LAYERS = {
    "affine-coupling": (lambda: coupling((5,)), (5,)),
    "affine-coupling-image": (lambda: coupling(IMAGE, 1), IMAGE),
    "affine-coupling-halves": (lambda: coupling(IMAGE, 4), IMAGE),
    "affine-coupling-condition": (lambda: coupling((5,), 0, None, 3), (5,)),
    "additive-coupling": (lambda: coupling((5,), 0, Additive()), (5,)),
    "permutation": (lambda: Permutation.random(5), (5,)),
    "reverse": (lambda: Permutation.reverse(32), IMAGE),
    "standardise": (lambda: Standardise(IMAGE), IMAGE),
    "actnorm": (lambda: ActNorm((5,)), (5,)),
    "stack": (lambda: stack((5,), 6), (5,)),
    "stack-condition": (lambda: stack((3,), 3, 3), (3,)),
    "gaussianise": (lambda: Gaussianise(LEVELS), (5,)),
    "spline-coupling": (lambda: coupling((5,), 0, RationalQuadratic(4)), (5,)),
    "spline-coupling-image-condition": (lambda: coupling(IMAGE, 1, RationalQuadratic(4), 3), IMAGE),
    "affine-coupling-both-parts": (lambda: coupling((5,), 1, Affine(), unconditional=True), (5,)),
    "spline-coupling-both-parts": (
        lambda: coupling((5,), 1, RationalQuadratic(4), unconditional=True),
        (5,),
    ),
    "spline-coupling-both-parts-condition": (
        lambda: coupling(IMAGE, 0, RationalQuadratic(4), 3, unconditional=True),
        IMAGE,
    ),
    "autoregressive": (lambda: Autoregressive((5,), hidden=(16, 16)), (5,)),
    "autoregressive-condition": (
        lambda: Autoregressive((5,), hidden=(16, 16), context=3, order=torch.tensor([3, 0, 4, 1, 2])),
        (5,),
    ),
    "autoregressive-spline": (
        lambda: Autoregressive((1, 2, 3), RationalQuadratic(4), hidden=(16,)),
        (1, 2, 3),
    ),
    "inverted-autoregressive-condition": (
        lambda: Inverted(Autoregressive((5,), hidden=(9, 9), context=3)),
        (5,),
    ),
    "autoregressive-sigmoidal-condition": (
        lambda: Autoregressive((5,), Sigmoidal(4), hidden=(9, 9), context=3),
        (5,),
    ),
    "residual": (lambda: Residual(Contraction(5, hidden=(12, 12))), (5,)),
    "residual-image-condition": (
        lambda: Residual(Contraction(32, hidden=(12,), context=3), log_det="roulette").eval(),
        IMAGE,
    ),
    "patch-autoregressive": (lambda: PatchAutoregressive(IMAGE, patch=2, width=8, depth=1, heads=2), IMAGE),
    "patch-autoregressive-condition": (
        lambda: PatchAutoregressive(IMAGE, patch=2, width=8, depth=2, heads=2, context=3, reverse=True),
        IMAGE,
    ),
    "lu-condition": (lambda: LU((5,), context=3), (5,)),
    "qr": (lambda: QR((5,)), (5,)),
    "orthogonal-image": (lambda: Orthogonal(IMAGE), IMAGE),
    "planar": (lambda: Planar((5,)), (5,)),
    "planar-image-condition": (lambda: Planar(IMAGE, context=3), IMAGE),
    "radial": (lambda: Radial((5,)), (5,)),
    "radial-condition": (lambda: Radial((1,), context=3), (1,)),
    "squeeze": (lambda: Squeeze(), IMAGE),
    "split": (lambda: Split(IMAGE, ActNorm((1, 4, 4))), IMAGE),
    "channel-norm": (lambda: ChannelNorm(2), IMAGE),
    "invertible-1x1": (lambda: Invertible1x1(3), (3, 2, 4)),
    "channel-coupling": (lambda: ChannelCoupling(3, hidden=6), (3, 2, 2)),
    "channel-coupling-condition": (lambda: ChannelCoupling(2, hidden=6, context=3, swap=True), IMAGE),
    "checkerboard-condition": (
        lambda: MaskedConvCoupling(alternating_mask(IMAGE, 0), hidden=6, context=3),
        IMAGE,
    ),
    "channel-mask-spline": (
        lambda: MaskedConvCoupling(channel_mask(IMAGE, 1), hidden=6, elementwise=RationalQuadratic(3)),
        IMAGE,
    ),
    "glow-condition": (
        lambda: Glow.for_space(Continuous(IMAGE), Continuous((3,)), scales=2, layers=2, hidden=6).flow,
        IMAGE,
    ),
    "multiscale-realnvp": (
        lambda: RealNVP.for_space(Continuous(IMAGE), multiscale=True, scales=2, channels=6).flow,
        IMAGE,
    ),
    "emerging": (lambda: Emerging(2), IMAGE),
    "emerging-wide": (lambda: Emerging(3, kernel=5), (3, 2, 3)),
    "periodic": (lambda: Periodic(2), IMAGE),
    "periodic-odd": (lambda: Periodic(1, kernel=3), (1, 3, 5)),
    "leaky": (
        lambda: Compose([Coupling(alternating_mask((5,), 0), network(), Additive()), Leaky(0.3)]),
        (5,),
    ),
    "exponential": (lambda: Inverted(Log()), (5,)),
    "sylvester": (lambda: Sylvester((5,), rank=3), (5,)),
    "sylvester-condition": (lambda: Sylvester(IMAGE, rank=4, context=3), IMAGE),
}


def make(name):
    """The layer in float64 with nothing left at its neutral start, a batch of inputs, and a context."""
    torch.manual_seed(0)
    build, shape = LAYERS[name]
    layer = build().double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = 4 * torch.rand(6, *shape, dtype=torch.float64)
    if name in ("standardise", "gaussianise"):
        layer.initialise(4 * torch.rand(200, *shape, dtype=torch.float64) ** 2)
    e = (
        torch.randn(6, 32 if name == "glow-condition" else 3, dtype=torch.float64)
        if "condition" in name
        else None
    )
    return layer, x, e


def jacobian_log_det(f, x, e):
    """log |det| of f at every sample, by autograd."""
    out = []
    for i in range(len(x)):
        at = None if e is None else e[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v, at=at: f(v[None], at)[0].flatten(), x[i])
        out.append(torch.linalg.slogdet(jacobian.flatten(1)).logabsdet)
    return torch.stack(out)


@pytest.mark.parametrize("name", LAYERS)
def test_log_det_both_ways_and_inverse(name):
    layer, x, e = make(name)
    y, log_det = layer.forward(x, e)
    assert y.shape == (6, *layer.output_shape(x.shape[1:]))
    torch.testing.assert_close(log_det, jacobian_log_det(layer.forward, x, e), rtol=0, atol=1e-9)
    back, inverse_log_det = layer.inverse(y, e)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse_log_det, jacobian_log_det(layer.inverse, y, e), rtol=0, atol=1e-9)
    assert len({*log_det.tolist()}) > 1 or name in (
        "additive-coupling", "permutation", "reverse", "standardise", "actnorm", "lu-condition", "qr",
        "orthogonal-image", "squeeze", "channel-norm", "invertible-1x1", "emerging", "emerging-wide", "periodic",
        "periodic-odd",
    )  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_inverse_far_outside_the_data(name):
    layer, x, e = make(name)
    for far in (torch.full_like(x, 50.0), torch.full_like(x, -50.0)):
        y, log_det = layer.forward(far, e)
        assert log_det.isfinite().all()
        torch.testing.assert_close(layer.inverse(y, e)[0], far, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_reaches_every_parameter(name):
    layer, x, e = make(name)
    z, log_det = layer.forward(x.requires_grad_(), e)
    (z.square().sum() + log_det.square().sum()).backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_thirty_two_couplings_stay_finite_at_any_input(dtype):
    torch.manual_seed(0)
    flow = stack((19,), 32).to(dtype)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.cat([torch.randn(8, 19), torch.full((2, 19), 50.0), torch.full((2, 19), -50.0)]).to(dtype)
    y, log_det = flow.forward(x)
    (y.square().sum() + log_det.sum()).backward()
    assert y.isfinite().all()
    assert log_det.isfinite().all()
    assert all(p.grad.isfinite().all() for p in flow.parameters())
    x, log_det = flow.inverse(x)
    assert x.isfinite().all()
    assert log_det.isfinite().all()


def test_unconditional_maps_of_kept_entries_read_no_other_entry():
    torch.manual_seed(0)
    layer = coupling((6,), 0, RationalQuadratic(4), unconditional=True).double()
    with torch.no_grad():
        layer.unconditional.constant.normal_()
    x = torch.randn(6, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer.forward(v[None])[0][0], x)[layer.keep]
    own = jacobian[torch.arange(len(layer.keep)), layer.keep]
    assert (own - 1).abs().min() > 1e-3  # mapped, not kept
    torch.testing.assert_close(jacobian.abs().sum(1), own, atol=1e-15, rtol=0)


def test_a_fresh_coupling_with_a_zero_network_is_the_identity():
    layer = Coupling(alternating_mask((4,), 0), partial(MLP, zero=True))
    x = torch.randn(3, 4)
    y, log_det = layer.forward(x)
    assert torch.equal(y, x)
    assert not log_det.any()


@pytest.mark.parametrize("shape", [(2,), (5,), (1, 8, 8), (3, 4, 4), (2, 1), (4, 1, 1)])
def test_masks_keep_something_swap_and_let_every_entry_change(shape):
    masks = [alternating_mask(shape, i) for i in range(6)]
    assert all(0 < m.sum() < m.numel() for m in masks)
    assert all(torch.equal(masks[i], ~masks[i + 1]) for i in (0, 2, 4))
    first, second = (halves_mask(shape, i).flatten().nonzero().squeeze(1).tolist() for i in (0, 1))
    assert first + second == list(range(masks[0].numel()))
    assert 0 <= len(first) - len(second) <= 1


def test_the_scale_is_bounded():
    affine = Affine(1.5)
    x, h = torch.ones(1, 3), torch.full((1, 2, 3), 1e9)
    assert affine.forward(x, h)[1].max() <= 1.5
    with pytest.raises(OptionError, match="received 0"):
        Affine(0)


def test_standardise_and_actnorm_start_at_zero_mean_and_unit_variance():
    torch.manual_seed(0)
    x = 100 + 7 * torch.randn(500, 3)
    x[:, 2] = 5.0
    for layer in (Standardise((3,)), ActNorm((3,))):
        y = layer.initialise(x)
        torch.testing.assert_close(y[:, :2].mean(0), torch.zeros(2), atol=1e-4, rtol=0)
        torch.testing.assert_close(y[:, :2].std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
        assert y.isfinite().all()
    assert len(list(ActNorm((3,)).parameters())) == 2
    assert not list(Standardise((3,)).parameters())


def test_composition_initialises_each_layer_with_what_arrives_at_it():
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(500, 2)
    flow = Compose([Standardise((2,)), Coupling(alternating_mask((2,), 0), network()), ActNorm((2,))])
    y = flow.initialise(x)
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    with pytest.raises(OptionError, match="at least one layer"):
        Compose([])


def test_dequantisation_is_uniform_in_the_cell_and_rounds_back():
    torch.manual_seed(0)
    layer = UniformDequantise(Ordinal((1,), 4))
    x = torch.randint(0, 4, (4000, 1), dtype=torch.uint8)
    y, log_det = layer.forward(x)
    u = y - x
    assert 0 <= float(u.min()) < float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 4 * (1 / 12 / 4000) ** 0.5
    assert torch.equal(layer.inverse(y)[0], x)
    assert not log_det.any()
    assert layer.inverse(torch.tensor([[-3.0], [9.0]]))[0].flatten().tolist() == [0, 3]
    assert layer.double().forward(x)[0].dtype == torch.float64


def test_gaussianised_marginals_are_the_histogram():
    torch.manual_seed(0)
    space = Ordinal((2,), 5)
    x = torch.multinomial(torch.tensor([0.5, 0.1, 0.1, 0.25, 0.05]), 4000, replacement=True).reshape(-1, 2)
    flow = Compose([UniformDequantise(space), Gaussianise(space)]).double()
    z = flow.initialise(x)
    normal = torch.distributions.Normal(0.0, 1.0)
    assert abs(float(z.mean())) < 0.05
    assert abs(float(z.std()) - 1) < 0.05
    z, log_det = flow.forward(x)
    counts = torch.stack([torch.bincount(column, minlength=5) for column in x.T]).double()
    histogram = ((counts + 1 / 5) / (2000 + 1) * (1 - 2e-4)).log()  # 1e-4 is kept for each side outside
    expected = histogram[0, x[:, 0]] + histogram[1, x[:, 1]]
    torch.testing.assert_close(normal.log_prob(z).sum(1) + log_det, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussianise_round_trip_deep_into_both_tails(dtype):
    layer = Gaussianise(Ordinal((1,), 3)).to(dtype)
    layer.initialise(torch.tensor([[0.5]] * 1 + [[1.5]] * 9000 + [[2.5]] * 1).to(dtype))
    z = torch.linspace(-6, 6, 241, dtype=dtype)[:, None]
    y, log_det = layer.inverse(z)
    assert log_det.isfinite().all()
    assert (y.diff(dim=0) >= 0).all()
    torch.testing.assert_close(layer.forward(y)[0], z, atol=1e-9 if dtype == torch.float64 else 0.05, rtol=0)
    edges, log_det = layer.forward(torch.tensor([[0.0], [3.0]], dtype=dtype))
    assert edges.isfinite().all()
    assert log_det.isfinite().all()


def test_permutation_refuses_what_is_none():
    with pytest.raises(OptionError, match="permutation of 0..D-1"):
        Permutation(torch.tensor([0, 0, 1]))


@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_logit_both_ways(margin):
    layer, x = Logit(margin), torch.rand(6, 5, dtype=torch.float64)
    y, log_det = layer.forward(x)
    torch.testing.assert_close(y, torch.logit(margin + (1 - 2 * margin) * x), rtol=0, atol=1e-12)
    torch.testing.assert_close(log_det, jacobian_log_det(layer.forward, x, None), rtol=0, atol=1e-9)
    back, inverse_log_det = layer.inverse(y)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(inverse_log_det, jacobian_log_det(layer.inverse, y, None), rtol=0, atol=1e-9)
    borders = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    assert layer.forward(borders)[0].isfinite().all() == (margin > 0)
    assert layer.inverse(torch.full((1, 2), 50.0))[1].isfinite()


def test_emerging_reads_a_whole_neighbourhood_and_no_more():
    torch.manual_seed(0)
    layer = Emerging(2).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.randn(1, 2, 7, 7, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer.forward(v)[0][0, :, 3, 3].sum(), x)[0]
    seen = jacobian.abs().sum(0) > 0
    assert seen[2:5, 2:5].all()  # all neighbours of the centre
    assert not seen[0].any()
    assert not seen[:, 0].any()


def test_periodic_is_a_circular_convolution():
    torch.manual_seed(0)
    layer = Periodic(2).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    wrapped = torch.nn.functional.pad(x, [1, 1, 1, 1], mode="circular")
    y = torch.nn.functional.conv2d(wrapped, layer.weight.flip(2, 3), layer.bias.flatten())
    torch.testing.assert_close(layer.forward(x)[0], y, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Emerging(2, kernel=2), "odd side"),
        (lambda: Periodic(2, kernel=5).forward(torch.zeros(1, 2, 4, 4)), "larger than the image"),
        (lambda: Leaky(0.0), "must be positive"),
        (lambda: Logit(0.5), "margin"),
    ],
)
def test_wrong_sizes_get_one_line(make, says):
    with pytest.raises(OptionError, match=says):
        make()


@pytest.mark.parametrize("g", [Affine(), RationalQuadratic(4)])
def test_every_entry_of_a_coupling_has_its_own_parameters(g):
    """The formula row by row: parameters (parameters, entries) of a sample, those of kept entries the same for all."""
    torch.manual_seed(0)
    mask = torch.tensor([True, False, False, True, True])
    layer = Coupling(mask, network(), g, unconditional=True).double()
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_()
    x = torch.randn(7, 5, dtype=torch.float64)
    a, b = x[:, mask], x[:, ~mask]
    conditional = layer.network(a).reshape(7, g.parameters, 2)
    kept = layer.unconditional.constant.reshape(1, g.parameters, 3).expand(7, -1, -1)
    y, log_det = torch.empty_like(x), torch.zeros(7, dtype=torch.float64)
    for entries, values, h in ((mask, a, kept), (~mask, b, conditional)):
        mapped, log_slope = g.forward(values, h)
        y[:, entries] = mapped.detach()
        log_det += log_slope.detach().sum(1)
    found = layer(x)
    torch.testing.assert_close(found[0], y, rtol=0, atol=1e-12)
    torch.testing.assert_close(found[1], log_det, rtol=0, atol=1e-12)
