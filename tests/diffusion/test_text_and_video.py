"""Words and frames as conditions: every family takes captions; U-Nets see given frames pixel by pixel."""

import pytest
import torch

import creo
from creo.data.captions import SPACE
from creo.nn.beside import Beside, PixelEmbedding
from creo.spaces import Continuous, Ordinal


@pytest.fixture(scope="module")
def captioned():
    return creo.load_data("digits-captions").train.head(48)


@pytest.mark.parametrize(
    ("name", "options", "how"),
    [
        ("made", {"hidden": (16,)}, {}),
        ("realnvp", {}, {}),
        ("vae", {}, {}),
        ("gan", {}, {}),
        ("masked-diffusion", {"channels": 8}, {"steps": 2}),
        ("flow-matching", {"patch": 4, "channels": 8}, {"steps": 2}),
    ],
)
def test_every_family_listens_to_captions(name, options, how, captioned):
    torch.manual_seed(0)
    x, c = captioned
    model = creo.build(name, Ordinal((1, 16, 16), 17), SPACE, **options)
    model.initialise(x, c)
    for player in model.players():
        loss = player.loss(x[:16], c[:16]).loss
        loss.backward()
    encoders = [m for m in model.modules() if type(m).__name__ == "TextEncoder"]
    assert encoders
    model.eval()
    assert model.sample(2, creo.caption("a small seven", SPACE), **how).shape == (2, 1, 16, 16)
    e = [encoders[0](creo.caption([text], SPACE)) for text in ("a small seven", "a large seven")]
    assert not torch.equal(e[0], e[1])


def test_a_caption_reaches_the_text_encoder_by_gradient(captioned):
    torch.manual_seed(0)
    x, c = captioned
    model = creo.build("flow-matching", Ordinal((1, 16, 16), 17), SPACE, network="mlp", hidden=(16,))
    with torch.no_grad():
        for p in model.network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.loss(x, c).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.embedding.parameters())


@pytest.mark.parametrize("patch", [1, 2])
def test_given_frames_are_channels_of_the_unet(patch):
    space, given = Ordinal((2, 16, 16), 17), Ordinal((3, 16, 16), 17)
    model = creo.build("flow-matching", space, given, channels=8, patch=patch)
    assert isinstance(model.embedding, PixelEmbedding)
    assert isinstance(model.network, Beside)
    x, c = (torch.randint(0, 17, (6, *s.shape), dtype=torch.uint8) for s in (space, given))
    model.initialise(x, c)
    assert torch.isfinite(model.loss(x, c).loss)
    assert model.eval().sample(6, c, steps=2, guidance=2.0).shape == (6, 2, 16, 16)


@pytest.mark.parametrize(
    ("given", "network"),
    [(Ordinal((3, 8, 8), 17), "unet"), (Ordinal((3, 16, 16), 17), "mlp"), (Continuous((4,)), "unet")],
)
def test_other_conditions_and_networks_take_vectors(given, network):
    model = creo.build(
        "flow-matching", Ordinal((2, 16, 16), 17), given, channels=8, network=network, hidden=(8,)
    )
    assert not isinstance(model.embedding, PixelEmbedding)
    c = given.check(torch.zeros(2, *given.shape, dtype=given.dtype))
    assert model.eval().sample(2, c, steps=2).shape == (2, 2, 16, 16)


def test_videos_share_units_and_get_a_unet():
    x = torch.randint(0, 17, (50, 4, 16, 16), dtype=torch.uint8) // torch.tensor([1, 2, 4, 8]).view(4, 1, 1)
    model = creo.build("flow-matching", Ordinal((4, 16, 16), 17), channels=8)
    model.initialise(x.to(torch.uint8))
    assert model.units.log_std.unique().numel() == 1
    assert type(model.network).__name__ == "UNet"


def test_a_given_pixel_moves_what_is_drawn_there():
    """Before training all blocks are the identity, so that what convolutions see is what is near."""
    torch.manual_seed(0)
    space, given = Ordinal((2, 16, 16), 17), Ordinal((3, 16, 16), 17)
    model = creo.build("flow-matching", space, given, channels=8, patch=2).eval()
    torch.nn.init.normal_(model.network.inner.out.weight)
    e = torch.randn(1, given.dims, requires_grad=True)
    x = torch.randn(1, *space.shape)
    for i, j in ((0, 0), (7, 9), (15, 15)):
        (gradient,) = torch.autograd.grad(model.network(x, torch.zeros(1), e)[0, :, i, j].sum(), e)
        seen = gradient.view(given.shape).abs().amax(0)
        assert seen[i, j] > 0
        assert seen[i, j] > 10 * seen[15 - i, (j + 8) % 16]
