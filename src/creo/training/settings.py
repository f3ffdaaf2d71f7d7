"""How long and how a model is trained: one immutable value, written into every run's config.

A budget in steps is exactly reproducible: a killed and resumed run ends with the same bits. A budget in minutes ends
when the clock says so (time spent before a kill counts), and the learning-rate schedule follows the clock.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from creo.errors import OptionError, suggestion

DEFAULT_STEPS = 5000

OptimiserName = Literal["adam", "muon"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Settings:
    """Settings of a training run; None means "what the model's `training_defaults` say".

    Args:
        steps: train this many updates (of the first player). Default 5000 if no other budget is given.
        minutes: train this many minutes.
        epochs: train this many passes over the training set.
        seed: seeds initial noise, data order and everything else random in training.
        batch_size: examples per update, over all processes.
        optimiser: adam; or muon, orthogonal updates of matrices: often far fewer steps, with larger batches.
        lr: peak learning rate; means the same for both optimisers.
        weight_decay: decoupled weight decay.
        clip: largest L2 norm of a player's gradient; 0 turns clipping off.
        ema: decay of the moving average of weights that is evaluated and sampled; 0 turns it off.
        warmup: steps over which the learning rate rises from 0.
        schedule: cosine (to 0 at the end of the budget) or constant.
        precision: float32, or bfloat16 autocast with float32 weights.
        accumulate: compute each update's gradient in this many parts (less memory, same result).
        compile: compile the players' losses with torch.compile.
        device: cpu, cuda, cuda:1, mps.
        threads: CPU threads; None: one for models below 300 000 parameters, else all cores.
        eval_every: steps between validations; None: about twenty in the run.
        patience: stop after this many validations without improvement; 0 never stops early.
        sample_every: steps between pictures of samples; None: about five in the run; 0: only at the end.
        save_every: seconds between checkpoints.
        log_every: steps between rows of metrics.jsonl.
        tensorboard: also write TensorBoard event files.
    """

    steps: int | None = None
    minutes: float | None = None
    epochs: float | None = None
    seed: int = 0
    batch_size: int | None = None
    optimiser: OptimiserName | None = None
    lr: float | None = None
    weight_decay: float | None = None
    clip: float | None = None
    ema: float | None = None
    warmup: int | None = None
    schedule: Schedule | None = None
    precision: Precision = "float32"
    accumulate: int = 1
    compile: bool = False
    device: str = "cpu"
    threads: int | None = None
    eval_every: int | None = None
    patience: int = 0
    sample_every: int | None = None
    save_every: float = 20.0
    log_every: int = 50
    tensorboard: bool = False

    def __post_init__(self) -> None:
        budgets = [b for b in ("steps", "minutes", "epochs") if getattr(self, b) is not None]
        if len(budgets) > 1:
            raise OptionError(
                f"give one budget, steps or minutes or epochs; received {' and '.join(budgets)}"
            )
        positive = ("steps", "minutes", "epochs", "batch_size", "lr", "accumulate", "threads", "eval_every",
                    "save_every", "log_every")  # fmt: skip
        not_negative = ("weight_decay", "clip", "warmup", "patience", "sample_every", "seed")
        for names, low in ((positive, "greater than 0"), (not_negative, "at least 0")):
            for name in names:
                value = getattr(self, name)
                if value is not None and (value < 0 or (value == 0 and names is positive) or value != value):
                    raise OptionError(f"{name} must be {low}; received {value}")
        for name, known in (("optimiser", OptimiserName), ("schedule", Schedule), ("precision", Precision)):
            value = getattr(self, name)
            if value is not None and value not in get_args(known):
                raise OptionError(f"no {name} {value!r}{suggestion(str(value), get_args(known))}")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise OptionError(f"ema is a decay in [0, 1); received {self.ema}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a config file."""
        return dataclasses.asdict(self)
