"""Class-conditional diffusion of MNIST: FID of few and of many evaluations, guided accuracy, bits per dimension.

Two models with the same U-Net on squares of 2 x 2 pixels, trained for the same number of steps: DDPM and flow matching
with optimal pairs. FID is that of the features of MNIST's own classifier, of samples under the labels of as many test
pictures, against the whole test split; without guidance, unless it says so. A solver's evaluations are calls of the
network for a sample, the last one, which denoises, included.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import creo
from creo.data import Data
from creo.diffusion.model import CONTEXT_WIDTH, Diffusion
from creo.diffusion.recipes import DDPM, OTFlowMatching
from creo.evaluation.convnet import ClassifierFeatures, classifier_features
from creo.evaluation.frechet import FrechetReference
from creo.model import seeded
from creo.nn import ConditionEmbedding
from creo.nn.unet import UNet

STEPS, BATCH, SAMPLES, LONG, FEW = 4000, 64, 1000, 1000, 12
SOLVERS = ("ddim", "lms", "dpm", "dpm++", "velocity-adams", "sde-dpm++")
GUIDANCE, LIKELIHOOD = 3.0, 256


def built(recipe: type[Diffusion], data: Data) -> Diffusion:
    """The recipe with the U-Net of this benchmark: 24 and 48 channels, attention at 7 x 7."""
    if data.condition is None:
        raise ValueError(f"{data.name} has no labels")
    network = UNet(data.space.shape, channels=24, patch=2, attend=7, smallest=7, context=CONTEXT_WIDTH)
    embedding = ConditionEmbedding(data.condition, CONTEXT_WIDTH)
    return recipe(
        data.space,
        network,
        recipe.recipe_choices,
        condition=data.condition,
        embedding=embedding,
        likelihood_steps=64,
    )


def trained(recipe: type[Diffusion], data: Data, steps: int) -> tuple[Diffusion, float]:
    """The model and the CPU seconds of its training."""
    with seeded(0):
        model = built(recipe, data)
    run = creo.fit(model, data, steps=steps, seed=0, progress=False, threads=1, batch_size=BATCH, lr=2e-3)
    print(f"{recipe.__name__}: {run.steps} steps, {run.cpu_seconds:.0f} CPU-s", flush=True)
    return run.model.eval(), run.cpu_seconds  # type: ignore[return-value]


class Judge:
    """FID and accuracy of samples under the labels of the first n test pictures, the same noise for all."""

    def __init__(self, data: Data, n: int) -> None:
        self.features: ClassifierFeatures = classifier_features(data)
        x, c = data.test.head(len(data.test))
        if c is None:
            raise ValueError(f"{data.name} has no labels")
        self.reference, self.labels = FrechetReference.of(self.features(x)), c[:n]

    def __call__(self, model: Diffusion, **how: Any) -> tuple[float, float]:
        """(FID, accuracy)."""
        with seeded(0):
            drawn = torch.cat([model.sample(len(part), part, **how) for part in self.labels.split(250)])
        right = self.features.probabilities(drawn).argmax(1) == self.labels
        found = self.reference.distance(self.features(drawn)), float(right.double().mean())
        print(f"{type(model).__name__} {how}: FID {found[0]:.3f}, accuracy {found[1]:.4f}", flush=True)
        return found


def row(name: str, value: float, note: str, **more: Any) -> dict[str, Any]:
    """A row without target."""
    return {
        "name": name, "value": round(value, 4), "unit": "", "spread": None, "better": "lower", "target": None,
        "met": None, "peer": None, "peer_value": None, "note": note, "seeds": [0], "threads": 1, **more,
    }  # fmt: skip


def at_most(value: float, target: float, peer: str, other: float) -> dict[str, Any]:
    """What a row says of a target that another number of the run sets."""
    return {"target": round(target, 4), "met": value <= target, "peer": peer, "peer_value": round(other, 4)}


def few_evaluations(judge: Judge, ddpm: Diffusion, slow: float, long: int, note: str) -> list[dict[str, Any]]:
    """Every solver at 12 evaluations; the best one has the target."""
    found = {name: judge(ddpm, solver=name, steps=FEW)[0] for name in SOLVERS}
    best, peer = min(found, key=lambda name: found[name]), f"ancestral, {long} steps"
    return [
        row(f"DDPM: FID, {name}, {FEW} evaluations", value, note,
            **(at_most(value, 1.05 * slow, peer, slow) if name == best else {}))
        for name, value in found.items()
    ]  # fmt: skip


def bits(model: Diffusion, data: Data, n: int) -> tuple[float, float]:
    """Bits per dimension of n test pictures by the probability flow, and its standard error."""
    x, c = data.test.head(n)
    with seeded(0):
        log_prob = torch.cat(list(map(model.log_prob, x.split(64), c.split(64) if c is not None else [None])))
    each: Tensor = -log_prob / (data.space.dims * torch.log(torch.tensor(2.0)))
    return float(each.mean()), float(each.std() / len(each) ** 0.5)


def run(quick: bool) -> list[dict[str, Any]]:
    """All rows; quick: a hundredth of the training, few samples and steps."""
    torch.set_num_threads(1)
    steps, n, long, likely = (60, 100, 20, 8) if quick else (STEPS, SAMPLES, LONG, LIKELIHOOD)
    data = creo.load_data("mnist")
    judge = Judge(data, n)
    (ddpm, first), (matching, second) = trained(DDPM, data, steps), trained(OTFlowMatching, data, steps)
    note = (
        f"{steps} steps of {BATCH} each: DDPM {first:.0f}, flow matching {second:.0f} CPU-s; {n} samples; "
        f"{judge.features.note}."
    )
    slow, medium = (judge(ddpm, solver="ancestral", steps=count)[0] for count in (long, long // 10))
    rows = [
        row(f"DDPM: FID, ancestral, {count} steps", value, note)
        for count, value in ((long, slow), (long // 10, medium))
    ]
    rows += few_evaluations(judge, ddpm, slow, long, note)
    for count, other, peer in ((long // 10, slow, long), (long // 100, medium, long // 10)):
        value = judge(matching, steps=max(count, 2))[0]
        label = f"flow matching with optimal pairs: FID, {max(count, 2)} evaluations"
        rows.append(row(label, value, note, **at_most(value, other, f"DDPM, ancestral, {peer} steps", other)))
    fid, accuracy = judge(ddpm, solver="dpm++", steps=25, guidance=GUIDANCE)
    label = f"DDPM, guidance {GUIDANCE:g}, dpm++, 25 steps"
    rows += [
        row(f"{label}: accuracy", accuracy, note, better="higher", target=0.99, met=accuracy >= 0.99),
        row(f"{label}: FID", fid, note),
    ]
    models: dict[str, Diffusion] = {"DDPM": ddpm, "flow matching with optimal pairs": matching}
    for name, model in models.items():
        value, error = bits(model, data, likely)
        about = f"{model.likelihood_note}; {likely} test pictures."
        rows.append(row(f"{name}: bits per dimension", value, about, unit="bits/dim", spread=round(error, 4)))
    return rows
