"""After any passing trouble of a minute the request plan is the same as before, within two periods."""

from __future__ import annotations

import pytest
from modbus_recovery import TROUBLES, recovery


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_the_plan_is_restored_within_two_periods(trouble: str, units: int) -> None:
    """After one bad night an inverter's 116 registers came back ten a minute, each in a request of its own."""
    found = recovery(trouble, units)
    assert found.periods <= 2
    assert found.requests == 3 * units


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_scan_after_a_trouble_is_a_storm_of_requests(trouble: str) -> None:
    """A device that comes back has other work than a request for each of 136 points."""
    assert recovery(trouble).most <= 40
