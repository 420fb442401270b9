"""The view of a line: causes of waiting, effects of stops, and the bottleneck."""

from __future__ import annotations

import pytest

from gateway.dashboard.feeds.timelines import coarse
from gateway.production.flow import Load, Stop, bottleneck, load_of, stages_of, stops_of, times_of, waiting_for

MINUTE = 60_000_000
ONE_BY_ONE = [[0], [1], [2]]


def test_neighbours_of_one_template_are_a_stage() -> None:
    """Eight presses in a row work side by side; a machine without a template is a stage of its own."""
    assert stages_of(["form", "press", "press", "pack"]) == [[0], [1, 2], [3]]
    assert stages_of(["", "", "press"]) == [[0], [1], [2]]
    assert stages_of([]) == []


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["producing", "producing", "producing"], ["", "", ""]),
        (["held", "suspended", "suspended"], ["", "starved", "starved"]),
        (["suspended", "suspended", "held"], ["blocked", "blocked", ""]),
        (["suspended", "held", "suspended"], ["blocked", "", "starved"]),
        (["held", "suspended", "held"], ["", "waits", ""]),  # both neighbours take no parts
        (["producing", "suspended", "producing"], ["", "waits", ""]),  # between two parts
        (["suspended", "producing", "producing"], ["waits", "", ""]),  # the supply of the line is not known
        (["offline", "suspended", "producing"], ["", "waits", ""]),  # it may produce all the same
        (["producing", "suspended", "unknown"], ["", "waits", ""]),
        (["changing", "suspended", "producing"], ["", "starved", ""]),
        (["producing", "suspended", "changing"], ["", "waits", ""]),  # it will take parts soon
    ],
)
def test_a_machine_that_waits_is_starved_or_blocked_where_its_neighbours_say_so(
    kinds: list[str], expected: list[str]
) -> None:
    """The shift leader goes to the machine that is the cause, not to the machine that waits."""
    assert waiting_for(kinds, ONE_BY_ONE) == expected


def test_one_of_several_machines_side_by_side_that_produces_feeds_the_next_stage() -> None:
    """A stage is starved only if nobody before it produces, and blocked only if all after it are full."""
    stages = [[0, 1], [2], [3, 4]]
    assert waiting_for(["held", "producing", "suspended", "producing", "producing"], stages)[2] == "waits"
    assert waiting_for(["held", "held", "suspended", "producing", "producing"], stages)[2] == "starved"
    assert waiting_for(["producing", "producing", "suspended", "held", "producing"], stages)[2] == "waits"
    assert waiting_for(["producing", "producing", "suspended", "held", "stopped"], stages)[2] == "blocked"


def test_a_line_of_one_machine_waits_for_something_outside() -> None:
    """No neighbour, no cause."""
    assert waiting_for(["suspended"], [[0]]) == ["waits"]
    assert bottleneck([Load(0.0, 1.0, 30.0)]) is None


def test_the_load_of_a_stage_is_that_of_all_its_machines() -> None:
    """Two machines of a minute each finish a part every half minute."""
    waits = [(0, "producing"), (15 * MINUTE, "suspended")]
    works = [(0, "producing")]
    assert load_of([waits, works], [60.0, 60.0], 0, 30 * MINUTE) == Load(0.25, 1.0, 30.0)
    assert load_of([[(15 * MINUTE, "idle")]], [None], 0, 30 * MINUTE) == Load(1.0, 0.5, None)
    assert load_of([[(0, "offline")]], [0.0], 0, 30 * MINUTE) == Load(0.0, 0.0, None)


def test_the_bottleneck_waits_least() -> None:
    """Machines before the bottleneck are blocked, machines after it are starved; it alone always has work."""
    loads = [Load(0.3, 1.0, 20.0), Load(0.01, 1.0, 30.0), Load(0.4, 1.0, 60.0)]
    assert bottleneck(loads) == (1, "waiting")


def test_the_longest_cycle_time_decides_between_stages_that_wait_alike() -> None:
    """A short pause is chance."""
    assert bottleneck([Load(0.01, 1.0, 20.0), Load(0.0, 1.0, 30.0)]) == (1, "cycle_time")
    assert bottleneck([Load(0.01, 1.0, 30.0), Load(0.0, 1.0, 20.0)]) == (0, "cycle_time")
    assert bottleneck([Load(0.0, 1.0, None), Load(0.0, 1.0, 20.0)]) == (1, "cycle_time")


def test_there_is_no_bottleneck_where_too_little_is_known() -> None:
    """A page that was opened a minute ago accuses nobody."""
    assert bottleneck([Load(0.5, 0.1, 20.0), Load(0.0, 0.1, 30.0)]) is None
    assert bottleneck([Load(0.0, 1.0, 20.0), Load(0.0, 1.0, 20.0)]) is None
    assert bottleneck([]) is None


def test_a_stop_names_the_machines_that_waited_because_of_it() -> None:
    """The stop of the second machine starves the third, and blocks the first a little later."""
    timelines = [
        [(0, "producing"), (8 * MINUTE, "suspended"), (11 * MINUTE, "producing")],
        [(0, "producing"), (5 * MINUTE, "held"), (10 * MINUTE, "changing"), (11 * MINUTE, "producing")],
        [(0, "producing"), (6 * MINUTE, "suspended"), (12 * MINUTE, "producing")],
    ]
    affected = ((2, 6 * MINUTE, "starved"), (0, 8 * MINUTE, "blocked"))
    assert stops_of(timelines, ONE_BY_ONE, 0) == [Stop(1, 5 * MINUTE, 10 * MINUTE, "held", affected)]
    assert stops_of(timelines, ONE_BY_ONE, 10 * MINUTE) == []


def test_a_stop_does_not_reach_past_a_machine_that_produces() -> None:
    """The last machine waits for a reason of its own while the machine before it produces."""
    timelines = [
        [(0, "producing"), (5 * MINUTE, "aborted")],
        [(0, "producing")],
        [(0, "producing"), (6 * MINUTE, "suspended")],
    ]
    assert stops_of(timelines, ONE_BY_ONE, 0) == [Stop(0, 5 * MINUTE, None, "aborted", ())]


def test_states_of_a_stop_that_follow_each_other_are_one_stop() -> None:
    """Aborted, then stopped: one event for the shift leader."""
    timelines = [[(0, "producing"), (MINUTE, "aborted"), (2 * MINUTE, "stopped"), (3 * MINUTE, "producing")]]
    assert stops_of(timelines, [[0]], 0) == [Stop(0, MINUTE, 3 * MINUTE, "aborted", ())]


def test_times_of_states_are_cut_to_the_interval() -> None:
    """A state may begin before, and last."""
    timeline = [(0, "producing"), (10, "held"), (30, "producing")]
    assert times_of(timeline, 5, 40) == {"producing": 15, "held": 20}
    assert times_of([], 0, 10) == {}


def test_a_coarse_timeline_shows_what_lasted_longest() -> None:
    """A machine that waits two seconds in each cycle of ten is shown as running, in a picture of eight hours."""
    cycles = [
        [at * 10 + begin, *state]
        for at in range(60)
        for begin, state in ((0, ("execute", "producing")), (8, ("suspended", "suspended")))
    ]
    timeline = [*cycles, [600, "held", "held"], [700, "execute", "producing"]]
    assert coarse(timeline, 100, 800) == [
        [0, "execute", "producing"],
        [600, "held", "held"],
        [700, "execute", "producing"],
    ]
    assert coarse(timeline, 1, 800) == timeline
    assert coarse([], 100, 800) == []
