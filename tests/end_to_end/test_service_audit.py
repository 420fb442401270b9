"""Starts and stops of the real services are in the audit log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from forked import with_constants
from processes import LOOPBACK, Lineside, free_port, until, write_factory

from gateway.audit.files import log_files
from gateway.audit.log import AuditLog
from gateway.audit.verify import verify
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

SOON = with_constants(**{"gateway.audit.lifecycle.SETTLE": 0.5})
"""A start is written after half a second in place of three: these tests wait for it."""


def factory(folder: Path, broker: dict[str, Any] | None = None, **ingest: Any) -> Path:
    machine = {"template": "curing-press", "connection": f"modbus+tcp://{LOOPBACK}:1"}
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "state")}},
        broker={"url": f"mqtt://{LOOPBACK}:{free_port()}", **(broker or {})},
        ingest={"folder": str(folder / "ingest"), **ingest},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m-01": machine}}},
    )


def services(config: Path, folder: Path | None = None) -> list[tuple[str, str, str]]:
    """Return action, service and reason of the entries of services, in the log of the page or another."""
    folder = folder or load_factory(config).dashboard.audit.folder
    entries = [json.loads(line) for file in log_files(folder) for line in file.read_bytes().splitlines()]
    return [
        (one["action"], one["object"], (one["after"] or {}).get("reason", ""))
        for one in entries
        if one["action"].startswith("service-")
    ]


def begin(config: Path) -> None:
    """Make an audit log, as the first user of the page does."""
    with AuditLog(load_factory(config).dashboard.audit) as audit:
        audit.record("user-added", who="root", object="anna").result(10)


async def test_a_gateway_and_a_page_record_their_starts_and_stops(tmp_path: Path) -> None:
    """A person who looks into a gap of the readings sees whether somebody has stopped the service."""
    config = factory(tmp_path)
    begin(config)
    gateway = await Lineside.start("run", config, environment=SOON)
    await until(lambda: ("service-started", "gateway", "") in services(config), "the start of the gateway")
    page = await Lineside.start("dashboard", config, "--listen", f"{LOOPBACK}:{free_port()}")
    await page.logged("dashboard.listening")
    assert await gateway.stop() == 0
    assert ("service-stopped", "gateway", "SIGTERM") in services(config)
    assert await page.stop() == 0
    assert [one for one in services(config) if one[1] == "dashboard"] == [
        ("service-started", "dashboard", ""), ("service-stopped", "dashboard", "SIGTERM"),
    ]  # fmt: skip
    assert verify(load_factory(config).dashboard.audit.folder).broken is None


async def test_ingest_records_its_starts_and_stops(tmp_path: Path) -> None:
    """It has an audit log of its own, which it may begin itself: nobody adds users where only ingest runs."""
    config = factory(tmp_path, audit={"begin": True})
    folder = tmp_path / "ingest" / "audit"
    ingest = await Lineside.start("ingest", config, environment=SOON)
    await until(lambda: ("service-started", "ingest", "") in services(config, folder), "the start of ingest")
    assert await ingest.stop() == 0
    assert services(config, folder)[-1] == ("service-stopped", "ingest", "SIGTERM")
    assert verify(folder).broken is None


async def test_a_gateway_that_was_killed_is_in_the_audit_log_after_its_next_start(tmp_path: Path) -> None:
    """Nobody else knows: the journal of the box may be gone."""
    config = factory(tmp_path)
    begin(config)
    gateway = await Lineside.start("run", config, environment=SOON)
    await until(lambda: ("service-started", "gateway", "") in services(config), "the start of the gateway")
    gateway.kill()
    gateway = await Lineside.start("run", config, environment=SOON)
    killed = ("service-interrupted", "gateway", "it was killed, or has crashed")
    await until(lambda: killed in services(config), "the entry of the killed gateway")
    assert await gateway.stop() == 0
    assert [one[0] for one in services(config)] == [
        "service-started", "service-interrupted", "service-started", "service-stopped",
    ]  # fmt: skip


async def test_a_gateway_that_fails_at_its_start_is_in_the_audit_log(tmp_path: Path) -> None:
    """A missing secret ends it within the time in which a start is not recorded."""
    config = factory(tmp_path, {"username": "edge-01", "password": {"secret": "audit_test_password"}})
    begin(config)
    gateway = await Lineside.start("run", config)
    assert await gateway.ended() != 0
    assert services(config) == [("service-failed", "gateway", "error")]
