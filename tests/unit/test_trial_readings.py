"""The readings that tests of a factory ask for, also of points that only a device knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulated import configure

from gateway.model.metadata import MachineMeta
from gateway.model.reading import NamedScan
from gateway.settings.load import load_factory
from gateway.stores.base import MachineScan
from gateway.stores.sqlite import SqliteSettings, SqliteStore
from gateway.trial.readings import Readings

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings.factory import Factory

PACKER = {
    "protocol": "opcua",
    "points": {
        "speed": {"node": "/Speed", "type": "float"},
        "motors": {"node": "/Motors", "match": "*/Temperature", "type": "float"},
    },
}
TIME = 1_764_000_000_000_000


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    machines = {"packer-01": {"template": "packer", "connection": "opc.tcp://10.0.0.1:4840?security=none"}}
    return load_factory(configure(tmp_path, {"packer": PACKER}, machines))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "readings.db"


def write(factory: Factory, store: Path, **values: float) -> None:
    with SqliteStore(SqliteSettings(path=store)) as opened:
        path = factory.machines[0].path
        meta = MachineMeta("packer", dict.fromkeys(values, "float"))
        opened.write([MachineScan(path, meta, NamedScan(TIME, dict(values)), 0)])


def alive() -> None:
    """Say that the services are there."""


@pytest.mark.parametrize(
    "pattern", ["packer-01/motors_*", "packer-01/motors_m1_temperature", "*/motors_m?_*", "packer-01/m*_temperature"]
)
def test_points_of_a_search_are_given_and_waited_for(factory: Factory, store: Path, pattern: str) -> None:
    """They are stored like any other; how many there are, only the device knows."""
    readings = Readings(factory, store, alive)
    assert readings(pattern) == []
    with pytest.raises(AssertionError, match=r"1 point has no good reading within 0 s:\n  .*: nothing came"):
        readings.wait(pattern, within=0.0)
    write(factory, store, speed=1.0, motors_m1_temperature=40.0)
    assert [reading.value for reading in readings.wait(pattern, within=0.0)] == [40.0]
    with pytest.raises(AssertionError, match="packer-01/motors_m1_temperature: 1 good"):
        readings.wait(pattern, good=2, within=0.0)


@pytest.mark.parametrize(
    "pattern", ["packer-01/motor_*", "*/motors", "*/motors_", "packer-2/motors_*", "*/motors_m1/x", "packer-01"]
)
def test_a_pattern_that_matches_no_point_or_search_is_reported(factory: Factory, store: Path, pattern: str) -> None:
    """An empty result would look like a silent factory."""
    with pytest.raises(AssertionError, match=r"no point of factory.yaml matches .*; it has packer-01/speed"):
        Readings(factory, store, alive)(pattern)


def test_where_points_are_configured_a_search_is_not_waited_for(factory: Factory, store: Path) -> None:
    """The search may find nothing, as on a simulated machine."""
    write(factory, store, speed=1.0)
    assert [reading.point for reading in Readings(factory, store, alive).wait("packer-01/*", within=0.0)] == ["speed"]
