"""The groups in which the view of a machine shows points."""

from __future__ import annotations

from pathlib import Path

from gateway.dashboard.live.grouping import grouped
from gateway.dashboard.live.points import PointInfo, configured_points
from gateway.dashboard.live.roles import roles_of
from gateway.settings.load import load_factory

PACKML = {"2": "stopped", "6": "execute", "11": "held"}


def groups(*points: PointInfo) -> dict[str, list[str]]:
    return {group: [points[at].name for at in some] for group, some in grouped(points, roles_of(points))}


def test_state_and_production_come_first_then_what_is_measured() -> None:
    """The same place for the same thing on each machine."""
    found = groups(
        PointInfo("pressure_left", "float", "bar"),
        PointInfo("heartbeat", "int"),
        PointInfo("steam_valve", "bool"),
        PointInfo("good_count", "int"),
        PointInfo("mould_temperature", "float", "Cel"),
        PointInfo("serial_number", "string"),
        PointInfo("state", "int", labels=PACKML),
        PointInfo("cycle_time_last", "float", "s"),
        PointInfo("alarmWord", "int"),
    )
    assert found == {
        "state": ["state"], "production": ["good_count", "cycle_time_last"], "part": ["serial_number"],
        "alarms": ["alarmWord"], "temperature": ["mould_temperature"], "pressure": ["pressure_left"],
        "signals": ["steam_valve"], "other": ["heartbeat"],
    }  # fmt: skip
    assert list(found) == [
        "state", "production", "part", "alarms", "temperature", "pressure", "signals", "other",
    ]  # fmt: skip


def test_points_that_share_their_first_word_are_a_group() -> None:
    """A name of the plant is better than a long rest."""
    found = groups(
        *(PointInfo(f"Zone{one}.x", "int") for one in "abc"), PointInfo("lonely", "int"), PointInfo("", "int")
    )
    assert list(found) == ["other"]
    found = groups(*(PointInfo(f"zone_{one}", "int") for one in "abc"), PointInfo("lonely", "int"))
    assert found == {"zone": ["zone_a", "zone_b", "zone_c"], "other": ["lonely"]}


def test_most_points_of_the_bundled_machines_have_a_group_of_their_own() -> None:
    """The rest is small, or the groups are of no use."""
    for name in ("tire-plant", "appliance-plant"):
        for machine in load_factory(Path("config") / f"{name}.yaml").machines:
            points = configured_points(machine)
            rest = dict(grouped(points, roles_of(points))).get("other", [])
            assert len(rest) <= len(points) / 5, [points[at].name for at in rest]
