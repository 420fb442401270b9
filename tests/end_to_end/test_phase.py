"""The phase of a machine: when its scans begin, by the wall clock of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.machines import TEMPLATE, Machines
from processes import LOOPBACK, Lineside, free_port, lineside, until, write_factory

if TYPE_CHECKING:
    from pathlib import Path

PERIOD = 500_000
"""Microseconds."""


def write(file: Path, port: int, phases: dict[int, str]) -> Path:
    """Write a factory of machines with these phases, and a broker that nobody runs: all records stay in the spool."""
    return write_factory(
        file,
        gateway={"id": "edge-01", "spool": {"folder": str(file.parent / "spool")}},
        broker={"url": f"mqtt://{LOOPBACK}:{free_port()}"},
        lines={
            "line": {
                "area": "area",
                "machines": {
                    f"unit-{unit}": {
                        "template": "counter",
                        "connection": f"modbus+tcp://{LOOPBACK}:{port}?unit={unit}&timeout=30",
                        "phase": phase,
                    }
                    for unit, phase in phases.items()
                },
            }
        },
    )


def earliest(served: list[int]) -> int:
    """Return the part of the period at which the earliest of some scans was answered, in microseconds."""
    return min(at % PERIOD for at in served)


async def test_scans_begin_at_the_phase_of_their_machine_also_after_a_reload(tmp_path: Path):
    """Two machines behind one connection, read before and after a PLC that both share writes to them."""
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "counter.yaml").write_text(TEMPLATE.replace("100ms", "500ms"))
    async with Machines(2) as machines:
        config = write(tmp_path / "factory.yaml", machines.port, {1: "125ms", 2: "300ms"})
        gateway = await Lineside.start("run", config)
        await until(lambda: min(map(len, machines.served.values())) >= 6, "six scans of each machine")
        # a busy machine reads late, and never early
        assert 125_000 <= earliest(machines.served[1]) < 250_000
        assert 300_000 <= earliest(machines.served[2]) < 450_000
        write(config, machines.port, {1: "125ms", 2: "0s"})
        assert (await lineside("reload", str(config))).code == 0
        before = {unit: len(served) for unit, served in machines.served.items()}
        await until(lambda: len(machines.served[2]) >= before[2] + 6, "six scans at another phase")
        assert earliest(machines.served[2][before[2] + 1 :]) < 100_000
        assert 125_000 <= earliest(machines.served[1]) < 250_000
        assert await gateway.stop() == 0
