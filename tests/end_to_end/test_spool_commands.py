"""The commands that show the state of a box, with real processes: while the gateway works, and after a kill."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from processes import Lineside, lineside, write_factory

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """
format: 1
protocol: modbus
defaults: {every: 100ms}
points:
  count: {address: input 0}
  level: {address: holding 0, raw: float32, unit: Cel, range: [0, 100]}
"""


async def printed(*arguments: str) -> Any:
    """Run a command to its end, and return the JSON that it prints."""
    ran = await lineside(*arguments)
    assert ran.code == 0, ran
    return [json.loads(line) for line in ran.text.splitlines()] if "export" in arguments else json.loads(ran.text)


async def test_the_ledger_is_there_while_the_gateway_works_and_after_it_was_killed(tmp_path: Path):
    """The broker is away, so all acquired readings wait: and every reading is found again."""
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "counter.yaml").write_text(TEMPLATE)
    machines = {"m-01": {"template": "counter", "connection": "modbus+tcp://127.0.0.1:502?unit=1"}}
    config = write_factory(
        tmp_path / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(tmp_path / "spool")}},
        broker={"url": "mqtt://127.0.0.1:1"},
        lines={"line": {"area": "area", "machines": machines}},
    )
    moved = tmp_path / "moved.yaml"
    await Lineside.simulate(config, moved)
    gateway = await Lineside.start("run", moved)

    async def ledger() -> dict[str, Any]:
        return dict(await printed("ledger", str(moved), "--format", "json"))

    await gateway.logged("gateway.started")
    first = await until_pending(ledger, 10)
    later = await until_pending(ledger, first["pending"] + 1)
    assert later["acquired"] > first["acquired"]
    gateway.kill()
    killed = await ledger()
    assert killed["balanced"]
    assert killed["pending"] >= later["pending"]
    records = await printed("spool", "export", str(moved))
    assert sum(record["readings"] for record in records) == killed["pending"]
    assert await ledger() == killed, "nobody has changed it by looking"


async def until_pending(ledger: Any, readings: int) -> dict[str, Any]:
    """Ask again and again, until so many readings wait."""
    while True:
        now: dict[str, Any] = await ledger()
        assert now["balanced"]
        if now["pending"] >= readings:
            return now
