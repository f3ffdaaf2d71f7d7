"""A number that carries its protocol: what it is of, how it was obtained, and what it may be compared with.

A number without its unit, direction, split, sample count, error and meaning is a rumour. `Value` keeps them
together and prints them:

    NLL = 95.31 +- 0.82 nats [test, n=447]

The sign says what the number is (`creo.model.Likelihood.sign`):

| sign | meaning                                                                              |
|------|--------------------------------------------------------------------------------------|
| `=`  | the quantity itself (up to its standard error, where there is one)                   |
| `<=` | an upper bound: the quantity is at most this (a lower bound on log p, negated)       |
| `~`  | a consistent estimate that may err on either side                                    |

Two values compare only if name, unit, direction, split, n and protocol agree: anything else is an `OptionError`
that says what differs. The order then is that of the numbers; of two upper bounds the lower one is the better
*guarantee*, which is all a bound can say. Seeds and notes do not enter the protocol: they explain, they do not
change what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from creo.errors import OptionError


def number(value: float, digits: int = 4) -> str:
    """A number for people: `digits` significant ones, thousands apart, no exponent between 1e-3 and 1e7."""
    if not math.isfinite(value):
        return "n/a" if math.isnan(value) else ("-inf" if value < 0 else "inf")
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}".replace(",", " ")
    if abs(value) >= 10 ** (digits - 1) and abs(value) < 1e7:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.{digits}g}"


def with_error(value: float, error: float | None, mark: str = "+-") -> str:
    """`95.31 +- 0.82`: to the second significant digit of the error, and four of the value at most.

    An error that vanishes at this precision is left out.
    """
    if error is None or not math.isfinite(error) or error <= 0 or not math.isfinite(value):
        return number(value)
    largest = max(abs(value), error)
    if not 1e-4 <= largest < 1e7:
        return f"{value:.4g} {mark} {error:.2g}"
    places = min(1 - math.floor(math.log10(error)), 3 - math.floor(math.log10(largest)))
    shown = f"{error:.{max(0, places)}f}"
    if float(shown) == 0:
        return number(value)
    return f"{value:.{max(0, places)}f} {mark} {shown}"


@dataclass(frozen=True)
class Value:
    """A measured number and everything needed to read it.

    Args:
        name: what was measured: `NLL`, `C2ST`, `MMD2`, ...
        value: the number; nan when it could not be obtained (then `note` says why).
        unit: nats, bits/dim, ms/sample, s, ... ; empty for pure numbers.
        better: `lower`, `higher`, or empty where neither end is good in itself.
        kind: `=`, `<=` or `~`, see the module.
        n: how many samples it was computed from.
        stderr: standard error of the value as an estimate of its expectation; None if there is none.
        split: train, valid, test, or empty where no data was involved.
        seed: what seeded its randomness; None if there was none.
        note: what else a reader must know; for nan, why.
        protocol: whatever else must agree before two values are compared (data, features, device, ...).
    """

    name: str
    value: float
    unit: str = ""
    better: Literal["lower", "higher", ""] = "lower"
    kind: str = "="
    n: int | None = None
    stderr: float | None = None
    split: str = ""
    seed: int | None = None
    note: str = ""
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> bool:
        """Whether there is no number (`note` says why)."""
        return math.isnan(self.value)

    @property
    def context(self) -> str:
        """Split, sample count and features: `test, n=447, digits-cnn`."""
        parts = [self.split, "" if self.n is None else f"n={self.n}", str(self.protocol.get("features", ""))]
        return ", ".join(filter(None, parts))

    @property
    def text(self) -> str:
        """Sign, number and error: `<= 95.31 +- 0.82`; the sign `=` is left out."""
        if self.missing:
            return "none"
        return f"{self.kind if self.kind != '=' else ''} {with_error(self.value, self.stderr)}".strip()

    def __repr__(self) -> str:
        if self.missing:
            return f"{self.name}: none ({self.note or 'not a number'})"
        text = f"{self.name} {self.kind} {with_error(self.value, self.stderr)}"
        text += f" {self.unit}" if self.unit else ""
        return f"{text} [{self.context}]" if self.context else text

    def differences(self, other: Value) -> list[str]:
        """What keeps the two from being compared; empty if nothing does."""
        fields = ("name", "unit", "better", "split", "n")
        pairs = [(f, getattr(self, f), getattr(other, f)) for f in fields]
        keys = sorted({*self.protocol, *other.protocol})
        pairs += [(k, self.protocol.get(k), other.protocol.get(k)) for k in keys]
        return [f"{k}: {a!r} against {b!r}" for k, a, b in pairs if a != b]

    def check_comparable(self, other: Value) -> None:
        """Raise `OptionError` unless both were obtained in the same way."""
        differing = self.differences(other)
        if differing:
            raise OptionError(
                f"{self.name} and {other.name} were not obtained in the same way ({'; '.join(differing)}); "
                "evaluate both with the same data, split, samples and extractor"
            )

    def __lt__(self, other: Value) -> bool:
        self.check_comparable(other)
        return self.value < other.value

    def __gt__(self, other: Value) -> bool:
        self.check_comparable(other)
        return self.value > other.value

    def better_than(self, other: Value) -> bool:
        """Whether this number is the better one, in the direction that both declare.

        Raises:
            OptionError: if they were not obtained in the same way, or neither direction is better.
        """
        self.check_comparable(other)
        if not self.better:
            raise OptionError(f"{self.name} has no better direction")
        return self.value < other.value if self.better == "lower" else self.value > other.value

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a missing or infinite number becomes a string (JSON has neither)."""
        plain = asdict(self)
        plain["protocol"] = dict(self.protocol)
        if not math.isfinite(self.value):
            plain["value"] = str(self.value)
        return plain

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Value:
        """The value that `to_dict` wrote."""
        return cls(**{**fields, "value": float(fields["value"])})


def missing(name: str, why: str, **fields: Any) -> Value:
    """A value that could not be obtained, and why."""
    return Value(name, math.nan, note=why, **fields)
