"""What the training tests share: the toy models and a small data set."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import toy

import creo
from creo import registry


@pytest.fixture(scope="module", autouse=True)
def _toys():
    """The toys are registered while a module of these tests runs, and gone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_MODELS", dict(registry._MODELS))
        toy.register()
        yield


@pytest.fixture(scope="session")
def digits():
    return creo.load_data("digits")


@pytest.fixture
def quiet():
    """Settings for quick, silent runs."""
    return {"progress": False, "threads": 1, "log_every": 10, "eval_every": 20}
