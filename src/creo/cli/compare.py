"""`creo compare` and `creo demo`: models side by side at equal budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from creo.cli import folders, options, tables
from creo.cli.options import Option
from creo.cli.parse import changed, parse
from creo.cli.train import SETTINGS, Interrupted, data_options
from creo.errors import OptionError

_COMPARE = "creo.evaluation.side_by_side:compare"
DEMO = ("gaussian", "mixture", "made", "realnvp", "vae", "gan")


def compare(
    models: tuple[str, ...],
    *,
    data: str = "digits",
    data_dir: str | None = None,
    out: str | None = None,
    json: bool = False,
    data_options: dict[str, Any],
    how: dict[str, Any],
) -> None:
    """Train several models on the same data at equal budget, evaluate them, and write a report.

    The folder then has report.html (one file, no external requests), results.json and the runs.

    Args:
        models: names of `creo models`.
        data: one of `creo data`, or a file of your own such as images:FOLDER; with --data.NAME for the options of its
            loader.
        data_dir: folder with the publishers' files; default $CREO_DATA.
        out: folder of the comparison; default runs/compare-DATA-NNN, the next free number. Called
            again with the same folder, the comparison goes on where it was.
        json: print the results as JSON.
    """
    from creo.registry import find

    if not models:
        raise OptionError("name the models to compare, e.g. creo compare gaussian made vae (see creo models)")
    for name in models:
        find(name)
    where = Path(out) if out else folders.next_free(f"compare-{folders.short(data)}")

    import creo

    loaded = creo.load_data(data, data_dir=data_dir, **data_options)
    try:
        result = creo.evaluation.compare(list(models), loaded, out=where, **how)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; go on with the same command and --out {where}") from None
    if json:
        tables.show_json(result.to_dict())
    else:
        tables.show_lines(f"report: {where / 'report.html'}")


def demo(*, minutes: float = 0.5, out: str | None = None, json: bool = False) -> None:
    """Train six models on handwritten digits, half a minute each, and write a report to look at.

    Args:
        minutes: training time of each model.
        out: folder of the comparison; default runs/demo, or with the next free number.
        json: print the results as JSON.
    """
    first = Path("runs/demo")
    where = out or str(folders.next_free("demo") if first.exists() else first)
    compare(DEMO, data="digits", out=where, json=json, data_options={}, how={"minutes": minutes, "seeds": 1})


def compare_arguments(args: Sequence[str]) -> dict[str, Any]:
    """Parse what follows `creo compare`; budget, seeds and the like are the parameters of `creo.compare`."""
    groups = _groups(args, helps=True)
    values = parse("creo compare", options.description("creo.cli.compare:compare"), groups, args)
    how = changed(values["comparison"], groups["comparison"]) | changed(
        values["training"], groups["training"]
    )
    return values[""] | {"data_options": changed(values["data"], groups["data"]), "how": how}


def compare_options(args: Sequence[str]) -> list[Option]:
    """All options of `creo compare`, for completion."""
    return [o for group in _groups(args, helps=False).values() for o in group]


def _groups(args: Sequence[str], *, helps: bool) -> dict[str, list[Option]]:
    own = options.of_function("creo.cli.compare:compare", helps=helps)
    comparison = _others(_COMPARE, own, helps)
    training = [o for o in _others(SETTINGS, [*own, *comparison], helps) if o.name != "seed"]
    return {"": own, "comparison": comparison, "training": training, "data": data_options(args, helps=helps)}


def _others(path: str, known: Sequence[Option], helps: bool) -> list[Option]:
    """The options of a function that are not among the `known` ones already."""
    names = {o.name for o in known}
    return [o for o in options.of_function(path, helps=helps) if not o.positional and o.name not in names]
