"""Telegraf, where it is installed, with the settings that its documentation recommends.

Modbus: one `inputs.modbus` for each machine, requests that the plugin arranges (`optimization = "max_insert"`). OPC UA:
`inputs.opcua_listener` with the source time. The output is `outputs.mqtt` with QoS 1, JSON and the layout `batch`, because a
message for each machine or change costs up to four times as much. It is flushed every second, as often as machines are
read, and whenever a metric of each machine is buffered, so that no metric waits for the next second.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from measure.plant import NAMESPACE_INDEX, SCALE, ModbusPlant, OpcUaPlant
from measure.processes import Process
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path

    from measure.experiments import Settings

AGENT = """
[agent]
  interval = "{interval}"
  precision = "1us"
  flush_interval = "1s"
  metric_batch_size = {batch}
  metric_buffer_limit = 1000000
  omit_hostname = true
  skip_processors_after_aggregators = true

[[outputs.mqtt]]
  servers = ["{host}:{broker}"]
  topic = "telegraf/values"
  qos = 1
  keep_alive = 30
  layout = "batch"
  data_format = "json"
  json_timestamp_units = "1us"
"""

MACHINE = """
[[inputs.modbus]]
  name = "m{index:04d}"
  controller = "tcp://{host}:{port}"
  configuration_type = "request"
  exclude_register_type_tag = true
  [[inputs.modbus.request]]
    slave_id = 1
    byte_order = "ABCD"
    register = "holding"
    optimization = "max_insert"
    optimization_max_register_fill = 50
    fields = [{fields}]
"""

SERVER = """
[[inputs.opcua_listener]]
  endpoint = "opc.tcp://{host}:{port}"
  security_policy = "None"
  security_mode = "None"
  auth_method = "Anonymous"
  subscription_interval = "100ms"
  timestamp = "source"
  nodes = [{nodes}]
"""


@dataclass(frozen=True, slots=True)
class Telegraf:
    """The program `telegraf` of the PATH, or the path in the environment variable TELEGRAF."""

    name: str = "Telegraf"

    format = "telegraf"

    @staticmethod
    def program() -> str | None:
        """Return the path of the program, None if there is not any."""
        return os.environ.get("TELEGRAF") or shutil.which("telegraf")

    def absent(self) -> str | None:
        """Return why it can't be measured, None if it can."""
        program = self.program()
        if program is None:
            return "no telegraf on the PATH; TELEGRAF=path names another place"
        return None if shutil.which(program) else f"{program} is not a program"

    def start(
        self, folder: Path, plant: ModbusPlant | OpcUaPlant, port: int, broker: int, settings: Settings = ()
    ) -> Process:
        """Start it for a plant behind `port`."""
        del settings  # of Lineside
        file = folder / "telegraf.conf"
        file.write_text(configuration(plant, port, broker), encoding="utf-8")
        command = [str(self.program()), "--config", str(file)]
        return Process("telegraf", folder / "telegraf.log", command).start()


def configuration(plant: ModbusPlant | OpcUaPlant, port: int, broker: int) -> str:
    """Return the configuration file for a plant behind `port`."""
    if isinstance(plant, OpcUaPlant):
        nodes = ", ".join(
            f'{{name="{name}", namespace="{NAMESPACE_INDEX}", identifier_type="s", identifier="{name}"}}'
            for name in plant.names()
        )
        agent = AGENT.format(interval="1s", batch=1000, host=LOOPBACK, broker=broker)
        return agent + SERVER.format(host=LOOPBACK, port=port, nodes=nodes)
    fields = ", ".join(
        f'{{address={address}, name="{name}", type="FLOAT32"}}'
        if raw == "float32"
        else f'{{address={address}, name="{name}", type="UINT16", scale={SCALE}}}'
        for name, address, raw in plant.registers()
    )
    agent = AGENT.format(
        interval=f"{plant.period * 1000:g}ms",
        batch=min(1000, plant.machines),
        host=LOOPBACK,
        broker=broker,
    )
    machines = (MACHINE.format(index=i, host=host, port=port, fields=fields) for i, host in enumerate(plant.hosts))
    return agent + "".join(machines)
