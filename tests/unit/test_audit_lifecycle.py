"""Starts and stops of services in the audit log: with their reasons, and never in the way of the service."""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from processes import until
from structlog.testing import capture_logs

from gateway.audit import apart, lifecycle
from gateway.audit.apart import ApartLog, Entry, Order
from gateway.audit.files import log_files
from gateway.audit.life_file import LifeFile
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
    async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", stop):
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
        async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", StopEvent()):
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
        async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", stop):
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

    monkeypatch.setattr(apart, "output_of", hang)
    monkeypatch.setattr(lifecycle, "LAST", 0.1)
    stop = StopEvent()
    async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", stop):
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
        async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", stop):
            stop.ask("SIGTERM")
    assert [one["event"] for one in said] == ["helper.failed", "audit.not_recorded"]


async def fail_at_once(section: AuditSection, text: str) -> None:
    """Run a service that fails before it has settled."""
    with pytest.raises(OSError, match=text):
        async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", StopEvent()):
            raise OSError(text)


async def test_starts_that_fail_make_one_entry_for_each_error(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service manager starts it again and again, and a full log refuses the entries of others."""
    monkeypatch.setattr(lifecycle, "SETTLE", 60.0)
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    for text in ("in use", "in use", "in use", "no space left"):
        await fail_at_once(section, text)
    failed = [(one["action"], one["after"]["error"], one["after"]["starts"], one["outcome"])
              for one in entries(section)]  # fmt: skip
    assert failed == [
        ("service-failed", "OSError: in use", 1, "failed"),
        ("service-failed", "OSError: no space left", 3, "failed"),
    ]


async def test_the_start_after_failed_starts_has_their_number(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "SETTLE", 60.0)
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    await fail_at_once(section, "in use")
    await fail_at_once(section, "in use")
    stop = StopEvent()
    async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", stop):
        stop.ask("SIGTERM")
    started = entries(section)[1]
    assert (started["action"], started["after"]["failed_starts"], started["after"]["error"]) == (
        "service-started", 1, "OSError: in use",
    )  # fmt: skip


def left(section: AuditSection, **changes: Any) -> float:
    """Leave the file of a run that did not stop, with its last sign of life an hour ago; returns that time."""
    file = LifeFile(section.folder, "gateway", "edge-01")
    state = file.begin()
    assert state is not None
    file.save(state.model_copy(update=changes))
    file.close()
    seen = time.time() - 3600
    os.utime(file.file, (seen, seen))
    return seen


async def start_and_stop(section: AuditSection, config: str = "abc") -> list[dict[str, Any]]:
    """Run a service, and return its entries."""
    before = len(entries(section))
    stop = StopEvent()
    async with recorded_life(ApartLog(section, "gateway", "edge-01"), config, stop):
        await until(lambda: len(entries(section)) > before, "the entry of the start")
        stop.ask("SIGTERM")
    return entries(section)[before:]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "it was killed, or has crashed"),
        ({"boot": "another"}, "the machine was started again, as after a loss of power"),
        ({"stopping": "SIGTERM"}, "asked to stop (SIGTERM), and its stop was not recorded in time"),
    ],
)
async def test_a_run_that_ended_without_a_stop_is_an_entry_of_the_next_start(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], reason: str
) -> None:
    """A killed service writes nothing: the next start says since when it ran, its last sign of life, and why."""
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    seen = left(section, began="2026-12-01T06:00:00+00:00", **changes)
    interrupted, started, stopped = await start_and_stop(section)
    assert (interrupted["action"], interrupted["outcome"]) == ("service-interrupted", "failed")
    assert interrupted["after"] == {
        "runs": 1, "since": "2026-12-01T06:00:00+00:00", "reason": reason,
        "last_seen": datetime.fromtimestamp(seen, UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    assert (started["action"], stopped["action"]) == ("service-started", "service-stopped")


async def test_runs_that_are_killed_before_their_entry_are_counted(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    for _ in range(3):
        left(section)
    assert (await start_and_stop(section))[0]["after"]["runs"] == 3
    assert [one["action"] for one in await start_and_stop(section)] == ["service-started", "service-stopped"]


async def test_a_damaged_state_file_is_an_interrupted_run(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    (section.folder / "gateway-edge-01.life.json").write_bytes(b'{"began"')
    assert "damaged" in (await start_and_stop(section))[0]["after"]["reason"]


async def test_another_configuration_than_that_of_the_last_start_is_an_entry(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest has no reload: its configuration changes between two runs."""
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    await start_and_stop(section, "abc")
    changed, started, _ = await start_and_stop(section, "def")
    assert (changed["action"], changed["before"], changed["after"]) == (
        "configuration-changed", {"config": "abc"}, {"config": "def"},
    )  # fmt: skip
    assert started["after"]["config"] == "def"


async def test_a_second_process_of_one_name_changes_no_state(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends because the spool is in use, and the first is not an interrupted run."""
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    stop = StopEvent()
    async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", stop):
        await until(lambda: entries(section), "the entry of the start")
        monkeypatch.setattr(lifecycle, "SETTLE", 60.0)
        await fail_at_once(section, "in use")
        stop.ask("SIGTERM")
    assert [one["action"] for one in entries(section)] == ["service-started", "service-stopped"]


async def test_a_stop_that_is_not_written_in_time_is_logged_counted_and_recorded_at_the_next_start(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy box may need longer for the entry than a service may for its end."""

    async def hang(*_: object, **__: object) -> bytes:
        await asyncio.Event().wait()
        return b""

    stop = StopEvent()
    with capture_logs() as said:
        async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", stop):
            await until(lambda: entries(section), "the entry of the start")
            monkeypatch.setattr(apart, "output_of", hang)
            monkeypatch.setattr(lifecycle, "LAST", 0.2)
            stop.ask("SIGTERM")
    assert [(one["event"], one["action"]) for one in said] == [("audit.not_recorded", "service-stopped")]
    monkeypatch.undo()
    monkeypatch.setattr(lifecycle, "SETTLE", 0.0)
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    interrupted, started, _ = (await start_and_stop(section))[:3]
    assert interrupted["after"]["reason"] == "asked to stop (SIGTERM), and its stop was not recorded in time"
    assert started["after"]["not_recorded"] == 1


async def test_a_service_may_begin_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody adds users on the machine of ingest, and its starts are to be recorded all the same."""
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    section = AuditSection.model_validate({"folder": str(tmp_path / "audit"), "begin": True})
    stop = StopEvent()
    async with recorded_life(ApartLog(section, "ingest", "ingest"), "abc", stop):
        stop.ask("SIGTERM")
    assert verify(section.folder).entries == 3


async def test_a_stop_soon_after_the_start_records_both(
    section: AuditSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "SETTLE", 60.0)
    monkeypatch.setattr(lifecycle, "LAST", 60.0)
    stop = StopEvent()
    async with recorded_life(ApartLog(section, "gateway", "edge-01"), "abc", stop):
        stop.ask("SIGTERM")
    assert [one["action"] for one in entries(section)] == ["service-started", "service-stopped"]


def test_the_process_that_writes_gets_the_section_as_it_is(tmp_path: Path) -> None:
    """A value that it can't read would lose all entries of a gateway."""
    keys = {"max_size": "2MiB", "when_full": "remove_oldest", "nearly_full": 0.5, "renew_key": "7d", "begin": True}
    section = AuditSection.model_validate({"folder": str(tmp_path), "syslog": "tls://siem.example:6514"} | keys)
    order = Order(section=section, entries=[Entry(action="a", after={"b": [1]})])
    assert Order.model_validate(json.loads(order.model_dump_json())) == order


def test_the_error_of_a_group_is_its_first() -> None:
    inner = ExceptionGroup("inner", [ValueError("a"), OSError("b")])
    assert error_text(ExceptionGroup("outer", [inner])) == "ValueError: a"
