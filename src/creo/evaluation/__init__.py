"""Evaluation: every model asked the same questions, every number with its protocol, models side by side.

`evaluate` looks at one model, `compare` trains and evaluates several at equal budget and writes a report. Names are
imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from creo.evaluation.comparison import Comparison
    from creo.evaluation.evaluation import Evaluation
    from creo.evaluation.judging import (
        draw,
        evaluate,
        evaluate_samples,
        reference_of,
        sample_values,
    )
    from creo.evaluation.quality import Reference
    from creo.evaluation.report import comparison_report
    from creo.evaluation.side_by_side import compare
    from creo.evaluation.single_run import run_report
    from creo.evaluation.value import Value

_HOME = {
    "Comparison": "comparison",
    "Evaluation": "evaluation",
    "Reference": "quality",
    "Value": "value",
    "compare": "side_by_side",
    "comparison_report": "report",
    "draw": "judging",
    "evaluate": "judging",
    "evaluate_samples": "judging",
    "reference_of": "judging",
    "run_report": "single_run",
    "sample_values": "judging",
}

__all__ = [
    "Comparison", "Evaluation", "Reference", "Value", "compare", "comparison_report", "draw", "evaluate",
    "evaluate_samples", "reference_of", "run_report", "sample_values",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'creo.evaluation' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"creo.evaluation.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))
