"""`compare`: train several models on the same data at equal budget, evaluate them, put them side by side.

    out/comparison.json               what is compared: data, budget, settings
    out/MODEL/seed-K/                 the run, with evaluation.json (or failure.json) when it is done
    out/results.json, out/report.html written anew after every run, so that they are there whatever happens

Every model gets the same data, budget and, at equal batch size, the same order of batches for a seed; what is
evaluated are the weights that were best on validation; test data are used once, at the end. Called again with the
same `out`, finished runs are kept and unfinished ones resumed. A model that fails (a loss that is not a number, a
space it cannot model) becomes a row that says so.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from creo import registry
from creo.data import load_data
from creo.data.dataset import Data
from creo.errors import CreoError, OptionError, RunError
from creo.evaluation.comparison import Comparison, Entry
from creo.evaluation.evaluation import Evaluation
from creo.evaluation.judging import SAMPLES, evaluate, reference_of
from creo.evaluation.machine import command, machine
from creo.evaluation.quality import Reference
from creo.model import GenerativeModel, seeded
from creo.training import Run, RunFolder, fit, load, make_settings, resume
from creo.training.checkpoint import write_atomically

Spec = str | tuple[str, Mapping[str, Any]]

#: The model to beat on counting spaces, and what its row is called.
BASELINE, NAME = "independent", "independent histogram"


def _slug(label: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", label).strip("-")


def specifications(models: Sequence[Spec] | Mapping[str, Spec]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Label -> (name, options) of what `compare` was asked for; unknown names and options are noticed here.

    Raises:
        OptionError: no model, or two with the same label. UnknownName: no such model.
    """
    labelled = models.items() if isinstance(models, Mapping) else [(None, m) for m in models]
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for given, spec in labelled:
        name, options = (spec, {}) if isinstance(spec, str) else (spec[0], dict(spec[1]))
        registry.find(name)
        label = given or " ".join([name, *(f"{k}={v}" for k, v in options.items())])
        if label in found:
            raise OptionError(
                f"{label!r} is compared twice; give each its own label: {{label: (name, options)}}"
            )
        found[label] = (name, options)
    if not found:
        raise OptionError("compare at least one model")
    return found


@dataclass(frozen=True)
class _Contest:
    """What all entries share."""

    data: Data
    settings: dict[str, Any]
    reference: Reference
    samples: int
    progress: bool

    def evaluate(self, model: GenerativeModel, training: Any = None) -> Evaluation:
        return evaluate(
            model, self.data.test, reference=self.reference, samples=self.samples, training=training
        )


def _finished(folder: RunFolder, contest: _Contest) -> Run | None:
    """The run in a folder if its training has ended, to be evaluated without training on."""
    _, state, _ = folder.newest()
    if state["ended"] not in ("budget", "early"):
        return None
    settings = make_settings(**folder.config["settings"])
    counts = (state["step"], state["seconds"], state["cpu_seconds"], state["ended"], state["best"])
    return Run(load(folder.path), folder.path, folder.rows(), *counts, settings)


def _train(name: str, options: dict[str, Any], entry: Entry, contest: _Contest) -> Run:
    """Train, or resume, or find the finished run of an entry."""
    if (entry.folder / "config.yaml").is_file():
        finished = _finished(RunFolder(entry.folder), contest)
        return finished or resume(entry.folder, data=contest.data, progress=contest.progress)
    with seeded(entry.seed):
        condition = contest.data.condition if options.get("conditional") else None
        model = registry.build(name, contest.data.space, condition, **options)
    settings = {**contest.settings, "seed": entry.seed}
    entry.folder.parent.mkdir(parents=True, exist_ok=True)
    return fit(model, contest.data, out=entry.folder, progress=contest.progress, **settings)


def _run(name: str, options: dict[str, Any], entry: Entry, contest: _Contest) -> None:
    """Fill an entry: from its folder if it is done there, else by training and evaluating it."""
    failed = entry.folder / "failure.json"
    if failed.is_file():
        entry.failure = json.loads(failed.read_text())["failure"]
        return
    if (entry.folder / "evaluation.json").is_file():
        entry.evaluation = Evaluation.read(entry.folder)
        entry.history = RunFolder(entry.folder).rows()
        return
    try:
        run = _train(name, options, entry, contest)
        if run.stopped == "interrupted":
            raise KeyboardInterrupt
        entry.history = run.history
        evaluation = contest.evaluate(run.model, run)
        evaluation.about["training"] = {"steps": run.steps, "ended": run.stopped, "best": run.best}
        evaluation.save(entry.folder)
        entry.evaluation = evaluation
    except (CreoError, ArithmeticError, RuntimeError) as error:
        entry.failure = (
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
        )
        entry.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(failed, json.dumps({"failure": entry.failure}).encode())


def _run_baseline(entry: Entry, contest: _Contest) -> None:
    if (entry.folder / "evaluation.json").is_file():
        entry.evaluation = Evaluation.read(entry.folder)
        return
    model = registry.build(BASELINE, contest.data.space)
    model.initialise(contest.data.train.x)
    entry.evaluation = contest.evaluate(model)
    entry.evaluation.save(entry.folder)


def _needs_baseline(specs: Mapping[str, tuple[str, dict[str, Any]]], data: Data) -> bool:
    """Whether there is a baseline for this data that is not compared anyway."""
    able = data.space.kind in registry.find(BASELINE).promise
    return able and BASELINE not in {name for name, _ in specs.values()}


def _claim(out: Path, protocol: dict[str, Any]) -> None:
    """Make `out` this comparison's folder, or check that it is.

    Raises:
        RunError: if something else is there.
    """
    path = out / "comparison.json"
    if path.is_file():
        before = json.loads(path.read_text())
        changed = [k for k in sorted({*before, *protocol}) if before.get(k) != protocol.get(k)]
        if changed:
            what = "; ".join(f"{k} was {before.get(k)}, is {protocol.get(k)}" for k in changed)
            raise RunError(f"{out} holds a comparison made otherwise ({what}); choose another --out")
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists already and is not a comparison; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(protocol, indent=1) + "\n").encode())


def _budget(settings: Mapping[str, Any]) -> str:
    for name in ("minutes", "steps", "epochs"):
        if settings.get(name) is not None:
            amount = settings[name]
            if name == "minutes" and amount < 2 and amount != 1:
                return f"{60 * amount:g} seconds"
            return f"{amount:g} {name if amount != 1 else name[:-1]}"
    raise OptionError("give a budget: minutes, steps or epochs")


def _about(data: Data, settings: dict[str, Any], seeds: Sequence[int], samples: int) -> dict[str, Any]:
    sizes = {name: len(data.split(name)) for name in ("train", "valid", "test")}
    return {
        "data": data.name,
        "content": data.content_hash,
        "space": repr(data.space),
        "sizes": sizes,
        "source": data.source,
        "licence": data.licence,
        "notes": list(data.notes),
        "budget": _budget(settings),
        "settings": settings,
        "seeds": list(seeds),
        "seeds_text": f"{len(seeds)} seeds" if len(seeds) != 1 else f"seed {seeds[0]}",
        "samples": samples,
        "command": command(),
        "machine": machine(),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def compare(
    models: Sequence[Spec] | Mapping[str, Spec],
    data: str | Data,
    *,
    out: str | Path,
    minutes: float | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    seeds: int | Sequence[int] = 3,
    samples: int = SAMPLES,
    baseline: bool = True,
    progress: bool = True,
    **settings: Any,
) -> Comparison:
    """Compare models at equal budget; prints a table to standard error, writes results.json and report.html.

    Args:
        models: names, or (name, options) pairs, or a mapping from labels of one's own to either.
        data: what `load_data` takes.
        out: the comparison's folder; called again, it goes on where it was.
        minutes: the budget of every run in minutes; give this, `steps` or `epochs`.
        steps: the budget of every run in updates.
        epochs: the budget of every run in passes over the training set.
        seeds: how many (0, 1, ...), or which.
        samples: how many samples to draw and held-out examples to judge them by, at most.
        baseline: on counting spaces, add the independent histogram as a row.
        progress: show progress and the table.
        **settings: of training, the same for every model (see `creo.training.Settings`).

    Raises:
        OptionError: no budget or two, unknown settings. UnknownName: no such model or data set.
        RunError: `out` holds something else.
        KeyboardInterrupt: after Ctrl-C; what is done is kept and reported.
    """
    specs = specifications(models)
    chosen = {"minutes": minutes, "steps": steps, "epochs": epochs, **settings}
    chosen = {k: v for k, v in chosen.items() if v is not None}
    make_settings(**chosen)
    which = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not which:
        raise OptionError(f"compare with at least one seed; received {seeds!r}")
    data, out = load_data(data), Path(out)
    about = _about(data, chosen, which, samples)
    _claim(out, {k: about[k] for k in ("data", "content", "settings", "samples")})
    reference = reference_of(data.test, data.space, samples=samples)
    contest = _Contest(data, chosen, reference, samples, progress)
    jobs = _jobs(specs, which, out, contest, baseline and _needs_baseline(specs, data))
    return _play(jobs, Comparison([], about, out), progress)


def _jobs(
    specs: dict[str, tuple[str, dict[str, Any]]],
    seeds: Sequence[int],
    out: Path,
    contest: _Contest,
    baseline: bool,
) -> list[tuple[Entry, Callable[[Entry], None]]]:
    """Every entry with what fills it: all models with the first seed, the baseline, all with the next seed."""
    jobs: list[tuple[Entry, Callable[[Entry], None]]] = []
    for seed in seeds:
        for label, (name, options) in specs.items():
            entry = Entry(
                label, registry.find(name).family, options, seed, out / _slug(label) / f"seed-{seed}"
            )
            jobs.append((entry, lambda e, n=name, o=options: _run(n, o, e, contest)))  # type: ignore[misc]
        if baseline and seed == seeds[0]:
            entry = Entry(NAME, "", {}, 0, out / _slug(NAME) / "seed-0")
            jobs.append((entry, lambda e: _run_baseline(e, contest)))
    return jobs


def _play(
    jobs: list[tuple[Entry, Callable[[Entry], None]]], comparison: Comparison, progress: bool
) -> Comparison:
    try:
        for i, (entry, fill) in enumerate(jobs):
            if progress:
                _say(f"[{i + 1}/{len(jobs)}] {entry.label}, seed {entry.seed}")
            fill(entry)
            comparison.entries.append(entry)
            comparison.save()
    except KeyboardInterrupt:
        done, where = len(comparison.entries), comparison.path
        _say(
            f"stopped with {done} of {len(jobs)} runs done, kept in {where}; the same command goes on from there"
        )
        raise
    if progress:
        _show(comparison)
    return comparison


def _show(comparison: Comparison) -> None:
    from rich.console import Console

    console = Console(stderr=True)
    console.print(comparison.table(width=console.width))
    for line in comparison.failures():
        console.print(line, markup=False, highlight=False)
    console.print(f"{comparison.path / 'report.html'}", markup=False, highlight=False)
