"""What any client may publish to ingest: it goes on, and the next good record is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest
from fakes.gateway import FakeGateway
from fakes.malformed import MALFORMED, publish_malformed
from processes import Lineside, until, write_factory
from servers import Mosquitto
from stored import rows

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = "lineside/v1/enterprise/site/area/line/m-01"
GATEWAY = "lineside/v1/enterprise/site/_gateways/edge-01"
INGEST = "lineside/v1/enterprise/site/_ingests/ingest-edge-01"


@pytest.mark.timeout(300 + MALFORMED // 50)
async def test_malformed_messages_on_every_topic_end_stall_and_leak_nothing(tmp_path: Path):
    """Records, events, descriptions, answers, and its own state: each is set aside or ignored."""
    mosquitto = await Mosquitto.start(tmp_path, "max_queued_messages 0")
    config = write_factory(
        tmp_path / "factory.yaml",
        broker={"url": mosquitto.url},
        ingest={"folder": str(tmp_path / "ingest"), "dead_letters": "1MiB"},
        stores=[{"sqlite": {"path": str(tmp_path / "readings.db")}}],
        lines={
            "line": {
                "area": "area",
                "machines": {"x-01": {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}},
            }
        },
    )
    ingest = await Lineside.start("ingest", config)
    await ingest.logged("ingest.subscribed")
    async with FakeGateway(mosquitto.port, "edge-02") as gateway:
        await gateway.describe("m-02", pressure=("float", "bar"))
        await gateway.send("m-02", pressure=1.0)
        await gateway.confirmed()
        before = psutil.Process(ingest.pid).memory_info().rss
        leaves = (f"{MACHINE}/data", f"{MACHINE}/event", f"{MACHINE}/meta", f"{GATEWAY}/metadata", f"{INGEST}/state")
        await publish_malformed(mosquitto.port, *leaves)
        await gateway.send("m-02", pressure=2.0)
        await until(
            lambda: len(rows(tmp_path / "readings.db", "m-02")) == 2, "the record behind them", 120 + MALFORMED / 100
        )
        assert psutil.Process(ingest.pid).memory_info().rss - before < 150 * 2**20
    assert ingest.running
    assert not ingest.events("mqtt.session_failed")
    assert len(ingest.events("mqtt.connected")) <= 2
    lines = ingest.log.read_text().count("\n")
    assert lines < 500, "repeats are counted"
    assert await ingest.stop() == 0
