"""Scaling by two points of a line, as other programs write it: from raw low and high to scaled low and high."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_LARGEST = 1e100
"""Beyond it a number is a mistake, and an int may not fit a float."""

_DUST = 4e-15
"""The largest error of a few operations, relative to the number."""

_WHOLE = 1e15
"""Below it a float without a fraction is written as a whole number."""

_NUMBER = re.compile(r"[-+]?(?:\d{1,100}(?:\.\d{0,100})?|\.\d{1,100})(?:[eE][-+]?\d{1,3})?")


def finite(value: object) -> float | None:
    """Return a number of a JSON file, None where it has none. Raises `ValueError` for another value."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{str(value)[:40]!r} is not a number")  # noqa: TRY004 - of a file
    if isinstance(value, str):
        return number(value)
    if not math.isfinite(value) or abs(value) > _LARGEST:
        raise ValueError(f"{str(value)[:40]!r} is not a number")
    return float(value)


def number(written: str) -> float | None:
    """Return a number of a table, None where the cell is empty; a comma may be its point. Raises `ValueError`."""
    if not written:
        return None
    if not _NUMBER.fullmatch(plain := written.strip().replace(",", ".")) or not math.isfinite(value := float(plain)):
        raise ValueError(f"{written[:40]!r} is not a number")
    return value


def linear(raw: Sequence[float | None], scaled: Sequence[float | None]) -> dict[str, Any]:
    """Return scale and offset as keys of a point. Raises `ValueError` if the four numbers do not define a line."""
    low, high, to_low, to_high = *raw, *scaled
    if low is None or high is None or to_low is None or to_high is None or low == high:
        raise ValueError("linear scaling needs raw low and high, which differ, and scaled low and high")
    scale = (to_high - to_low) / (high - low)
    if not math.isfinite(scale) or scale == 0:
        raise ValueError(f"linear scaling from {low:g}..{high:g} to {to_low:g}..{to_high:g} has no usable factor")
    found = {"scale": rounded(scale), "offset": rounded(to_low - low * scale)}
    return {key: value for key, value in found.items() if value != (1 if key == "scale" else 0)}


def rounded(value: float) -> int | float:
    """Return a number without the dust of binary fractions: 0.1, not 0.10000000000000002; 16/4095 stays as it is."""
    near = float(f"{value:.12g}")
    if abs(near - value) > _DUST * abs(value):
        return value
    return int(near) if near.is_integer() and abs(near) < _WHOLE else near
