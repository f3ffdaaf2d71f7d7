"""What can go wrong, said in one line: what happened, where, and what to do about it.

Every error a user can cause is a `CreoError`. The command line prints its message without a traceback and
exits with its `status`; from Python it is an ordinary exception (each kind also is the built-in error one
would expect, so `except ValueError` works).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CreoError(Exception):
    """Base of all errors a user can cause or must act on. `status` is the command line's exit status."""

    status = 2


class SpaceError(CreoError, ValueError):
    """A tensor is not in the space it should be in, or a model cannot model that space."""


class DataError(CreoError, ValueError):
    """A data set cannot be read, is empty, corrupt, or holds values it must not hold."""


class OptionError(CreoError, TypeError, ValueError):
    """An option is unknown, of the wrong type, out of range, or contradicts another one."""


class UnknownName(CreoError, LookupError):
    """No model, data set or extractor of that name."""


class RunError(CreoError, RuntimeError):
    """A run folder is missing, unfinished, of another kind, or would be overwritten."""


class CorruptCheckpoint(RunError):
    """A checkpoint's content does not match its own checksum, or cannot be read at all."""


class MissingExtra(CreoError, ImportError):
    """An optional dependency is needed. The message names the extra to install."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'creo[{extra}]'")


class NoLikelihood(CreoError, NotImplementedError):
    """The model defines samples but no density; the message says why and what to ask instead."""


class NonFinite(CreoError, ArithmeticError):
    """Training met a loss or gradient that is not a number; names step, player, term and parameter."""

    status = 3


class CreoWarning(UserWarning):
    """Something is legal but probably not what was meant."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """A clause that helps after a misspelt `name`: `; did you mean 'made'?`, or the list of `known` names."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if close:
        return "; did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "; known: " + ", ".join(known) if known else ""
