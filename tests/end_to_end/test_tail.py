"""`lineside tail` in a terminal and in a pipe: outages, closed pipes, formats."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fakes.gateway import FakeGateway
from processes import LOOPBACK, Lineside, until, write_factory
from servers import Mosquitto

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = {"template": "curing-press", "connection": "modbus+tcp://127.0.0.1:1?unit=1"}


def factory(folder: Path, url: str) -> Path:
    return write_factory(
        folder / "factory.yaml", broker={"url": url}, lines={"line": {"area": "area", "machines": {"m-01": MACHINE}}}
    )


async def shown(gateway: FakeGateway, tail: Lineside, text: str) -> None:
    """Send readings until the output has a text: a reading from before the subscription is not shown."""
    await gateway.describe("m-01", pressure=("float", "bar"))
    number = 0
    while text not in tail.log.read_text():
        number += 1
        await gateway.send("m-01", pressure=float(number))
        await asyncio.sleep(0.1)


async def attempts(port: int, count: int) -> None:
    """Accept so many connections on a port, and close each."""
    made = asyncio.Semaphore(0)

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        made.release()

    async with await asyncio.start_server(refuse, LOOPBACK, port):
        for _ in range(count):
            await made.acquire()


async def test_an_outage_is_one_line_and_its_end_is_another(tmp_path: Path) -> None:
    """A person who looks at values sees why there are none."""
    mosquitto = await Mosquitto.start(tmp_path)
    tail = await Lineside.start("tail", factory(tmp_path, mosquitto.url))
    async with FakeGateway(mosquitto.port) as gateway:
        await shown(gateway, tail, "m-01/pressure")
    mosquitto.kill()
    await until(lambda: "waiting for the broker" in tail.log.read_text(), "it is reported")
    await attempts(mosquitto.port, 4)
    await mosquitto.restart()
    await until(lambda: "the broker is back after" in tail.log.read_text(), "its end is reported")
    lines = [line for line in tail.log.read_text().splitlines() if "broker" in line]
    assert len(lines) == 2
    assert all(line.startswith("lineside: ") for line in lines)
    assert await tail.stop() == 0


@pytest.mark.parametrize("style", ["csv", "json"])
async def test_other_programs_get_every_column(tmp_path: Path, style: str) -> None:
    mosquitto = await Mosquitto.start(tmp_path)
    tail = await Lineside.start("tail", factory(tmp_path, mosquitto.url), "m-01/*", "--format", style)
    async with FakeGateway(mosquitto.port) as gateway:
        await shown(gateway, tail, "bar")
    assert await tail.stop() == 0
    lines = tail.log.read_text().splitlines()
    rows = list(csv.DictReader(lines)) if style == "csv" else [json.loads(line) for line in lines]
    assert rows[0]["machine"] == "m-01"
    assert set(rows[0]) == {
        "time", "enterprise", "site", "area", "line", "machine", "point", "value", "unit", "quality", "reason",
        "code", "late",
    }  # fmt: skip


async def test_a_closed_pipe_ends_it_while_nothing_comes(tmp_path: Path) -> None:
    """`lineside tail | head` returns, also in a plant that rests, and leaves no message."""
    mosquitto = await Mosquitto.start(tmp_path)
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "tail", str(factory(tmp_path, mosquitto.url)),
        stdout=writer, stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(writer)
    assert process.stderr is not None
    os.close(reader)
    errors = await asyncio.wait_for(process.stderr.read(), 60)
    await process.wait()
    assert errors == b""
    assert process.returncode == 0
