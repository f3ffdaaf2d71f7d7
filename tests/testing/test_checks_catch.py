"""Each check passes right models and catches a model that breaks its rule, saying what is wrong."""

import functools

import pytest
import toy_models as toy

from creo import testing
from creo.testing import CheckFailed, check_instance, settle, tiny_data

RIGHT = (toy.Lookup, toy.Flow, toy.Chain, toy.Implicit, toy.Below)
CONDITIONS = (None, toy.LABELS)


@functools.lru_cache
def settled(cls, condition=None):
    model = toy.make(cls, condition)
    x, c = tiny_data(model.space, condition)
    return settle(model, x, c), x, c


def run(check: str, cls, condition=None):
    model, x, c = settled(cls, condition)
    return check_instance(model, x, c, rebuild=lambda: toy.make(cls, condition), only=[check])


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("cls", RIGHT)
def test_a_right_model_passes_everything(cls, condition):
    model, x, c = settled(cls, condition)
    tried = check_instance(model, x, c, rebuild=lambda: toy.make(cls, condition))
    assert len(tried) >= 7


def test_right_models_together_try_every_check():
    tried = {check.name for cls in RIGHT for check in testing.checks_for(settled(cls)[0])}
    assert tried == {check.name for check in testing.CHECKS}


BROKEN = [
    ("normalised", toy.Unnormalised, None, r"sums to 1\.01005 .* instead of 1"),
    ("normalised", toy.SignOfLogDet, None, r"exp\(log_prob\) sums to .* instead of 1"),
    ("normalised", toy.AboveTheTruth, None, "with likelihood 'bound' it is at most 1"),
    ("samples_match_log_prob", toy.TooNarrowSamples, None, "do not follow log_prob: chi-square"),
    ("samples_match_log_prob", toy.TemperatureHidden, None, "furthest off is x = "),
    ("samples_match_log_prob", toy.RowsMixedUp, toy.LABELS, "given c = 0 do not follow"),
    ("samples_match_log_prob", toy.SampleIgnoresCondition, toy.LABELS, "given c = 1 do not follow"),
    ("samples_match_log_prob", toy.AboveTheTruth, None, "contradict log_prob: its bound gives x = "),
    ("invertible", toy.InverseOff, None, r"inverse\(forward\(x\)\) against x: 64 of 64 entries differ"),
    ("invertible", toy.SignOfLogDet, None, "log_det of inverse against minus log_det of forward"),
    ("log_det", toy.SignOfLogDet, None, r"log_det of forward .* \(its sign is reversed\)"),
    ("log_det", toy.SignOfBothLogDets, None, r"log_det of forward .* \(its sign is reversed\)"),
    (
        "log_det",
        toy.LogDetPerBatch,
        None,
        "log_det of forward against autograd's Jacobian: . of 3 entries differ",
    ),
    ("causal", toy.LooksAtItself, None, "depend on itself"),
    ("causal", toy.LooksAhead, None, r"symbol 0 \(position 3\) depend on symbol 3 \(position 0\)"),
    (
        "causal",
        toy.ForgetsFirst,
        None,
        r"symbol 3 \(position 0\) ignore its predecessor 0 \(position 3\); 1 of 6",
    ),
    ("cached_equals_uncached", toy.CacheOff, None, r"step against logits\(x\): .* the worst at \(., 2, "),
    ("cached_equals_uncached", toy.LooksAhead, None, r"step against logits\(x\)"),
    ("cached_equals_uncached", toy.CacheNotReordered, None, "after reorder"),
    ("cached_equals_uncached", toy.RepeatsInTheWrongPlaces, None, "after repeat"),
    ("gradients_reach_parameters", toy.Unowned, None, "no player owns the parameters generator.2.bias"),
    (
        "gradients_reach_parameters",
        toy.NoGradient,
        None,
        "player 'generator' has no gradient with respect to",
    ),
    ("gradients_reach_parameters", toy.SameNames, None, "different names"),
    ("save_load", toy.StateLeftOut, None, "samples after loading"),
    ("save_load", toy.StateNoTensor, None, "_extra_state"),
    ("dtypes", toy.OnlyFloat32, None, "log_prob of a float64 model is torch.float32"),
    ("dtypes", toy.OverflowsInBfloat16, None, "not finite"),
    ("train_and_eval", toy.BatchDependent, None, "of an example alone against the same in a batch"),
    ("train_and_eval", toy.RandomExact, None, "a second log_prob of the same batch"),
    ("train_and_eval", toy.NoBatchOfOne, None, "training mode on a batch of 1"),
    ("train_and_eval", toy.LeavesEvalMode, None, "in another mode than eval"),
    ("train_and_eval", toy.MovesBuffersInEval, None, "in eval mode changes mean"),
    ("conditional", toy.SampleIgnoresCondition, toy.LABELS, "sample ignores them"),
    (
        "conditional",
        toy.LogProbIgnoresCondition,
        toy.LABELS,
        "does not change when the conditions are permuted",
    ),
    ("conditional", toy.TakesMissingCondition, toy.LABELS, "with no conditions is accepted"),
    ("conditional", toy.TakesSuperfluousCondition, None, "sample with superfluous conditions is accepted"),
    ("rejects_bad_input", toy.TakesAnything, None, r"(is accepted|instead of SpaceError)"),
    ("rejects_bad_input", toy.SamplesNothing, None, r"sample\(0\) raises|sample\(0\) is accepted"),
    ("rejects_bad_input", toy.DensityDenied, None, "log_prob of a model without likelihood is accepted"),
    ("rejects_bad_input", toy.ErrorOfTwoLines, None, "must be one line"),
    ("samples_in_space", toy.WrongDtype, None, r"sample\(1\) has dtype torch.int64"),
    ("samples_in_space", toy.OutOfRange, None, "has value 3"),
    ("samples_in_space", toy.SqueezesOne, None, r"sample\(1\) (has shape|gave)"),
]


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize(("check", "cls", "condition", "message"), BROKEN)
def test_a_broken_model_is_caught(check, cls, condition, message):
    with pytest.raises(CheckFailed, match=message):
        run(check, cls, condition)


def test_every_check_has_a_broken_model():
    assert {check for check, *_ in BROKEN} == {check.name for check in testing.CHECKS}


def test_cancelling_log_dets_are_not_seen_by_cancellation():
    """Why `check_log_det` looks at each direction by itself."""
    run("invertible", toy.SignOfBothLogDets)
