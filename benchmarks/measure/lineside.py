"""Lineside as a product to measure: its configuration for a plant, and its two services, of any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from measure.plant import NAMESPACE, SCALE, ModbusPlant, OpcUaPlant
from measure.processes import Failed, Process
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from measure.experiments import Settings

ROOT = Path(__file__).parent.parent.parent
"""The checkout that this file is in."""

HIDDEN = "rich", "greenlet", "colorama", "better_exceptions"
"""Packages that structlog imports where it finds them: an edge box has none, the environment of the tests has."""


@dataclass(frozen=True, slots=True)
class Lineside:
    """Lineside out of a checkout, run by the present Python."""

    tree: Path = ROOT
    name: str = "Lineside"

    format = "lineside"

    def absent(self) -> str | None:
        """Return why it can't be measured: never."""
        return None

    def start(
        self, folder: Path, plant: ModbusPlant | OpcUaPlant, port: int, broker: int, settings: Settings
    ) -> Process:
        """Start a gateway that reads a plant behind `port`, confirmed by the broker; `settings` are keys of `gateway`."""
        file = write_factory(folder, plant, port, broker, {"gateway": {"confirm": "broker"} | dict(settings)})
        return self.gateway(folder, file)

    def gateway(self, folder: Path, file: Path) -> Process:
        """Start `lineside run`; its closing report is `run.json` in the folder."""
        return self._service("run", folder, file)

    def ingest(self, folder: Path, file: Path) -> Process:
        """Start `lineside ingest`; its closing report is `ingest.json` in the folder."""
        return self._service("ingest", folder, file)

    def ledger(self, file: Path) -> dict[str, Any]:
        """Return the ledger out of the spool, as `lineside ledger` prints it. Raises `Failed`."""
        command = [sys.executable, "-m", "gateway", "ledger", str(file), "--format", "json"]
        environment = os.environ | {"PYTHONPATH": str(self.tree)}
        done = subprocess.run(command, check=False, capture_output=True, env=environment)
        try:
            return orjson.loads(done.stdout)
        except orjson.JSONDecodeError:
            raise Failed(f"lineside ledger printed {done.stdout!r} {done.stderr!r}") from None

    def _service(self, command: str, folder: Path, file: Path) -> Process:
        hidden = _without_extras(folder)
        arguments = [command, str(file), "--report", str(folder / f"{command}.json"), "--with-stdin"]
        return Process(
            f"lineside {command}",
            folder / f"{command}.log",
            [sys.executable, "-m", "gateway", "--log", "json", *arguments],
            {"PYTHONPATH": os.pathsep.join(map(str, (hidden, self.tree))), "PYTHONUNBUFFERED": "1"},
        ).start()


def _without_extras(folder: Path) -> Path:
    """Return a folder for the import path in which no package of `HIDDEN` is found, as in an installation."""
    hidden = folder / "hidden"
    hidden.mkdir(exist_ok=True)
    for name in HIDDEN:
        (hidden / f"{name}.py").write_text(f"raise ImportError({name!r})\n", encoding="utf-8")
    return hidden


def report(folder: Path, command: str) -> dict[str, Any]:
    """Return the closing report of a service that was stopped. Raises `Failed` if it was killed before it wrote the report."""
    file = folder / f"{command}.json"
    if not file.exists():
        raise Failed(f"lineside {command} did not write its closing report")
    return orjson.loads(file.read_bytes())


def write_factory(
    folder: Path,
    plant: ModbusPlant | OpcUaPlant,
    port: int,
    broker: int,
    sections: Mapping[str, dict[str, Any] | list[Any]] | None = None,
) -> Path:
    """Write the configuration of a plant behind `port`: one template, and the factory's file.

    `sections` are further sections, or further keys of `gateway` and `broker`.
    """
    (folder / "machines").mkdir(exist_ok=True)
    template, machines = _modbus(plant, port) if isinstance(plant, ModbusPlant) else _opcua(plant, port)
    (folder / "machines" / "bench.yaml").write_text(yaml.safe_dump(template, sort_keys=False), encoding="utf-8")
    factory: dict[str, Any] = {
        "format": 1,
        "factory": {"enterprise": "bench", "site": "here"},
        "gateway": {"id": "edge-bench", "spool": {"folder": str(folder / "spool")}},
        "broker": {"url": f"mqtt://{LOOPBACK}:{broker}"},
        "lines": {"line": {"area": "area", "machines": machines}},
    }
    for name, section in (sections or {}).items():
        factory[name] = factory.get(name, {}) | section if isinstance(section, dict) else section
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(factory, sort_keys=False), encoding="utf-8")
    return file


def _modbus(plant: ModbusPlant, port: int) -> tuple[dict[str, Any], dict[str, Any]]:
    points = {}
    for name, address, raw in plant.registers():
        points[name] = {"address": f"holding {address}", "raw": raw, "unit": "Cel", "range": [0, 400]}
        if raw == "uint16":
            points[name]["scale"] = SCALE
    defaults: dict[str, Any] = {"every": f"{plant.period * 1000:g}ms"}
    if plant.on_change:
        defaults["on_change"] = True
    template = {"format": 1, "protocol": "modbus", "defaults": defaults, "points": points}
    options = f"?in_flight={plant.in_flight}" if plant.in_flight > 1 else ""
    machines = {
        f"m{i:04d}": {"template": "bench", "connection": f"modbus+tcp://{host}:{port}{options}"}
        for i, host in enumerate(plant.hosts)
    }
    return template, machines


def _opcua(plant: OpcUaPlant, port: int) -> tuple[dict[str, Any], dict[str, Any]]:
    points = {name: {"node": f"s={name}", "type": "float", "every": "100ms"} for name in plant.names()}
    connection = {"url": f"opc.tcp://{LOOPBACK}:{port}", "namespace": NAMESPACE, "security": "none"}
    return (
        {"format": 1, "protocol": "opcua", "points": points},
        {"m0000": {"template": "bench", "connection": connection}},
    )
