"""Flows on tables and on patches of photographs, beside zuko and nflows: test log-likelihood and CPU time.

Every library has the same layers, hidden widths and bins (`flow_training` builds them): couplings keep one half of the
entries and then the other, networks are plain perceptrons, and kept entries go through splines of their own, because
zuko's couplings are so. They have the same standardised data, the same batches in the same order, Adam with a cosine
decay and clipped gradients; creo initialises its activation normalisation by the first 10 000 training rows. Short
trainings at equal steps, not the best these models can do.
Values are nats of the raw row (of the 63 numbers of a patch), means over the test split and over three seeds, which
differ by as much as libraries do; a standard error counts both rows and seeds. The spread is one, and the target is the
best peer's mean less two of the paired difference. Trainings alternate in rounds of steps, and the time is the CPU
seconds of the training loops alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import creo
from benchmarks.flow_training import LogProb, nflows, ours, zuko
from creo.data import Data

MODELS = ("maf", "nsf")
#: Steps on each data set.
STEPS = {"uci:kin40k": 1000, "uci:california-housing": 1000, "bsds300": 500}
SAME = {"split": "halves", "unconditional": True, "residual": False}
BATCH, LR, CLIP, ROUND = 256, 1e-3, 5.0, 100
SEEDS = (0, 1, 2)
LIBRARIES: dict[str, Callable[[str, int], tuple[nn.Module, LogProb]]] = {
    "creo": lambda name, dims: ours(name, dims, **({} if name == "maf" else SAME)),
    "zuko": zuko,
    "nflows": lambda name, dims: nflows(name, dims, halves=name == "nsf"),
}  # fmt: skip


class Training:
    """One library's model in training.

    Args:
        made: module and log-density.
        x: standardised training rows, (N, D).
        steps: in all.
        seed: of the batches.
    """

    def __init__(self, made: tuple[nn.Module, LogProb], x: Tensor, steps: int, seed: int) -> None:
        self.module, self.log_prob = made
        if isinstance(self.module, creo.model.GenerativeModel):
            self.module.initialise(x[:10_000])
        self.module.train()
        self.x, self.seconds = x, 0.0
        self.optimiser = torch.optim.Adam(self.module.parameters(), lr=LR, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, steps)
        self.batches = batches(len(x), steps, seed)

    def advance(self, steps: int) -> None:
        """Some more steps, timed."""
        start = time.process_time()
        for _, index in zip(range(steps), self.batches, strict=False):
            self.optimiser.zero_grad()
            (-self.log_prob(self.x[index]).mean()).backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), CLIP)
            self.optimiser.step()
            self.schedule.step()
        self.seconds += time.process_time() - start

    @torch.no_grad()
    def test(self, x: Tensor) -> Tensor:
        """Log-densities of rows, (N,)."""
        self.module.eval()
        return torch.cat([self.log_prob(part) for part in x.split(1000)]).double()


def batches(n: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Random rows, the same for everybody."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(n, (BATCH,), generator=generator) for _ in range(steps))


def trained(name: str, x: Tensor, steps: int, seed: int) -> dict[str, Training]:
    """All libraries that are installed, trained in turn."""
    found: dict[str, Training] = {}
    for library, make in LIBRARIES.items():
        torch.manual_seed(seed)
        try:
            found[library] = Training(make(name, x.shape[1]), x, steps, seed)
        except ImportError:
            continue
    for done in range(0, steps, ROUND):
        for training in found.values():
            training.advance(min(ROUND, steps - done))
    return found


def standard_error(values: Tensor) -> float:
    """Of the mean of values (seeds, rows): the rows' own, and that of what differs from seed to seed."""
    rows, seeds = values.mean(0), values.mean(1)
    between = float(seeds.var()) / len(seeds) if len(seeds) > 1 else 0.0
    return (float(rows.var()) / len(rows) + between) ** 0.5


def measure(name: str, data: Data, steps: int, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """The likelihoods of one model on one data set, then its time."""
    x = data.train.x
    mean, std = x.mean(0), x.std(0)
    runs = [trained(name, (x - mean) / std, steps, seed) for seed in seeds]
    offset, test = float(std.double().log().sum()), (data.test.x - mean) / std
    values = {library: torch.stack([r[library].test(test) for r in runs]) - offset for library in runs[0]}
    seconds = {library: sum(r[library].seconds for r in runs) / len(runs) for library in runs[0]}
    note = f"{name} on {data.name}, {steps} steps: " + ", ".join(
        f"{library} {float(v.mean()):.2f} nats in {seconds[library]:.1f} CPU-s"
        for library, v in values.items()
    )
    mine, others = values["creo"], {library: v for library, v in values.items() if library != "creo"}
    row = {
        "better": "higher",
        "target": None,
        "met": None,
        "peer": None,
        "peer_value": None,
        "seeds": list(seeds),
        "threads": 1,
    }
    likelihood = row | {
        "name": f"test log-likelihood of {name} on {data.name}", "value": round(float(mine.mean()), 3),
        "unit": "nats", "spread": round(standard_error(mine), 3), "note": note,
    }  # fmt: skip
    if not others:
        return [likelihood]
    best = max(others, key=lambda library: float(others[library].mean()))
    gap = mine - others[best]
    peer, error = float(others[best].mean()), standard_error(gap)
    likelihood |= {"target": round(peer - 2 * error, 3), "met": float(gap.mean()) >= -2 * error,
                   "peer": best, "peer_value": round(peer, 3)}  # fmt: skip
    quick = min(others, key=lambda library: seconds[library])
    ratio = seconds[quick] / seconds["creo"]
    return [likelihood, row | {
        "name": f"training time of {name} on {data.name}, fastest peer / creo", "value": round(ratio, 2),
        "unit": "times", "spread": None, "target": 1.0, "met": ratio >= 1.0,
        "peer": quick, "peer_value": None,
    }]  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """Two rows per data set and model; quick: one data set, fifty steps."""
    torch.set_num_threads(1)
    chosen = {"uci:kin40k": 50} if quick else STEPS
    return [
        row for spec, steps in chosen.items() for name in MODELS
        for row in measure(name, creo.load_data(spec), steps, SEEDS[:1] if quick else SEEDS)
    ]  # fmt: skip
