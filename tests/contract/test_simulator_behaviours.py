"""Behaviours of Modbus devices in the field, by name: the driver copes with each, and a check names the option."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from simulated import configure, connected, simulated

from drivers.base import DriverError
from gateway.acquisition.groups import groups_of
from gateway.check.devices import Patience
from gateway.check.machines import check_machines
from gateway.cli import main
from simulators.faults.catalogue import MODBUS_FAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings.factory import Factory, Machine

METER = {
    "protocol": "modbus",
    "points": {
        "power": {"address": "holding 0", "raw": "float32", "unit": "kW", "range": [0, 50]},
        "count": {"address": "holding 2", "raw": "uint32"},
        "more": {"address": "holding 4", "count": 8},
        "far": {"address": "holding 20", "count": 2},
        "level": {"address": "input 0", "raw": "uint32", "unit": "%", "range": [0, 100]},
        "on": {"address": "coil 0", "count": 40},
    },
}

COPES = {
    "busy": "",
    "lossy": "timeout=0.2",
    "silent_registers": "timeout=0.2",
    "close_on_illegal": "",
    "close_now_and_then": "",
    "close_after_answer": "",
    "idle_close=0.2": "",
    "one_connection": "close_after_scan=true",
    "truncated=5": "",
    "register_limit=6": "",
    "bit_limit=16": "timeout=0.2",
    "even_only": "even=true",
    "dead_unit_gateway=0.5": "timeout=0.2",
    "needs_pause=0.02": "timeout=0.2&pause=50ms",
    "needs_pause_after_connect=0.1": "timeout=0.2&pause_after_connect=200ms",
    "zeros_after_connect=0.3": "pause_after_connect=400ms",
    "wrong_unit=9": "any_unit=true",
    "wrong_transaction": "any_transaction=true",
    "surplus": "surplus=true",
    "twice": "",
}
"""Fault -> options with which every point is read."""

PROPOSALS = {
    "silent_registers": "write max_gap: 0",
    "truncated=5": "write max_registers: 5",
    "register_limit=6": "write max_registers=",
    "bit_limit=16": "write max_bits=",
    "dead_unit_gateway=0.8": "serves no other unit for",
    "needs_pause=0.02": "write pause=100ms",
    "needs_pause_after_connect=0.1": "write pause_after_connect=500ms",
    "wrong_unit=9": "any_unit=true",
    "wrong_transaction": "any_transaction=true",
    "surplus": "surplus=true",
    "busy=2": "busy_pause=200ms",
}
"""Fault -> text of a check without these options."""


def meters(options: str, units: Sequence[int] = (1,)) -> dict[str, Any]:
    url = "modbus+tcp://10.0.0.1?" + "&".join(part for part in (options, "unit=") if part)
    return {f"m{unit}": {"template": "meter", "connection": f"{url}{unit}"} for unit in units}


async def begun(factory: Factory) -> None:
    """Wait until the faults of the start have begun: at the first step of the machines."""
    assert factory.machines
    await asyncio.sleep(0.3)


async def all_good(machine: Machine) -> bool:
    """Read a machine as a worker does, until every point is good in two scans in a row."""
    groups = [group for group, _ in groups_of(machine)]
    deadline = time.monotonic() + 60
    in_a_row = 0
    faults: object = None
    async with connected(machine, groups) as driver:
        while in_a_row < 2:
            assert time.monotonic() < deadline, faults
            try:
                scans = [await driver.read(group) for group in groups]
            except DriverError as error:
                faults = error
                in_a_row = 0
                await driver.close()
                await asyncio.sleep(0.1)
                try:
                    await driver.connect()
                except DriverError:
                    continue
                continue
            faults = [scan.faults for scan in scans]
            in_a_row = 0 if any(faults) else in_a_row + 1
            await asyncio.sleep(0.05)
    return True


def test_every_behaviour_has_a_case() -> None:
    """A behaviour that nobody reads with a driver is of no use."""
    assert {fault.partition("=")[0] for fault in COPES} == MODBUS_FAULTS.keys()


@pytest.mark.parametrize("fault", COPES)
async def test_the_driver_copes_with_the_behaviour(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the options that a check names, or without any."""
    monkeypatch.setattr("drivers.modbus.circuit_breaker.FIRST", 0.1)  # a silent unit is asked again soon
    dead = fault.startswith("dead_unit")
    config = configure(tmp_path, {"meter": METER}, meters(COPES[fault], (1, 2) if dead else (1,)))
    async with simulated(tmp_path, config, faults=[f"m{2 if dead else 1}:{fault}"]) as factory:
        await begun(factory)
        assert await all_good(factory.machines[0])


@pytest.mark.parametrize("fault", PROPOSALS)
async def test_a_check_names_the_option(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the messages of the device, without a manual."""
    dead = fault.startswith("dead_unit")
    if not dead:  # the others never answer late
        monkeypatch.setattr("drivers.modbus.sampler.LATE_WAIT", 0.3)
    config = configure(tmp_path, {"meter": METER}, meters("timeout=0.3", (1, 2) if dead else (1,)))
    async with simulated(tmp_path, config, faults=[f"m{2 if dead else 1}:{fault}"]) as factory:
        await begun(factory)
        report = await check_machines("f", factory.machines, Patience(30.0, 0.0, 4), lambda *_: None)
    texts = "\n".join(finding.text for finding in report.all_findings())
    assert PROPOSALS[fault] in texts


def test_every_behaviour_is_in_the_manual_and_in_the_list_of_the_command() -> None:
    """With its usual number, as it is written after --fault."""
    text = (Path(__file__).parents[2] / "docs" / "simulators.md").read_text(encoding="utf-8")
    listed = CliRunner().invoke(main, ["simulate", "--faults"]).output
    for name, kind in MODBUS_FAULTS.items():
        written = f"{name}={kind.value:g}" if kind.value or name == "wrong_transaction" else name
        assert f"| `{written}` |" in text, written
        assert name in listed
