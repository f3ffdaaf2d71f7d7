"""Reports: one self-contained HTML file, readable in light, dark and print, that asks nothing of the network.

`comparison_report` puts models side by side: table, dots at a glance, samples beside real data, learning curves,
nearest training neighbours, how it was made. `run_report` tells the story of one run. Pictures are embedded as PNG,
charts as SVG; there is no script. Page and colours are in report.html and report.css.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from creo.evaluation.charts import SERIES, Curve, Dots, Panel, dot_panels, line_chart, plane
from creo.evaluation.comparison import ASIDE, COLUMNS, Across, Comparison
from creo.evaluation.value import number

_HINTS = {
    "NLL": "lower is better",
    "bits/dim": "lower is better",
    "KL": "0 is perfect",
    "MMD2": "0 is perfect",
    "C2ST": "0.5 is perfect, 1 worst",
    "FD": "0 is perfect",
    "KID": "0 is perfect",
    "IS": "higher is better",
    "modes": "found",
    "high quality": "within 3 sigma of one",
    "precision": "near data",
    "recall": "of the data",
    "distance ratio": "1 is new, 0 is copied",
    "copies": "share of samples",
    "sampling": "64 at once",
    "parameters": "",
    "training time": "wall clock",
}
_FIDELITY = ("FD", "KID", "precision", "recall", "IS", "modes", "high quality")
_MEMORY = ("distance ratio", "copies")
_TIMES = ("sampling", "training time")  # shown without spread: it is the machine's, not the model's
_SIGNS = (
    "<b>=</b> (no sign): the number itself. <b>&le;</b>: an upper bound; the true value is at most this, so among "
    "bounds the lowest is the best <i>guarantee</i>, and a bound above another number does not show that the model "
    "is worse. <b>~</b>: an estimate that may err on either side; not marked as best."
)
_COMPARE = (
    "NLL, bits/dim and KL compare with each other down a column: all are of the raw data, with scaling and "
    "dequantisation counted. MMD2 and C2ST are measured on {samples} samples against held-out data with features "
    "<i>{features}</i>; they compare within this table only. Times are of this machine."
)


def _asset(name: str) -> str:
    return resources.files("creo.evaluation").joinpath(name).read_text(encoding="utf-8")


def page(title: str, lead: str, sections: Iterable[str]) -> str:
    """The whole file from a plain-text title and lead, and HTML sections."""
    from creo import __version__

    fields = {
        "title": escape(title),
        "lead": escape(lead),
        "version": __version__,
        "style": _asset("report.css"),
    }
    return Template(_asset("report.html")).substitute(fields, body="\n".join(s for s in sections if s))


def section(title: str, *parts: str) -> str:
    """A headed section; nothing if it has no content."""
    content = "\n".join(p for p in parts if p)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of trusted HTML."""
    return f'<p class="{kind}">{text}</p>' if kind else f"<p>{text}</p>"


def figure(png: bytes, caption: str, *, alt: str = "", pixels: bool = False) -> str:
    """An embedded picture with a caption of trusted HTML."""
    data = base64.b64encode(png).decode()
    kind = ' class="pixels"' if pixels else ""
    image = f'<img{kind} alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def definitions(pairs: Mapping[str, Any]) -> str:
    """Names and values."""
    rows = (
        f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in pairs.items() if v not in (None, "")
    )
    return f"<dl>{''.join(rows)}</dl>"


def signed(text: str) -> str:
    """A value's text as HTML, with the signs a reader expects."""
    return escape(text).replace("&lt;=", "&le;").replace("+-", "&plusmn;")


def _cell(across: Across | None, best: bool) -> str:
    if across is None or across.value.missing:
        why = escape(across.value.note, quote=True) if across else ""
        return f'<td class="muted" title="{why}">none</td>' if across else "<td></td>"
    kind = ' class="best" title="best of this column"' if best else ""
    text = across.text if across.value.name not in _TIMES else number(across.value.value)
    value, mark, spread = signed(text).partition(" &plusmn; ")
    return f"<td{kind}>{value}{f' <small>&plusmn; {spread}</small>' if mark else ''}</td>"


def _row(comparison: Comparison, label: str, columns: Sequence[str]) -> str:
    key = f'<span class="key s{comparison.labels.index(label) % SERIES}"></span>'
    head = f"<td>{key}{escape(label)}</td>"
    if comparison.failure(label):
        why = escape(comparison.failure(label))
        return f'<tr>{head}<td class="why" colspan="{len(columns)}">failed: {why}</td></tr>'
    values = comparison.values(label)
    cells = (_cell(values.get(c), label in comparison.best(c)) for c in columns)
    return f"<tr>{head}{''.join(cells)}</tr>"


def _floor_row(comparison: Comparison, columns: Sequence[str]) -> str:
    floors = [comparison.floor(c) for c in columns]
    if not any(floors):
        return ""
    cells = "".join(f"<td>{signed(f.text) if f else ''}</td>" for f in floors)
    return f'<tr class="aside"><td>training data themselves</td>{cells}</tr>'


def table(comparison: Comparison, columns: Sequence[str]) -> str:
    """A row per model, the best of each comparable column marked, and the floor."""
    names = COLUMNS | ASIDE
    heads = "".join(f"<th>{escape(names[c])}<small>{escape(_HINTS[c])}</small></th>" for c in columns)
    rows = "\n".join(_row(comparison, label, columns) for label in comparison.labels)
    return (
        f'<div class="wide"><table><thead><tr><th>model</th>{heads}</tr></thead>\n<tbody>\n{rows}\n'
        f"{_floor_row(comparison, columns)}</tbody></table></div>"
    )


def _footnotes(comparison: Comparison) -> str:
    seeds = len(comparison.about["seeds"])
    error = "standard error over test samples"
    spread = f"standard deviation over {seeds} seeds (of one seed: {error})" if seeds > 1 else error
    floor = comparison.floor("MMD2")
    features = floor.protocol["features"] if floor else "standardised"
    notes = [_SIGNS, _COMPARE.format(samples=floor.n if floor else "the", features=escape(str(features)))]
    notes.append(f"After &plusmn;: {spread}. Shaded: the best of its column.")
    if floor:
        notes.append(
            "The last row puts as many training samples in the model's place: what a perfect model would score here."
        )
    notes += [f"{escape(line)}" for line in comparison.failures()]
    notes += [escape(line) for line in _missing(comparison)]
    return f'<ul class="notes">{"".join(f"<li>{n}</li>" for n in notes)}</ul>'


def _missing(comparison: Comparison) -> list[str]:
    """Why some model has no likelihood, or what its bound was computed with."""
    lines = []
    for label in comparison.labels:
        nll = comparison.values(label).get("NLL")
        if nll is not None and nll.value.note:
            what = "no likelihood" if nll.value.missing else "NLL"
            lines.append(f"{label}: {what}: {nll.value.note}.")
    return lines


def _dots(comparison: Comparison, label: str, name: str) -> Dots:
    found = comparison.values(label).get(name)
    if found is None or found.value.missing:
        return Dots(note="failed" if comparison.failure(label) else "none")
    seeds = [e.evaluation[name].value for e in comparison.of(label) if e.evaluation and name in e.evaluation]
    return Dots(seeds, found.value.value, bound=found.value.kind == "<=")


def glance(comparison: Comparison) -> str:
    """Likelihood, fidelity and speed of every model in aligned panels."""
    likelihood = "KL" if "KL" in comparison.columns() else "NLL"
    names = [c for c in (likelihood, "MMD2", "C2ST", "sampling") if c in comparison.columns()]
    panels = []
    for name in names:
        rows = [_dots(comparison, label, name) for label in comparison.labels]
        floor = comparison.floor(name)
        line = floor.value if floor else None
        panels.append(Panel(COLUMNS[name], _HINTS[name], rows, log=name == "sampling", line=line))
    caption = (
        "Further left is better everywhere. Large marks are means, small ones seeds; an arrow is an upper bound (the "
        "truth lies in its direction); the dashed line is what the training data themselves score; a number with "
        "&rsaquo; lies outside the panel."
    )
    return dot_panels(comparison.labels, panels) + paragraph(caption, "notes") if panels else ""


def likelihood_curve(history: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(seconds, nats) of a run's validations: the loss's part `nll` where it has one, else the loss itself."""
    rows = [row for row in history if "valid" in row]
    return [(row["seconds"], row.get("valid/nll", row["valid"])) for row in rows]


def learning_curves(comparison: Comparison) -> str:
    """Validation NLL, or the bound a model trains on, against seconds; one line per model and seed."""
    labels = comparison.labels
    curves = [
        Curve(e.label, likelihood_curve(e.history), labels.index(e.label))
        for e in comparison.entries
        if e.family
    ]
    without = [label for label in labels if not any(c.finite for c in curves if c.name == label)]
    baseline = next((e for e in comparison.entries if not e.family and e.evaluation), None)
    reference = None
    if baseline and baseline.evaluation:
        reference = (baseline.label, baseline.evaluation["NLL"].value)
        without = [w for w in without if w != baseline.label]
    chart = line_chart(
        curves,
        x_title="seconds of training",
        y_title="validation NLL or its bound, nats",
        reference=reference,
    )
    note = "One line per seed; the weights evaluated are those at a line's lowest point."
    if reference:
        note += f" Dashed: the {escape(reference[0])}, on test data."
    if without:
        note += f" Not shown, having no validation likelihood to follow: {escape(', '.join(without))}."
    return chart + paragraph(note, "notes") if chart else ""


def _first(comparison: Comparison, label: str, name: str) -> bytes | None:
    done = [e.evaluation for e in comparison.of(label) if e.evaluation]
    return next((e.pictures[name] for e in done if name in e.pictures), None)


def _gallery(comparison: Comparison, name: str) -> list[str]:
    found = [(label, _first(comparison, label, name)) for label in comparison.labels]
    return [figure(png, f"<b>{escape(label)}</b>", alt=f"{name} of {label}") for label, png in found if png]


def _grid(figures: Sequence[str]) -> str:
    return f'<div class="grid">{"".join(figures)}</div>' if figures else ""


def _samples(comparison: Comparison) -> str:
    real = next((png for label in comparison.labels if (png := _first(comparison, label, "data"))), None)
    first = [figure(real, "<b>real data</b>, held out", alt="held-out data")] if real else []
    return _grid(first + _gallery(comparison, "samples"))


def _fidelity(comparison: Comparison) -> str:
    """Precision against recall, and a table of them."""
    points = []
    for i, label in enumerate(comparison.labels):
        values = comparison.values(label)
        if "precision" in values and "recall" in values:
            points.append((label, values["precision"].value.value, values["recall"].value.value, i))
    floors = comparison.floor("precision"), comparison.floor("recall")
    if floors[0] and floors[1]:
        points.append(("training data", floors[0].value, floors[1].value, -1))
    if not points:
        return ""
    what = (
        "Precision: the share of samples that lie near held-out data (fidelity). Recall: the share of held-out data "
        "that lie near samples (diversity). The best corner is the upper right."
    )
    chart = plane(points, x_title="precision", y_title="recall")
    present = [c for c in _FIDELITY if any(c in comparison.values(label) for label in comparison.labels)]
    return paragraph(what, "notes") + chart + table(comparison, present)


def _neighbours(comparison: Comparison) -> str:
    columns = [c for c in _MEMORY if any(c in comparison.values(label) for label in comparison.labels)]
    if not columns:
        return ""
    what = "How far samples are from the training set, over how far held-out data are: well below 1 would be copying."
    figures = _gallery(comparison, "neighbours")
    if figures:
        what += (
            " Below, samples (left of each pair) beside the training example nearest to them, closest first."
        )
    return paragraph(what, "notes") + table(comparison, columns) + _grid(figures)


def _how(comparison: Comparison) -> str:
    about, machine = comparison.about, comparison.about["machine"]
    sizes = "/".join(str(n) for n in about["sizes"].values())
    details = {
        "data": f"{about['data']}, {about['space']}, train/valid/test {sizes}, content {about['content']}",
        "source": f"{about['source']} ({about['licence']})" if about["licence"] else about["source"],
        "notes": "; ".join(about["notes"]),
        "budget": f"{about['budget']} per model and seed",
        "settings": ", ".join(f"{k}={v}" for k, v in about["settings"].items()),
        "seeds": ", ".join(map(str, about["seeds"])),
        "versions": f"creo {machine['creo']}, torch {machine['torch']}, Python {machine['python']}",
        "processor": f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads in evaluation",
        "GPU": machine["gpu"] if machine["gpu"] != "none" else "",
        "date": machine["date"],
    }
    protocol = (
        "Every model sees the same data for the same budget, with the order of batches set by the seed; the weights "
        "evaluated are those that were best on validation data; test data are used once."
    )
    return f"<pre>{escape(about['command'])}</pre>" + paragraph(protocol) + definitions(details)


def _verdict(comparison: Comparison) -> str:
    """A line per question: which model is best at it."""
    questions = {
        "NLL": "highest likelihood",
        "MMD2": "samples closest to the data",
        "sampling": "fastest sampling",
    }
    parts = []
    for column, question in questions.items():
        for label in sorted(comparison.best(column)):
            parts.append(
                f"{question}: <b>{escape(label)}</b> ({signed(comparison.values(label)[column].text)})"
            )
    return paragraph(". ".join(p[0].upper() + p[1:] for p in parts) + ".") if parts else ""


def comparison_report(comparison: Comparison) -> str:
    """The comparison as one HTML file."""
    about = comparison.about
    models = [label for label in comparison.labels if any(e.family for e in comparison.of(label))]
    count = f"{len(models)} models" if len(models) != 1 else models[0]
    lead = f"{about['budget']} of training each, {about['seeds_text']}, {about['machine']['date'][:10]}"
    return page(
        f"{count} on {about['data']}",
        lead,
        [
            _verdict(comparison),
            table(comparison, comparison.columns()),
            _footnotes(comparison),
            section("At a glance", glance(comparison)),
            section("Samples beside real data", _samples(comparison)),
            section("Learning curves", learning_curves(comparison)),
            section("Fidelity and diversity", _fidelity(comparison)),
            section("Nearest training neighbours", _neighbours(comparison)),
            section("How this was made", _how(comparison)),
        ],
    )
