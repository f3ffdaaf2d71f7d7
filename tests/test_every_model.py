"""Every registered model, on tiny spaces of every kind it promises, with and without conditions, against every rule.

A model gets all of it from its one line in the registry; nothing here names a model. The rules are `creo.testing`'s,
and `tests/testing` shows that each of them catches a model that breaks it.
"""

import functools

import pytest

from creo.model import Likelihood
from creo.registry import models
from creo.testing.suite import Case, Check, Subject, applicable, cases, check_promise

CASES = {str(case): case for name in models() for case in cases(name)}


def rules(case: Case) -> tuple[Check, ...]:
    entry = models()[case.source]
    return applicable(Likelihood(entry.promise[case.space.kind]), entry.answers, case.space)


@functools.lru_cache(maxsize=8)
def settled(name: str) -> Subject | str:
    case = CASES[name]
    return case.declined() or case.subject()


def subject_of(name: str) -> Subject:
    found = settled(name)
    if isinstance(found, str):
        pytest.skip(f"declined: {found}")
    return found


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.name}")
        for name, case in CASES.items()
        for check in rules(case)
    ],
)
def test_rule(name, check):
    check.run(subject_of(name))


@pytest.mark.parametrize("name", CASES)
def test_likelihood_is_the_promised_one(name):
    case = CASES[name]
    if why := case.declined():
        pytest.skip(f"declined: {why}")
    check_promise(case, case.build())


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, m in models().items() for kind in m.promise]
)
def test_every_promised_kind_of_space_is_served_without_conditions(name, kind):
    spaces = [case for case in cases(name, [kind]) if case.condition is None]
    assert any(not case.declined() for case in spaces), f"{name} declines every tiny {kind} space"
