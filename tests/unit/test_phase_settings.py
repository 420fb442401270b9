"""The phase of a machine as it is written: valid, refused, or without effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from processes import write_factory

from gateway.settings.load import load_factory
from gateway.settings.problems import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

PRESS = {"template": "curing-press", "connection": "modbus+tcp://10.0.0.1"}
SERVER = {"template": "server", "connection": "opc.tcp://10.0.0.2"}
TEMPLATE = """
format: 1
protocol: opcua
points: {torque: {node: "ns=1;s=Torque", type: float, mode: %s}}
"""


def write(folder: Path, **machine: object) -> Path:
    lines = {"line": {"area": "area", "machines": {"one": machine}}}
    return write_factory(folder / "factory.yaml", broker={"url": "mqtt://localhost"}, lines=lines)


@pytest.mark.parametrize(("written", "seconds"), [("0s", 0.0), ("250ms", 0.25), ("1.5s", 1.5), ("1d", 86400.0)])
def test_a_phase_is_a_duration_that_may_be_zero(tmp_path: Path, written: str, seconds: float):
    """Zero is the full period itself, and not a choice of the gateway."""
    [machine] = load_factory(write(tmp_path, **PRESS, phase=written)).machines
    assert machine.phase == seconds


def test_without_a_phase_the_gateway_chooses(tmp_path: Path):
    """Null takes back a phase, as it does with other keys."""
    for keys in ({}, {"phase": None}):
        [machine] = load_factory(write(tmp_path, **PRESS, **keys)).machines
        assert machine.phase is None


@pytest.mark.parametrize("written", [250, "-1s", "2d", "soon", True, ["1s"]])
def test_another_value_is_refused_with_its_line(tmp_path: Path, written: object):
    """A number has no unit, and nothing waits for more than a day."""
    with pytest.raises(ConfigurationError) as raised:
        load_factory(write(tmp_path, **PRESS, phase=written))
    [problem] = raised.value.problems
    assert problem.path == "lines.line.machines.one.phase"


def test_a_phase_of_points_that_are_all_pushed_is_a_warning(tmp_path: Path):
    """The server sends its changes when they happen."""
    (tmp_path / "machines").mkdir()
    found = {}
    for mode in ("subscribe", "poll"):
        (tmp_path / "machines" / "server.yaml").write_text(TEMPLATE % mode)
        warnings = load_factory(write(tmp_path, **SERVER, phase="1s")).warnings
        found[mode] = [one.message for one in warnings if one.path.endswith(".phase")]
    assert found["poll"] == []
    [message] = found["subscribe"]
    assert "has no effect" in message
