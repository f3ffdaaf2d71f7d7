"""Train and resume: what a person calls.

run = fit(model, data, minutes=1, out="runs/a")      # or steps=..., or epochs=...
run = resume("runs/a")                               # exactly where it was
model = load("runs/a")                               # in any process; runs no code of the run's own
"""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from creo.data.dataset import Data
from creo.errors import OptionError, RunError, suggestion
from creo.model import GenerativeModel, TrainingDefaults
from creo.training.folder import RunFolder, check_free
from creo.training.loading import rebuild, reload_data
from creo.training.memory import keep_freed_memory
from creo.training.progress import progress as make_progress
from creo.training.second_stage import training_data
from creo.training.settings import DEFAULT_STEPS, Settings
from creo.training.stages import Described, whole
from creo.training.state import tensors_of
from creo.training.team import Team, assemble
from creo.training.trainer import Trainer

#: Models with fewer parameters than this train faster on one thread than on several.
ONE_THREAD = 300_000


@dataclass
class Run:
    """A finished (or interrupted) training run.

    Args:
        model: with the weights that were best on validation, or the last ones where nothing can be validated; of a
            second stage, both stages together.
        path: the run's folder, or None.
        history: the rows of metrics.jsonl.
        steps: rounds played.
        seconds: wall-clock time spent, validations and pictures included.
        cpu_seconds: processor time spent.
        stopped: why it ended: "budget", "early" or "interrupted".
        best: the best validation value in nats (None for games of several players).
        settings: the settings in force.
    """

    model: GenerativeModel
    path: Path | None
    history: list[dict[str, Any]]
    steps: int
    seconds: float
    cpu_seconds: float
    stopped: str
    best: float | None
    settings: Settings

    def __repr__(self) -> str:
        best = "" if self.best is None else f", best validation {self.best:.4g}"
        where = "" if self.path is None else f" in {self.path}"
        return f"Run({self.steps} steps, {self.seconds:.1f} s, ended: {self.stopped}{best}{where})"


def fit(
    model: GenerativeModel,
    data: Data,
    *,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a model on a data set.

    Args:
        model: trained in place; ends in evaluation mode with the best evaluated weights.
        data: with the model's space; codes or latents of a first stage (`creo.training.second_stage`) make
            the run a second stage.
        out: folder of the run (must not exist); None keeps everything in memory.
        progress: show a progress bar on standard error.
        **settings: the fields of `creo.training.Settings`: steps, minutes, epochs, seed, batch_size, lr, ...

    Returns:
        The run.

    Raises:
        OptionError: unknown setting or two budgets. SpaceError: the data is not of the model's space.
        NonFinite: a loss or gradient was not a number. RunError: the folder exists or cannot be written.
    """
    chosen = make_settings(**settings)
    _check_fits(model, data)
    if out is not None:
        check_free(Path(out))
    team = assemble(chosen.device)
    chosen, defaults = _resolve(chosen, model)
    with _environment(chosen, team):
        torch.manual_seed(chosen.seed)
        model.to(team.device)
        trainer = Trainer(
            model,
            data,
            chosen,
            defaults,
            folder=None,
            team=team,
            display=make_progress(_title(model), progress and team.rank == 0),
        )
        if out is not None:
            trainer.folder = _new_folder(out, trainer)
        trainer.start_clock()
        trainer.run()
    return _finish(trainer)


def resume(
    path: str | os.PathLike[str],
    *,
    data: Data | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **longer: Any,
) -> Run:
    """Go on with a run exactly where its newest whole checkpoint is.

    Args:
        path: the run's folder.
        data: the data set, if it was not made by `load_data`.
        data_dir: where to look for the data's files first.
        progress: show a progress bar on standard error.
        **longer: another budget (steps, minutes or epochs, counted from the run's beginning) or `patience`.

    Raises:
        RunError: not a run, already finished, or the data has changed since.
        CorruptCheckpoint: no checkpoint is whole.
    """
    folder = RunFolder(path)
    settings = _longer(folder, longer)
    tensors, state, passed_over = folder.newest()
    if state["ended"] in ("budget", "early") and not longer:
        raise RunError(
            f"{folder.path} is finished ({state['step']} steps); give it a larger budget, "
            f"e.g. --steps {2 * state['step'] or DEFAULT_STEPS}, to train on"
        )
    model = rebuild(folder)
    data = training_data(folder, model, data or reload_data(folder, data_dir))
    team = assemble(settings.device)
    settings, defaults = _resolve(settings, model)
    with _environment(settings, team):
        model.to(team.device)
        display = make_progress(_title(model), progress and team.rank == 0, state["step"])
        trainer = Trainer(model, data, settings, defaults, folder=folder, team=team, display=display)
        trainer.restore(tensors, state)
        if team.rank == 0:
            for line in passed_over:
                display.say(line)
            folder.rewind(state["step"])
        trainer.start_clock()
        trainer.run()
    return _finish(trainer)


def make_settings(**settings: Any) -> Settings:
    """`Settings` from keyword options, with a clear line for unknown ones."""
    known = {f.name for f in dataclasses.fields(Settings)}
    for name in settings:
        if name not in known:
            raise OptionError(f"no setting {name!r}{suggestion(name, known)}")
    return Settings(**settings)


def _check_fits(model: GenerativeModel, data: Data) -> None:
    if model.space != data.space:
        raise OptionError(f"the model is for {model.space}, but {data.name} is {data.space}")
    if model.condition is not None and (model.condition != data.condition or data.train.c is None):
        raise OptionError(
            f"the model is conditional on {model.condition}, but {data.name} has {data.condition}"
        )


def _resolve(settings: Settings, model: GenerativeModel) -> tuple[Settings, TrainingDefaults]:
    """Settings with a budget and threads, and the model's training defaults with the settings' overrides."""
    if settings.steps is None and settings.minutes is None and settings.epochs is None:
        settings = dataclasses.replace(settings, steps=DEFAULT_STEPS)
    if settings.threads is None:
        few = sum(p.numel() for p in model.parameters()) < ONE_THREAD
        settings = dataclasses.replace(settings, threads=1 if few else (os.cpu_count() or 1))
    defaults = model.training_defaults()
    names = [f.name for f in dataclasses.fields(TrainingDefaults)]
    changed = {n: v for n in names if (v := getattr(settings, n, None)) is not None}
    return settings, dataclasses.replace(defaults, **changed)


@contextmanager
def _environment(settings: Settings, team: Team) -> Iterator[None]:
    """Threads and random generators of the run; the caller's are put back afterwards. Freed memory stays kept."""
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads or threads)
    try:
        with torch.random.fork_rng(devices=[team.device] if team.device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(threads)


def _title(model: GenerativeModel) -> str:
    return model.recipe["model"] if model.recipe else type(model).__name__


def _new_folder(out: str | os.PathLike[str], trainer: Trainer) -> RunFolder | None:
    tensors = tensors_of(trainer)
    if trainer.team.rank != 0:
        return None
    on = {"on": trainer.data.reference(out)} if isinstance(trainer.data, Described) else {}
    return RunFolder.create(out, config_of(trainer) | on, tensors, trainer.state.to_dict())


def config_of(trainer: Trainer) -> dict[str, Any]:
    """What config.yaml says of a run."""
    import creo

    model, data = trainer.model, trainer.data
    recipe = model.recipe or {
        "model": None,
        "class": type(model).__qualname__,
        "space": model.space.to_dict(),
    }
    return {
        "model": _plain(recipe),
        "data": {"spec": data.name, "content": data.content_hash},
        "settings": _plain(trainer.settings.to_dict()),
        "optimiser": _plain(dataclasses.asdict(trainer.defaults)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "versions": {
            "creo": creo.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    }


def _plain(value: Any) -> Any:
    """Tuples as lists and paths as text, so that YAML needs no tags."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, os.PathLike) else value


def _longer(folder: RunFolder, longer: dict[str, Any]) -> Settings:
    """The run's settings with a new budget, also written to its config."""
    settings = dict(folder.config["settings"])
    for name in longer:
        if name not in ("steps", "minutes", "epochs", "patience"):
            raise OptionError(
                f"a resumed run takes a new budget (steps, minutes, epochs) or patience; received {name}"
            )
    if any(name in longer for name in ("steps", "minutes", "epochs")):
        settings |= {"steps": None, "minutes": None, "epochs": None}
    chosen = make_settings(**(settings | longer))
    if longer:
        folder.update_config({**folder.config, "settings": _plain(chosen.to_dict())})
    return chosen


def _finish(trainer: Trainer) -> Run:
    """Leave the model in evaluation mode with the weights a user expects, and sum the run up."""
    model, state = trainer.model, trainer.state
    if trainer.best_weights is not None:
        model.load_state_dict(trainer.best_weights)
    else:
        trainer.ema.swap()
    model.eval()
    path = trainer.folder.path if trainer.folder is not None else None
    return Run(
        whole(model, trainer.data),
        path,
        trainer.history,
        state.step,
        state.seconds,
        state.cpu_seconds,
        state.ended,
        state.best,
        trainer.settings,
    )
