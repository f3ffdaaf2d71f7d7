"""The loop that plays the training game, and everything it must remember to go on exactly where it was.

    for each round:   for each player, `steps` times:   take a batch, descend the player's loss
                      move the average;   now and then: log, validate, draw samples, save

All that the future depends on - weights, average, optimisers, random generators, counters (`creo.training.state`) - is
written to checkpoints, so a run killed at any moment and resumed ends with the same bits (on the same machine, with
the same threads, under a budget of steps or epochs).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from creo.data.dataset import Data
from creo.errors import RunError
from creo.model import GenerativeModel, Player, Terms, TrainingDefaults, seeded
from creo.spaces import bits_per_dim
from creo.training import checkpoint
from creo.training.batches import Batches
from creo.training.board import Board
from creo.training.ema import EMA
from creo.training.folder import RunFolder
from creo.training.game import Game, non_finite
from creo.training.interruption import Interruption
from creo.training.optimiser import clip_gradient, learning_rate, optimiser_of, settings_of
from creo.training.pictures import save_picture
from creo.training.progress import Silent
from creo.training.settings import Settings
from creo.training.stages import whole
from creo.training.state import State, restore, tensors_of
from creo.training.team import Team
from creo.training.validation import validate

#: At most this many examples are given to `GenerativeModel.initialise` when data does not fit in memory.
START_EXAMPLES = 50_000
VALIDATIONS, PICTURES = 20, 5
#: Rounds between two readings of the first process's clock when several train together.
AGREE_EVERY = 10


class Trainer:
    """Trains a model on a data set.

    Args:
        model: on the device it is trained on.
        data: whose `train` split is learned and whose `valid` split decides what is best.
        settings: resolved settings (no budget missing).
        defaults: the optimiser's settings in force.
        folder: where to write, or None.
        team: the processes that train together.
        display: what a person sees.
    """

    def __init__(
        self,
        model: GenerativeModel,
        data: Data,
        settings: Settings,
        defaults: TrainingDefaults,
        *,
        folder: RunFolder | None,
        team: Team,
        display: Silent,
    ) -> None:
        self.model, self.data, self.settings, self.defaults = model, data, settings, defaults
        self.folder, self.team, self.display = folder, team, display
        self.state = State()
        self.history: list[dict[str, Any]] = []
        self.best_weights: dict[str, Tensor] | None = None
        self.batches = Batches(
            data.train, defaults.batch_size, seed=settings.seed, conditional=model.condition is not None,
            device=team.device, rank=team.rank, world=team.world,
        )  # fmt: skip
        self.total = self._total_steps()
        self.interruption, self._save_due = Interruption(), False
        self.board: Board | None = None
        self._saved_at = time.perf_counter()
        self._drawn_at = -1
        self._parts: dict[str, float] = {}
        self._last_valid: dict[str, float] = {}
        self._clock = (time.perf_counter(), time.process_time())

    def _total_steps(self) -> int | None:
        if self.settings.epochs is not None:
            return math.ceil(self.settings.epochs * self.batches.per_epoch)
        return self.settings.steps

    def assemble(self) -> None:
        """Make the players' optimisers and the average (after `initialise` has set what it sets)."""
        self.game = Game(self.model, self.settings.precision)
        self.compute = self.team.wrap(self.game)
        if self.settings.compile:
            self.compute = torch.compile(self.compute)
        self.player_settings = [settings_of(p, self.defaults) for p in self.game.players]
        pairs = zip(self.game.players, self.player_settings, strict=True)
        dtype = torch.bfloat16 if self.settings.precision == "bfloat16" else torch.float32
        self.optimisers = [optimiser_of(player, chosen, self.model, dtype) for player, chosen in pairs]
        self._names = {p.name: (f"loss/{p.name}", f"gradient/{p.name}") for p in self.game.players}
        owned = [p for player in self.game.players for p in player.parameters]
        self.ema = EMA(owned, self.defaults.ema)

    # -- the game ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train until the budget is spent, patience ends, or Ctrl-C is pressed."""
        with self.interruption.watched(), self.display:
            if not self.state.initialised:
                self.initialise()
            self.model.train()
            while not (ended := self.over()):
                self.round()
                self.upkeep()
            self.game.end()
            self.state.ended = ended
            if ended != "interrupted":
                self.finish()
            self.save()

    def initialise(self) -> None:
        """Let the model compute what it computes from data; every report of it becomes a row."""
        x, c = self.data.train.head(len(self.data.train) if self.data.train.in_memory else START_EXAMPLES)
        x, c = x.to(self.team.device), None if c is None else c.to(self.team.device)
        rounds = 0

        def report(terms: Terms) -> None:
            nonlocal rounds
            rounds += 1
            row = {f"initialise/{name}": float(value) for name, value in terms.parts.items()}
            self.write_row({"loss/initialise": float(terms.loss), **row, "round": rounds})
            self.display.show(0.0, 0, {"initialise": float(terms.loss)})
            if self.interruption.asked:
                raise KeyboardInterrupt

        self.model.initialise(x, c if self.model.condition is not None else None, report)
        self.assemble()
        self.state.initialised = True
        if self.team.world > 1:  # the same start everywhere, then each process its own noise
            torch.manual_seed(self.settings.seed * 1_000_003 + self.team.rank)
        self.save()

    def over(self) -> str:
        """Why training ends now, or an empty string."""
        state = self.state
        if self.interruption.asked:
            return "interrupted"
        if not self.game.players or self.spent() >= 1.0:
            return "budget"
        return "early" if self.settings.patience and state.stale >= self.settings.patience else ""

    def spent(self) -> float:
        """The share of the budget that is gone, in [0, 1]."""
        if self.total is not None:
            return min(self.state.step / self.total, 1.0)
        return min(self.state.seconds / (60.0 * float(self.settings.minutes or 1.0)), 1.0)

    def round(self) -> None:
        """Every player moves."""
        spent = self.spent()
        for turn, player in enumerate(self.game.players):
            self.game.give_turn(turn)
            for _ in range(player.steps):
                self.update(turn, player, spent)
        self.ema.update()
        self.state.step += 1
        self.state.summed += 1
        if self.team.world == 1 or self.state.step % AGREE_EVERY == 0:
            self.tick()

    def update(self, turn: int, player: Player, spent: float) -> None:
        """One descent step of one player on a fresh batch."""
        optimiser, settings, state = self.optimisers[turn], self.player_settings[turn], self.state
        rate = learning_rate(settings, state.step, spent)
        optimiser.zero()
        x, c = self.batches(state.batches)
        state.batches += 1
        loss, parts = self.gradient(turn, x, c)
        norm = clip_gradient(player.parameters, settings.clip)
        value, size = float(loss), float(norm)
        if not math.isfinite(value) or not math.isfinite(size):
            raise non_finite(state.step + 1, player, self.model, value, parts)
        optimiser.step(rate)
        self._count(player, value, size)
        if (state.step + 1) % self.settings.log_every == 0:
            self._parts |= {f"{player.name}/{name}": float(v) for name, v in parts.items()}

    def _count(self, player: Player, loss: float, gradient: float) -> None:
        sums, (loss_name, gradient_name) = self.state.sums, self._names[player.name]
        sums[loss_name] = sums.get(loss_name, 0.0) + loss / player.steps
        sums[gradient_name] = sums.get(gradient_name, 0.0) + gradient / player.steps

    def gradient(self, turn: int, x: Tensor, c: Tensor | None) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Back-propagate the loss of a batch, in `accumulate` parts; the loss and its terms."""
        k = self.settings.accumulate
        if k == 1:
            loss, parts = self.compute(turn, x, c)
            loss.backward()
            return loss.detach(), parts
        total = torch.zeros((), device=x.device)
        joint: dict[str, Tensor] = {}
        cs = [None] * k if c is None else c.chunk(k)
        for x_part, c_part in zip(x.chunk(k), cs, strict=False):
            share = len(x_part) / len(x)
            loss, parts = self.compute(turn, x_part, c_part)
            (loss * share).backward()
            total += loss.detach() * share
            joint = {name: joint.get(name, 0.0) + v.detach() * share for name, v in parts.items()}
        return total, joint

    # -- now and then --------------------------------------------------------------------------------------------

    def upkeep(self) -> None:
        """Log, validate, draw and save when it is time to."""
        state, settings = self.state, self.settings
        if state.step % settings.log_every == 0:
            self.log()
        if self._due(settings.eval_every, state.validations, VALIDATIONS):
            self.validate()
        if settings.sample_every != 0 and self._due(settings.sample_every, state.pictures, PICTURES):
            self.draw()
        if self._save_due:
            self.save()

    def _due(self, every: int | None, done: int, times: int) -> bool:
        if every is not None:
            return self.state.step % every == 0
        return int(self.spent() * times) > done

    def log(self) -> None:
        """Write the means since the last row."""
        state = self.state
        means = self.team.mean({name: total / max(state.summed, 1) for name, total in state.sums.items()})
        state.sums, state.summed = {}, 0
        self.write_row({**means, **self._parts})
        self.display.show(self.spent(), state.step, self._shown(means))

    def _shown(self, means: Mapping[str, float]) -> dict[str, float]:
        losses = {k.removeprefix("loss/"): v for k, v in means.items() if k.startswith("loss/")}
        shown = {"loss": losses["model"]} if set(losses) == {"model"} else losses
        if self.state.best is not None:
            shown["best valid"] = self.state.best
            if "nll" in self._last_valid:
                shown["bits/dim"] = bits_per_dim(self._last_valid["nll"], self.data.space)
        return shown

    def validate(self) -> None:
        """Measure the evaluated weights on validation data; remember them if they are the best so far."""
        state = self.state
        state.validations = max(state.validations + 1, int(self.spent() * VALIDATIONS))
        if len(self.game.players) > 1:
            return  # the losses of a game are relative to the other player: there is nothing to select by
        with self.ema.applied(), seeded(self.settings.seed):
            values = validate(self.model, self.data.valid, self.settings, self.team.device)
        value = values.get("nll", values["loss"])
        if not math.isfinite(value):
            raise RunError(
                f"step {state.step}: the validation loss is {value}; the last good checkpoint is kept; "
                "look at the validation data"
            )
        self._last_valid = values
        if state.best is None or value < state.best:
            state.best, state.best_step, state.stale = value, state.step, 0
            self._keep_best()
        else:
            state.stale += 1
        self.write_row({"valid": value, **{f"valid/{name}": v for name, v in values.items()}})

    def _keep_best(self) -> None:
        with self.ema.applied():
            self.best_weights = {name: t.detach().clone() for name, t in self.model.state_dict().items()}
        if self.folder is not None and self.team.rank == 0:
            meta = {"step": self.state.step, "valid": self.state.best}
            checkpoint.write(self.folder.best, self.best_weights, meta)

    def draw(self) -> None:
        """Save a picture of samples of the evaluated weights."""
        self.state.pictures = max(self.state.pictures + 1, int(self.spent() * PICTURES))
        self._drawn_at = self.state.step
        if self.folder is not None and self.team.rank == 0:
            with self.ema.applied(), seeded(self.settings.seed):
                shown = whole(self.model, self.data)
                save_picture(shown, self.data, self.folder.path / "samples", self.state.step)

    def finish(self) -> None:
        """Close the books at the end of the budget: last row, last validation, last picture."""
        state = self.state
        if state.summed:
            self.log()
        if not any("valid" in row and row["step"] == state.step for row in self.history[-3:]):
            self.validate()
        if self._drawn_at != state.step:
            self.draw()
        self.display.show(1.0, state.step, self._shown({}))

    def write_row(self, values: Mapping[str, float]) -> None:
        """Add a row to the history and to metrics.jsonl."""
        row = {"step": self.state.step, "seconds": round(self.state.seconds, 3), **values}
        self.history.append(row)
        if self.folder is not None and self.team.rank == 0:
            self.folder.append(row)
            if self.settings.tensorboard:
                self.board = self.board or Board(self.folder.path)
                self.board.add(row)

    # -- time and interruption -----------------------------------------------------------------------------------

    def tick(self) -> None:
        """Move the run's clocks to now (in a team: to the first process's now)."""
        now, cpu = time.perf_counter(), time.process_time()
        due = now - self._saved_at > self.settings.save_every
        since = (now - self._clock[0], cpu - self._clock[1], self.interruption.asked, due)
        self._clock = (now, cpu)
        seconds, cpu_seconds, stop, save = self.team.agree(since)
        self.state.seconds += seconds
        self.state.cpu_seconds += cpu_seconds
        self.interruption.asked, self._save_due = bool(stop), bool(save)

    def start_clock(self) -> None:
        """Count time from now on."""
        self._clock = (time.perf_counter(), time.process_time())

    # -- what is remembered --------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint."""
        tensors = tensors_of(self)  # every process takes part
        if self.state.initialised:
            self.state.ema_updates = self.ema.updates
        if self.folder is not None and self.team.rank == 0:
            self.folder.save(self.state.step, tensors, self.state.to_dict())
        self._saved_at, self._save_due = time.perf_counter(), False

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Become the trainer that wrote this checkpoint, with its history."""
        restore(self, tensors, values)
        if self.folder is not None:
            self.history = [row for row in self.folder.rows() if row["step"] <= self.state.step]
            if self.folder.best.is_file():
                self.best_weights = checkpoint.read(self.folder.best)[0]
        for row in self.history:
            if "valid" in row:
                self._last_valid = part_of_row(row, "valid/")


def part_of_row(row: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The values of a row whose name starts with `prefix`, by the rest of their name."""
    return {name.removeprefix(prefix): v for name, v in row.items() if name.startswith(prefix)}
