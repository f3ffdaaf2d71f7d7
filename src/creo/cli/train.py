"""`creo train` and `creo resume`.

The options of `creo train` come from four places, each declared once: `train` below, the fields of
`creo.training.Settings`, the model's `for_space`, and the data set's loader (as `--data.NAME`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from creo.cli import folders, options, tables
from creo.cli.options import Option
from creo.cli.parse import changed, parse
from creo.errors import CreoError, OptionError

SETTINGS = "creo.training.settings:Settings"
#: What is learned when nobody says what.
DATA = "digits"
#: What may change when a run is resumed.
_LONGER = ("steps", "minutes", "epochs", "patience")


class Interrupted(CreoError):
    """The person pressed Ctrl-C while a run was under way; the message says how to go on."""

    status = 130


def train(
    model: str,
    *,
    data: str = DATA,
    on: str | None = None,
    data_dir: str | None = None,
    out: str | None = None,
    conditional: bool = False,
    progress: bool = True,
    json: bool = False,
    model_options: dict[str, Any],
    data_options: dict[str, Any],
    settings: dict[str, Any],
) -> int:
    """Train a model on data; `creo train MODEL --help` lists the model's own options too.

    The budget is --steps, --minutes or --epochs. Ctrl-C saves and stops; `creo resume` goes on exactly there.

    Args:
        model: one of `creo models`.
        data: one of `creo data`, or a file of your own such as images:FOLDER or table:FILE.csv; with --data.NAME for
            the options of its loader.
        on: folder of the run of a model with codes (vqvae, ...) or latents (vae, ...): train a second stage on them.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        out: folder of the run; default runs/MODEL-DATA-NNN (MODEL-on-RUN-NNN), the next free number.
        conditional: learn p(x | label) instead of p(x).
        progress: show progress on standard error.
        json: print what came out as JSON.
    """
    name = folders.short(data) if on is None else f"on-{Path(on).resolve().name}"
    where = Path(out) if out else folders.next_free(f"{model}-{name}")
    folders.check_free(where)

    import creo
    from creo.training import make_settings

    seed = make_settings(**settings).seed  # complains before data is read
    if on is not None:
        built, loaded = _second_stage(
            model, on, data, data_dir, data_options, seed, conditional, model_options
        )
    else:
        loaded = creo.load_data(data, data_dir=data_dir, **data_options)
        condition = _condition(loaded) if conditional else None
        with creo.seeded(seed):
            built = creo.build(model, loaded.space, condition, **model_options)
    with resumable(where):
        return _finish(creo.fit(built, loaded, out=where, progress=progress, **settings), where, json)


def _second_stage(
    model: str,
    on: str,
    data: str,
    data_dir: str | None,
    data_options: dict[str, Any],
    seed: int,
    conditional: bool,
    model_options: dict[str, Any],
) -> tuple[Any, Any]:
    """Model and data of a second stage; its data are those of the first, so none may be named."""
    from creo.model import seeded
    from creo.training import RunFolder, second_stage

    own = RunFolder(on).config["data"]["spec"]
    if data_options or data not in (own, DATA):
        raise OptionError(f"the data of a second stage are those of {on}, {own}: leave out --data")
    with seeded(seed):
        return second_stage(model, on, conditional=conditional, data_dir=data_dir, **model_options)


def resume(
    run: str,
    *,
    data_dir: str | None = None,
    progress: bool = True,
    json: bool = False,
    settings: dict[str, Any],
) -> int:
    """Go on with a run exactly where it was; a larger budget trains a finished one on.

    Args:
        run: folder of the run.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        progress: show progress on standard error.
        json: print what came out as JSON.
    """
    import creo

    with resumable(Path(run)):
        return _finish(creo.resume(run, data_dir=data_dir, progress=progress, **settings), Path(run), json)


@contextmanager
def resumable(where: Path) -> Iterator[None]:
    """Say how to go on when Ctrl-C comes at a moment at which training cannot end by itself."""
    try:
        yield
    except KeyboardInterrupt:
        if not (where / "config.yaml").exists():
            raise
        raise Interrupted(f"interrupted; go on from the last checkpoint with: creo resume {where}") from None


def _condition(data: Any) -> Any:
    if data.condition is None:
        raise OptionError(f"{data.name} has no labels to be conditional on: leave out --conditional")
    return data.condition


def _finish(run: Any, where: Path, json: bool) -> int:
    interrupted = run.stopped == "interrupted"
    if folders.speaks():
        if not interrupted:
            from creo.evaluation import run_report

            run_report(run.path)
        if json:
            tables.show_json(
                {"run": str(where), "stopped": run.stopped, "steps": run.steps, "seconds": run.seconds}
                | {"best": run.best}
            )
        else:
            tables.show_lines(str(where))
    if interrupted:
        raise Interrupted(f"interrupted and saved; go on with: creo resume {where}")
    return 0


def train_arguments(args: Sequence[str]) -> dict[str, Any]:
    """Parse what follows `creo train`: which options there are depends on the model and the data."""
    groups, model = option_groups(args), _model_in(args)
    own = {} if not model else {"model": model}
    if model:
        groups[""] = [o for o in groups[""] if o.name != "model"]
        args = [a for i, a in enumerate(args) if i != list(args).index(model)]
    values = parse(f"creo train {model}".strip(), _about(model), groups, args)
    return (
        own
        | values[""]
        | {
            "model_options": changed(values["model"], groups["model"]),
            "data_options": changed(values["data"], groups["data"]),
            "settings": changed(values["training"], groups["training"]),
        }
    )


def option_groups(args: Sequence[str], *, helps: bool = True) -> dict[str, list[Option]]:
    """The options of `creo train` by where their values go, for the model and data in `args`.

    A model's option whose name is taken by training is spelt `--model.NAME`.
    """
    own = options.of_function("creo.cli.train:train", helps=helps)
    training = options.of_function(SETTINGS, helps=helps)
    taken = {o.name for o in [*own, *training]}
    model = _model_in(args)
    found = options.of_model(model, helps=helps) if model else []
    of_model = [replace(o, flag=f"model.{o.name}") if o.name in taken else o for o in found]
    return {"": own, "model": of_model, "training": training, "data": data_options(args, helps=helps)}


def data_options(args: Sequence[str], *, helps: bool = True) -> list[Option]:
    """The options of the loader of the data in `args`, spelt `--data.NAME`."""
    found = options.of_data(_data_in(args) or DATA, helps=helps)
    return [replace(o, flag=f"data.{o.name}") for o in found]


def train_options(args: Sequence[str]) -> list[Option]:
    """All options of `creo train`, for completion."""
    return list(chain(*option_groups(args, helps=False).values()))


def resume_arguments(args: Sequence[str]) -> dict[str, Any]:
    """Parse what follows `creo resume`."""
    path = "creo.cli.train:resume"
    groups = {"": options.of_function(path), "training": _longer(helps=True)}
    values = parse("creo resume", options.description(path), groups, args)
    return values[""] | {"settings": changed(values["training"], groups["training"])}


def resume_options(args: Sequence[str]) -> list[Option]:
    """All options of `creo resume`, for completion."""
    return options.of_function("creo.cli.train:resume", helps=False) + _longer(helps=False)


def _longer(*, helps: bool) -> list[Option]:
    return [o for o in options.of_function(SETTINGS, helps=helps) if o.name in _LONGER]


def _model_in(args: Sequence[str]) -> str:
    """The model that was typed, "" if none: the first word, or else the first that is a model's name."""
    from creo.registry import find, models

    if args and not args[0].startswith("-"):
        return find(args[0]).name
    known = models()
    return next((b for a, b in pairwise(args) if b in known and a != "--data"), "")


def _data_in(args: Sequence[str]) -> str:
    """The data that was typed, "" if none."""
    joined = [a.partition("=")[2] for a in args if a.startswith("--data=")]
    apart = [b for a, b in pairwise(args) if a == "--data"]
    return (joined + apart + [""])[0]


def _about(model: str) -> str:
    about = options.description("creo.cli.train:train")
    if not model:
        return about
    from creo.registry import find

    entry = find(model)
    return f"Train {model}: {entry.summary} ({entry.paper}, {entry.url}).\n\n{about.partition(chr(10))[2].strip()}"
