"""What a model costs: parameters, time to sample, time to train.

Sampling is timed as the median of a few calls after one that warms up, in milliseconds per sample at a stated batch
size, device and number of threads; a number of another batch size is another number.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from creo.evaluation.likelihood import evaluating
from creo.evaluation.value import Value
from creo.model import GenerativeModel


def parameter_count(model: GenerativeModel) -> int:
    """How many numbers were learned: parameters, and for a model fitted without a game also its floating buffers."""
    parameters = sum(p.numel() for p in model.parameters())
    if model.players():
        return parameters
    return parameters + sum(b.numel() for b in model.buffers() if b.is_floating_point())


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sampling_speed(
    model: GenerativeModel, *, n: int = 64, c: torch.Tensor | None = None, repeats: int = 3, seed: int = 0
) -> Value:
    """Milliseconds per sample, drawing `n` at once (with conditions `c`, if the model needs them)."""
    times = []
    with evaluating(model, seed):
        for _ in range(repeats + 1):
            _wait(model.device)
            start = time.perf_counter()
            model.sample(n, c)
            _wait(model.device)
            times.append(time.perf_counter() - start)
    milliseconds = sorted(times[1:])[len(times[1:]) // 2] / n * 1e3
    protocol = {"batch": n, "device": model.device.type, "threads": torch.get_num_threads()}
    note = f"{n} at once on {model.device.type}, median of {repeats}"
    return Value("sampling", milliseconds, unit="ms/sample", seed=seed, note=note, protocol=protocol)


def cost_values(model: GenerativeModel, *, training: Any = None) -> list[Value]:
    """Parameter count and, given a finished `Run` as `training`, the time and steps it took."""
    values = [Value("parameters", parameter_count(model))]
    if training is not None:
        note = f"{training.steps} steps"
        values.append(Value("training time", float(training.seconds), unit="s", note=note))
        cpu = getattr(training, "cpu_seconds", None)
        if cpu is not None:
            values.append(Value("training CPU time", float(cpu), unit="s", note=note))
    return values
