"""All checks that apply to a model, chosen by what the model says of itself: likelihood, protocols and space.

check_model("made")              every space a registered model promises, with and without conditions
check_model(MyModel)             a class with `for_space`, on every kind of space it does not decline
check_instance(model, x, c)      one model, built by hand
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from creo.errors import OptionError, SpaceError
from creo.model import GenerativeModel, Likelihood, questions, seeded
from creo.registry import build, find, models
from creo.spaces import Space
from creo.testing.completing import check_completes
from creo.testing.density import check_normalised
from creo.testing.failure import CheckFailed, require
from creo.testing.inputs import check_conditional, check_rejects_bad_input
from creo.testing.invertible import check_invertible, check_log_det
from creo.testing.looks import check_pictures
from creo.testing.measure import is_tiny, points, reals
from creo.testing.sampling import check_samples_in_space, check_samples_match_log_prob
from creo.testing.saving import check_save_load
from creo.testing.sequential import check_cached_equals_uncached, check_causal
from creo.testing.tiny import settle, tiny_conditions, tiny_data, tiny_spaces
from creo.testing.training import check_dtypes, check_gradients_reach_parameters, check_train_and_eval

KINDS = ("Continuous", "Ordinal", "Tokens", "Categories", "Table")


@dataclass(frozen=True)
class Subject:
    """A model to check, data of its space, and a way to make it afresh (None: from its recipe)."""

    model: GenerativeModel
    x: Tensor
    c: Tensor | None = None
    rebuild: Callable[[], GenerativeModel] | None = None

    def few(self, n: int) -> tuple[Tensor, Tensor | None]:
        """The first n examples and conditions."""
        return self.x[:n], None if self.c is None else self.c[:n]


Says = Callable[[Likelihood, Sequence[str], Space], bool]


@dataclass(frozen=True)
class Check:
    """A rule: its name, how it is tried, and whether it applies, given likelihood, questions answered and space."""

    name: str
    run: Callable[[Subject], object]
    applies: Says = lambda likelihood, answers, space: True


def _has_density(likelihood: Likelihood, answers: Sequence[str], space: Space) -> bool:
    return likelihood is not Likelihood.NONE and is_tiny(space)


def _countable(likelihood: Likelihood, answers: Sequence[str], space: Space) -> bool:
    mixed = reals(space) > 0 and points(space) > 1
    return likelihood in (Likelihood.EXACT, Likelihood.BOUND) and is_tiny(space) and not mixed


def _answering(question: str) -> Says:
    return lambda likelihood, answers, space: question in answers


def _normalised(s: Subject) -> None:
    exact = s.model.likelihood is Likelihood.EXACT
    check_normalised(s.model, s.c, tolerance=1e-3 if exact else 2e-2)


#: Every rule, in the order in which `check_model` tries them.
CHECKS: tuple[Check, ...] = (
    Check("samples_in_space", lambda s: check_samples_in_space(s.model, s.c)),
    Check("pictures", lambda s: check_pictures(s.model, *s.few(4))),
    Check("completes", lambda s: check_completes(s.model, *s.few(4)), _answering("complete")),
    Check("rejects_bad_input", lambda s: check_rejects_bad_input(s.model, *s.few(4))),
    Check("conditional", lambda s: check_conditional(s.model, *s.few(64))),
    Check("train_and_eval", lambda s: check_train_and_eval(s.model, *s.few(32))),
    Check("dtypes", lambda s: check_dtypes(s.model, *s.few(32))),
    Check("gradients_reach_parameters", lambda s: check_gradients_reach_parameters(s.model, s.x, s.c)),
    Check("save_load", lambda s: check_save_load(s.model, *s.few(8), rebuild=s.rebuild)),
    Check("normalised", _normalised, _has_density),
    Check("samples_match_log_prob", lambda s: check_samples_match_log_prob(s.model, s.c), _countable),
    Check("invertible", lambda s: check_invertible(s.model, *s.few(32)), _answering("inverse")),
    Check("log_det", lambda s: check_log_det(s.model, *s.few(2)), _answering("inverse")),
    Check("causal", lambda s: check_causal(s.model, *s.few(8)), _answering("step")),
    Check(
        "cached_equals_uncached",
        lambda s: check_cached_equals_uncached(s.model, *s.few(8)),
        _answering("step"),
    ),
)


def applicable(likelihood: Likelihood, answers: Sequence[str], space: Space) -> tuple[Check, ...]:
    """The rules that apply to a model with this kind of likelihood that answers these questions on this space."""
    return tuple(check for check in CHECKS if check.applies(likelihood, answers, space))


def checks_for(model: GenerativeModel) -> tuple[Check, ...]:
    """The rules that apply to a model, by what it says of itself."""
    return applicable(model.likelihood, questions(model), model.space)


def check_instance(
    model: GenerativeModel,
    x: Tensor,
    c: Tensor | None = None,
    *,
    rebuild: Callable[[], GenerativeModel] | None = None,
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
) -> tuple[str, ...]:
    """Run every rule that applies on one model that is initialised and away from its starting point (`settle`).

    Args:
        model: stays as it is.
        x: raw data, (B, *space.shape) with B at least 64.
        c: conditions, (B, *condition.shape), or None.
        rebuild: makes a fresh model to load weights into; by default from `model.recipe`.
        only: names of the rules to try.
        skip: names of rules to leave out.

    Returns:
        The names of the rules that were tried.

    Raises:
        CheckFailed: one line for every rule that is broken.
    """
    subject = Subject(model, x, c, rebuild)
    names = [check.name for check in CHECKS]
    for name in (*(only or ()), *skip):
        if name not in names:
            raise OptionError(f"no check named {name!r}; known: {', '.join(names)}")
    chosen = [k for k in checks_for(model) if (only is None or k.name in only) and k.name not in skip]
    broken = []
    for check in chosen:
        try:
            check.run(subject)
        except CheckFailed as error:
            broken.append(f"{check.name}: {error}")
        except Exception as error:
            error.add_note(f"raised by {type(model).__name__} of {model.space} in check {check.name!r}")
            raise
    require(not broken, "\n".join(broken))
    return tuple(check.name for check in chosen)


@dataclass(frozen=True)
class Case:
    """A model to build: its name or class, a tiny space, and what it is conditioned on."""

    source: str | type[GenerativeModel]
    space: Space
    condition: Space | None = None

    def __str__(self) -> str:
        name = self.source if isinstance(self.source, str) else self.source.__name__
        space = str(self.space).replace(" ", "")
        return f"{name}-{space}" + ("" if self.condition is None else f"|{self.condition.kind}")

    def build(self) -> GenerativeModel:
        """A fresh model, at the same weights every time."""
        with seeded(0):
            if isinstance(self.source, str):
                return build(self.source, self.space, self.condition)
            return self.source.for_space(self.space, self.condition)

    def declined(self) -> str:
        """Why the model declines this space or condition, in one clear line; empty if it does not."""
        try:
            self.build()
        except (SpaceError, OptionError) as error:
            require("\n" not in str(error), f"{self}: the error must be one line, not {str(error)!r}")
            return str(error)
        return ""

    def subject(self) -> Subject:
        """The model settled on tiny data."""
        model = self.build()
        x, c = tiny_data(self.space, self.condition)
        require(
            (model.space, model.condition) == (self.space, self.condition),
            f"{self} was built for {model.space} given {model.condition}",
        )
        return Subject(settle(model, x, c), x, c, None if isinstance(self.source, str) else self.build)


def cases(source: str | type[GenerativeModel], kinds: Sequence[str] | None = None) -> Iterator[Case]:
    """Tiny spaces of every kind a model promises, each without condition and with a label or a vector in turn.

    Args:
        source: a registered name, or a class with `for_space`.
        kinds: kinds of spaces; by default those that the registry promises, or all for a class.
    """
    if kinds is None:
        kinds = tuple(find(source).promise) if isinstance(source, str) else KINDS
    for kind in kinds:
        for i, space in enumerate(tiny_spaces(kind)):
            conditions = tiny_conditions(space)
            yield Case(source, space)
            yield Case(source, space, conditions[i % len(conditions)])


def check_model(
    source: str | type[GenerativeModel],
    *,
    kinds: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    skip: Sequence[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Build a model for tiny spaces of every kind it promises and run every rule that applies to each.

    Spaces and conditions that the model declines with a SpaceError or OptionError are left out, but every promised
    kind must work on some space, without conditions, and with the promised likelihood.

    Args:
        source: a registered name, or a class with `for_space`.
        kinds: kinds of spaces; by default those that the registry promises, or for a class all it does not decline.
        only: names of the rules to try.
        skip: names of rules to leave out.

    Returns:
        What was tried: names of rules by case.

    Raises:
        CheckFailed: one line for every rule that is broken, on every space.
    """
    tried: dict[str, tuple[str, ...]] = {}
    broken: list[str] = []
    served: set[str] = set()
    for case in cases(source, kinds):
        try:
            if case.declined():
                continue
            subject = case.subject()
            check_promise(case, subject.model)
            if case.condition is None:
                served.add(case.space.kind)
            tried[str(case)] = check_instance(
                subject.model, subject.x, subject.c, rebuild=subject.rebuild, only=only, skip=skip
            )
        except CheckFailed as error:
            broken += [f"{case}: {line}" for line in str(error).splitlines()]
    require(not broken, "\n".join(broken))
    promised = set(kinds or ()) | (
        set(find(source).promise) if isinstance(source, str) and not kinds else set()
    )
    require(promised <= served, f"{source} builds for no tiny space of kind {', '.join(promised - served)}")
    require(bool(served), f"{source} declines every tiny space")
    return tried


def check_promise(case: Case, model: GenerativeModel) -> None:
    """A registered model has the kind of likelihood that its line promises for this kind of space."""
    if isinstance(case.source, str):
        promise = models()[case.source].promise[case.space.kind]
        require(
            model.likelihood.value == promise,
            f"{case}: the registry promises likelihood {promise!r}, the model says {model.likelihood.value!r}",
        )
