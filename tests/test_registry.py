"""The registry: what its lines say is held against the classes they point at."""

import re
import sys
import types

import pytest
import torch

from creo import registry
from creo.errors import OptionError, SpaceError, UnknownName
from creo.model import PROTOCOLS, GenerativeModel, Likelihood, questions
from creo.registry import Model, build, find, models, options_of, register
from creo.spaces import Categories, Continuous, Ordinal, Table, Tokens, space_from_dict

KINDS = {c.__name__ for c in (Continuous, Ordinal, Tokens, Categories, Table)}
FAMILIES = {
    "autoregressive", "flows", "latent", "adversarial", "energy", "diffusion", "classical", "graphs",
}  # fmt: skip


class Coin(GenerativeModel):
    """A fair coin per position."""

    def __init__(self, space, condition=None, bias=0.5):
        super().__init__(space, condition)
        self.bias = bias

    @classmethod
    def for_space(cls, space, condition=None, *, bias: float = 0.5):
        return cls(space, condition, bias)

    def sample(self, n, c=None):
        return (torch.rand(n, *self.space.shape) < self.bias).to(self.space.dtype)


COIN = Model("coin", "toycoins.coin:Coin", {"Ordinal": "exact"}, (), "Nobody (2000)", "https://a.b", "a coin")


@pytest.fixture
def coin(monkeypatch):
    """A registered toy model, gone after the test."""
    module = types.ModuleType("toycoins.coin")
    module.Coin = Coin
    monkeypatch.setitem(sys.modules, "toycoins.coin", module)
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    register(COIN)
    return COIN


# --- every line ----------------------------------------------------------------------------------------------------

each = pytest.mark.parametrize("entry", models().values(), ids=list(models()))


@each
def test_the_words_of_a_line(entry):
    assert models()[entry.name] is entry
    assert entry.name == entry.name.lower()
    assert entry.promise
    assert set(entry.promise) <= KINDS
    assert set(entry.promise.values()) <= {kind.value for kind in Likelihood}
    assert set(entry.answers) <= set(PROTOCOLS)
    assert entry.paper
    assert entry.url.startswith("https://")
    assert entry.summary
    assert "\n" not in entry.summary
    assert entry.family in FAMILIES


@each
def test_a_line_points_at_a_documented_model(entry):
    cls = entry.load()
    assert issubclass(cls, GenerativeModel)
    assert cls.__module__.startswith(f"creo.{entry.family}")
    assert (cls.__doc__ or "").strip()
    assert cls.__doc__ != GenerativeModel.__doc__


@each
def test_answers_are_those_of_the_class(entry):
    assert entry.answers == questions(entry.load())


@each
def test_options_are_keyword_only_and_annotated(entry):
    for name, option in options_of(entry.load()).items():
        assert option.kind is option.KEYWORD_ONLY, f"{entry.name}: {name}"
        assert option.default is not option.empty, f"{entry.name}: {name} needs a default"
        assert option.annotation is not option.empty, f"{entry.name}: {name} needs a type"


# --- finding and building ------------------------------------------------------------------------------------------


def test_unknown_name_suggests():
    with pytest.raises(UnknownName, match=r"no model named 'realnvq'; did you mean 'realnvp'\?"):
        build("realnvq", Continuous((2,)))


def test_unknown_name_lists_all_when_nothing_is_near():
    with pytest.raises(UnknownName, match=re.escape("known: " + ", ".join(models()))):
        find("qqqqqq")


def test_the_wrong_space_names_models_that_can():
    with pytest.raises(
        SpaceError, match=r"^gaussian cannot model Tokens\(length=3, size=4\); models that can: .*made"
    ) as e:
        build("gaussian", Tokens(3, 4))
    assert "vae" not in str(e.value)


def test_a_space_nobody_models_says_so(monkeypatch):
    monkeypatch.setattr(registry, "_MODELS", {"coin": COIN})
    with pytest.raises(SpaceError, match="coin cannot model .*; models that can: none yet"):
        build("coin", Categories(3))


@pytest.mark.parametrize("wrong", [(8, 8), Continuous, "Continuous", None])
def test_what_is_no_space_at_all_shows_how(wrong):
    with pytest.raises(SpaceError, match=r"e\.g\. creo\.build\('made', data\.space\); received"):
        build("made", wrong)


def test_unknown_option_suggests(coin):
    with pytest.raises(OptionError, match=r"^coin has no option 'biass'; did you mean 'bias'\?$"):
        build("coin", Ordinal((3,), 2), biass=0.3)


def test_unknown_option_lists_the_options(coin):
    with pytest.raises(OptionError, match="^coin has no option 'zzz'; known: bias$"):
        build("coin", Ordinal((3,), 2), zzz=1)


def test_space_and_condition_are_no_options(coin):
    assert list(options_of(Coin)) == ["bias"]


def test_build_passes_options_and_keeps_the_recipe(coin):
    model = build("coin", Ordinal((3,), 2), Categories(2), bias=0.25)
    assert isinstance(model, Coin)
    assert (model.space, model.condition, model.bias) == (Ordinal((3,), 2), Categories(2), 0.25)
    assert model.recipe["model"] == "coin"
    assert model.recipe["options"] == {"bias": 0.25}
    assert space_from_dict(model.recipe["space"]) == model.space
    assert space_from_dict(model.recipe["condition"]) == model.condition
    assert build("coin", Ordinal((3,), 2)).recipe["condition"] is None


def test_a_name_is_registered_once(coin):
    with pytest.raises(OptionError, match="a model named 'coin' exists already"):
        register(coin)


def test_listing_is_a_copy(coin):
    models().clear()
    assert "coin" in models()


def test_installed_packages_add_models(monkeypatch):
    class Entry:
        name = "coin"

        @staticmethod
        def load():
            return COIN

    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [Entry] if group == "creo.models" else []
    )
    assert find("coin") is COIN
    assert list(models())[-1] == "coin"
    with pytest.raises(UnknownName, match="did you mean 'coin'"):
        find("coins")


def test_family_is_the_package():
    assert find("realnvp").family == "flows"
    assert Model("m", "mymodels:Mine", {}, (), "", "", "").family
