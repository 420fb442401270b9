"""Scaling by two points of a line, as other programs write it: from raw low and high to scaled low and high."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def number(written: str) -> float | None:
    """Return a number of a table, None where the cell is empty. Raises `ValueError`."""
    return float(written.replace(",", ".")) if written else None


def linear(raw: Sequence[float | None], scaled: Sequence[float | None]) -> dict[str, Any]:
    """Return scale and offset as keys of a point. Raises `ValueError` if the four numbers do not define a line."""
    low, high, to_low, to_high = *raw, *scaled
    if low is None or high is None or to_low is None or to_high is None or low == high:
        raise ValueError("linear scaling needs raw low and high, which differ, and scaled low and high")
    scale = (to_high - to_low) / (high - low)
    found = {"scale": _round(scale), "offset": _round(to_low - low * scale)}
    return {key: value for key, value in found.items() if value != (1 if key == "scale" else 0)}


def _round(value: float) -> int | float:
    """Return a number without the dust of binary fractions: 0.1, not 0.10000000000000002."""
    rounded = float(f"{value:.12g}")
    return int(rounded) if rounded.is_integer() else rounded
