"""Each check passes right models and catches a model that breaks its rule, saying what is wrong."""

import functools
import math
from typing import NamedTuple

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from creo import testing
from creo.model import GenerativeModel, Likelihood, Player, Sequential, Terms
from creo.spaces import Categories, Continuous, Ordinal, Space
from creo.testing import CheckFailed, check_instance, settle, tiny_data
from creo.testing.measure import everything

LABELS = Categories(3)


class Lookup(GenerativeModel):
    """EXACT on a tiny discrete space: softmax over all its points, one row of logits per label."""

    def __init__(self, space: Space, condition: Space | None = None) -> None:
        super().__init__(space, condition)
        self.register_buffer("points", everything(space))
        labels = 1 if condition is None else condition.size
        self.logits = nn.Parameter(0.5 * torch.randn(labels, len(self.points)))

    @classmethod
    def for_space(cls, space: Space, condition: Space | None = None):
        return cls(space, condition)

    def log_p(self) -> Tensor:
        return self.logits.log_softmax(-1)

    def row(self, n: int, c: Tensor | None) -> Tensor:
        return torch.zeros(n, dtype=torch.long) if c is None else c

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        index = (x.flatten(1)[:, None] == self.points.flatten(1)).all(-1).long().argmax(1)
        return self.log_p()[self.row(len(x), c), index]

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        c = self.expand_condition(n, c)
        return self.points[self.logits.softmax(-1)[self.row(n, c)].multinomial(1).squeeze(1)]

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, c: Tensor | None = None) -> Tensor:
        differs = (x.flatten(1)[:, None] != self.points.flatten(1)) & known.flatten(1)[:, None]
        p = self.logits.softmax(-1)[self.row(len(x), c)].masked_fill(differs.any(-1), 0.0)
        return self.points[p.multinomial(1).squeeze(1)]


class Flow(GenerativeModel):
    """EXACT on Continuous((2,)): z1 = a1 x1 + b1, z2 = (a2 x2 + b2) exp(s) + t with (s, t) = net(z1, c)."""

    def __init__(self, space: Space, condition: Space | None = None) -> None:
        super().__init__(space, condition)
        self.labels = 0 if condition is None else condition.size
        self.net = nn.Sequential(nn.Linear(1 + self.labels, 16), nn.Tanh(), nn.Linear(16, 2))
        self.log_a = nn.Parameter(torch.zeros(2))
        self.b = nn.Parameter(torch.zeros(2))
        self.register_buffer("mean", torch.zeros(2))

    def initialise(self, x, c=None, report=None):
        self.mean.copy_(x.mean(0))

    def st(self, z1: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
        parts = [z1[:, None]]
        if c is not None:
            parts.append(nn.functional.one_hot(c, self.labels).to(z1.dtype))
        s, t = self.net(torch.cat(parts, 1)).unbind(-1)
        return torch.tanh(s), t

    def forward(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y = (x - self.mean) * self.log_a.exp() + self.b
        s, t = self.st(y[:, 0], c)
        return torch.stack([y[:, 0], y[:, 1] * s.exp() + t], 1), s + self.log_a.sum()

    def inverse(self, z: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s, t = self.st(z[:, 0], c)
        y = torch.stack([z[:, 0], (z[:, 1] - t) * (-s).exp()], 1)
        return (y - self.b) * (-self.log_a).exp() + self.mean, -s - self.log_a.sum()

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        z, log_det = self.forward(x, c)
        return log_det - 0.5 * z.square().sum(1) - math.log(2 * math.pi)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        c = self.expand_condition(n, c)
        return self.inverse(torch.randn(n, 2, dtype=self.dtype), c)[0]


class Sums(NamedTuple):
    total: Tensor
    position: int


class Chain(GenerativeModel, Sequential):
    """EXACT and Sequential: logits of symbol i are b_i + e(c) + the sum over j < i of W[i, j, x_j]."""

    def __init__(self, space: Ordinal, condition: Space | None = None) -> None:
        super().__init__(space, condition)
        d, k = space.dims, space.levels
        self.weight = nn.Parameter(0.5 * torch.randn(d, d, k, k))
        self.bias = nn.Parameter(0.5 * torch.randn(d, k))
        self.embedding = None if condition is None else nn.Embedding(condition.size, k)
        self.register_buffer("mask", torch.ones(d, d).tril(-1))
        self.register_buffer("order", torch.arange(d).flip(0))

    def context(self, c: Tensor | None) -> Tensor | float:
        return 0.0 if c is None else self.embedding(c)[:, None]

    def logits(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self.check_batch(x, c)
        symbols = x.flatten(1)[:, self.order].long()
        one_hot = nn.functional.one_hot(symbols, self.space.levels).to(self.dtype)
        return torch.einsum("ijkl,bjk,ij->bil", self.weight, one_hot, self.mask) + self.bias + self.context(c)

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        log_p = self.logits(x, c).log_softmax(-1)
        return log_p.gather(-1, x.flatten(1)[:, self.order].long()[..., None]).squeeze(-1).sum(1)

    def init_state(self, batch: int, c: Tensor | None = None) -> Sums:
        return Sums((self.bias + self.context(c)).expand(batch, -1, -1), 0)

    def step(self, state: Sums, token: Tensor | None) -> tuple[Tensor, Sums]:
        total, i = state
        if token is not None:
            total = total + self.weight[:, i - 1].permute(1, 0, 2)[token] * self.mask[:, i - 1, None]
        return total[:, i], Sums(total, i + 1)

    @torch.no_grad()
    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        c = self.expand_condition(n, c)
        state, token, x = self.init_state(n, c), None, torch.zeros(n, self.space.dims, dtype=torch.long)
        for position in self.order:
            logits, state = self.step(state, token)
            x[:, position] = token = logits.softmax(-1).multinomial(1).squeeze(1)
        return x.view(n, *self.space.shape).to(self.space.dtype)


class Implicit(GenerativeModel):
    """NONE: a generator and a critic, two players."""

    likelihood = Likelihood.NONE

    def __init__(self, space: Space, condition: Space | None = None) -> None:
        super().__init__(space, condition)
        self.labels = 0 if condition is None else condition.size
        self.generator = nn.Sequential(nn.Linear(2 + self.labels, 8), nn.Tanh(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(2 + self.labels, 8), nn.Tanh(), nn.Linear(8, 1))

    def with_label(self, y: Tensor, c: Tensor | None) -> Tensor:
        return y if c is None else torch.cat([y, nn.functional.one_hot(c, self.labels).to(y.dtype)], 1)

    def generate(self, n: int, c: Tensor | None) -> Tensor:
        return self.generator(self.with_label(torch.randn(n, 2, dtype=self.dtype), c))

    def sample(self, n: int, c: Tensor | None = None) -> Tensor:
        return self.generate(n, self.expand_condition(n, c)).detach()

    def fool(self, x: Tensor, c: Tensor | None = None) -> Terms:
        self.check_batch(x, c)
        verdict = self.critic(self.with_label(self.generate(len(x), c), c))
        return Terms(nn.functional.softplus(-verdict).mean())

    def judge(self, x: Tensor, c: Tensor | None = None) -> Terms:
        self.check_batch(x, c)
        fake = self.critic(self.with_label(self.generate(len(x), c).detach(), c))
        real = self.critic(self.with_label(x, c))
        return Terms(nn.functional.softplus(fake).mean() + nn.functional.softplus(-real).mean())

    def players(self) -> list[Player]:
        return [
            Player("critic", list(self.critic.parameters()), self.judge),
            Player("generator", list(self.generator.parameters()), self.fool),
        ]


class Below(Lookup):
    """BOUND: the exact value less a random gap."""

    likelihood = Likelihood.BOUND
    gap = 0.3

    def log_prob(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        exact = super().log_prob(x, c)
        return exact - self.gap * torch.rand_like(exact)


# --- broken ones, each by one rule ---------------------------------------------------------------------------------


class Unnormalised(Lookup):
    def log_p(self):
        return self.logits.log_softmax(-1) + 0.01


class AboveTheTruth(Below):
    gap = -3.0


class SignOfLogDet(Flow):
    def forward(self, x, c=None):
        z, log_det = super().forward(x, c)
        return z, -log_det


class SignOfBothLogDets(SignOfLogDet):
    """Cancels: forward and inverse are still opposite."""

    def inverse(self, z, c=None):
        x, log_det = super().inverse(z, c)
        return x, -log_det


class LogDetPerBatch(Flow):
    def forward(self, x, c=None):
        z, log_det = super().forward(x, c)
        return z, log_det.mean().expand(len(x))


class InverseOff(Flow):
    def inverse(self, z, c=None):
        x, log_det = super().inverse(z, c)
        return x + 1e-6, log_det


class TooNarrowSamples(Flow):
    def sample(self, n, c=None):
        return self.inverse(0.9 * torch.randn(n, 2), self.expand_condition(n, c))[0]


class RowsMixedUp(Lookup):
    """Gives each row the sample of another row's condition."""

    def sample(self, n, c=None):
        c = self.expand_condition(n, c)
        return super().sample(n, None if c is None else c.sort().values)


class TemperatureHidden(Lookup):
    def sample(self, n, c=None):
        c = self.expand_condition(n, c)
        p = (self.logits / 0.8).softmax(-1)[self.row(n, c)]
        return self.points[p.multinomial(1).squeeze(1)]


class LooksAtItself(Chain):
    def __init__(self, space, condition=None):
        super().__init__(space, condition)
        self.mask.copy_(torch.ones_like(self.mask).tril(0))


class LooksAhead(Chain):
    def __init__(self, space, condition=None):
        super().__init__(space, condition)
        self.mask[0, -1] = 1.0


class ForgetsFirst(Chain):
    def __init__(self, space, condition=None):
        super().__init__(space, condition)
        self.mask[-1, 0] = 0.0


class CacheOff(Chain):
    def step(self, state, token):
        logits, state = super().step(state, token)
        return logits + (1e-5 if state.position == 3 else 0.0) * torch.arange(self.space.levels), state


class CacheNotReordered(Chain):
    def reorder(self, state, index):
        return state


class RepeatsInTheWrongPlaces(Chain):
    def repeat(self, state, k):
        return Sums(torch.cat([state.total] * k), state.position)


class Unowned(Implicit):
    def players(self):
        critic, generator = super().players()
        return [critic, Player("generator", generator.parameters[:-1], self.fool)]


class NoGradient(Implicit):
    def generate(self, n, c):
        return super().generate(n, c).detach()


class SameNames(Implicit):
    def players(self):
        return [Player("player", p.parameters, p.loss) for p in super().players()]


class VectorLoss(Flow):
    def loss(self, x, c=None):
        return Terms(-self.log_prob(x, c))


class StateLeftOut(Flow):
    """What initialise computed is not in the state_dict."""

    def __init__(self, space, condition=None):
        super().__init__(space, condition)
        self.register_buffer("mean", torch.zeros(2), persistent=False)


class StateNoTensor(Flow):
    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass


class OnlyFloat32(Flow):
    def sample(self, n, c=None):
        return super().sample(n, c).float()

    def log_prob(self, x, c=None):
        return super().log_prob(x, c).float()


class OverflowsInBfloat16(Flow):
    def loss(self, x, c=None):
        y = torch.ones(1, 1) @ torch.ones(1, 1)
        return Terms(super().loss(x, c).loss * (torch.inf if y.dtype == torch.bfloat16 else 1.0))


class BatchDependent(Lookup):
    def log_prob(self, x, c=None):
        log_p = super().log_prob(x, c)
        return log_p - 1e-3 * log_p.mean()


class RandomExact(Lookup):
    def log_prob(self, x, c=None):
        return super().log_prob(x, c) + 1e-3 * torch.randn(len(x))


class NoBatchOfOne(Flow):
    def loss(self, x, c=None):
        std = x.std(0).mean()  # of one example: not a number
        return Terms(super().loss(x, c).loss + 0 * std)


class LeavesEvalMode(Flow):
    def sample(self, n, c=None):
        self.train()
        return super().sample(n, c)


class MovesBuffersInEval(Flow):
    def sample(self, n, c=None):
        self.mean += 1.0
        return super().sample(n, c)


class SampleIgnoresCondition(Lookup):
    def sample(self, n, c=None):
        c = self.expand_condition(n, c)
        return super().sample(n, None if c is None else torch.zeros_like(c))


class LogProbIgnoresCondition(Lookup):
    def log_prob(self, x, c=None):
        return super().log_prob(x, None if c is None else torch.zeros_like(c))


class TakesMissingCondition(Lookup):
    def log_prob(self, x, c=None):
        return super().log_prob(
            x, torch.zeros(len(x), dtype=torch.long) if c is None and self.condition else c
        )


class TakesSuperfluousCondition(Lookup):
    def sample(self, n, c=None):
        return super().sample(n, c if self.condition else None)


class TakesAnything(Lookup):
    def check_batch(self, x, c=None):
        pass


class SamplesNothing(Flow):
    def expand_condition(self, n, c):
        return super().expand_condition(max(n, 1), c)


class WrongDtype(Lookup):
    def sample(self, n, c=None):
        return super().sample(n, c).long()


class OutOfRange(Lookup):
    def sample(self, n, c=None):
        return super().sample(n, c) + 1


class DrawsNothing(Lookup):
    def pictures(self, x, c=None):
        return {"void": lambda: Image.new("RGB", (8, 8), "white")}


class PeeksAtTheUnknown(Lookup):
    def complete(self, x, known, c=None):
        return x.clone()


class ForgetsTheKnown(Lookup):
    def complete(self, x, known, c=None):
        return self.sample(len(x), c)


class SqueezesOne(Flow):
    def sample(self, n, c=None):
        return super().sample(n, c).squeeze(0)


class DensityDenied(Implicit):
    def log_prob(self, x, c=None):
        return torch.zeros(len(x))


class ErrorOfTwoLines(Flow):
    def check_batch(self, x, c=None):
        try:
            super().check_batch(x, c)
        except ValueError as error:
            raise type(error)(f"bad\n{error}") from None


def make(cls: type[GenerativeModel], condition: Space | None = None) -> GenerativeModel:
    """A toy of its own kind of space, at the same weights every time."""
    torch.manual_seed(0)
    discrete = issubclass(cls, (Lookup, Chain))
    return cls(Ordinal((2, 2), 3) if discrete else Continuous((2,)), condition)


# --- the checks ----------------------------------------------------------------------------------------------------

RIGHT = (Lookup, Flow, Chain, Implicit, Below)
CONDITIONS = (None, LABELS)


@functools.lru_cache
def settled(cls, condition=None):
    model = make(cls, condition)
    x, c = tiny_data(model.space, condition)
    return settle(model, x, c), x, c


def run(check: str, cls, condition=None):
    model, x, c = settled(cls, condition)
    return check_instance(model, x, c, rebuild=lambda: make(cls, condition), only=[check])


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("cls", RIGHT)
def test_a_right_model_passes_everything(cls, condition):
    model, x, c = settled(cls, condition)
    tried = check_instance(model, x, c, rebuild=lambda: make(cls, condition))
    assert len(tried) >= 7


def test_right_models_together_try_every_check():
    tried = {check.name for cls in RIGHT for check in testing.checks_for(settled(cls)[0])}
    assert tried == {check.name for check in testing.CHECKS}


BROKEN = [
    ("normalised", Unnormalised, None, r"sums to 1\.01005 .* instead of 1"),
    ("normalised", SignOfLogDet, None, r"exp\(log_prob\) sums to .* instead of 1"),
    ("normalised", AboveTheTruth, None, "with likelihood 'bound' it is at most 1"),
    ("samples_match_log_prob", TooNarrowSamples, None, "do not follow log_prob: chi-square"),
    ("samples_match_log_prob", TemperatureHidden, None, "furthest off is x = "),
    ("samples_match_log_prob", RowsMixedUp, LABELS, "given c = 0 do not follow"),
    ("samples_match_log_prob", SampleIgnoresCondition, LABELS, "given c = 1 do not follow"),
    ("samples_match_log_prob", AboveTheTruth, None, "contradict log_prob: its bound gives x = "),
    ("invertible", InverseOff, None, r"inverse\(forward\(x\)\) against x: 64 of 64 entries differ"),
    ("invertible", SignOfLogDet, None, "log_det of inverse against minus log_det of forward"),
    ("log_det", SignOfLogDet, None, r"log_det of forward .* \(its sign is reversed\)"),
    ("log_det", SignOfBothLogDets, None, r"log_det of forward .* \(its sign is reversed\)"),
    (
        "log_det",
        LogDetPerBatch,
        None,
        "log_det of forward against autograd's Jacobian: . of 2 entries differ",
    ),
    ("causal", LooksAtItself, None, "depend on itself"),
    ("causal", LooksAhead, None, r"symbol 0 \(position 3\) depend on symbol 3 \(position 0\)"),
    (
        "causal",
        ForgetsFirst,
        None,
        r"symbol 3 \(position 0\) ignore its predecessor 0 \(position 3\); 1 of 6",
    ),
    ("cached_equals_uncached", CacheOff, None, r"step against logits\(x\): .* the worst at \(., 2, "),
    ("cached_equals_uncached", LooksAhead, None, r"step against logits\(x\)"),
    ("cached_equals_uncached", CacheNotReordered, None, "after reorder"),
    ("cached_equals_uncached", RepeatsInTheWrongPlaces, None, "after repeat"),
    ("gradients_reach_parameters", Unowned, None, "no player owns the parameters generator.2.bias"),
    (
        "gradients_reach_parameters",
        NoGradient,
        None,
        "player 'generator' has no gradient with respect to",
    ),
    ("gradients_reach_parameters", SameNames, None, "different names"),
    ("save_load", StateLeftOut, None, "samples after loading"),
    ("save_load", StateNoTensor, None, "_extra_state"),
    ("dtypes", OnlyFloat32, None, "log_prob of a float64 model is torch.float32"),
    ("dtypes", OverflowsInBfloat16, None, "not finite"),
    ("train_and_eval", BatchDependent, None, "of an example alone against the same in a batch"),
    ("train_and_eval", RandomExact, None, "a second log_prob of the same batch"),
    ("train_and_eval", NoBatchOfOne, None, "training mode on a batch of 1"),
    ("train_and_eval", LeavesEvalMode, None, "in another mode than eval"),
    ("train_and_eval", MovesBuffersInEval, None, "in eval mode changes mean"),
    ("conditional", SampleIgnoresCondition, LABELS, "sample ignores them"),
    (
        "conditional",
        LogProbIgnoresCondition,
        LABELS,
        "does not change when the conditions are permuted",
    ),
    ("conditional", TakesMissingCondition, LABELS, "with no conditions is accepted"),
    ("conditional", TakesSuperfluousCondition, None, "sample with superfluous conditions is accepted"),
    ("rejects_bad_input", TakesAnything, None, r"(is accepted|instead of SpaceError)"),
    ("rejects_bad_input", SamplesNothing, None, r"sample\(0\) raises|sample\(0\) is accepted"),
    ("rejects_bad_input", DensityDenied, None, "log_prob of a model without likelihood is accepted"),
    ("rejects_bad_input", ErrorOfTwoLines, None, "must be one line"),
    ("samples_in_space", WrongDtype, None, r"sample\(1\) has dtype torch.int64"),
    ("completes", PeeksAtTheUnknown, None, "depends on x where x is not known"),
    ("completes", ForgetsTheKnown, None, "changes what is known"),
    ("pictures", DrawsNothing, None, "the picture 'void' of DrawsNothing is blank"),
    ("samples_in_space", OutOfRange, None, "has value 3"),
    ("samples_in_space", SqueezesOne, None, r"sample\(1\) (has shape|gave)"),
]


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize(("check", "cls", "condition", "message"), BROKEN)
def test_a_broken_model_is_caught(check, cls, condition, message):
    with pytest.raises(CheckFailed, match=message):
        run(check, cls, condition)


def test_every_check_has_a_broken_model():
    assert {check for check, *_ in BROKEN} == {check.name for check in testing.CHECKS}


def test_cancelling_log_dets_are_not_seen_by_cancellation():
    """Why `check_log_det` looks at each direction by itself."""
    run("invertible", SignOfBothLogDets)
