"""Evaluation: every model asked the same questions, every number with its protocol, models side by side.

`evaluate` looks at one model, `compare` trains and evaluates several at equal budget and writes a report.
"""

from creo.evaluation.comparison import Comparison
from creo.evaluation.evaluation import Evaluation, draw, evaluate, reference_of, sample_values
from creo.evaluation.quality import Reference
from creo.evaluation.report import comparison_report
from creo.evaluation.run_report import run_report
from creo.evaluation.side_by_side import compare
from creo.evaluation.value import Value

__all__ = [
    "Comparison",
    "Evaluation",
    "Reference",
    "Value",
    "compare",
    "comparison_report",
    "draw",
    "evaluate",
    "reference_of",
    "run_report",
    "sample_values",
]
