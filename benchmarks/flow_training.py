"""Training steps of flows beside zuko, nflows and normflows, at equal architecture and batch.

One step is the negative log-likelihood of a batch, its gradient, and Adam (`fused` for all). D = 32, 3 layers, two
hidden layers of 128, 8 bins, batch 256, float32, one thread; normalisation between layers off where a library has it as
an option, creo with its own default layers (activation normalisation included). CPU seconds of the process,
alternating between libraries, the median over rounds; the ratio is against the fastest peer of the row.

Two rows each: a round is ten steps one after the other, as in training, or one step only ("cold"), which finds caches
filled by the libraries before it: there memory decides more and arithmetic less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import creo
from creo.spaces import Continuous

DIMS, LAYERS, HIDDEN, BINS, BATCH = 32, 3, (128, 128), 8, 256
CONSECUTIVE = 10
TARGETS = {"maf": 1.0, "nsf": 2.0, "nsf-ar": 2.0}

LogProb = Callable[[Tensor], Tensor]


def ours(name: str, dims: int = DIMS, **more: Any) -> tuple[nn.Module, LogProb]:
    """creo's model."""
    options = more if name == "maf" else {"bins": BINS, **more}
    model = creo.build(name, Continuous((dims,)), layers=LAYERS, hidden=HIDDEN, **options)
    return model, model.log_prob


def zuko(name: str, dims: int = DIMS) -> tuple[nn.Module, LogProb]:
    """zuko's flows; a coupling is its autoregressive flow in two passes."""
    import zuko as library

    kind = library.flows.MAF if name == "maf" else library.flows.NSF
    options = {"passes": 2} if name == "nsf" else {}
    options |= {} if name == "maf" else {"bins": BINS}
    flow = kind(dims, transforms=LAYERS, hidden_features=HIDDEN, **options)
    return flow, lambda x: flow().log_prob(x)


def nflows(name: str, dims: int = DIMS, *, halves: bool = False) -> tuple[nn.Module, LogProb]:
    """nflows' flows, networks without residual blocks where it has them; autoregressive ones reverse their order.

    With `halves` couplings keep halves, which go through splines of their own, instead of every other entry.
    """
    from nflows import distributions, flows, transforms
    from nflows.nn.nets import MLP

    def layer(i: int) -> nn.Module:
        if name == "maf":
            return transforms.MaskedAffineAutoregressiveTransform(
                dims, HIDDEN[0], num_blocks=1, use_residual_blocks=False
            )
        spline = {"num_bins": BINS, "tails": "linear", "tail_bound": 5.0}
        if name == "nsf-ar":
            return transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                dims, HIDDEN[0], num_blocks=1, use_residual_blocks=False, **spline
            )
        first = torch.arange(dims) >= (dims + 1) // 2 if halves else torch.arange(dims) % 2 == 1
        mask = (first ^ bool(i % 2)).long()

        class Network(MLP):
            hidden_features = HIDDEN[0]  # by its root the library scales down what enters a softmax

            def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
                return super().forward(x)

        return transforms.PiecewiseRationalQuadraticCouplingTransform(
            mask, lambda a, b: Network([a], [b], list(HIDDEN)), apply_unconditional_transform=halves, **spline
        )

    stack = []
    for i in range(LAYERS):
        turn = [] if name == "nsf" or not i else [transforms.ReversePermutation(dims)]
        stack += [*turn, layer(i)]
    flow = flows.Flow(transforms.CompositeTransform(stack), distributions.StandardNormal([dims]))
    return flow, flow.log_prob


def normflows(name: str) -> tuple[nn.Module, LogProb]:
    """normflows' flows."""
    import normflows as library

    kinds = library.flows

    def layer() -> nn.Module:
        if name == "maf":
            return kinds.MaskedAffineAutoregressive(DIMS, HIDDEN[0], num_blocks=1, use_residual_blocks=False)
        spline = (
            kinds.CoupledRationalQuadraticSpline
            if name == "nsf"
            else kinds.AutoregressiveRationalQuadraticSpline
        )
        return spline(DIMS, 1, HIDDEN[0], num_bins=BINS, tail_bound=5)

    flow = library.NormalizingFlow(library.distributions.DiagGaussian(DIMS), [layer() for _ in range(LAYERS)])
    return flow, flow.log_prob


def trainer(made: tuple[nn.Module, LogProb], x: Tensor, *, compiled: bool = False) -> Callable[[], None]:
    """One training step."""
    module, log_prob = made
    log_prob = torch.compile(log_prob) if compiled else log_prob
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        (-log_prob(x).mean()).backward()
        optimiser.step()

    return step


def times_of(steps: dict[str, Callable[[], None]], rounds: int, consecutive: int) -> dict[str, list[float]]:
    """CPU seconds a step of every library, round after round; the first two rounds warm up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 2):
        for name, step in steps.items():
            start = time.process_time()
            for _ in range(consecutive):
                step()
            times[name].append((time.process_time() - start) / consecutive)
    return {name: values[2:] for name, values in times.items()}


def run(quick: bool) -> list[dict[str, Any]]:
    """A row per model; quick: few rounds and nothing compiled."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, rows = torch.randn(BATCH, DIMS), []
    for name, target in TARGETS.items():
        steps = {"creo": trainer(ours(name), x)}
        if not quick and name != "maf":
            steps["creo compiled"] = trainer(ours(name), x, compiled=True)
        for make in (zuko, nflows, normflows):
            try:
                steps[make.__name__] = trainer(make(name), x)
            except ImportError:
                continue
        for consecutive in (CONSECUTIVE, 1):
            rounds = 3 if quick else 160 // consecutive + 8
            rows += compared(name, times_of(steps, rounds, consecutive), target, cold=consecutive == 1)
    return rows


def compared(name: str, times: dict[str, list[float]], target: float, *, cold: bool) -> list[dict[str, Any]]:
    """Rows of creo, eager and compiled, against the fastest peer; none without peers."""
    ms = {library: 1e3 * statistics.median(values) for library, values in times.items()}
    others = {library: value for library, value in ms.items() if not library.startswith("creo")}
    if not others:
        return []
    best, rows, kind = min(others, key=lambda library: others[library]), [], " (cold)" if cold else ""
    for mine in (library for library in ms if library.startswith("creo")):
        goal = 4.0 if mine == "creo compiled" else target
        ratios = [b / a for a, b in zip(times[mine], times[best], strict=True)]
        value = others[best] / ms[mine]
        rows.append(
            {
                "name": f"training step of {name}, fastest peer / {mine}{kind}", "value": round(value, 2),
                "unit": "times", "spread": [round(min(ratios), 2), round(max(ratios), 2)], "better": "higher",
                "target": goal, "met": value >= goal, "peer": best, "peer_value": None,
                "note": ", ".join(f"{library} {value:.1f}" for library, value in ms.items()) + f" CPU-ms{kind}",
                "seeds": [0], "threads": 1,
            }
        )  # fmt: skip
    return rows
