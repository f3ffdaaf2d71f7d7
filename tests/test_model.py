"""The contract: what the base class gives to, and asks of, every model."""

import math
from typing import ClassVar, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from creo.errors import NoLikelihood, OptionError, SpaceError
from creo.model import PROTOCOLS, GenerativeModel, Likelihood, Player, Sequential, Terms, questions, seeded
from creo.spaces import Categories, Continuous, Ordinal, Space


class Normal(GenerativeModel):
    """A unit-variance Gaussian whose mean is a parameter plus, if conditional, the label."""

    def __init__(self, space: Space, condition: Space | None = None) -> None:
        super().__init__(space, condition)
        self.mean = nn.Parameter(torch.zeros(space.shape))

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        c = self.expand_condition(n, c)
        shift = 0.0 if c is None else c.reshape(n, *[1] * len(self.space.shape)).to(self.dtype)
        return self.mean + shift + torch.randn(n, *self.space.shape)

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        shift = 0.0 if c is None else c.reshape(len(x), *[1] * len(self.space.shape)).to(self.dtype)
        return (-0.5 * (x - self.mean - shift) ** 2 - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


class Implicit(GenerativeModel):
    """Samples without a density."""

    likelihood = Likelihood.NONE
    no_likelihood: ClassVar[str] = "its generator is not invertible"

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        return torch.zeros(n, *self.space.shape)


PLAIN = Normal(Continuous((2,)))
CONDITIONAL = Normal(Continuous((2,)), Categories(3))


def test_a_model_must_say_how_it_samples():
    with pytest.raises(TypeError, match="sample"):
        GenerativeModel(Continuous((2,)))


def test_default_loss_is_the_mean_negative_log_likelihood():
    x = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    terms = PLAIN.loss(x)
    truth = (0.5 * (1 + 4) + 2 * math.log(2 * math.pi)) / 2
    assert terms.loss.item() == pytest.approx(truth)
    assert terms.loss.requires_grad
    assert not terms.parts["nll"].requires_grad
    assert terms.parts["nll"] == terms.loss


def test_one_player_owns_the_trainable_parameters():
    (player,) = PLAIN.players()
    assert (player.name, player.steps, dict(player.optimiser)) == ("model", 1, {})
    assert [id(p) for p in player.parameters] == [id(PLAIN.mean)]


def test_frozen_parameters_have_no_player():
    model = Normal(Continuous((2,)))
    model.mean.requires_grad_(False)
    assert model.players() == []


def test_no_density_says_why_and_what_to_ask_instead():
    with pytest.raises(NoLikelihood) as error:
        Implicit(Continuous((2,))).log_prob(torch.zeros(1, 2))
    assert str(error.value) == (
        "Implicit has no likelihood: its generator is not invertible; "
        "compare its samples instead (creo.evaluate does)"
    )


def test_for_space_is_optional_and_says_so():
    with pytest.raises(OptionError, match="Normal is built directly"):
        Normal.for_space(Continuous((2,)))


@pytest.mark.parametrize(
    ("likelihood", "sign"),
    [
        (Likelihood.EXACT, "="),
        (Likelihood.BOUND, "<="),
        (Likelihood.ESTIMATE, "~"),
        (Likelihood.NONE, ""),
    ],
)
def test_sign_of_a_negative_log_likelihood(likelihood, sign):
    assert likelihood.sign == sign


X, C = torch.zeros(4, 2), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("model", "x", "c", "message"),
    [
        (PLAIN, torch.zeros(4, 3), None, "x must have shape (B, 2)"),
        (PLAIN, torch.zeros(4, 2, dtype=torch.long), None, "x must be a floating-point tensor"),
        (PLAIN, X, C, "this Normal is unconditional but received conditions c"),
        (CONDITIONAL, X, None, "this Normal is conditional: pass c, a batch of Categories(3)"),
        (CONDITIONAL, X, C[:, None], "c must have shape (B)"),
        (CONDITIONAL, X, C.float(), "c must be a integer tensor"),
        (CONDITIONAL, X, C[:3], "x and c must have the same batch size; received 4 and 3"),
    ],
)
def test_a_wrong_batch_is_one_line(model, x, c, message):
    with pytest.raises(SpaceError) as error:
        model.log_prob(x, c)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "n", "c", "kind", "message"),
    [
        (PLAIN, 0, None, OptionError, "sample at least 1; received n=0"),
        (PLAIN, -3, None, OptionError, "sample at least 1; received n=-3"),
        (PLAIN, 4, C, SpaceError, "unconditional but received"),
        (CONDITIONAL, 4, None, SpaceError, "pass c, one or 4 of Categories(3)"),
        (CONDITIONAL, 3, C, SpaceError, "3 samples need 3 conditions; received 4"),
        (CONDITIONAL, 4, torch.tensor([0, 1, 3, 0]), SpaceError, "c has value 3 at index (2,)"),
        (CONDITIONAL, 4, torch.tensor(3), SpaceError, "c has value 3 at index (0,)"),
    ],
)
def test_a_wrong_request_for_samples_is_one_line(model, n, c, kind, message):
    with pytest.raises(kind) as error:
        model.sample(n, c)
    assert message in str(error.value)


@pytest.mark.parametrize("one", [2, torch.tensor(2)])
def test_one_condition_stands_for_all(one):
    assert CONDITIONAL.expand_condition(3, one).tolist() == [2, 2, 2]


def test_a_batch_of_conditions_is_used_as_it_is():
    assert CONDITIONAL.expand_condition(4, C).tolist() == C.tolist()


def test_dtype_and_device_follow_the_parameters():
    assert PLAIN.dtype == torch.float32
    assert Normal(Continuous((2,))).double().dtype == torch.float64
    assert Implicit(Continuous((2,))).dtype == torch.float32
    assert PLAIN.device == torch.device("cpu")


class Everything(Implicit, Sequential):
    def encode(self, x, c=None): ...
    def complete(self, x, known, c=None): ...
    def decode(self, z, c=None): ...
    def forward(self, x, c=None): ...
    def inverse(self, z, c=None): ...
    def init_state(self, batch, c=None): ...
    def step(self, state, token): ...
    def score(self, x, t, c=None): ...
    def denoise(self, x, t, c=None): ...
    def energy(self, x, c=None): ...


class ForwardOnly(Implicit):
    def forward(self, x, c=None): ...


def test_questions_are_read_off_the_class_in_a_fixed_order():
    assert questions(Everything) == tuple(PROTOCOLS)
    assert questions(Everything(Continuous((1,)))) == tuple(PROTOCOLS)
    assert questions(PLAIN) == ()
    assert questions(ForwardOnly) == (), "nn.Module.forward alone does not make a flow"


class Nest(NamedTuple):
    a: Tensor
    b: list


def test_states_of_any_nest_are_reordered_and_repeated():
    model = Everything(Ordinal((2,), 2))
    state = {"x": Nest(torch.arange(3), [torch.arange(6).view(3, 2), 5]), "n": None}
    picked = model.reorder(state, torch.tensor([2, 0]))
    assert picked["x"].a.tolist() == [2, 0]
    assert picked["x"].b[0].tolist() == [[4, 5], [0, 1]]
    assert picked["x"].b[1] == 5
    assert picked["n"] is None
    twice = model.repeat(state, 2)
    assert twice["x"].a.tolist() == [0, 0, 1, 1, 2, 2]
    assert state["x"].a.tolist() == [0, 1, 2], "the state itself is left alone"


def test_seeded_fixes_a_block_and_leaves_no_trace():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(7):
        first = torch.rand(4)
    assert torch.equal(torch.rand(2), expected)
    with seeded(7):
        assert torch.equal(torch.rand(4), first)


def test_seeded_puts_generators_back_after_an_error():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(1):
        torch.rand(2, 3) @ torch.rand(2, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_terms_and_players_are_values():
    terms = Terms(torch.tensor(1.0))
    assert dict(terms.parts) == {}
    with pytest.raises(AttributeError):
        terms.loss = torch.tensor(2.0)
    with pytest.raises(AttributeError):
        Player("p", [], PLAIN.loss).steps = 2
