"""All that a run's future depends on, as tensors and plain values, and a trainer made of them again.

Weights, moving average, optimiser slots, the random generators of every process, and the counters of `State`: a
trainer restored from them goes on as if it had never stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from creo.errors import RunError

if TYPE_CHECKING:
    from creo.training.trainer import Trainer


@dataclass
class State:
    """Where a run is: plain values only; the tensors are in the model, the average and the optimisers."""

    step: int = 0
    batches: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    validations: int = 0
    pictures: int = 0
    stale: int = 0
    best: float | None = None
    best_step: int = 0
    initialised: bool = False
    ema_updates: int = 0
    ended: str = ""
    sums: dict[str, float] = field(default_factory=dict)
    summed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return dataclasses.asdict(self)


def tensors_of(trainer: Trainer) -> dict[str, Tensor]:
    """Every tensor the future depends on, by name; all processes of a team take part."""
    team = trainer.team
    out = {f"model.{name}": t for name, t in trainer.model.state_dict().items()}
    out |= {f"generator.{rank}": t for rank, t in enumerate(team.gather(torch.get_rng_state()))}
    if team.device.type == "cuda":
        states = team.gather(torch.cuda.get_rng_state(team.device))
        out |= {f"cuda.{rank}": t for rank, t in enumerate(states)}
    if trainer.state.initialised:
        out |= {f"average.{i}": t for i, t in enumerate(trainer.ema.average)}
        for turn, optimiser in enumerate(trainer.optimisers):
            out |= {f"optimiser.{turn}.{name}": t for name, t in optimiser.tensors().items()}
    return out


def restore(trainer: Trainer, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Make `trainer` the one that `tensors_of` and `State.to_dict` were taken from.

    Raises:
        RunError: if another number of processes trained it.
    """
    trainer.state = State(**{**values, "ended": ""})
    trainer.model.load_state_dict(part(tensors, "model."))
    if trainer.state.initialised:
        trainer.assemble()
        for turn, optimiser in enumerate(trainer.optimisers):
            optimiser.load(part(tensors, f"optimiser.{turn}."))
        trainer.ema.updates = trainer.state.ema_updates
        for i, average in enumerate(trainer.ema.average):
            average.copy_(tensors[f"average.{i}"])
    generators, rank = part(tensors, "generator."), str(trainer.team.rank)
    if len(generators) != trainer.team.world:
        raise RunError(
            f"this run was trained by another number of processes ({len(generators)}); use as many"
        )
    torch.set_rng_state(generators[rank])
    if trainer.team.device.type == "cuda" and f"cuda.{rank}" in tensors:
        torch.cuda.set_rng_state(tensors[f"cuda.{rank}"], trainer.team.device)


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with `prefix`, by the rest of their name."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
