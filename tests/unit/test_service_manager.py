"""Messages to systemd: each of them as sd_notify(3) defines it, and none without a receiver."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest
from notified import Notified
from processes import until, write_factory

from gateway.common.service_manager import ServiceManager, gateway_status
from gateway.common.tasks import cancel_and_wait
from gateway.gateway_service import GatewayService
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[Notified]:
    with Notified(tmp_path) as socket_of_systemd:
        yield socket_of_systemd


def test_each_message_has_the_form_of_the_protocol(notified: Notified):
    manager = ServiceManager.of(notified.environment())
    manager.ready()
    manager.reloading()
    manager.stopping()
    ready, reloading, stopping = notified.messages
    assert ready == {"READY": "1"}
    assert stopping == {"STOPPING": "1"}
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0


def test_a_name_with_an_at_sign_is_in_the_abstract_namespace():
    """systemd of a user, and containers, use such sockets."""
    name = f"lineside-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        end.settimeout(10)
        ServiceManager.of({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert end.recv(100) == b"READY=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_without_a_service_manager_nothing_happens(environment: dict[str, str]):
    """A terminal and a container have none, and a service must not end for that."""
    manager = ServiceManager.of(environment)
    manager.ready()
    manager.stopping()
    assert manager.watchdog is None


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 60.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_that_of_this_process(environment: dict[str, str], seconds: float | None):
    """sd_watchdog_enabled(3): a child process inherits the variables, and is not watched."""
    assert ServiceManager.of(environment).watchdog == seconds


async def test_the_watchdog_is_fed_only_while_there_is_progress(notified: Notified):
    frozen = asyncio.Event()
    moving = asyncio.Event()
    moving.set()

    async def progress() -> None:
        if not moving.is_set():
            frozen.set()
        await moving.wait()

    manager = ServiceManager.of(notified.environment(0.04))
    feeding = asyncio.create_task(manager.keep_informed(lambda: "two\nlines", progress))
    await until(lambda: notified.count("WATCHDOG") >= 2, "the watchdog is fed")
    assert {message["STATUS"] for message in notified.messages} == {"two lines"}
    moving.clear()
    await frozen.wait()
    fed = notified.count("WATCHDOG")
    await asyncio.sleep(0.1)
    assert notified.count("WATCHDOG") == fed
    moving.set()
    await until(lambda: notified.count("WATCHDOG") > fed, "the watchdog is fed again")
    await cancel_and_wait(feeding)


def test_the_status_is_one_line_with_the_figures_that_matter():
    points = {"configured": 1200, "good": 1199, "uncertain": 0, "bad": 1}
    report = {"points": points, "schedule": {"missed": 0}, "ledger": {"pending": 4711}}
    assert gateway_status(report) == "1,199 of 1,200 points good, 4,711 readings pending, 0 scans missed"


@pytest.mark.slow
async def test_a_gateway_whose_spool_is_frozen_feeds_no_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notified: Notified, thaw: threading.Event
):
    """A disk that never answers: systemd has to end the process, whose event loop is fine."""
    for name, value in notified.environment(0.2).items():
        monkeypatch.setenv(name, value)
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1"},
        lines={
            "line": {
                "area": "area",
                "machines": {"m-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}},
            }
        },
    )
    gateway, stop = GatewayService(load_factory(config)), asyncio.Event()
    running = asyncio.create_task(gateway.run(stop))
    await until(lambda: notified.count("WATCHDOG") >= 2, "the watchdog is fed")
    assert "points good" in notified.messages[-1]["STATUS"]
    # the disk does not answer: no public call of the spool blocks its thread
    blocked = asyncio.create_task(gateway.spool._in_thread(thaw.wait))  # noqa: SLF001
    await asyncio.sleep(0.1)
    fed = notified.count("WATCHDOG")
    await asyncio.sleep(0.5)
    assert notified.count("WATCHDOG") == fed
    thaw.set()
    await until(lambda: notified.count("WATCHDOG") > fed, "the watchdog is fed again")
    stop.set()
    await running
    await blocked
    assert [next(iter(message)) for message in (notified.messages[0], notified.messages[-1])] == ["READY", "STOPPING"]


@pytest.fixture
def thaw() -> Iterator[threading.Event]:
    import threading

    event = threading.Event()
    yield event
    event.set()  # a thread that waits would keep the process
