"""Arithmetic with units: which are equal, which convert, and which are different quantities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.quantities import DifferenceOfTemperatures, NotConvertible, unit
from gateway.settings.units import METRIC, PLAIN, is_unit

COMMON = ["bar", "kPa", "Cel", "K", "kW.h", "kW", "m/s", "r/min", "{part}", "%", "l/min", "m3/h", "N.m", "h", "mm"]


@pytest.mark.parametrize(
    ("one", "other", "factor", "offset"),
    [
        ("kW.h", "J", 3.6e6, 0.0),
        ("bar", "kPa", 100.0, 0.0),
        ("Cel", "K", 1.0, 273.15),
        ("Cel", "[degF]", 1.8, 32.0),
        ("m3/h", "l/min", 1000 / 60, 0.0),
        ("[psi]", "kPa", 6.894757293168, 0.0),
        ("mm[Hg]", "mbar", 1.33322387415, 0.0),
        ("r/min", "rad/s", 0.10471975511966, 0.0),
        ("N.m.r/min", "W", 0.10471975511966, 0.0),  # an angle is 1 where a mass is involved
        ("{part}/h", "/h", 1.0, 0.0),  # UCUM, clause 6: an annotation is 1
        ("l{norm}/min", "m3{norm}/h", 0.06, 0.0),
        ("%", "1", 0.01, 0.0),
        ("10*3.m", "km", 1.0, 0.0),
        ("kg.m/s2", "N", 1.0, 0.0),
        ("By", "bit", 8.0, 0.0),
    ],
)
def test_units_of_one_quantity_convert(one: str, other: str, factor: float, offset: float) -> None:
    """The factors are those of UCUM; a scale of temperature has another zero."""
    assert unit(one).conversion(unit(other)) == pytest.approx((factor, offset), rel=1e-9)
    back, zero = unit(other).conversion(unit(one))
    assert back * factor == pytest.approx(1.0)
    assert 20.0 * factor + offset == pytest.approx((20.0 - zero) / back)


@pytest.mark.parametrize(
    ("one", "other"), [("bar", "Cel"), ("r/min", "Hz"), ("kW", "kW.h"), ("[pH]", "1"), ("dB", "1"), ("m", "m2")]
)
def test_units_of_different_quantities_do_not_convert(one: str, other: str) -> None:
    """A level in dB or a pH has no factor; a revolution is an angle, and a Hz has no angle."""
    with pytest.raises(NotConvertible):
        unit(one).conversion(unit(other))


def test_a_difference_of_temperatures_is_no_temperature() -> None:
    """10 Cel more are 10 K more, and 283.15 K would be wrong."""
    difference = unit("Cel").difference()
    assert difference.text == "K"
    assert difference.conversion(unit("K")) == (1.0, 0.0)
    with pytest.raises(DifferenceOfTemperatures):
        difference.conversion(unit("Cel"))
    assert unit("[degF]").difference().conversion(unit("K")) == (pytest.approx(5 / 9), 0.0)


@pytest.mark.parametrize(("one", "other"), [("{part}", "{cycle}"), ("bar{abs}", "bar{gauge}")])
def test_things_that_are_counted_apart_are_not_equal(one: str, other: str) -> None:
    """UCUM says that they convert; adding them is a mistake all the same."""
    assert unit(one).is_like(unit(other))
    assert not unit(one).is_equal(unit(other))
    assert unit(one).is_equal(unit(one))


def test_every_unit_that_is_valid_can_be_calculated_with() -> None:
    """A unit that is not in the table is a quantity of its own."""
    for symbol in METRIC | PLAIN:
        assert unit(symbol).conversion(unit(symbol)) == (1.0, 0.0)
        assert unit(symbol).over(unit(symbol)).text == ""


@given(st.lists(st.tuples(st.sampled_from("*/"), st.sampled_from(COMMON)), min_size=1, max_size=5))
def test_the_code_of_a_product_is_its_unit(factors: list[tuple[str, str]]) -> None:
    """A derived point without a declared unit has this code, which has to be valid and to mean the same."""
    found = unit(factors[0][1])
    for sign, text in factors[1:]:
        found = found.times(unit(text)) if sign == "*" else found.over(unit(text))
    if found.text:
        assert is_unit(found.text)
        again = unit(found.text)
        assert again.powers == found.powers
        assert float(again.size) == pytest.approx(float(found.size))


def test_powers_and_roots() -> None:
    """The root of an area is a length; the root of a pressure is not a unit."""
    assert unit("m").power(2).text == "m2"
    assert unit("m/s").power(-1).conversion(unit("s/m")) == (1.0, 0.0)
    root = unit("cm2").root()
    assert root is not None
    assert root.conversion(unit("cm")) == pytest.approx((1.0, 0.0))
    assert unit("bar").root() is None
    with pytest.raises(ValueError, match="power above"):
        unit("m").power(31)
