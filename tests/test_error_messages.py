"""The errors: every kind is a CreoError, behaves as the built-in one expects, and says its repair in one line."""

import inspect
import subprocess
import sys

import pytest

from creo import errors
from creo.errors import CreoError, MissingExtra, NoLikelihood, NonFinite, suggestion

KINDS = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, CreoError)]


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.SpaceError, ValueError),
        (errors.DataError, ValueError),
        (errors.OptionError, TypeError),
        (errors.OptionError, ValueError),
        (errors.UnknownName, LookupError),
        (errors.RunError, RuntimeError),
        (errors.CorruptCheckpoint, errors.RunError),
        (errors.MissingExtra, ImportError),
        (errors.NoLikelihood, NotImplementedError),
        (errors.NonFinite, ArithmeticError),
    ],
)
def test_each_kind_is_also_the_builtin_error_one_expects(kind, builtin):
    assert issubclass(kind, CreoError)
    assert issubclass(kind, builtin)


@pytest.mark.parametrize("kind", KINDS)
def test_exit_status_is_2_and_3_for_training_that_blew_up(kind):
    assert kind.status == (3 if kind is NonFinite else 2)


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not MissingExtra])
def test_message_is_kept_as_it_is(kind):
    assert str(kind("what; where; what to do")) == "what; where; what to do"


def test_missing_extra_names_the_install_command():
    assert str(MissingExtra("reading Parquet", "table")) == (
        "reading Parquet needs an optional dependency: pip install 'creo[table]'"
    )


def test_no_likelihood_is_not_mistaken_for_an_abstract_method_by_hasattr():
    with pytest.raises(NotImplementedError):
        raise NoLikelihood("x")


def test_suggestion_names_the_nearest():
    assert suggestion("mad", ["made", "vae"]) == "; did you mean 'made'?"


def test_suggestion_names_at_most_two():
    assert suggestion("layer", ["layers", "layer_", "player", "xyz"]).count("'") == 4


def test_suggestion_lists_everything_when_nothing_is_near():
    assert suggestion("zzz", ["made", "vae"]) == "; known: made, vae"


def test_suggestion_of_nothing_is_empty():
    assert suggestion("x", []) == ""


def test_suggestion_takes_an_iterator():
    assert suggestion("zzz", iter(["made", "vae"])) == "; known: made, vae"


def test_contract_without_torch_and_other_heavy_imports():
    """Errors, spaces, the registry and `import creo` itself load no torch, so the command line starts in a blink."""
    code = (
        "import sys, creo, creo.errors, creo.spaces, creo.registry; creo.models(); creo.Ordinal((1, 8, 8), 17).dims;"
        "print([m for m in ('torch', 'numpy', 'scipy', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
