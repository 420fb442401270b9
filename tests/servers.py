"""Real servers as child processes of a test: on free ports of the loopback, their data in the test's folder.

See processes.py for how they end.
"""

from __future__ import annotations

import json
import os
import socket
import time
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import pytest
from processes import LOOPBACK, POLL, Process, free_port, need, until

if TYPE_CHECKING:
    from pathlib import Path

    from processes import Scope

READY_SECONDS = 120.0
"""The time limit of a server until it accepts connections."""


class Server(Process):
    """A server on a port of its own, which it has for life: it can be reserved now and bound later."""

    program: str

    def __init__(self, folder: Path, *, port: int | None = None, scope: Scope = "function") -> None:
        self.port = port or free_port()
        self.folder = folder / f"{self.program}-{self.port}"
        self.folder.mkdir(parents=True)
        super().__init__(self.program, self.folder / f"{self.program}.log", scope=scope)

    @classmethod
    async def start(cls, folder: Path, **options: Any) -> Self:
        """Start a new server, and wait until it serves."""
        server = cls(folder, **options)
        await server.up()
        return server

    async def up(self) -> None:
        """Start, and wait until it serves."""
        self.launch()
        await until(self.serves, f"{self.name} serves port {self.port}", READY_SECONDS)

    async def restart(self) -> None:
        """Start again on the same port and with the same data; stop a server that still runs in order before."""
        if self.running:
            await self.stop()
        await self.up()

    def up_and_wait(self) -> None:
        """Do as `up`, for fixtures that have no event loop."""
        self.launch()
        deadline = time.monotonic() + READY_SECONDS
        while not self.serves():
            if time.monotonic() > deadline:
                pytest.fail(f"{self.name} does not serve port {self.port}")
            time.sleep(POLL)

    def serves(self) -> bool:
        """Return whether it can be talked to. The test fails where it has ended instead."""
        if not self.running:
            pytest.fail(f"{self.name} ended with {self.exit_code}:\n{self.last_words()}")
        return self.answers()

    def answers(self) -> bool:
        """Return whether it answers as it should, once it is up."""
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        return True


class Mosquitto(Server):
    """Mosquitto with its default limits; nothing is kept on disk. `lines` go into its mosquitto.conf."""

    program = "mosquitto"

    def __init__(
        self, folder: Path, *lines: str, persistence: bool = False, port: int | None = None, scope: Scope = "function"
    ) -> None:
        super().__init__(folder, port=port, scope=scope)
        self.url = f"mqtt://{LOOPBACK}:{self.port}"
        self.lines = [
            f"listener {self.port} {LOOPBACK}",
            "allow_anonymous true",
            f"persistence {str(persistence).lower()}",
            f"persistence_location {self.folder}/",
            "log_dest stdout",
            "set_tcp_nodelay true",  # else many messages, and their answers, take 40 ms each
            "log_timestamp_format %H:%M:%S",
            *(["user root"] if os.geteuid() == 0 else []),  # else it gives up its rights to the test's folder
            *lines,
        ]

    @classmethod
    async def start(cls, folder: Path, *lines: str, **options: Any) -> Self:
        server = cls(folder, *lines, **options)
        await server.up()
        return server

    def command(self) -> list[str]:
        file = self.folder / "mosquitto.conf"
        file.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        return [need("mosquitto"), "-c", str(file)]


class Nats(Server):
    """NATS with JetStream, which speaks MQTT 3.1.1."""

    program = "nats-server"

    def __init__(self, folder: Path, *, port: int | None = None, scope: Scope = "function") -> None:
        super().__init__(folder, port=port, scope=scope)
        self.url = f"mqtt://{LOOPBACK}:{self.port}"
        self._own_port = free_port()

    def command(self) -> list[str]:
        file = self.folder / "nats.conf"
        file.write_text(
            f"host: {LOOPBACK}\nport: {self._own_port}\nserver_name: test\n"
            f'jetstream {{ store_dir: "{self.folder}" }}\n'
            f"mqtt {{ host: {LOOPBACK}, port: {self.port} }}\n",
            encoding="utf-8",
        )
        return [need("nats-server"), "-c", str(file)]


class RabbitMq(Server):
    """RabbitMQ with its MQTT plugin, with a name server of its own: no process stays behind."""

    program = "rabbitmq-server"

    def __init__(self, folder: Path, *, port: int | None = None, scope: Scope = "function") -> None:
        super().__init__(folder, port=port, scope=scope)
        self.url = f"mqtt://{LOOPBACK}:{self.port}"
        self._epmd = _Epmd(folder, scope=scope)

    def launch(self) -> None:
        if not self._epmd.running:
            self._epmd.up_and_wait()
        super().launch()

    def command(self) -> list[str]:
        (self.folder / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp = none\nmqtt.listeners.tcp.1 = {LOOPBACK}:{self.port}\nmqtt.allow_anonymous = true\n"
            "mqtt.vhost = /\nlog.console = true\nlog.file = false\n"
        )
        folder = self.folder
        settings = {
            "HOME": folder,
            "ERL_EPMD_PORT": self._epmd.port,
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_MNESIA_BASE": folder / "mnesia",
            "RABBITMQ_LOG_BASE": folder / "log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": folder / "rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": folder / "generated",
            "RABBITMQ_FEATURE_FLAGS_FILE": folder / "feature_flags",
            "RABBITMQ_PID_FILE": folder / "pid",
            # the script becomes the Erlang machine, in place of a shell that waits for it
            "RABBITMQ_ALLOW_INPUT": 1,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput",
        }
        environment = [f"{name}={value}" for name, value in settings.items()]
        return [need("env"), *environment, "sh", need("/usr/lib/rabbitmq/bin/rabbitmq-server")]


class _Epmd(Server):
    """The name server of Erlang; otherwise RabbitMQ would start a name server that stays."""

    program = "epmd"

    def command(self) -> list[str]:
        return [need("epmd"), "-port", str(self.port), "-address", LOOPBACK]


class HttpServer(Server):
    """A server that is asked with HTTP."""

    health: str

    @property
    def url(self) -> str:
        """The base of its URLs."""
        return f"http://{LOOPBACK}:{self.port}"

    def request(self, method: str, path: str, **query: str) -> bytes:
        """Return the body of an answer; any but 2xx fails the test."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=30)
        try:
            connection.request(method, f"{path}?{urlencode(query)}")
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status // 100 == 2, f"{path}: {answer.status} {body[:500]!r}"
        return body

    def answers(self) -> bool:
        try:
            self.request("GET", self.health)
        except (OSError, HTTPException, AssertionError):
            return False
        return True


class VictoriaMetrics(HttpServer):
    """VictoriaMetrics, with the options that docs/stores.md requires."""

    program = "victoria-metrics"
    health = "/health"

    def command(self) -> list[str]:
        return [
            need("victoria-metrics"),
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr={LOOPBACK}:{self.port}",
            "-retentionPeriod=100y",
            "-dedup.minScrapeInterval=1ms",
            "-search.latencyOffset=0s",
            "-search.disableCache",
            "-memory.allowedBytes=64MB",
            "-loggerLevel=WARN",
        ]

    def store(self) -> dict[str, Any]:
        """Return the entry under `stores` that writes here."""
        return {"influxdb": {"url": self.url, "bucket": "telemetry"}}

    def export(self, match: str) -> list[dict[str, Any]]:
        """Return every series that a selector such as `{machine="press-01"}` matches.

        Each has `metric` (labels; the name is `__name__`), `values`, and `timestamps` in milliseconds.
        """
        self.request("GET", "/internal/force_flush")
        end = str(int(time.time()) + 100 * 86400)  # without an end it ends with the present
        body = self.request("GET", "/api/v1/export", **{"match[]": match, "end": end})
        return [json.loads(line) for line in body.splitlines()]


class Prometheus(HttpServer):
    """Prometheus, which scrapes its targets every second; `jobs` are ports on the loopback by the names of jobs."""

    program = "prometheus"
    health = "/-/ready"

    def __init__(
        self, folder: Path, *, jobs: dict[str, int], port: int | None = None, scope: Scope = "function"
    ) -> None:
        super().__init__(folder, port=port, scope=scope)
        self.jobs = jobs

    def command(self) -> list[str]:
        scraped = [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"{LOOPBACK}:{port}"], "labels": {"enterprise": "enterprise", "site": "site"}}
                ],
            }
            for job, port in self.jobs.items()
        ]
        intervals = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        file = self.folder / "prometheus.yml"
        file.write_text(json.dumps({"global": intervals, "scrape_configs": scraped}), encoding="utf-8")
        return [
            need("prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
            "--log.level=warn",
        ]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression has now; an error fails the test."""
        answer = json.loads(self.request("GET", "/api/v1/query", query=expression))
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


class Influxd(HttpServer):
    """InfluxDB 1.x. Tests that share a server use a database each."""

    program = "influxd"
    health = "/ping"

    def __init__(self, folder: Path, *, port: int | None = None, scope: Scope = "function") -> None:
        super().__init__(folder, port=port, scope=scope)
        self._rpc = free_port()

    def command(self) -> list[str]:
        file = self.folder / "influxdb.conf"
        file.write_text(
            f"""
reporting-disabled = true
bind-address = "{LOOPBACK}:{self._rpc}"
[meta]
  dir = "{self.folder / "meta"}"
[data]
  dir = "{self.folder / "data"}"
  wal-dir = "{self.folder / "wal"}"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "{LOOPBACK}:{self.port}"
  log-enabled = false
[logging]
  level = "warn"
""",
            encoding="utf-8",
        )
        return [need("influxd"), "-config", str(file)]

    def store(self, database: str) -> dict[str, Any]:
        """Return the entry under `stores` that writes into a database."""
        return {"influxdb": {"url": self.url, "api": "v1", "database": database}}

    def create(self, database: str) -> None:
        """Create a database."""
        self.query("", f'create database "{database}"')

    def query(self, database: str, query: str) -> list[dict[str, Any]]:
        """Return the rows of an InfluxQL query, column -> value: `time` in microseconds, tags of `group by` too."""
        body = json.loads(self.request("POST", "/query", db=database, q=query, epoch="u"))
        rows = []
        for result in body["results"]:
            assert "error" not in result, result
            for series in result.get("series", ()):
                beside = {"measurement": series.get("name"), **series.get("tags", {})}
                rows += [beside | dict(zip(series["columns"], row, strict=True)) for row in series.get("values", ())]
        return rows
