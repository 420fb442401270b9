"""Numbers of single precision have the digits that they have in the device."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.float32 import compile_shortest, shortest

if TYPE_CHECKING:
    from collections.abc import Callable


def stored(number: float, letter: str = "f") -> float:
    """Return the number that a device stores after somebody wrote `number` into it."""
    [found] = struct.unpack(letter, struct.pack(letter, number))
    return float(found)


def in_columns(apply: Callable[[bytes], list[float]], numbers: list[float]) -> list[float]:
    return apply(struct.pack(f">{len(numbers)}f", *numbers))


def one_by_one(numbers: list[float]) -> list[float]:
    return [in_columns(compile_shortest(1), [number])[0] for number in numbers]


@pytest.mark.parametrize(
    "number",
    [
        230.1, 0.1, -40.2, 16777216.0, 1e-7, 3.4028235e38, -1e-45, 9.999999e9, 0.0009999999, 123456.78, 8.59e9, 3e10,
        0.0, 100.0, -0.25, 1e-5, 16777215.0, 0.00001525,
    ],
)  # fmt: skip
def test_the_digits_of_a_decimal_come_back(number: float) -> None:
    """A person wrote 230.1 into the device, and looks for 230.1 in the store."""
    assert shortest(stored(number)) == number
    assert one_by_one([stored(number)]) == [number]


@pytest.mark.parametrize("number", [0.1, 21.55, -1.5, 65504.0, 2049.0 - 1, 6e-8, 0.0])
def test_half_precision_has_its_digits_too(number: float) -> None:
    """A number without a fraction stays: 65504, the largest, is not 65500."""
    found = shortest(stored(number, "e"), "e")
    assert stored(found, "e") == stored(number, "e")
    assert len(repr(found)) <= max(len(repr(number)), len("0.00000"))
    assert found == number or not number.is_integer()


def fewest(number: float) -> float:
    """Return the shortest decimal by trying all lengths, as the definition says."""
    for digits in range(1, 10):
        decimal = float(f"{number:.{digits}g}")
        if abs(decimal) <= 3.4028235e38 and stored(decimal) == number:
            return decimal
    return number


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_no_decimal_that_is_shorter_names_the_same_number(number: float) -> None:
    """The digits distinguish the number from all others of its precision, and no digit is superfluous."""
    assert shortest(number) == fewest(number)
    [found] = one_by_one([number])
    assert stored(found) == number
    assert len(repr(found)) <= len(repr(fewest(number)))


@given(st.lists(st.floats(-(2.0**24), 2.0**24, width=32), min_size=3, max_size=3), st.data())
def test_columns_follow_numbers_of_any_size(first: list[float], data: st.DataObject) -> None:
    """A column remembers the size of its last number, and the next may have another."""
    apply = compile_shortest(3)
    for _ in range(3):
        numbers = data.draw(st.permutations([*first, 0.0, math.nan, math.inf, -first[0]]))[:3]
        expected = [shortest(number) for number in numbers]
        assert list(map(repr, in_columns(apply, numbers))) == list(map(repr, (one + 0.0 for one in expected)))


def test_powers_of_two_are_exact_decimals() -> None:
    """Below a power of two numbers are twice as dense as above it."""
    for exponent in range(-149, 128):
        for sign in (1.0, -1.0):
            number = sign * 2.0**exponent
            [found] = one_by_one([number])
            assert stored(found) == number
            assert len(repr(found)) <= len(repr(fewest(number)))


def test_numbers_that_are_not_finite_stay() -> None:
    """The normalization gives the reason why such a reading has no value."""
    assert one_by_one([math.inf, -math.inf]) == [math.inf, -math.inf]
    assert math.isnan(one_by_one([math.nan])[0])
