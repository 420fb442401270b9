"""Units that OPC UA servers tell become UCUM."""

from __future__ import annotations

import pytest
from asyncua import ua

from drivers.opcua.codec.units import NAMESPACE, UCUM, ucum
from gateway.settings.units import is_unit


def told(number: int, namespace: str | None = NAMESPACE) -> ua.EUInformation:
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
    assert ucum(told(number)) == unit


def test_every_unit_is_one_that_a_point_can_have() -> None:
    """What a server tells takes the place of what somebody could have written."""
    assert len(UCUM) > 150
    assert [unit for unit in UCUM.values() if not is_unit(unit)] == []


@pytest.mark.parametrize("namespace", [None, ""])
def test_a_unit_without_a_namespace_is_taken_for_a_common_code(namespace: str | None) -> None:
    """Many servers leave it empty, and mean the default (Part 8, 5.6.3)."""
    assert ucum(told(4408652, namespace)) == "Cel"


def test_a_number_of_another_list_is_no_unit_of_ours() -> None:
    """The same number means something else there: no unit is better than a wrong one."""
    assert not ucum(told(4408652, "http://www.opcfoundation.org/UA/units/cdd/IEC62720"))


def test_a_unit_that_is_not_available_is_none() -> None:
    """Servers say -1 for what has no code."""
    assert not ucum(told(-1))
