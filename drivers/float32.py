"""Shortest decimal digits of single-precision numbers.

A float32 that was 230.1 in the device is 230.10000610351562 as a Python float. The shortest decimal that identifies
the float32 among all others has the digits that the device's number has; it is what `repr` gives for a double.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MANTISSA = 24
"""Bits of a float32's mantissa, with the hidden bit (IEEE 754, clause 3.6)."""

_LOWEST, _HIGHEST = -16, 24
"""Binary exponents between which a product with a power of ten is exact in double precision."""

_DIGITS = {"f": (6, 9, 2.0**-126), "e": (3, 5, 2.0**-14)}
"""Digits that survive the way into a format and back, digits that identify every number, and the lowest normal number."""

Grids = tuple[float, float, float, float, float]
"""Lowest number, end, 10**k, 10**(k+1), and half a unit in the last place times 10**k; see `_grids`."""


def _grids(exponent: int) -> Grids:
    """Return the decimal grids for the float32 from `2**(exponent-1)` to `2**exponent`.

    The coarse grid, with k decimals, is the finest whose spacing is not less than a unit in the last place. At most
    one of its decimals rounds to a given float32, the nearest. If none does, the grid with another digit has one.
    """
    unit = 2.0 ** (exponent - _MANTISSA)
    coarse = float(10 ** math.floor(-math.log10(unit)))
    return 2.0 ** (exponent - 1), 2.0**exponent, coarse, 10.0 * coarse, coarse * unit / 2


_ZERO: Grids = (0.0, math.ulp(0.0), 1.0, 1.0, 1.0)
_POSITIVE = {exponent: _grids(exponent) for exponent in range(_LOWEST, _HIGHEST + 1)}
# lowest number and end are exchanged: an interval of negative numbers is closed at its upper end
_NEGATIVE = {
    exponent: (math.nextafter(-end, 0.0), math.nextafter(-low, 0.0), coarse, fine, half)
    for exponent, (low, end, coarse, fine, half) in _POSITIVE.items()
}


def shortest(number: float, letter: str = "f") -> float:
    """Return the shortest decimal of a number in the format `f` (float32) or `e` (float16) of `struct`, as a float.

    NaN, infinity, and a float16 without a fraction are returned unchanged.
    """
    if not math.isfinite(number) or (letter == "e" and number.is_integer()):
        return number
    least, most, normal = _DIGITS[letter]
    for digits in range(least if abs(number) >= normal else 1, most):
        decimal = float(f"{number:.{digits}g}")
        try:
            [back] = struct.unpack(letter, struct.pack(letter, decimal))
        except OverflowError:  # the largest number, rounded up
            continue
        if back == number:
            return decimal
    return float(f"{number:.{most}g}")


def compile_shortest(count: int) -> Callable[[Sequence[float]], list[float]]:
    """Return a function that replaces `count` float32 values by their shortest decimals, for one column each.

    It remembers the grids of each column, since a measured quantity rarely changes its binary exponent.
    """
    grids: list[Grids] = [_ZERO] * count

    def grids_of(column: int, number: float) -> Grids | None:
        table = _POSITIVE if number > 0 else _NEGATIVE
        found = _ZERO if number == 0 else table.get(math.frexp(number)[1])
        if found is not None and found[0] <= number < found[1]:
            grids[column] = found
            return found
        return None

    def apply(numbers: Sequence[float]) -> list[float]:
        decimals: list[float] = []
        append = decimals.append
        for number, (low, end, coarse, fine, half) in zip(numbers, grids):  # noqa: B905 - a check costs time
            if low <= number < end:
                # adding and subtracting 1.5 * 2**52 rounds to a whole number
                scaled = number * coarse
                whole = scaled + 6755399441055744.0 - 6755399441055744.0
                if -half < scaled - whole < half:
                    append(whole / coarse)
                else:
                    append((number * fine + 6755399441055744.0 - 6755399441055744.0) / fine)
            elif (found := grids_of(len(decimals), number)) is None:
                append(shortest(number))
            else:
                append(_of_grids(number, found))
        return decimals

    return apply


def _of_grids(number: float, grids: Grids) -> float:
    _, _, coarse, fine, half = grids
    scaled = number * coarse
    whole = float(round(scaled))
    return whole / coarse if abs(scaled - whole) < half else round(number * fine) / fine
