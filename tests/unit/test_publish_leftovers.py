"""What is left at the broker of machines that are gone: cleared where it is ours, and only when nothing needs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.publish.retained_cleanup import RetainedCleanup

if TYPE_CHECKING:
    from pathlib import Path

HERE, GONE = "root/line/here/state", "root/line/gone/state"
CLEARED = [("root/line/gone/meta", b""), (GONE, b"")]
NEXT = 10
"""The number of the next record when the machine goes."""


class Spool:
    """Of which only matters what the oldest record is that waits."""

    def __init__(self, oldest: int) -> None:
        self.oldest = oldest


def leftovers_of(file: Path, oldest: int = NEXT) -> tuple[RetainedCleanup, Spool]:
    spool = Spool(oldest)
    return RetainedCleanup(file, "edge", lambda: spool.oldest), spool


def state(gateway: str | None, **more: str) -> bytes:
    return json.dumps({"state": "online"} | ({"gateway": gateway} if gateway else {}) | more).encode()


async def after_removal(file: Path, oldest: int = NEXT) -> tuple[RetainedCleanup, Spool]:
    """Return what a gateway has that told of two machines before its restart, and now has one."""
    await leftovers_of(file)[0].begin([HERE, GONE], 1)
    now, spool = leftovers_of(file, oldest)
    await now.begin([HERE], NEXT)
    return now, spool


async def test_a_machine_that_is_gone_is_cleared_with_its_description(tmp_path: Path):
    """It would be online for ever."""
    leftovers, _ = await after_removal(tmp_path / "states.json")
    assert leftovers.topics == {GONE}
    assert leftovers.heard(GONE, state("edge")) == CLEARED
    assert leftovers.heard(GONE, b"") == []  # what was published comes back
    assert leftovers.topics == set()
    await leftovers.save()
    again, _ = leftovers_of(tmp_path / "states.json")
    await again.begin([HERE], NEXT)
    assert again.topics == set()


async def test_a_machine_that_goes_while_the_gateway_runs_is_cleared_too(tmp_path: Path):
    """A restart may be a year away."""
    leftovers, _ = leftovers_of(tmp_path / "states.json")
    await leftovers.begin([HERE, GONE], 1)
    leftovers.change.clear()
    await leftovers.update([HERE], NEXT)
    assert leftovers.change.is_set()
    assert leftovers.topics == {GONE}
    assert leftovers.heard(GONE, state("edge")) == CLEARED


async def test_while_records_from_before_wait_it_is_only_said_to_be_gone(tmp_path: Path):
    """One of them may be of that machine, and its description is needed to store it."""
    leftovers, spool = await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    [(topic, payload)] = leftovers.heard(GONE, state("edge"))
    told = json.loads(payload)
    assert (topic, told["state"], told["reason"], told["gateway"]) == (GONE, "offline", "removed", "edge")
    assert leftovers.heard(GONE, payload) == []  # what was published comes back
    assert leftovers.clear() == []
    spool.oldest = NEXT
    assert leftovers.clear() == CLEARED
    assert leftovers.clear() == []


async def test_a_restart_does_not_make_it_wait_for_newer_records(tmp_path: Path):
    """Some are always on their way."""
    await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    later, _ = leftovers_of(tmp_path / "states.json", oldest=NEXT)
    await later.begin([HERE], NEXT + 100)
    assert later.heard(GONE, state("edge", reason="removed")) == CLEARED


async def test_a_spool_that_begins_anew_does_not_make_it_wait_for_ever(tmp_path: Path):
    """Its numbers begin at 1 again."""
    await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    later, _ = leftovers_of(tmp_path / "states.json", oldest=1)
    await later.begin([HERE], 1)
    assert later.heard(GONE, state("edge")) == CLEARED


async def test_a_machine_that_comes_back_is_not_cleared(tmp_path: Path):
    """It is told of anew, on the same topic."""
    leftovers, spool = await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    leftovers.heard(GONE, state("edge"))
    await leftovers.update([HERE, GONE], NEXT)
    spool.oldest = NEXT
    assert leftovers.topics == set()
    assert leftovers.clear() == []
    assert leftovers.heard(GONE, state("edge")) == []


@pytest.mark.parametrize("payload", [state("other"), state(None), b"", b"{", b"[1]"])
async def test_what_another_gateway_tells_is_left_alone(tmp_path: Path, payload: bytes):
    """A machine that moved to another box must not vanish from every screen."""
    leftovers, _ = await after_removal(tmp_path / "states.json")
    assert leftovers.heard(GONE, payload) == []
    assert leftovers.topics == set()


async def test_another_gateway_may_take_a_machine_over_while_records_wait(tmp_path: Path):
    """What stands there by then is the other's."""
    leftovers, spool = await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    leftovers.heard(GONE, state("edge"))
    assert leftovers.heard(GONE, state("other")) == []
    spool.oldest = NEXT
    assert leftovers.clear() == []


async def test_a_machine_that_is_still_there_is_never_cleared(tmp_path: Path):
    """Also where somebody else's words stand on its topic."""
    leftovers, _ = await after_removal(tmp_path / "states.json")
    assert leftovers.heard(HERE, state("edge")) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"states": 1}', b'{"states": [], "gone": 3}', b"\xff"])
async def test_a_file_that_is_damaged_stops_nothing(tmp_path: Path, content: bytes):
    """It is about old names on a screen, and readings matter more."""
    file = tmp_path / "states.json"
    file.write_bytes(content)
    leftovers, _ = leftovers_of(file)
    await leftovers.begin([HERE], 1)
    assert leftovers.topics == set()
    assert json.loads(file.read_bytes()) == {"states": [HERE], "gone": {}}
