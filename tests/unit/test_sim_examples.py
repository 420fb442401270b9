"""Example points of simulated machines, where only the real machine knows its points."""

from __future__ import annotations

import pytest

from drivers.opcua.settings import OpcUaSource
from gateway.settings.point import Point
from simulators.opcua.discoverable_points import examples


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"node": "/Motors", "match": "*/Temperature"},
            {f"motor_part{n}_temperature": f"/Motors/Part{n}/Temperature" for n in (1, 2, 3)},
        ),
        (
            {"node": "nsu=urn:x;s=Line.Zones", "match": "Zone?"},
            {f"motor_zone{n}": f"nsu=urn:x;s=Line.Zones.Zone{n}" for n in (1, 2, 3)},
        ),
        ({"node": "/Motors", "match": "Speed"}, {"motor_speed": "/Motors/Speed"}),
    ],
)
def test_a_search_pattern_becomes_example_points(keys: dict[str, str], expected: dict[str, str]) -> None:
    """The names are those that the gateway gives them; a pattern without a star is one variable."""
    source = OpcUaSource.model_validate(keys | {"queue": 3})
    search = Point.model_validate({"name": "motor", "source": source, "type": "float"})
    found = {point.name: point.source for point in examples(search)}
    assert {name: str(source.node) for name, source in found.items() if isinstance(source, OpcUaSource)} == expected
    assert all(isinstance(one, OpcUaSource) and one.queue == 3 and not one.search for one in found.values())
