"""The loop: budgets, players, selection, interruption, and what it says when numbers stop being numbers."""

import json
import math
import os
import signal
import time

import pytest
import torch
import toy
import yaml

import creo
from creo.errors import NonFinite, OptionError, RunError
from creo.model import GenerativeModel, Terms, TrainingDefaults, seeded
from creo.training.game import Game


class Normal(GenerativeModel):
    """N(mean, 1) with a learned mean: its maximum-likelihood solution is the data's mean."""

    def __init__(self, space):
        super().__init__(space)
        self.mean = torch.nn.Parameter(torch.zeros(space.dims))

    def log_prob(self, x, c=None):
        self.check_batch(x, c)
        return -0.5 * ((x.flatten(1).float() - self.mean) ** 2 + math.log(2 * math.pi)).sum(1)

    def sample(self, n, c=None):
        x = self.mean.detach() + torch.randn(n, self.space.dims)
        return x.clamp(0, 16).reshape(n, *self.space.shape).to(self.space.dtype) if self.space.discrete else x

    def training_defaults(self):
        return TrainingDefaults(batch_size=5000, lr=0.1, warmup=0, ema=0.0)


def test_it_learns_what_maximum_likelihood_says(quiet):
    data = creo.load_data("moons")
    run = creo.fit(Normal(data.space), data, steps=300, **(quiet | {"eval_every": 300}))
    # what is left is the noise of the last batches: their means have a standard error of 0.87 / sqrt(5000) = 0.012,
    # and the cosine schedule averages over tens of them
    torch.testing.assert_close(run.model.mean.data, data.train.x.mean(0), atol=6e-3, rtol=0)
    assert run.steps == 300
    assert run.stopped == "budget"
    assert not run.model.training


def test_accumulated_gradients_are_the_gradient(quiet):
    data = creo.load_data("moons")
    runs = [creo.fit(Normal(data.space), data, steps=5, accumulate=k, **quiet) for k in (1, 4, 7)]
    for run in runs[1:]:
        torch.testing.assert_close(run.model.mean.data, runs[0].model.mean.data, atol=1e-5, rtol=1e-5)


def test_same_seed_same_bits_and_the_callers_generator_is_left_alone(digits, quiet):
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    weights = []
    for seed in (1, 1, 2):
        with seeded(0):
            model = creo.build("denoiser", digits.space)
        run = creo.fit(model, digits, steps=30, seed=seed, **quiet)
        weights.append(torch.cat([p.flatten() for p in run.model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.rand(3), expected)


def test_epochs_and_minutes_are_budgets(digits, quiet):
    model = creo.build("denoiser", digits.space)
    run = creo.fit(model, digits, epochs=2, batch_size=100, **quiet)
    assert run.steps == 20
    begun = time.perf_counter()
    run = creo.fit(model, digits, minutes=0.02, **quiet)
    assert 1.2 <= run.seconds < time.perf_counter() - begun + 0.1
    assert run.seconds < 3


def test_the_folder_tells_the_whole_story(digits, quiet, tmp_path):
    model = creo.build("denoiser", digits.space, hidden=8)
    run = creo.fit(model, digits, steps=100, out=tmp_path / "run", **quiet)
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["model"]["model"] == "denoiser"
    assert config["model"]["options"] == {"hidden": 8}
    assert config["data"] == {"spec": "digits", "content": digits.content_hash}
    assert config["settings"]["steps"] == 100
    assert config["optimiser"]["batch_size"] == 32
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert rows == run.history
    losses = [r for r in rows if "loss/model" in r]
    assert [r["step"] for r in losses] == list(range(10, 101, 10))
    assert losses[0]["model/squared"] > 0
    assert [r["step"] for r in rows if "valid" in r] == [20, 40, 60, 80, 100]
    pictures = sorted(p.name for p in (run.path / "samples").iterdir())
    assert pictures[-1] == "step-00000100.png"
    assert len(pictures) == 5
    assert sorted(p.name for p in (run.path / "checkpoints").iterdir())[-1] == "step-00000100.safetensors"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_load_gives_the_weights_back_best_and_last(digits, quiet, tmp_path):
    with seeded(0):
        model = creo.build("denoiser", digits.space)
    run = creo.fit(model, digits, steps=60, out=tmp_path / "run", **quiet)
    best = creo.load(run.path)
    for name, t in run.model.state_dict().items():
        assert torch.equal(best.state_dict()[name], t), name
    last = creo.load(run.path, which="last")
    assert last.state_dict().keys() == best.state_dict().keys()
    assert torch.equal(last.scale, best.scale)
    by_hand = toy.Denoiser(digits.space)
    assert torch.equal(creo.load(run.path, model=by_hand).net[0].weight, best.net[0].weight)
    with pytest.raises(RunError, match="does not fit the model"):
        creo.load(run.path, model=toy.Denoiser(digits.space, hidden=3))


def test_a_model_built_by_hand_is_loaded_into_its_like(digits, quiet, tmp_path):
    run = creo.fit(toy.Denoiser(digits.space), digits, steps=5, out=tmp_path / "run", **quiet)
    with pytest.raises(RunError, match="built by hand"):
        creo.load(run.path)
    loaded = creo.load(run.path, model=toy.Denoiser(digits.space))
    assert torch.equal(loaded.net[0].weight, run.model.net[0].weight)


class Overfits(Normal):
    """Its validation loss falls until step 30 and rises from there on; the weight is the number of steps."""

    def __init__(self, space):
        super().__init__(space)
        self.mean = torch.nn.Parameter(torch.zeros(()))

    def training_defaults(self):
        return TrainingDefaults(
            batch_size=8, lr=1.0, betas=(0.0, 0.0), warmup=0, schedule="constant", ema=0, clip=0
        )

    def loss(self, x, c=None):
        if self.training:
            return Terms(-self.mean)  # Adam without memory moves by lr each step
        return Terms((self.mean - 30.0) ** 2)


def test_the_best_on_validation_is_kept_and_patience_ends_the_run(digits):
    settings = {"progress": False, "eval_every": 10, "log_every": 50}
    run = creo.fit(Overfits(digits.space), digits, steps=100, **settings)
    assert run.stopped == "budget"
    assert run.best == pytest.approx(0.0, abs=1e-4)
    assert float(run.model.mean.detach()) == pytest.approx(30.0, abs=1e-3)
    run = creo.fit(Overfits(digits.space), digits, steps=100, patience=2, **settings)
    assert (run.stopped, run.steps) == ("early", 50)
    assert float(run.model.mean.detach()) == pytest.approx(30.0, abs=1e-3)


def test_how_often_one_validates_and_draws_changes_nothing(digits, tmp_path):
    weights = []
    for every in (7, 1000):
        with seeded(0):
            model = creo.build("denoiser", digits.space)
        out = tmp_path / str(every)
        creo.fit(
            model, digits, steps=40, eval_every=every, sample_every=every, out=out, progress=False, threads=1
        )
        weights.append(creo.load(out, which="last").net[0].weight)
    assert torch.equal(*weights)


def test_what_is_evaluated_and_loaded_is_the_moving_average(digits, tmp_path):
    settings = {"progress": False, "eval_every": 1000, "sample_every": 0, "ema": 0.9}
    run = creo.fit(Overfits(digits.space), digits, steps=50, out=tmp_path / "run", **settings)
    average = 0.0  # the weight is the number of steps; the average follows its recursion
    for k in range(1, 51):
        decay = min(0.9, (1 + k) / (10 + k))
        average = decay * average + (1 - decay) * k
    for model in (
        run.model,
        *(creo.load(run.path, which=w, model=Overfits(digits.space)) for w in ("best", "last")),
    ):
        assert float(model.mean.detach()) == pytest.approx(average, rel=1e-4)
    assert run.best == pytest.approx((average - 30) ** 2, rel=1e-3)


def test_while_one_player_moves_the_other_gets_no_gradient(digits):
    model = toy.Duel(digits.space)
    game = Game(model)
    for turn, (mine, other) in enumerate([(model.a, model.b), (model.b, model.a)]):
        mine.grad = other.grad = None
        game.give_turn(turn)
        game(turn, digits.train[:2], None)[0].backward()
        assert mine.grad is not None
        assert other.grad is None
    game.end()
    assert model.a.requires_grad
    assert model.b.requires_grad


def test_a_game_of_two_players_reaches_its_equilibrium(digits, quiet):
    run = creo.fit(toy.Duel(digits.space), digits, steps=400, warmup=10, ema=0.0, **quiet)
    a, b = float(run.model.a.detach()), float(run.model.b.detach())
    assert math.hypot(a, b) < 0.3  # from (1, -1), to the saddle point (0, 0)
    assert run.best is None  # nothing to select by
    row = run.history[0]
    assert row["loss/min"] == pytest.approx(-row["loss/max"], abs=0.5)


def test_players_move_only_their_own_parameters(digits, quiet):
    model = toy.Duel(digits.space)
    game_players = model.players()
    run = creo.fit(model, digits, steps=1, warmup=0, ema=0.0, **quiet)
    assert len(game_players) == 2
    assert all(p.requires_grad for p in run.model.parameters())
    # one step of 0.05 for the first player, two for the second (Adam's first steps have the size of lr)
    assert float(run.model.a) == pytest.approx(1.0 + 0.05, abs=2e-3) or float(run.model.a) == pytest.approx(
        0.95, abs=2e-3
    )
    assert abs(float(run.model.b) + 1.0) == pytest.approx(0.1, abs=1e-2)


def test_bfloat16_trains_close_to_float32(digits, quiet):
    finals = []
    for precision in ("float32", "bfloat16"):
        with seeded(0):
            model = creo.build("denoiser", digits.space)
        finals.append(creo.fit(model, digits, steps=100, precision=precision, **quiet).best)
    assert finals[1] == pytest.approx(finals[0], rel=0.05)


def test_compiled_loss_is_the_same(digits, quiet):
    data = creo.load_data("moons")
    plain, compiled = (creo.fit(Normal(data.space), data, steps=3, compile=c, **quiet) for c in (False, True))
    torch.testing.assert_close(compiled.model.mean.data, plain.model.mean.data)


@pytest.mark.parametrize("saved", [False, True])
def test_a_loss_that_is_not_a_number_stops_the_run(digits, quiet, tmp_path, saved):
    out = tmp_path / "run" if saved else None
    model = toy.Denoiser(digits.space, bomb=35)
    with pytest.raises(
        NonFinite, match=r"step 35, player 'model': the loss is nan \(term squared\)"
    ) as caught:
        creo.fit(model, digits, steps=100, out=out, save_every=1e-9, **quiet)
    assert caught.value.status == 3
    assert "net.0.weight" in str(caught.value)
    if saved:
        loaded = creo.load(out, model=toy.Denoiser(digits.space), which="last")
        assert all(p.isfinite().all() for p in loaded.parameters())
        assert creo.training.RunFolder(out).newest()[1]["step"] == 34


class SlopeOnly(Normal):
    """Its loss is finite and its gradient is not: sqrt at 0."""

    def loss(self, x, c=None):
        return Terms(self.mean.abs().sum().sqrt())


def test_a_gradient_that_is_not_a_number_is_named(quiet):
    data = creo.load_data("moons")
    with pytest.raises(
        NonFinite, match="step 1, player 'model': the gradient is not finite; first in the gradient of mean"
    ):
        creo.fit(SlopeOnly(data.space), data, steps=3, **quiet)


def test_ctrl_c_ends_cleanly_and_resume_goes_on(digits, quiet, tmp_path):
    with seeded(0):
        model = creo.build("denoiser", digits.space)
    loss = model.loss

    def interrupted(x, c=None):
        if model.calls == 50:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(x, c)

    model.loss = interrupted
    before = signal.getsignal(signal.SIGINT)
    run = creo.fit(model, digits, steps=1_000_000, out=tmp_path / "run", **quiet)
    assert run.stopped == "interrupted"
    assert run.steps == 51  # the round in which the key was pressed is finished
    assert signal.getsignal(signal.SIGINT) is before
    again = creo.resume(run.path, steps=run.steps + 7, progress=False)
    assert (again.steps, again.stopped) == (run.steps + 7, "budget")


def test_impossible_requests_are_one_line(digits, tmp_path):
    model = creo.build("denoiser", digits.space)
    with pytest.raises(OptionError, match="give one budget"):
        creo.fit(model, digits, steps=1, minutes=1)
    with pytest.raises(OptionError, match="steps must be greater than 0; received -5"):
        creo.fit(model, digits, steps=-5)
    with pytest.raises(OptionError, match="no setting 'learning_rate'"):
        creo.fit(model, digits, learning_rate=1.0)
    with pytest.raises(OptionError, match="the model is for"):
        creo.fit(model, creo.load_data("moons"), steps=1)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RunError, match="exists already"):
        creo.fit(model, digits, steps=1, out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"
    with pytest.raises(RunError, match="is not a run"):
        creo.load(tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        creo.resume(tmp_path / "nowhere")
    assert os.listdir(tmp_path) == ["file"]


def test_models_without_players_are_done_after_initialise(digits, quiet, tmp_path):
    class Counted(Normal):
        def __init__(self, space):
            super().__init__(space)
            self.mean.requires_grad_(False)

        def initialise(self, x, c=None, report=None):
            self.mean.copy_(x.flatten(1).float().mean(0))
            report(Terms(torch.tensor(1.5), {"half": torch.tensor(0.5)}))

    run = creo.fit(Counted(digits.space), digits, steps=10, out=tmp_path / "run", **quiet)
    assert (run.steps, run.stopped) == (0, "budget")
    assert run.history[0] | {"loss/initialise": 1.5, "initialise/half": 0.5, "round": 1} == run.history[0]
    expected = digits.train.x.flatten(1).float().mean(0)
    assert torch.equal(creo.load(run.path, model=Counted(digits.space)).mean.data, expected)


def test_tensorboard_files_are_written_when_asked_for(digits, quiet, tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra creo[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = creo.fit(
        toy.Denoiser(digits.space), digits, steps=30, out=tmp_path / "run", tensorboard=True, **quiet
    )
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    shown = [(e.step, e.value) for e in events.Scalars("loss/model")]
    assert shown == [(r["step"], pytest.approx(r["loss/model"])) for r in run.history if "loss/model" in r]
