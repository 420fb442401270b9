"""Shortest decimal digits of single-precision numbers.

A float32 that was 230.1 in the device is 230.10000610351562 as a Python float. The shortest decimal that identifies
the float32 among all others has the digits that the device's number has; it is what `repr` gives for a double.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_MANTISSA = 24
"""Bits of a float32's mantissa, with the hidden bit (IEEE 754, clause 3.6)."""

_BIAS = 126
"""Exponent field of a float32 minus the exponent of its binary interval (IEEE 754, clause 3.4)."""

_LOWEST, _HIGHEST = -16, 24
"""Binary exponents between which a product with a power of ten is exact in double precision."""

_DIGITS = {"f": (6, 9, 2.0**-126), "e": (3, 5, 2.0**-14)}
"""Digits that survive the way into a format and back, digits that identify every number, lowest normal number."""

_TOP_BIT = bytes(byte >> 7 for byte in range(256))
"""Byte -> its highest bit; in the second byte of a float32 that is the lowest bit of the exponent."""


class Grids(NamedTuple):
    """The decimal grids of the float32 of one exponent.

    The coarse grid, with k decimals, is the finest whose spacing is not less than a unit in the last place. At most
    one of its decimals rounds to a given float32, the nearest. If none does, the grid with another digit has one.

    `coarse` is 10**k, `fine` is 10**(k+1), and `near` the square of half a unit in the last place times 10**k.
    """

    coarse: float
    fine: float
    near: float


def _grids(exponent: int) -> Grids:
    """Return the grids of the float32 from `2**(exponent-1)` to `2**exponent`."""
    unit = 2.0 ** (exponent - _MANTISSA)
    coarse = float(10 ** math.floor(-math.log10(unit)))
    return Grids(coarse, 10.0 * coarse, (coarse * unit / 2) ** 2)


_GRIDS = {exponent: _grids(exponent) for exponent in range(_LOWEST, _HIGHEST + 1)}
_WHOLE = Grids(1.0, 1.0, 1.0)


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


class _Columns:
    """The grids of the columns of a response, which follow the exponents of its numbers.

    `odd` are the columns of numbers without grids, and of zeros and the numbers next to it.
    """

    __slots__ = ("_count", "coarse", "fine", "heads", "near", "odd", "tops")

    def __init__(self, count: int) -> None:
        self.coarse, self.fine, self.near = [1.0] * count, [1.0] * count, [1.0] * count
        self.odd: set[int] = set()
        self._count = count
        # sign and upper bits of the exponents, and their lowest bits: at first a number that is not a bit
        self.heads, self.tops = bytes(count), b"\2" * count

    def follow(self, heads: bytes, tops: bytes) -> None:
        """Find the grids of the columns whose sign or exponent differs from that of the previous response."""
        changed = _difference(heads, self.heads) | _difference(tops, self.tops)
        self.heads, self.tops = heads, tops
        while changed:
            place = (changed.bit_length() - 1) // 8
            changed &= (1 << 8 * place) - 1
            column = self._count - 1 - place
            self._find(column, heads[column] << 1 & 0xFF | tops[column])

    def _find(self, column: int, exponent: int) -> None:
        grids = _GRIDS.get(exponent - _BIAS)
        self.coarse[column], self.fine[column], self.near[column] = grids or _WHOLE
        self.odd.discard(column)
        if grids is None:
            self.odd.add(column)


def _difference(one: bytes, other: bytes) -> int:
    return int.from_bytes(one, "big") ^ int.from_bytes(other, "big")


def compile_shortest(count: int) -> Callable[[bytes], list[float]]:
    """Return a function from the bytes of `count` float32, big-endian, to their shortest decimals.

    It keeps the grids of each column, and looks for others only where the exponent of a number has changed.
    """
    layout = struct.Struct(f">{count}f")
    unpack, pack = layout.unpack, layout.pack
    columns = _Columns(count)
    follow, coarse, fine, near, odd = columns.follow, columns.coarse, columns.fine, columns.near, columns.odd
    all_coarse = False  # whether all previous numbers were on their coarse grids

    def apply(data: bytes) -> list[float]:
        nonlocal all_coarse
        numbers = unpack(data)
        heads, tops = data[::4], data[1::4].translate(_TOP_BIT)
        if heads != columns.heads or tops != columns.tops:
            follow(heads, tops)
        # adding and subtracting 1.5 * 2**52 rounds to a whole number
        if all_coarse:
            decimals = [
                (number * grid + 6755399441055744.0 - 6755399441055744.0) / grid
                for number, grid in zip(numbers, coarse)  # noqa: B905 - a check costs time
            ]
            if pack(*decimals) == data:
                return decimals
        all_coarse = True
        decimals = []
        append = decimals.append
        for number, grid, finer, limit in zip(numbers, coarse, fine, near):  # noqa: B905 - a check costs time
            scaled = number * grid
            whole = scaled + 6755399441055744.0 - 6755399441055744.0
            scaled -= whole
            if scaled * scaled < limit:
                append(whole / grid)
            else:
                all_coarse = False
                append((number * finer + 6755399441055744.0 - 6755399441055744.0) / finer)
        for column in odd:
            if numbers[column]:
                decimals[column] = shortest(numbers[column])
                all_coarse = False
        return decimals

    return apply
