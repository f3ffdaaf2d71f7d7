"""A value says what it is, and refuses to be compared with what it is not."""

import math

import pytest

from creo.errors import OptionError
from creo.evaluation.value import Value, missing, number, with_error

NLL = Value("NLL", 95.3123, unit="nats", n=447, stderr=0.8234, split="test", protocol={"data": "digits"})


def test_prints_everything_needed_to_read_it():
    assert repr(NLL) == "NLL = 95.31 +- 0.82 nats [test, n=447]"
    assert repr(Value("NLL", 2.0, kind="<=")) == "NLL <= 2"
    assert repr(missing("NLL", "no density")) == "NLL: none (no density)"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (95.3123, 0.8234, "95.31 +- 0.82"),
        (0.00213, 0.00057, "0.00213 +- 0.00057"),
        (1234.5, 12.0, "1234 +- 12"),
        (97.0948, 0.0876, "97.09 +- 0.09"),
        (0.0043881, 7.8e-06, "0.004388 +- 0.000008"),
        (0.0001, 0.02, "0.000 +- 0.020"),
        (0.01106, 3.1e-07, "0.01106"),
        (0.98, 7.9e-17, "0.98"),
        (3.0, None, "3"),
        (math.inf, 1.0, "inf"),
        (math.nan, None, "n/a"),
    ],
)
def test_shows_the_digits_its_error_allows(value, error, text):
    assert with_error(value, error) == text


def test_numbers_for_people():
    assert number(1312768) == "1 312 768"
    assert number(0.0017134) == "0.001713"
    assert number(-math.inf) == "-inf"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"split": "valid"}, "split"),
        ({"n": 10}, "n: 447 against 10"),
        ({"unit": "bits"}, "unit"),
        ({"protocol": {"data": "mnist"}}, "data: 'digits' against 'mnist'"),
        ({"protocol": {}}, "data"),
    ],
)
def test_another_protocol_cannot_be_compared(change, named):
    other = Value(**{**vars(NLL), **change})
    for compare in (NLL.__lt__, NLL.__gt__, NLL.better_than):
        with pytest.raises(OptionError, match=named):
            compare(other)


def test_order_follows_the_direction():
    lower, higher = (Value(**{**vars(NLL), "value": v}) for v in (90.0, 100.0))
    assert lower < higher
    assert higher > lower
    assert lower.better_than(higher)
    assert not higher.better_than(lower)
    up = [Value("AUROC", v, better="higher") for v in (0.9, 0.8)]
    assert up[0].better_than(up[1])
    with pytest.raises(OptionError, match="no better direction"):
        Value("ratio", 1.0, better="").better_than(Value("ratio", 2.0, better=""))


def test_seed_and_note_are_not_the_protocol():
    other = Value(**{**vars(NLL), "seed": 5, "note": "again", "stderr": 1.0})
    assert NLL.differences(other) == []


@pytest.mark.parametrize("value", [NLL, missing("NLL", "none"), Value("KL", math.inf, note="outside")])
def test_survives_json(value):
    import json

    again = Value.from_dict(json.loads(json.dumps(value.to_dict(), allow_nan=False)))
    assert repr(again) == repr(value)
    assert again.differences(value) == []
