"""Extractors: what they compute, that their keys follow their content, and one line where they cannot be had."""

import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from creo.data import load_data
from creo.data.dataset import Data, Split
from creo.errors import DataError, OptionError, SpaceError, UnknownName
from creo.evaluation import evaluate, reference_of
from creo.evaluation.convnet import RandomConvnet, classifier_features
from creo.evaluation.dinov2 import dinov2
from creo.evaluation.extractors import EXTRACTORS, Setting, extractor
from creo.evaluation.inception import Network, inception
from creo.evaluation.sequences import LogMel, NGrams, mel_bands
from creo.model import seeded
from creo.spaces import Categories, Continuous, Ordinal, Tokens

GREY = Ordinal((1, 8, 8), 17)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("CREO_DATA", raising=False)
    return folder / "creo"


def setting(space, x, data=None):
    return Setting(space, x, "train", data)


def grey(n=5):
    with seeded(0):
        return torch.randint(17, (n, 1, 8, 8), dtype=torch.uint8)


def test_identity_and_pixels():
    s = setting(GREY, grey())
    assert torch.equal(extractor("pixels", s)(grey()), grey().flatten(1) / 16)
    plane = setting(Continuous((2,)), torch.zeros(3, 2))
    assert extractor("identity", plane)(torch.ones(1, 2)).tolist() == [[1.0, 1.0]]
    assert extractor("identity", plane).key != extractor("identity", s).key


def test_the_random_network_is_always_the_same_and_leaves_the_generator():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b = RandomConvnet.of(GREY), RandomConvnet.of(GREY)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert a.key == b.key != RandomConvnet.of(Ordinal((1, 8, 8), 16)).key
    assert torch.equal(a(grey()), b(grey()))
    torch.testing.assert_close(
        a(grey()), torch.cat([a(grey()[i : i + 1]) for i in range(5)]), rtol=1e-4, atol=1e-5
    )


@pytest.fixture(scope="module")
def stripes():
    """Pictures that are bright on the left or on the right: a classifier must get them all."""

    def split(n, seed):
        with seeded(seed):
            c = torch.randint(2, (n,))
            x = torch.randint(5, (n, 1, 8, 8))
            x[c == 0, :, :, :4] += 10
            x[c == 1, :, :, 4:] += 10
        return Split(x.to(torch.uint8), c)

    return Data("stripes", GREY, split(300, 0), split(50, 1), split(100, 2), Categories(2))


def test_a_classifier_is_trained_once_and_kept(stripes, monkeypatch, capsys, cache):
    monkeypatch.setattr("creo.evaluation.convnet.STEPS", 40)
    first = classifier_features(stripes)
    said = capsys.readouterr().err
    assert "stripes-cnn: test accuracy 1.0000" in said
    assert first.accuracy == 1.0
    again = classifier_features(stripes)
    assert capsys.readouterr().err == ""
    assert (again.name, again.key, again.accuracy) == ("stripes-cnn", first.key, 1.0)
    x = stripes.test.x
    assert torch.equal(first(x), again(x))
    assert first(x).shape == (100, 64)
    torch.testing.assert_close(first.probabilities(x).sum(1), torch.ones(100))
    assert torch.equal(first.probabilities(x).argmax(1), stripes.test.c)
    files = list((cache / "evaluation").glob("stripes-cnn-*.safetensors"))
    assert len(files) == 1
    files[0].write_bytes(files[0].read_bytes()[:-7])  # a damaged file is noticed and replaced
    assert classifier_features(stripes).key == first.key
    assert "training" in capsys.readouterr().err
    splits = [Split(s.x, 1 - s.c) for s in (stripes.train, stripes.valid, stripes.test)]
    other = Data("stripes", GREY, *splits, Categories(2))  # the same pictures with other labels
    assert classifier_features(other).key != first.key


def test_evaluation_by_a_classifier(stripes, toys, monkeypatch, cache):
    monkeypatch.setattr("creo.evaluation.convnet.STEPS", 40)
    model = toys.Coin(GREY)
    found = evaluate(model, stripes.test, features="cnn", pictures=False)
    assert found["FD"].protocol["features"] == "stripes-cnn"
    assert "stripes-cnn" in repr(found["KID"])
    assert found.about["features"]["note"] == "stripes-cnn: test accuracy 1.0000"
    # two classes, told apart with certainty and equally frequent: 2 for the training data, less for noise
    assert found.floor["IS"].value == pytest.approx(2.0, abs=0.1)
    assert found["IS"].value < 2.0
    assert found["FD"] > found.floor["FD"]
    assert found["distance ratio"].value > 0  # neighbours are searched in standardised features
    kept = list((cache / "evaluation").glob("reference-*"))
    assert {p.name.split("-")[1] for p in kept} == {"features", "moments"}
    again = reference_of(stripes.test, GREY, features="stripes-cnn")
    assert again.judge(stripes.test.x)[3].protocol == found["FD"].protocol
    monkeypatch.setattr("creo.evaluation.frechet.FrechetReference.of", None)  # so it must come from the disk
    assert abs(again.moments.distance(again.features)) < 1e-6 * again.moments.trace


def test_ngrams_by_hand():
    f = NGrams(Tokens(3, 2))(torch.tensor([[0, 1, 1]]))[0]
    assert f[:2].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert f[2:6].tolist() == [0, 0.5, 0, 0.5]  # 00 01 10 11
    assert f[6:].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]  # 011
    assert NGrams(Tokens(2, 90))(torch.zeros(1, 2, dtype=torch.long)).shape == (1, 90 + 1024)


def test_mel_bands_hear_a_tone_where_it_is():
    rate, tone = 8000.0, 1000.0
    space = Continuous((4000,))
    x = torch.sin(2 * math.pi * tone * torch.arange(4000) / rate)[None]
    mean, deviation = LogMel(space, rate)(x)[0].split(40)
    mels = torch.linspace(0, 2595 * math.log10(1 + 4000 / 700), 42)[1:-1]
    centre = 2595 * math.log10(1 + tone / 700)
    assert abs(mels[mean.argmax()] - centre) <= (mels[1] - mels[0]) / 2 + 1
    assert deviation[mean.argmax()] < 0.1  # a steady tone
    assert mel_bands(rate, 512).sum(0)[40:200].sub(1).abs().max() < 1e-5  # neighbouring triangles add up to 1
    levels = Ordinal((4000,), 256)
    loud = ((x + 1) / 2 * 255).round().to(torch.uint8)
    torch.testing.assert_close(LogMel(levels, rate)(loud)[0, mean.argmax()], mean.max(), rtol=0.01, atol=0)


def inception_weights(width=4):
    """Random weights of Inception-v3's names and kernels, all branches `width` wide."""
    three, kernels = [("Conv2d_1a_3x3", 3, (3, 3)), ("Conv2d_2a_3x3", width, (3, 3))], {}
    for name, inputs, size in [*three, ("Conv2d_2b_3x3", width, (3, 3)), ("Conv2d_3b_1x1", width, (1, 1)),
                               ("Conv2d_4a_3x3", width, (3, 3))]:  # fmt: skip
        kernels[name] = (inputs, size)
    wide, tall = (1, 7), (7, 1)

    def block(name, inputs, **branches):
        for branch, sizes in branches.items():
            ending = (
                [""]
                if len(sizes) == 1 and not branch.endswith("_")
                else [f"_{i + 1}" for i in range(len(sizes))]
            )
            for i, (end, size) in enumerate(zip(ending, sizes, strict=True)):
                kernels[f"{name}.{branch.rstrip('_')}{end}"] = (inputs if i == 0 else width, size)

    for letter, inputs in zip("bcd", (1, 4, 4), strict=True):
        block(f"Mixed_5{letter}", inputs * width, branch1x1=[(1, 1)], branch5x5=[(1, 1), (5, 5)],
              branch3x3dbl=[(1, 1), (3, 3), (3, 3)], branch_pool=[(1, 1)])  # fmt: skip
    block("Mixed_6a", 4 * width, branch3x3=[(3, 3)], branch3x3dbl=[(1, 1), (3, 3), (3, 3)])
    for letter, inputs in zip("bcde", (6, 4, 4, 4), strict=True):
        block(f"Mixed_6{letter}", inputs * width, branch1x1=[(1, 1)], branch7x7=[(1, 1), wide, tall],
              branch7x7dbl=[(1, 1), tall, wide, tall, wide], branch_pool=[(1, 1)])  # fmt: skip
    block("Mixed_7a", 4 * width, branch3x3=[(1, 1), (3, 3)], branch7x7x3=[(1, 1), wide, tall, (3, 3)])
    for letter, inputs in zip("bc", (6, 6), strict=True):
        block(f"Mixed_7{letter}", inputs * width, branch1x1=[(1, 1)], branch3x3_=[(1, 1)],
              branch3x3dbl=[(1, 1), (3, 3)], branch_pool=[(1, 1)])  # fmt: skip
        for branch in ("branch3x3_2", "branch3x3dbl_3"):
            kernels[f"Mixed_7{letter}.{branch}a"] = (width, (1, 3))
            kernels[f"Mixed_7{letter}.{branch}b"] = (width, (3, 1))
    found = {"fc.weight": torch.randn(7, 6 * width), "fc.bias": torch.zeros(7)}
    for name, (inputs, size) in kernels.items():
        found[f"{name}.conv.weight"] = (
            torch.randn(width, inputs, *size) * (2 / (inputs * size[0] * size[1])) ** 0.5
        )
        for part, value in (("weight", 1.1), ("bias", 0.4), ("running_mean", 0.2), ("running_var", 1.3)):
            found[f"{name}.bn.{part}"] = torch.full((width,), value)
    return found


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    with seeded(0):
        save_file(inception_weights(), path)
    return path


def test_inception_with_small_weights(inception_file, tmp_path):
    space = Ordinal((1, 8, 8), 17)
    f = extractor(f"inception:{inception_file}", setting(space, grey()))
    assert f.name == "inception"
    assert f(grey(2)).shape == (2, 24)
    assert f.probabilities(grey(2)).shape == (2, 7)
    assert not torch.equal(f(grey(2))[0], f(grey(2))[1])
    pth = tmp_path / "small.pth"
    from safetensors.torch import load_file

    torch.save(load_file(inception_file), pth)
    assert torch.equal(inception(space, str(pth))(grey(2)), f(grey(2)))


def test_the_first_layer_of_inception_by_torch(inception_file):
    """Folded batch normalisation is that of torch.nn."""
    from safetensors.torch import load_file

    weights = load_file(inception_file)
    network = inception(GREY, str(inception_file)).network
    x, name = torch.rand(1, 3, 30, 30), "Conv2d_1a_3x3"
    norm = torch.nn.BatchNorm2d(4, eps=1e-3).eval()
    norm.load_state_dict({k: weights[f"{name}.bn.{k}"] for k in ("weight", "bias", "running_mean", "running_var")}
                         | {"num_batches_tracked": torch.tensor(0)})  # fmt: skip
    with torch.no_grad():
        expected = norm(torch.nn.functional.conv2d(x, weights[f"{name}.conv.weight"], stride=2)).relu()
    torch.testing.assert_close(network.conv(x, name, stride=2), expected)


def dinov2_weights(width=8, layers=2):
    found = {"embeddings.cls_token": torch.randn(1, 1, width),
             "embeddings.position_embeddings": torch.randn(1, 1 + 16, width),
             "embeddings.patch_embeddings.projection.weight": torch.randn(width, 3, 14, 14) / 24,
             "embeddings.patch_embeddings.projection.bias": torch.zeros(width)}  # fmt: skip
    linear = {"attention.attention.query": (width, width), "attention.attention.key": (width, width),
              "attention.attention.value": (width, width), "attention.output.dense": (width, width),
              "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}  # fmt: skip
    for i in range(layers):
        at = f"encoder.layer.{i}."
        for name, shape in linear.items():
            found |= {
                f"{at}{name}.weight": torch.randn(shape) / 3,
                f"{at}{name}.bias": torch.randn(shape[0]) / 3,
            }
        for name in ("norm1", "norm2"):
            found |= {f"{at}{name}.weight": torch.ones(width), f"{at}{name}.bias": torch.zeros(width)}
        for j in (1, 2):
            found[f"{at}layer_scale{j}.lambda1"] = torch.rand(width)
    return found | {"layernorm.weight": torch.ones(width), "layernorm.bias": torch.zeros(width)}


def test_dinov2_with_small_weights_against_torchs_transformer(tmp_path):
    """A layer without layer scale is torch.nn.TransformerEncoderLayer with the same weights."""
    with seeded(3):
        weights = dinov2_weights(layers=1)
    for j in (1, 2):
        weights[f"encoder.layer.0.layer_scale{j}.lambda1"] = torch.ones(8)
    path = tmp_path / "vit.safetensors"
    save_file(weights, path)
    f = dinov2(Ordinal((3, 20, 20), 256), str(path))
    assert f.name == "dinov2-8"
    layer = torch.nn.TransformerEncoderLayer(
        8, 1, 32, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
    ).eval()
    at = "encoder.layer.0."
    joined = {end: torch.cat([weights[f"{at}attention.attention.{p}.{end}"] for p in ("query", "key", "value")])
              for end in ("weight", "bias")}  # fmt: skip
    state = {"self_attn.in_proj_weight": joined["weight"], "self_attn.in_proj_bias": joined["bias"]}
    pairs = {"self_attn.out_proj": "attention.output.dense", "linear1": "mlp.fc1", "linear2": "mlp.fc2",
             "norm1": "norm1", "norm2": "norm2"}  # fmt: skip
    state |= {f"{a}.{e}": weights[f"{at}{b}.{e}"] for a, b in pairs.items() for e in ("weight", "bias")}
    layer.load_state_dict(state)
    with seeded(1), torch.no_grad():
        x = torch.randint(256, (2, 3, 20, 20), dtype=torch.uint8)
        hidden = layer(f.network._embedded(f._prepared(x)))[:, 0]
    torch.testing.assert_close(
        f(x), torch.nn.functional.layer_norm(hidden, (8,), eps=1e-6), rtol=1e-4, atol=1e-5
    )


def hub_is_down(*args, **kwargs):
    raise OSError("cannot reach the hub")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("inceptoin", UnknownName, "did you mean 'inception'"),
        (
            "inception",
            DataError,
            r"inception needs weights: put those of https://\S+ at \S+inception.safetensors",
        ),
        ("inception:/nowhere.pth", DataError, "no file /nowhere.pth"),
        ("dinov2", DataError, "cannot be had from the hub"),
        ("pixels:3", OptionError, "nothing after a colon"),
        ("cnn", OptionError, "need the data set"),
        ("moons-cnn", SpaceError, "Continuous"),
        ("ngrams", SpaceError, "texts"),
        ("log-mel", SpaceError, "waveforms"),
    ],
)
def test_what_cannot_be_had_gets_one_line(spec, error, message, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub_is_down, raising=False)
    with pytest.raises(error, match=message) as caught:
        extractor(spec, setting(GREY, grey()))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_weights(tmp_path, monkeypatch):
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"no tensors")
    for make in (inception, dinov2):
        with pytest.raises(DataError, match="not a file of weights"):
            make(GREY, str(wrong))
        save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
        with pytest.raises(DataError, match="does not hold"):
            make(GREY, str(tmp_path / "other.safetensors"))
    pth = tmp_path / "code.pth"
    pth.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="not a file of weights"):
        inception(GREY, str(pth))
    folder = tmp_path / "data" / "weights"
    folder.mkdir(parents=True)
    save_file(dinov2_weights(), folder / "dinov2.safetensors")
    monkeypatch.setenv("CREO_DATA", str(tmp_path / "data"))
    assert dinov2(GREY)(grey(2)).shape == (2, 8)


def test_pictures_are_asked_for():
    for spec in ("pixels", "random-convnet", "inception", "dinov2"):
        with pytest.raises(SpaceError, match="of pictures"):
            extractor(spec, setting(Continuous((2,)), torch.zeros(3, 2)))
    assert set(EXTRACTORS) >= {
        "standardised",
        "identity",
        "pixels",
        "random-convnet",
        "cnn",
        "inception",
        "dinov2",
    }
    with pytest.raises(OptionError, match="log-mel:RATE"):
        extractor("log-mel:fast", setting(Continuous((100,)), torch.zeros(3, 100)))


def test_no_labels_no_classifier():
    data = load_data("moons")
    with pytest.raises(SpaceError, match="of pictures"):
        classifier_features(data)
    x = Split(grey(20))
    with pytest.raises(SpaceError, match="has none"):
        classifier_features(Data("plain", GREY, x, Split(grey(5)), Split(grey(5))))


def test_what_networks_are_shown(inception_file, tmp_path):
    f = inception(GREY, str(inception_file))
    shown = f._prepared(torch.tensor([0, 16], dtype=torch.uint8)[:, None, None, None].expand(2, 1, 8, 8))
    assert shown.shape == (2, 3, 299, 299)
    torch.testing.assert_close(shown[0], torch.full((3, 299, 299), -1.0))
    torch.testing.assert_close(shown[1], torch.full((3, 299, 299), 1.0))
    save_file(dinov2_weights(), tmp_path / "vit.safetensors")
    white = torch.full((1, 1, 8, 8), 16, dtype=torch.uint8)
    shown = dinov2(GREY, str(tmp_path / "vit.safetensors"))._prepared(white)[0]
    for colour, mean, deviation in zip(shown, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True):
        torch.testing.assert_close(colour, torch.full((224, 224), (1 - mean) / deviation))


def test_the_pools_of_fid(monkeypatch, inception_file):
    """Averages leave the padding out; the last block, and it alone, takes maxima."""
    one = Network({"b.branch_pool": (torch.ones(1, 1, 1, 1), torch.zeros(1))})
    x = torch.arange(9.0).view(1, 1, 3, 3)
    assert one.pooled(x, "b")[0, 0, 0, 0] == 2.0  # (0 + 1 + 3 + 4) / 4
    assert one.pooled(x, "b", largest=True)[0, 0, 0, 0] == 4.0
    asked, pooled = {}, Network.pooled

    def spy(self, x, block, *, largest=False):
        asked[block] = largest
        return pooled(self, x, block, largest=largest)

    monkeypatch.setattr(Network, "pooled", spy)
    inception(GREY, str(inception_file))(grey(1))
    assert [block for block, largest in asked.items() if largest] == ["Mixed_7c"]
    assert len(asked) == 9


def test_kept_statistics_are_of_this_extractor(plane):
    """The same name with another key is another protocol."""

    class Scaled(SimpleNamespace):
        def __call__(self, x):
            return x * self.scale

    references = [
        reference_of(plane.test, plane.space, features=Scaled(name="mine", key=key, costly=True, scale=scale))
        for key, scale in (("a", 1.0), ("b", 3.0), ("a", 5.0))
    ]
    first, second, third = (r.features for r in references)
    torch.testing.assert_close(second, 3 * first)
    assert torch.equal(third, first)  # found on the disk, for the key promises the same features
