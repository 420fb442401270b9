"""Retained messages of removed machines are cleared: only our own, and only when no pending record needs them."""

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
    """A spool of which the cleanup reads only the oldest pending sequence number."""

    def __init__(self, oldest: int) -> None:
        self.oldest = oldest


def cleanup_of(file: Path, oldest: int = NEXT) -> tuple[RetainedCleanup, Spool]:
    spool = Spool(oldest)
    return RetainedCleanup(file, "edge", lambda: spool.oldest), spool


def state(gateway: str | None, **more: str) -> bytes:
    return json.dumps({"state": "online"} | ({"gateway": gateway} if gateway else {}) | more).encode()


async def after_removal(file: Path, oldest: int = NEXT) -> tuple[RetainedCleanup, Spool]:
    """Return cleanup and spool of a gateway that published two machines before its restart, and now has one."""
    await cleanup_of(file)[0].begin([HERE, GONE], 1)
    now, spool = cleanup_of(file, oldest)
    await now.begin([HERE], NEXT)
    return now, spool


async def test_a_removed_machine_is_cleared_with_its_metadata(tmp_path: Path):
    """Otherwise it would stay online permanently."""
    cleanup, _ = await after_removal(tmp_path / "states.json")
    assert cleanup.topics == {GONE}
    assert cleanup.heard(GONE, state("edge")) == CLEARED
    assert cleanup.heard(GONE, b"") == []  # the broker returns our own message
    assert cleanup.topics == set()
    await cleanup.save()
    again, _ = cleanup_of(tmp_path / "states.json")
    await again.begin([HERE], NEXT)
    assert again.topics == set()


async def test_a_removed_machine_is_marked_again_over_a_new_connection_that_signs(tmp_path: Path):
    """Its mark has the signature of the earlier connection, which readers refuse; the time of its removal stays."""
    cleanup, _ = await after_removal(tmp_path / "states.json", NEXT - 1)
    [(_, mark)] = cleanup.heard(GONE, state("edge"))
    assert json.loads(mark)["reason"] == "removed"
    assert cleanup.heard(GONE, mark) == []  # the broker returns our own message
    cleanup.mark_again()
    [(_, again)] = cleanup.heard(GONE, mark)
    assert json.loads(again) == json.loads(mark)
    assert cleanup.heard(GONE, again) == []


async def test_a_machine_removed_while_the_gateway_runs_is_cleared_too(tmp_path: Path):
    """A restart may be a year away."""
    cleanup, _ = cleanup_of(tmp_path / "states.json")
    await cleanup.begin([HERE, GONE], 1)
    cleanup.change.clear()
    await cleanup.update([HERE], NEXT)
    assert cleanup.change.is_set()
    assert cleanup.topics == {GONE}
    assert cleanup.heard(GONE, state("edge")) == CLEARED


async def test_a_removed_machine_with_pending_records_is_only_reported_as_removed(tmp_path: Path):
    """A pending record may be of that machine, and its metadata is needed to store it."""
    cleanup, spool = await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    [(topic, payload)] = cleanup.heard(GONE, state("edge"))
    sent = json.loads(payload)
    assert (topic, sent["state"], sent["reason"], sent["gateway"]) == (GONE, "offline", "removed", "edge")
    assert cleanup.heard(GONE, payload) == []  # the broker returns our own message
    assert cleanup.clear() == []
    spool.oldest = NEXT
    assert cleanup.clear() == CLEARED
    assert cleanup.clear() == []


async def test_a_restart_does_not_make_it_wait_for_newer_records(tmp_path: Path):
    """Some are always on their way."""
    await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    later, _ = cleanup_of(tmp_path / "states.json", oldest=NEXT)
    await later.begin([HERE], NEXT + 100)
    assert later.heard(GONE, state("edge", reason="removed")) == CLEARED


async def test_a_new_spool_does_not_delay_the_cleanup_without_limit(tmp_path: Path):
    """Its sequence numbers begin at 1 again."""
    await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    later, _ = cleanup_of(tmp_path / "states.json", oldest=1)
    await later.begin([HERE], 1)
    assert later.heard(GONE, state("edge")) == CLEARED


async def test_a_machine_that_comes_back_is_not_cleared(tmp_path: Path):
    """The gateway publishes its state again, on the same topic."""
    cleanup, spool = await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    cleanup.heard(GONE, state("edge"))
    await cleanup.update([HERE, GONE], NEXT)
    spool.oldest = NEXT
    assert cleanup.topics == set()
    assert cleanup.clear() == []
    assert cleanup.heard(GONE, state("edge")) == []


@pytest.mark.parametrize("payload", [state("other"), state(None), b"", b"{", b"[1]"])
async def test_the_state_of_another_gateway_is_not_cleared(tmp_path: Path, payload: bytes):
    """A machine that moved to another box must not vanish from every screen."""
    cleanup, _ = await after_removal(tmp_path / "states.json")
    assert cleanup.heard(GONE, payload) == []
    assert cleanup.topics == set()


async def test_another_gateway_may_take_a_machine_over_while_records_wait(tmp_path: Path):
    """The retained message is then of the other gateway."""
    cleanup, spool = await after_removal(tmp_path / "states.json", oldest=NEXT - 1)
    cleanup.heard(GONE, state("edge"))
    assert cleanup.heard(GONE, state("other")) == []
    spool.oldest = NEXT
    assert cleanup.clear() == []


async def test_a_configured_machine_is_never_cleared(tmp_path: Path):
    """A state message on its topic does not clear it."""
    cleanup, _ = await after_removal(tmp_path / "states.json")
    assert cleanup.heard(HERE, state("edge")) == []


@pytest.mark.parametrize("content", [b"", b"[]", b'{"states": 1}', b'{"states": [], "gone": 3}', b"\xff"])
async def test_a_file_that_is_damaged_stops_nothing(tmp_path: Path, content: bytes):
    """The file only helps to remove old names from a screen, and readings matter more."""
    file = tmp_path / "states.json"
    file.write_bytes(content)
    cleanup, _ = cleanup_of(file)
    await cleanup.begin([HERE], 1)
    assert cleanup.topics == set()
    assert json.loads(file.read_bytes()) == {"states": [HERE], "gone": {}}
