"""Refused messages in the audit log: bounded, whatever an intruder sends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from processes import until
from structlog.testing import capture_logs

from gateway.audit import incidents
from gateway.audit.incidents import MOST_KINDS, OTHERS, REPEAT_AFTER, Incidents
from gateway.settings.audit_section import AuditSection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.audit.apart import Entry


class Log:
    """An audit log in memory; with `error` it can't be written."""

    service, who = "ingest", "ingest"

    def __init__(self, folder: Path) -> None:
        self.section = AuditSection.model_validate({"folder": str(folder)})
        self.entries: list[Entry] = []
        self.writes = 0
        self.error = ""

    async def write(self, entries: Sequence[Entry], nice: int = 0) -> str:
        del nice
        self.writes += 1
        if not self.error:
            self.entries += entries
        return self.error

    def numbers(self) -> list[tuple[str, int]]:
        return [(one.object, one.after["messages"]) for one in self.entries]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


async def test_the_first_is_recorded_and_its_repetitions_are_one_entry(log: Log) -> None:
    found = Incidents(log)
    found.note("record-refused", "edge-09", "topic", "bad_signature")
    await found.record(0.0)
    for _ in range(1_000):
        found.note("record-refused", "edge-09", "topic", "bad_signature")
        await found.record(REPEAT_AFTER / 2)
    assert log.numbers() == [("topic", 1)]
    await found.record(REPEAT_AFTER)
    assert log.numbers() == [("topic", 1), ("topic", 1_000)]
    await found.record(3 * REPEAT_AFTER)
    assert log.writes == 2
    one = log.entries[0]
    assert (one.action, one.outcome, one.after["sender"], one.after["reason"]) == (
        "record-refused", "refused", "edge-09", "bad_signature",
    )  # fmt: skip


async def test_kinds_beyond_the_limit_are_counted_together(log: Log) -> None:
    """A sender may name another gateway in each message."""
    found = Incidents(log)
    for number in range(10 * MOST_KINDS):
        found.note("record-refused", f"edge-{number}", f"topic {number}", "other_gateway")
    await found.record(0.0)
    assert log.numbers()[-1] == (OTHERS, 9 * MOST_KINDS)
    assert len(log.entries) == MOST_KINDS + 1


async def test_messages_that_can_not_be_recorded_stay_counted(log: Log) -> None:
    found = Incidents(log)
    found.note("record-refused", "edge-09", "topic", "bad_signature")
    log.error = "no space left"
    with capture_logs() as said:
        await found.record(0.0)
    assert [(one["event"], one["error"]) for one in said] == [("audit.not_recorded", "no space left")]
    log.error = ""
    found.note("record-refused", "edge-09", "topic", "bad_signature")
    await found.record(1.0)
    assert log.numbers() == [("topic", 2)]


async def test_it_records_while_it_runs(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "PAUSE", 0.0)
    found = Incidents(log)
    running = asyncio.create_task(found.run())
    for topic in ("a", "b"):
        found.note("record-refused", "edge-09", topic, "bad_signature")
        await until(lambda topic=topic: (topic, 1) in log.numbers(), "the entry")
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_without_an_audit_log_nothing_is_counted(tmp_path: Path) -> None:
    log = Log(tmp_path / "audit")
    found = Incidents(log)
    found.note("record-refused", "edge-09", "topic", "bad_signature")
    await found.run()
    found.note("record-refused", "edge-09", "topic", "bad_signature")
    await found.record(0.0)
    assert log.writes == 0
