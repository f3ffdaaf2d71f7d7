"""What creo's training loop costs over a bare PyTorch loop, with logging and the average of weights on.

The same two-layer MLP (64-256-64, squared error), the same data, batch 256, fused Adam, one thread. The bare loop is
what one writes by hand: index, zero_grad, forward, backward, step; it neither logs, averages, clips nor checks for
NaN. Beside it Lightning's Trainer with its own logging, on batches from the same tensors without worker processes.
Runs are paired and alternate; the ratio is the median over pairs.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import creo
from creo.data.dataset import Data, Split
from creo.model import GenerativeModel, Likelihood, Terms, TrainingDefaults

BATCH, WIDTH, HIDDEN, EXAMPLES = 256, 64, 256, 20_000
TARGET = 1.15


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH))


class Regressor(GenerativeModel):
    """The MLP as a model with the same loss as the bare loop."""

    likelihood = Likelihood.NONE

    def __init__(self, space: creo.Continuous) -> None:
        super().__init__(space)
        self.net = network()

    def training_defaults(self) -> TrainingDefaults:
        return TrainingDefaults(batch_size=BATCH, ema=0.999, schedule="constant", warmup=0, clip=1.0)

    def loss(self, x: torch.Tensor, c: torch.Tensor | None = None) -> Terms:
        error = (self.net(x) - x).square().mean()
        return Terms(error, {"error": error.detach()})

    def sample(self, n: int, c: torch.Tensor | None = None) -> torch.Tensor:
        return torch.zeros(n, WIDTH)


def bare(x: torch.Tensor, steps: int) -> float:
    """Seconds per step of the hand-written loop."""
    net = network()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    start, done = time.perf_counter(), 0
    while done < steps:
        order = torch.randperm(len(x))
        for i in range(0, len(x) - BATCH + 1, BATCH):
            batch = x[order[i : i + BATCH]]
            optimiser.zero_grad()
            loss = (net(batch) - batch).square().mean()
            loss.backward()
            optimiser.step()
            done += 1
            if done == steps:
                break
    return (time.perf_counter() - start) / steps


def ours(data: Data, steps: int) -> float:
    """Seconds per step of `creo.fit` writing a run folder (metrics, checkpoints by its default times)."""
    model = Regressor(data.space)
    with tempfile.TemporaryDirectory() as folder:
        run = creo.fit(
            model, data, steps=steps, out=Path(folder) / "run", progress=False, threads=1,
            eval_every=10 * steps, sample_every=10 * steps, save_every=1e9,
        )  # fmt: skip
        rows = [r for r in run.history if "loss/model" in r]
        return (rows[-1]["seconds"] - rows[0]["seconds"]) / (rows[-1]["step"] - rows[0]["step"])


def lightning(x: torch.Tensor, steps: int) -> float | None:
    """Seconds per step of Lightning's Trainer, None where it is not installed."""
    try:
        import pytorch_lightning as pl
    except ImportError:
        return None
    import logging

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")

    class Batches(torch.utils.data.IterableDataset):
        def __iter__(self) -> Any:
            while True:
                order = torch.randperm(len(x))
                for i in range(0, len(x) - BATCH + 1, BATCH):
                    yield x[order[i : i + BATCH]]

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.began, self.ended = network(), 0.0, 0.0

        def training_step(self, batch: torch.Tensor, i: int) -> torch.Tensor:
            if self.global_step == 50:
                self.began = time.perf_counter()
            self.ended = time.perf_counter()
            loss = (self.net(batch) - batch).square().mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    module = Module()
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_steps=steps, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, default_root_dir=folder, logger=pl.loggers.CSVLogger(folder),
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(Batches(), batch_size=None))
    return (module.ended - module.began) / (steps - 51)


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of the result; quick: fewer, shorter pairs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(EXAMPLES, WIDTH)
    splits = [Split(x), Split(x[:100]), Split(x[:100])]
    data = Data("noise", creo.Continuous((WIDTH,)), *splits)
    steps, pairs = (600, 3) if quick else (3000, 11)
    ratios, theirs, base = [], [], []
    for _ in range(pairs):
        b, o = bare(x, steps), ours(data, steps)
        ratios.append(o / b)
        base.append(b)
        other = lightning(x, steps)
        if other is not None:
            theirs.append(other / b)
    ratio = statistics.median(ratios)
    return [
        {
            "name": "training step over a bare loop (MLP 64-256-64, batch 256, logging and EMA on)",
            "value": round(ratio, 3), "unit": "x", "spread": [round(min(ratios), 3), round(max(ratios), 3)],
            "better": "lower", "target": TARGET, "met": ratio <= TARGET,
            "peer": "Lightning Trainer (logging on)" if theirs else None,
            "peer_value": round(statistics.median(theirs), 3) if theirs else None,
            "note": f"bare loop {1e3 * statistics.median(base):.3f} ms a step",
        }
    ]  # fmt: skip
