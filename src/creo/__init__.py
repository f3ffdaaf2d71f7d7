"""creo: deep generative models - learn p(x), ask every model the same questions, compare the answers honestly.

Names are imported when first used, so `import creo` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from creo.data import caption, load_data
    from creo.evaluation import compare, evaluate
    from creo.model import GenerativeModel, Likelihood, seeded
    from creo.registry import build, models, register
    from creo.spaces import Categories, Continuous, Ordinal, Table, Tokens, bits_per_dim
    from creo.training import fit, load, resume

_WHERE = {
    "creo.spaces": ("Categories", "Continuous", "Ordinal", "Table", "Tokens", "bits_per_dim"),
    "creo.model": ("GenerativeModel", "Likelihood", "seeded"),
    "creo.registry": ("build", "models", "register"),
    "creo.data": ("caption", "load_data"),
    "creo.training": ("fit", "load", "resume"),
    "creo.evaluation": ("compare", "evaluate"),
}
_MODULES = (
    "adversarial", "autoregressive", "classical", "data", "diffusion", "distributions", "divergences", "errors",
    "evaluation", "flows", "latent", "model", "nn", "registry", "spaces", "testing", "training",
)  # fmt: skip
_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "Categories", "Continuous", "GenerativeModel", "Likelihood", "Ordinal", "Table", "Tokens", "__version__",
    "adversarial", "autoregressive", "bits_per_dim", "build", "caption", "classical", "compare", "data", "diffusion",
    "distributions", "divergences", "evaluate", "evaluation", "fit", "flows", "latent", "load", "load_data", "models",
    "nn", "register", "resume", "seeded", "testing", "training",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"creo.{name}")
    else:
        raise AttributeError(f"module 'creo' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(__all__) | set(globals()))
