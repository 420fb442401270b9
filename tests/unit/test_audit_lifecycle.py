"""Starts and stops of services in the audit log: with their reasons, and never in the way of the service."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from processes import until
from structlog.testing import capture_logs

from gateway.audit import lifecycle
from gateway.audit.files import log_files
from gateway.audit.lifecycle import error_text, recorded_life
from gateway.audit.log import AuditLog
from gateway.audit.verify import verify
from gateway.common.stop_event import StopEvent
from gateway.settings.audit_section import AuditSection

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "SETTLE", 0.0)


@pytest.fixture
def section(tmp_path: Path) -> AuditSection:
    """Return the section of an audit log that is there already."""
    found = AuditSection.model_validate({"folder": str(tmp_path / "audit"), "when_full": "remove_oldest"})
    with AuditLog(found) as audit:
        audit.record("login", who="anna").result(10)
    return found


def entries(section: AuditSection) -> list[dict[str, Any]]:
    """Return the entries behind the first two."""
    lines = [line for file in log_files(section.folder) for line in file.read_bytes().splitlines()]
    return [json.loads(line) for line in lines[2:]]


async def test_a_start_and_a_stop_by_a_signal_are_entries(section: AuditSection) -> None:
    stop = StopEvent()
    async with recorded_life(section, "gateway", "edge-01", "abc", stop):
        await until(lambda: len(entries(section)) == 1, "entries of the service")
        stop.ask("SIGTERM")
        stop.ask("SIGINT")  # the first counts
        await until(lambda: len(entries(section)) == 2, "entries of the service")
    started, stopped = entries(section)
    assert (started["action"], started["who"], started["object"]) == ("service-started", "edge-01", "gateway")
    assert (started["after"]["config"], started["outcome"], started["from"]) == ("abc", "done", "local")
    assert (stopped["action"], stopped["after"], stopped["outcome"]) == (
        "service-stopped", {"reason": "SIGTERM"}, "done",
    )  # fmt: skip
    assert verify(section.folder).broken is None


async def test_a_service_that_fails_says_why_and_still_fails(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "LAST", 20.0)

    async def fail() -> None:
        async with recorded_life(section, "gateway", "edge-01", "abc", StopEvent()):
            await until(lambda: entries(section), "the start")
            raise ExceptionGroup("of tasks", [OSError("no space left")])

    with pytest.raises(ExceptionGroup):
        await fail()
    stopped = entries(section)[-1]
    assert (stopped["action"], stopped["outcome"]) == ("service-stopped", "failed")
    assert stopped["after"] == {"reason": "error", "error": "OSError: no space left"}


async def test_where_nobody_has_made_an_audit_log_a_start_makes_none(tmp_path: Path) -> None:
    section = AuditSection.model_validate({"folder": str(tmp_path / "audit")})
    stop = StopEvent()
    with capture_logs() as said:
        async with recorded_life(section, "gateway", "edge-01", "abc", stop):
            stop.ask("SIGTERM")
    assert not section.folder.exists()
    assert said == []


async def test_a_process_that_hangs_delays_no_stop(section: AuditSection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may not answer: the machines go first, and the end of the service, too."""
    begun = asyncio.Event()

    async def hang(*_: object, **__: object) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(lifecycle, "output_of", hang)
    monkeypatch.setattr(lifecycle, "LAST", 0.1)
    stop = StopEvent()
    async with recorded_life(section, "gateway", "edge-01", "abc", stop):
        await begun.wait()
        stop.ask("SIGTERM")
        asked = time.monotonic()
    assert time.monotonic() - asked < 5
    assert entries(section) == []


async def test_an_entry_that_can_not_be_written_is_logged_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    folder = tmp_path / "audit"
    folder.write_text("a file in the place of the folder")
    section = AuditSection.model_validate({"folder": str(folder)})
    stop = StopEvent()
    with capture_logs() as said:
        async with recorded_life(section, "gateway", "edge-01", "abc", stop):
            stop.ask("SIGTERM")
    assert [(one["event"], one["action"]) for one in said] == [("audit.not_recorded", "service-stopped")]


async def test_a_service_that_fails_at_once_makes_no_entry(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service manager starts it again and again: the entries would fill the log, which then refuses others."""
    monkeypatch.setattr(lifecycle, "SETTLE", 60.0)
    with pytest.raises(OSError, match="in use"):
        async with recorded_life(section, "gateway", "edge-01", "abc", StopEvent()):
            raise OSError("in use")
    assert entries(section) == []


async def test_a_stop_soon_after_the_start_records_both(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "SETTLE", 60.0)
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    stop = StopEvent()
    async with recorded_life(section, "gateway", "edge-01", "abc", stop):
        stop.ask("SIGTERM")
    assert [one["action"] for one in entries(section)] == ["service-started", "service-stopped"]


def test_the_error_of_a_group_is_its_first() -> None:
    inner = ExceptionGroup("inner", [ValueError("a"), OSError("b")])
    assert error_text(ExceptionGroup("outer", [inner])) == "ValueError: a"
