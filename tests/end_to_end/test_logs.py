"""A log that can't be written neither ends nor delays a gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import LOOPBACK, Lineside, free_port, until, write_factory

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

SECONDS = 60.0


def factory(folder: Path) -> Path:
    """Write a factory whose broker and machines are not there: there is much to log."""
    machines = {
        f"m-{number:02}": {
            "template": "packml-modbus",
            "connection": f"modbus+tcp://{LOOPBACK}:{free_port()}?timeout=0.2",
        }
        for number in range(3)
    }
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}},
        broker={"url": f"mqtt://{LOOPBACK}:{free_port()}"},
        lines={"line": {"area": "area", "machines": machines}},
    )


@pytest.fixture
def ends() -> Iterator[list[int]]:
    """File descriptors that are closed with the test."""
    found: list[int] = []
    yield found
    for end in found:
        os.close(end)


def start(config: Path, errors: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway", "--log", "json", "--log-level", "debug", "run", str(config), "-v"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stderr=errors, stdout=subprocess.DEVNULL, env=environment, cwd=config.parent)


@pytest.mark.parametrize("log", ["a pipe that nobody reads", "a pipe that was closed", "a full disk"])
async def test_a_gateway_whose_log_can_not_be_written_reads_on_and_stops_in_time(
    tmp_path: Path, ends: list[int], log: str
):
    """The collector hangs, is killed, or has no disk: that is not a reason to lose readings."""
    if log == "a full disk":
        errors = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, errors = os.pipe()
        ends.append(reading)
        if log == "a pipe that nobody reads":
            os.set_blocking(errors, False)
            while True:  # not a byte fits
                try:
                    os.write(errors, bytes(4096))
                except BlockingIOError:
                    break
            os.set_blocking(errors, True)
        else:
            os.close(ends.pop())
    gateway = start(factory(tmp_path), errors)
    os.close(errors)
    try:
        alive = tmp_path / "spool" / "edge-01.alive"
        await until(alive.exists, "the gateway runs", SECONDS)
        first = alive.stat().st_mtime
        await until(lambda: alive.stat().st_mtime > first + 3, "the gateway goes on", SECONDS)
        assert gateway.poll() is None
        began = time.monotonic()
        gateway.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait, SECONDS) == 0
        assert time.monotonic() - began < 5
    finally:
        gateway.kill()
        gateway.wait()


async def test_every_line_of_a_gateway_has_the_same_shape(tmp_path: Path):
    """One rule parses the whole log."""
    gateway = await Lineside.start("run", factory(tmp_path), "-v")
    await gateway.logged("mqtt.not_connected")
    await gateway.logged("driver.not_connected", times=3)
    await gateway.stop()
    lines = [json.loads(line) for line in gateway.log.read_text(encoding="utf-8").splitlines()]
    assert {"gateway.started", "gateway.stopped", "driver.not_connected"} <= {line["event"] for line in lines}
    assert {tuple(line)[:4] for line in lines} == {("time", "level", "event", "logger")}
