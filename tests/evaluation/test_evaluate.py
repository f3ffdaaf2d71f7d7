"""`evaluate` end to end on models whose numbers are known."""

import json
import math

import pytest
import torch

from creo.data.dataset import Split
from creo.errors import OptionError, RunError, SpaceError
from creo.evaluation import Evaluation, evaluate, reference_of
from creo.model import GenerativeModel
from creo.spaces import Categories, Continuous


@pytest.fixture(scope="module")
def reference(plane):
    return reference_of(plane.test, plane.space, samples=200)


def test_everything_about_the_truth(toys, plane):
    found = evaluate(toys.Normal(), plane.test, samples=200)
    names = [v.name for v in found.values]
    assert names == [
        "NLL", "bits/dim", "KL", "MMD2", "KID", "C2ST", "FD", "precision", "recall", "distance ratio", "copies",
        "sampling", "parameters",
    ]  # fmt: skip
    assert found["KL"].value == pytest.approx(0.0, abs=1e-6)
    assert found["NLL"].n == 400
    assert found["MMD2"].n == 200
    assert found["parameters"].value == 0
    assert found["sampling"].value > 0
    assert set(found.floor) == {"MMD2", "KID", "C2ST", "FD", "precision", "recall"}
    assert set(found.pictures) == {"samples", "data"}
    assert found.pictures["samples"].startswith(b"\x89PNG")
    assert "Normal on normal\n  NLL = " in repr(found)
    with pytest.raises(OptionError, match="no value 'FID'"):
        found["FID"]


def test_the_same_call_gives_the_same_numbers(toys, plane, reference):
    def numbers():
        found = evaluate(toys.Noisy(), plane.test, reference=reference, pictures=False)
        return {v.name: v.value for v in found.values if v.unit != "ms/sample"}

    torch.manual_seed(1)
    first = numbers()
    torch.manual_seed(2)
    assert numbers() == first


def test_without_likelihood(toys, plane, reference):
    found = evaluate(toys.Silent(), plane.test, reference=reference, pictures=False)
    assert found["NLL"].missing
    assert not found["C2ST"].missing
    from rich.console import Console

    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(found.table())
    assert "it only samples" in console.export_text()


def test_broken_samples_are_rows_not_crashes(toys, plane, reference):
    found = evaluate(toys.Broken(), plane.test, reference=reference)
    assert not found["NLL"].missing
    assert found["C2ST"].missing
    assert "NaN" in found["C2ST"].note


def test_a_copier_is_found_out(toys, plane, reference):
    found = evaluate(toys.Copier(plane.train.x), plane.test, reference=reference, pictures=False)
    assert found["copies"].value == 1.0
    assert found["distance ratio"].value < 0.01


def test_raw_tensors_give_what_is_possible(toys, plane):
    x = plane.test.x[:150]
    bare = evaluate(toys.Normal(), x, pictures=False)
    assert "copies" not in bare
    assert bare.floor == {}
    assert bare["MMD2"].protocol["features"] == "standardised by held-out data"
    full = evaluate(toys.Normal(), x, train=plane.train.x, pictures=False)
    assert "copies" in full
    assert full.floor
    assert "KL" not in full


def test_conditions_are_passed_along(plane):
    class Shifted(GenerativeModel):
        def __init__(self):
            super().__init__(Continuous((2,)), Categories(2))

        def log_prob(self, x, c=None):
            self.check_batch(x, c)
            return torch.distributions.Normal(4.0 * c[:, None], 1.0).log_prob(x).sum(1)

        def sample(self, n, c=None):
            c = self.expand_condition(n, c)
            return 4.0 * c[:, None] + torch.randn(n, 2)

    torch.manual_seed(0)
    c = torch.arange(300) % 2
    split = Split(4.0 * c[:, None] + torch.randn(300, 2), c, name="test")
    found = evaluate(Shifted(), split, pictures=False)
    assert abs(found["NLL"].value - math.log(2 * math.pi * math.e)) < 4 * found["NLL"].stderr
    assert found["C2ST"].value < 0.6


def test_saved_and_read_again(toys, plane, reference, tmp_path):
    found = evaluate(toys.Normal(), plane.test, reference=reference)
    found.save(tmp_path)
    again = Evaluation.read(tmp_path)
    assert again.to_dict() == found.to_dict()
    assert again.pictures == found.pictures
    json.loads((tmp_path / "evaluation.json").read_text())
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(RunError, match="cannot be read"):
        Evaluation.read(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(20, 3), "shape"),
        (torch.full((20, 2), math.inf), "NaN or infinite"),
        (torch.zeros(3, 2), "at least 10"),
        ([[0.0, 0.0]], "split"),
    ],
)
def test_unfit_data_get_one_line(toys, data, message):
    with pytest.raises(SpaceError, match=message):
        evaluate(toys.Normal(), data)
