"""The report of a single run: its curves, what it drew over time, its evaluation, how it was made."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from creo.evaluation.charts import Curve, line_chart
from creo.evaluation.evaluation import Evaluation
from creo.evaluation.report import definitions, figure, page, paragraph, section, signed
from creo.training.checkpoint import write_atomically
from creo.training.folder import RunFolder
from creo.training.run import Run

SHOWN = 8


def _settled(points: Sequence[tuple[float, float]]) -> list[float]:
    """The values after the first fifth of a curve, which is often far above the rest."""
    return [y for _, y in points[len(points) // 5 :]]


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(row["step"], row[key]) for row in rows if key in row and row["step"] > 0]


def _charts(rows: Sequence[Mapping[str, Any]]) -> str:
    """One chart per kind of loss: `loss/...` of the players together, then every other logged term."""
    keys = list(dict.fromkeys(k for row in rows for k in row))
    groups = {"loss": [k for k in keys if k.startswith("loss/")] + [k for k in keys if k == "valid"]}
    terms = [k for k in keys if "/" in k and not k.startswith("loss/") and not k.startswith("valid/")]
    groups |= {term: [k for k in (term, f"valid/{term.split('/')[-1]}") if k in keys] for term in terms}
    charts = []
    for title, members in groups.items():
        curves = [Curve(name, _points(rows, name), i) for i, name in enumerate(members)]
        top = max((y for c in curves for y in _settled(c.finite)), default=None)
        charts.append(
            line_chart(curves, x_title="steps", y_title=title, log_x=False, height=260, top_value=top)
        )
    return "".join(charts)


def _over_time(folder: Path) -> str:
    """At most eight of the pictures drawn during training, evenly spread, the last one included."""
    files = sorted((folder / "samples").glob("step-*.png"))
    if not files:
        return ""
    chosen = sorted({round(i * (len(files) - 1) / max(1, SHOWN - 1)) for i in range(SHOWN)})
    figures = []
    for file in (files[i] for i in chosen if i < len(files)):
        step = int(file.stem.removeprefix("step-"))
        figures.append(figure(file.read_bytes(), f"step {step}", alt=f"samples at step {step}"))
    return f'<div class="grid">{"".join(figures)}</div>'


def _evaluation(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    rows = []
    for v in evaluation.values:
        floor = evaluation.floor.get(v.name)
        cells = [signed(v.text), escape(v.unit), escape(v.context), signed(floor.text) if floor else ""]
        body = "".join(f"<td>{c}</td>" for c in cells)
        rows.append(f'<tr><td>{escape(v.name)}</td>{body}<td class="text">{escape(v.note)}</td></tr>')
    heads = "".join(f"<th>{h}</th>" for h in ("", "value", "unit", "of", "training data score"))
    table = f"<thead><tr>{heads}<th></th></tr></thead><tbody>{''.join(rows)}</tbody>"
    pictures = "".join(figure(png, f"<b>{escape(n)}</b>", alt=n) for n, png in evaluation.pictures.items())
    return f'<div class="wide"><table>{table}</table></div><div class="grid">{pictures}</div>'


def _how(config: Mapping[str, Any]) -> str:
    settings = {k: v for k, v in config["settings"].items() if v is not None}
    details = {
        "model": config["model"].get("model") or config["model"].get("class"),
        "options": ", ".join(f"{k}={v}" for k, v in (config["model"].get("options") or {}).items()),
        "space": config["model"].get("space"),
        "data": f"{config['data']['spec']}, content {config['data']['content']}",
        "settings": ", ".join(f"{k}={v}" for k, v in settings.items()),
        "optimiser": ", ".join(f"{k}={v}" for k, v in config.get("optimiser", {}).items()),
        "versions": ", ".join(f"{k} {v}" for k, v in config.get("versions", {}).items()),
    }
    return definitions(details)


def run_report(run: Run | str | os.PathLike[str], *, evaluation: Evaluation | None = None) -> Path:
    """Write `report.html` into a run's folder.

    Args:
        run: a run that has a folder, or the folder.
        evaluation: shown if given; else the folder's own `evaluation.json`, if there is one.

    Returns:
        Where the report is.

    Raises:
        RunError: if that is no run folder.
    """
    path = run.path if isinstance(run, Run) else Path(run)
    folder = RunFolder(path if path is not None else "")
    if evaluation is None and (folder.path / "evaluation.json").is_file():
        evaluation = Evaluation.read(folder.path)
    rows = folder.rows()
    name = folder.config["model"].get("model") or folder.config["model"].get("class")
    steps, seconds = (rows[-1]["step"], rows[-1]["seconds"]) if rows else (0, 0.0)
    sections = [
        section("Evaluation", _evaluation(evaluation)),
        section("Training", _charts(rows), paragraph("As logged in metrics.jsonl.", "notes") if rows else ""),
        section("Samples while it learned", _over_time(folder.path)),
        section("How this was made", _how(folder.config)),
    ]
    lead = f"{steps} steps in {seconds:.1f} seconds, seed {folder.config['settings']['seed']}"
    target = folder.path / "report.html"
    write_atomically(target, page(f"{name} on {folder.config['data']['spec']}", lead, sections).encode())
    return target
