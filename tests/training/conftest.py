"""What the training tests share: the toy models and a small data set."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import toy

import creo


@pytest.fixture(scope="session", autouse=True)
def _toys():
    toy.register()


@pytest.fixture(scope="session")
def digits():
    return creo.load_data("digits")


@pytest.fixture
def quiet():
    """Settings for quick, silent runs."""
    return {"progress": False, "threads": 1, "log_every": 10, "eval_every": 20}
