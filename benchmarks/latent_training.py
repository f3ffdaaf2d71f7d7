"""Training step and likelihood estimate of a VAE beside pythae, at equal architecture, batch and samples.

784-200-200-50 with tanh, binary pictures, batch 100, one thread, float32 (creo's bfloat16 switch in a row of its own).
A step is measured through each package's own trainer: `creo.fit`, set-up and validation at the end included, and
`BaseTrainer.train_step` of pythae, which loops over an epoch on a trainer made before. The estimate is
importance-weighted with 5000 samples a picture: `log_prob`, and `get_nll` of pythae (without gradients, which it does
not switch off itself). The bare matrix products of the decoder for as many samples say what any code must spend. CPU
seconds, in turn A B A B, ratio of medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import creo
from creo.data.dataset import Data, Split
from creo.spaces import Ordinal

HIDDEN, LATENT, BATCH, SAMPLES, PRODUCT_ROWS = 200, 50, 100, 5000, 500
SPACE = Ordinal((1, 28, 28), 2)


def ours() -> Any:
    """creo's model."""
    return creo.build("iwae", SPACE, bound="elbo", k=1, estimator="auto", hidden=HIDDEN, latent=LATENT)


def perceptron(inputs: int) -> nn.Sequential:
    """The hidden layers of either side."""
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh())


def pythaes() -> Any:
    """The same in pythae, or None if it is not installed."""
    try:
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
    except ImportError:
        return None

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = perceptron(784)
            self.mean, self.log_var = nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)

        def forward(self, x: Tensor) -> Any:
            h = self.hidden(x.flatten(1))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.out = perceptron(LATENT), nn.Linear(HIDDEN, 784)

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.out(self.hidden(z)).sigmoid().view(-1, 1, 28, 28))

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=LATENT, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(), decoder=Decoder())


def our_steps(x: Tensor, steps: int, precision: str) -> Callable[[], None]:
    """`steps` training steps through `creo.fit`, on a model made before."""
    few = Split(x[:BATCH])
    data, model = Data("pictures", SPACE, Split(x), few, few), ours()

    def train() -> None:
        creo.fit(
            model,
            data,
            steps=steps,
            batch_size=BATCH,
            threads=1,
            eval_every=10**9,
            precision=precision,
            progress=False,
        )

    return train


def pythae_steps(model: Any, x: Tensor) -> Callable[[], None]:
    """An epoch of pythae's trainer."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=BATCH,
        num_epochs=1,
        learning_rate=1e-3,
        no_cuda=True,
    )
    trainer = BaseTrainer(model, BaseDataset(x.float(), torch.zeros(len(x))), training_config=config)
    trainer.prepare_training()
    return lambda: trainer.train_step(epoch=1)


def estimates(peer: Any, x: Tensor, samples: int) -> dict[str, Callable[[], Any]]:
    """The estimate of pictures x by creo, also in bfloat16, and by pythae; and its matrix products alone."""
    model, layers = (
        ours().eval(),
        [torch.randn(a, b) for a, b in ((LATENT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 784))],
    )
    peer.eval()

    def half() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            model.log_prob(x, samples=samples)

    def products() -> None:
        for _ in range(len(x) * samples // PRODUCT_ROWS):
            for layer in layers:
                torch.ones(PRODUCT_ROWS, len(layer)) @ layer

    return {
        "creo": lambda: model.log_prob(x, samples=samples),
        "pythae": lambda: peer.get_nll(x.float(), n_samples=samples),
        "bfloat16": half,
        "products": products,
    }


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def in_turn(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every work, round after round, the first round left out."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: values[1:] for name, values in times.items()}


def row(
    what: str, times: dict[str, list[float]], per: float, unit: str, target: float | None
) -> dict[str, Any]:
    """How many times faster creo (or what is measured in its place) is; `per` turns a time into the note's unit."""
    mine = next(name for name in times if name != "pythae")
    ms = {name: 1e3 * statistics.median(values) / per for name, values in times.items()}
    value = ms["pythae"] / ms[mine]
    ratios = [b / a for a, b in zip(times[mine], times["pythae"], strict=True)]
    return {
        "name": f"{what}, pythae / creo", "value": round(value, 2), "unit": "times",
        "spread": [round(min(ratios), 2), round(max(ratios), 2)], "better": "higher", "target": target,
        "met": None if target is None else value >= target, "peer": "pythae", "peer_value": None,
        "seeds": [0], "threads": 1,
        "note": f"{what}: {mine} {ms[mine]:.2f}, pythae {ms['pythae']:.2f} CPU-ms a {unit}.",
    }  # fmt: skip


def run(quick: bool) -> list[dict[str, Any]]:
    """The rows, or none where pythae is not installed."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    peer = pythaes()
    if peer is None:
        return []
    steps, rounds, samples, pictures = (10, 2, 500, 2) if quick else (100, 9, SAMPLES, 4)
    x = (torch.rand(steps * BATCH, 1, 28, 28) < 0.2).to(torch.uint8)
    trained = in_turn(
        {
            "creo": our_steps(x, steps, "float32"),
            "pythae": pythae_steps(peer, x),
            "bfloat16": our_steps(x, steps, "bfloat16"),
        },
        rounds,
    )
    half = {"creo": trained.pop("bfloat16"), "pythae": trained["pythae"]}
    with torch.no_grad():
        estimated = in_turn(estimates(peer, x[:pictures], samples), rounds)
    floor = {"products": estimated.pop("products"), "pythae": estimated["pythae"]}
    half_estimated = {"creo": estimated.pop("bfloat16"), "pythae": estimated["pythae"]}
    return [
        row("training step of a VAE", trained, steps, "step", 2.0),
        row("training step of a VAE, creo in bfloat16", half, steps, "step", 2.0),
        row(f"{samples}-sample estimate of log p", estimated, pictures, "picture", 20.0),
        row(
            f"{samples}-sample estimate of log p, creo in bfloat16", half_estimated, pictures, "picture", 20.0
        ),
        row(
            f"{samples}-sample estimate of log p, its matrix products alone", floor, pictures, "picture", None
        ),
    ]
