"""Engineering units of OPC UA servers become UCUM units."""

from __future__ import annotations

import pytest
from asyncua import ua

from drivers.opcua.codec.units import NAMESPACE, UCUM, ucum
from gateway.settings.units import is_unit


def unit_information(number: int, namespace: str | None = NAMESPACE) -> ua.EUInformation:
    return ua.EUInformation(namespace, number, ua.LocalizedText("shown"), ua.LocalizedText("described"))


@pytest.mark.parametrize(
    ("number", "unit"),
    [
        (4408652, "Cel"),
        (5066068, "mm"),
        (4342098, "bar"),
        (4604232, "[degF]"),
        (5394509, "r/min"),
        (20529, "%"),
        (5059636, "r"),
        (4403760, "mN"),
        (5124659, "m[H2O]"),
    ],
)
def test_a_common_code_becomes_a_unit(number: int, unit: str) -> None:
    """The numbers are those of the OPC Foundation's list for UN/CEFACT Recommendation 20."""
    assert ucum(unit_information(number)) == unit


def test_every_unit_is_valid_for_a_point() -> None:
    """The unit of a server replaces a unit that the template could declare."""
    assert len(UCUM) > 150
    assert [unit for unit in UCUM.values() if not is_unit(unit)] == []


@pytest.mark.parametrize("namespace", [None, ""])
def test_a_unit_without_a_namespace_is_read_as_a_common_code(namespace: str | None) -> None:
    """Many servers leave it empty, and mean the default (Part 8, 5.6.3)."""
    assert ucum(unit_information(4408652, namespace)) == "Cel"


def test_a_number_of_another_list_has_no_ucum_unit() -> None:
    """The same number has another meaning there: no unit is better than a wrong unit."""
    assert not ucum(unit_information(4408652, "http://www.opcfoundation.org/UA/units/cdd/IEC62720"))


def test_a_unit_that_is_not_available_is_empty() -> None:
    """Servers send -1 for a unit without a code."""
    assert not ucum(unit_information(-1))
