"""One process or several that train one model together.

A `Team` of one does nothing. Under `torchrun`, `FabricTeam` lets Lightning Fabric's DDP strategy average the
gradients, every process taking its share of each global batch; what depends on the clock is decided by the first
process and told to the others, so that all take the same steps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from creo.errors import MissingExtra
from creo.training.game import Game

Compute = Callable[[int, Tensor, Tensor | None], tuple[Tensor, Mapping[str, Tensor]]]


class Team:
    """A single process. `rank` counts from 0; the process of rank 0 writes files."""

    rank = 0
    world = 1

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def wrap(self, game: Game) -> Compute:
        """The function that computes a player's loss so that its gradient is that of the global batch."""
        return game

    def agree(self, values: Sequence[float]) -> Sequence[float]:
        """The values of rank 0."""
        return values

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Means over processes."""
        return values

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every process, by rank."""
        return [tensor]


class FabricTeam(Team):
    """The processes started by `torchrun`, under Lightning Fabric's DDP strategy."""

    def __init__(self, device: str = "cpu") -> None:
        try:
            from lightning_fabric import Fabric
            from lightning_fabric.strategies import DDPStrategy
        except ImportError as error:
            raise MissingExtra("training with several processes", "distributed") from error
        accelerator = "cuda" if device.startswith("cuda") else "cpu"
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        self.world = int(os.environ["WORLD_SIZE"])
        strategy = DDPStrategy(find_unused_parameters=True)
        self.fabric: Any = Fabric(
            accelerator=accelerator, devices=local, num_nodes=self.world // local, strategy=strategy
        )
        self.fabric.launch()
        self.rank = self.fabric.global_rank
        self.device = self.fabric.device

    def wrap(self, game: Game) -> Compute:
        return self.fabric.setup_module(game)

    def agree(self, values: Sequence[float]) -> Sequence[float]:
        told = self.fabric.broadcast(torch.tensor(values, dtype=torch.float64), src=0)
        return [float(v) for v in told]

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        joint = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        joint = self.fabric.all_reduce(joint, reduce_op="mean")
        return dict(zip(values, joint.tolist(), strict=True))

    def gather(self, tensor: Tensor) -> list[Tensor]:
        return list(self.fabric.all_gather(tensor.to(self.device)).cpu())


def assemble(device: str) -> Team:
    """The team this process belongs to: that of `torchrun` if it was started by it, else itself."""
    return FabricTeam(device) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Team(device)
