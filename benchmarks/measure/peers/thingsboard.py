"""The ThingsBoard IoT Gateway of the package registry, in a virtual environment of its own.

Its Modbus connector has one slave for each machine. The rate limits of the ThingsBoard cloud are switched off, and all
values are sent (`ON_RECEIVED`), with QoS 1. In place of a ThingsBoard server, a client at the broker answers its request
for the limits of the session, without which it sends nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import paho.mqtt.client as paho

from measure.plant import OpcUaPlant
from measure.processes import STOP_SECONDS, Failed, Process
from simulators.ports import LOOPBACK

if TYPE_CHECKING:
    from measure.experiments import Settings
    from measure.plant import ModbusPlant

PACKAGES = ("thingsboard-gateway==3.8.5", "pymodbus==3.9.2", "pyserial", "pyserial-asyncio")
"""The product, and the packages that it would install at its first start."""

ENVIRONMENT = Path(__file__).parent.parent.parent / ".peers" / "thingsboard"
INSTALL_SECONDS = 300.0
UNLIMITED = "0:0,"

REQUESTS, RESPONSES = "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"
SESSION_LIMITS = {
    "maxPayloadSize": 65536,
    "maxInflightMessages": 0,
    "rateLimits": {"messages": UNLIMITED, "telemetryMessages": UNLIMITED, "telemetryDataPoints": UNLIMITED},
    "gatewayRateLimits": {"messages": UNLIMITED, "telemetryMessages": UNLIMITED, "telemetryDataPoints": UNLIMITED},
}
"""The answer to `getSessionLimits`: none."""


@dataclass(frozen=True, slots=True)
class ThingsBoard:
    """The package `thingsboard-gateway`, which is installed when it is measured for the first time."""

    name: str = "ThingsBoard"

    format = "thingsboard"

    def absent(self) -> str | None:
        """Install it if it is not yet; return why it can't be measured, None if it can."""
        marker = ENVIRONMENT / ".installed"
        if marker.exists() and marker.read_text(encoding="utf-8") == "\n".join(PACKAGES):
            return None
        print(f"installing {PACKAGES[0]} in {ENVIRONMENT}", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True, capture_output=True)
            subprocess.run(
                [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", *PACKAGES],
                check=True,
                capture_output=True,
                timeout=INSTALL_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            return (error.stderr.decode(errors="replace").strip().splitlines() or [str(error)])[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        marker.write_text("\n".join(PACKAGES), encoding="utf-8")
        return None

    def start(
        self, folder: Path, plant: ModbusPlant | OpcUaPlant, port: int, broker: int, settings: Settings = ()
    ) -> Process:
        """Start it for a plant behind `port`. Raises `Failed` for a plant of OPC UA."""
        del settings  # of Lineside
        if isinstance(plant, OpcUaPlant):
            raise Failed("only Modbus is measured with the ThingsBoard gateway")
        config = folder / "config"
        config.mkdir()
        (folder / "logs").mkdir()
        for name, content in (("tb_gateway", gateway(broker)), ("modbus", connector(plant, port)), ("logs", LOGS)):
            (config / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        command = [str(ENVIRONMENT / "bin" / "thingsboard-gateway")]
        environment = {"TB_GW_CONFIG_DIR": str(config), "PYTHONPATH": "", "TB_GW_LOGS_PATH": str(folder / "logs")}
        return Gateway(broker, "thingsboard-gateway", folder / "thingsboard.log", command, environment).start()


class Gateway(Process):
    """The gateway, and the client that answers it in place of a server."""

    def __init__(self, broker: int, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._broker = broker
        self._platform = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._platform.on_message = self._answer

    def start(self) -> Self:
        self._platform.connect(LOOPBACK, self._broker)
        self._platform.subscribe(f"{REQUESTS}+", 1)
        self._platform.loop_start()
        return super().start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        super().stop(seconds)
        self._platform.loop_stop()

    def _answer(self, client: paho.Client, _: object, message: paho.MQTTMessage) -> None:
        if json.loads(message.payload).get("method") == "getSessionLimits":
            client.publish(RESPONSES + message.topic.removeprefix(REQUESTS), json.dumps(SESSION_LIMITS), 1)


def gateway(broker: int) -> dict[str, Any]:
    """Return the configuration of the gateway itself."""
    limits = ("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits", "deviceRateLimits",
              "deviceDpRateLimits")  # fmt: skip
    return {
        "thingsboard": {
            "host": LOOPBACK,
            "port": broker,
            "remoteShell": False,
            "remoteConfiguration": False,
            "statistics": {"enable": False},
            "checkConnectorsConfigurationInSeconds": 60,
            "maxPayloadSizeBytes": 65536,
            "minPackSendDelayMS": 50,
            "minPackSizeToSend": 500,
            "security": {"type": "accessToken", "accessToken": "benchmark"},
            "qos": 1,
            "reportStrategy": {"type": "ON_RECEIVED"},
        }
        | dict.fromkeys(limits, UNLIMITED),
        "storage": {"type": "memory", "read_records_count": 1000, "max_records_count": 1000000},
        "grpc": {"enabled": False},
        "connectors": [{"name": "modbus", "type": "modbus", "configuration": "modbus.json"}],
    }


def connector(plant: ModbusPlant, port: int) -> dict[str, Any]:
    """Return the configuration of the Modbus connector."""
    points = [
        {"tag": name, "type": "32float", "functionCode": 3, "objectsCount": 2, "address": address}
        if raw == "float32"
        else {"tag": name, "type": "16uint", "functionCode": 3, "objectsCount": 1, "address": address, "divider": 10}
        for name, address, raw in plant.registers()
    ]
    slaves = [
        {
            "host": host,
            "port": port,
            "type": "tcp",
            "method": "socket",
            "unitId": 1,
            "deviceName": f"m{i:04d}",
            "deviceType": "default",
            "timeout": 5,
            "byteOrder": "BIG",
            "wordOrder": "BIG",
            "pollPeriod": round(plant.period * 1000),
            "connectAttemptTimeMs": 5000,
            "connectAttemptCount": 5,
            "waitAfterFailedAttemptsMs": 300000,
            "attributes": [],
            "timeseries": points,
            "attributeUpdates": [],
            "rpc": [],
        }
        for i, host in enumerate(plant.hosts)
    ]
    return {"name": "modbus", "logLevel": "ERROR", "master": {"slaves": slaves}}


LOGS = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "consoleHandler": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"}
    },
    "loggers": {"pymodbus.logging": {"level": "ERROR"}},
    "root": {"level": "ERROR", "handlers": ["consoleHandler"]},
}
