"""What two samples must be before their distance means anything.

Every two-sample quantity of this folder takes `x` of shape (n, d) and `y` of shape (m, d): rows are independent
draws, columns are features. The checks here turn the four ways of getting a wrong number (no rows, one row,
columns that do not match, NaN) into one error each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from creo.errors import DataError, SpaceError


def _check_sample(x: Tensor, name: str, least: int) -> None:
    if x.ndim != 2 or x.shape[1] == 0:
        hint = f"(pictures: {name}.flatten(1); one column: {name}[:, None])"
        raise SpaceError(f"{name} must have shape (n, d), d at least 1; received {tuple(x.shape)} {hint}")
    if not x.is_floating_point():
        raise SpaceError(f"{name} must be a floating-point tensor; received {x.dtype} (use {name}.float())")
    if x.shape[0] == 0:
        raise DataError(f"{name} is empty: it has 0 rows; at least {least} are needed")
    if x.shape[0] < least:
        raise DataError(f"{name} has too few rows: at least {least} are needed; received {x.shape[0]}")
    bad = ~x.isfinite()
    if bad.any():
        row, column = (int(i) for i in bad.nonzero()[0])
        raise DataError(
            f"{name} has {int(bad.sum())} NaN or infinite features, the first in row {row}, column {column}; "
            "drop those rows or repair what produced them"
        )


def check_samples(x: Tensor, y: Tensor, *, least: int = 2) -> tuple[Tensor, Tensor]:
    """The two samples in one dtype of at least single precision, once they are known to be comparable.

    Args:
        x: (n, d) floating-point features, finite.
        y: (m, d) floating-point features, finite.
        least: how many rows each needs.

    Raises:
        SpaceError: wrong number of axes, different d, or not floating-point.
        DataError: no rows, fewer than `least` rows, or NaN or infinite features.
    """
    _check_sample(x, "x", least)
    _check_sample(y, "y", least)
    if x.shape[1] != y.shape[1]:
        raise SpaceError(f"x and y must have equally many columns; received {x.shape[1]} and {y.shape[1]}")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    return x.to(dtype), y.to(dtype)
