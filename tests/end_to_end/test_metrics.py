"""Metrics and health of real services: a scrape agrees with the ledger, and probes see every outage.

The machines count how often they were read. Prometheus and promtool are real.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import asynccontextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from chaos.machines import LOOPBACK, Machines
from processes import Lineside, free_port, need, until, write_factory
from prometheus_client.parser import text_string_to_metric_families
from servers import Mosquitto, Prometheus

from gateway.metrics.definitions import GATEWAY, INGEST, Definition, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from servers import Influxd, VictoriaMetrics

SELF_TEST = {"lineside_self_test_failed", "lineside_self_test_timestamp_seconds"}
NOTIFY = {"lineside_notify_messages_total", "lineside_notify_alarms_lost_total", "lineside_notify_alarms_waiting"}
"""The metrics of the self-test, which is made some seconds after the start."""

DASHBOARDS = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"

Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""The values of a scrape by the name and the labels of their series."""

SECONDS = 60.0


class Line:
    """Two devices with a machine each, a broker, and the files of a gateway and an ingest with metrics."""

    def __init__(self, folder: Path, devices: list[Machines], broker: Mosquitto) -> None:
        self.folder = folder
        self.devices = devices
        self.broker = broker
        self.gateway_port, self.ingest_port = free_port(), free_port()
        self.gateway: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}
        self.stores: list[dict[str, Any]] = [{"sqlite": {"path": str(folder / "readings.db")}}]
        self.config = folder / "factory.yaml"

    def write(self) -> None:
        """Write the configuration."""
        template = {
            "format": 1,
            "protocol": "modbus",
            "defaults": {"every": "100ms"},
            "points": {
                "count": {"address": "holding 0", "raw": "uint32", "unit": "{part}"},
                "third": {"address": "holding 4", "raw": "float64"},
            },
        }
        (self.folder / "machines").mkdir(exist_ok=True)
        (self.folder / "machines" / "counter.yaml").write_text(yaml.safe_dump(template))
        own = {"id": "edge-01", "spool": {"folder": str(self.folder / "spool")}} | self.gateway
        write_factory(
            self.config,
            gateway=own | {"metrics": {"listen": f"{LOOPBACK}:{self.gateway_port}"} | self.metrics},
            broker={"url": self.broker.url},
            ingest={"folder": str(self.folder), "metrics": {"listen": f"{LOOPBACK}:{self.ingest_port}"}},
            stores=self.stores,
            lines={"line": {"area": "area", "machines": {
                f"m-{number:02d}": {"template": "counter", "connection": f"modbus+tcp://{LOOPBACK}:{device.port}?unit=1"}
                for number, device in enumerate(self.devices, 1)
            }}},
        )  # fmt: skip

    async def run(self) -> Lineside:
        """Start the gateway, and wait until it runs."""
        self.write()
        gateway = await Lineside.start("run", self.config)
        await gateway.logged("gateway.started")
        return gateway

    async def ingest(self) -> Lineside:
        """Start ingest."""
        ingest = await Lineside.start("ingest", self.config)
        await ingest.logged("ingest.started")
        return ingest


@asynccontextmanager
async def line(folder: Path) -> AsyncIterator[Line]:
    """Serve two devices."""
    async with Machines(1) as one, Machines(1) as other:
        yield Line(folder, [one, other], await Mosquitto.start(folder))


def get(port: int, path: str, accept: str = "") -> tuple[int, str]:
    """Return the status and the text of an answer; 0 if there is none."""
    connection = HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request("GET", path, headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()


def scrape(port: int) -> Scraped:
    """Return all series of an endpoint; empty if it does not answer."""
    status, text = get(port, "/metrics")
    if status != 200:
        return {}
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def values(found: Scraped, name: str, **labels: str) -> list[float]:
    """Return the values of all series of a name that have these labels."""
    return [value for (series, having), value in found.items() if series == name and labels.items() <= set(having)]


def total(found: Scraped, name: str, **labels: str) -> float:
    return sum(values(found, name, **labels))


async def scraped(port: int, look: Callable[[Scraped], object], what: str) -> Scraped:
    """Scrape until a condition holds, and return that scrape."""

    def found() -> Scraped | None:
        now = scrape(port)
        return now if now and look(now) else None

    result = await until(found, what, SECONDS)
    assert result is not None
    return result


async def verdict(port: int, path: str, status: int) -> dict[str, Any]:
    """Probe until there is this status, and return the reasons."""

    def found() -> str:
        got, text = get(port, path)
        return text if got == status else ""

    content: dict[str, Any] = json.loads(await until(found, f"{path} answers {status}", SECONDS))
    return content


async def reason(port: int, right: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """Probe readiness until the service is not ready and its checks are right, and return them."""

    def found() -> dict[str, Any]:
        status, text = get(port, "/readyz")
        checks: dict[str, Any] = json.loads(text)["checks"] if status == 503 else {}
        return checks if checks and right(checks) else {}

    return await until(found, what, SECONDS)


def promtool(text: str) -> tuple[int, str]:
    """Return the exit code and the complaints of `promtool check metrics`."""
    command = [need("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


def series_of(definitions: Iterable[Definition]) -> set[str]:
    return {name for one in definitions for name in one.series}


async def test_a_scrape_agrees_with_the_ledger_and_is_right_for_promtool(tmp_path: Path):
    """Every metric of the table is there, and those of one process are of one moment."""
    async with line(tmp_path) as here:
        here.metrics = {"points": 3}
        await here.run()
        await here.ingest()
        # sums over drivers are some seconds old where they cost much
        gateway = await scraped(
            here.gateway_port,
            lambda now: (
                total(now, "lineside_readings_confirmed_total") > 50
                and values(now, "lineside_device_connects_total") == [2]
            ),
            "confirmed readings",
        )
        own = {"gateway": "edge-01"}
        assert all(("gateway", "edge-01") in labels for _, labels in gateway)
        parts = ("unchanged_total", "dropped_total", "pending", "confirmed_total")
        assert total(gateway, "lineside_readings_acquired_total") == sum(
            total(gateway, f"lineside_readings_{part}") for part in parts
        )
        assert values(gateway, "lineside_ledger_unaccounted_readings") == [0]
        assert values(gateway, "lineside_machine_state", machine="m-01", state="online", **own) == [1]
        assert values(gateway, "lineside_machine_state", machine="m-01", state="offline") == [0]
        assert values(gateway, "lineside_machines", state="online") == [2]
        assert values(gateway, "lineside_points", quality="good") == [4]
        assert values(gateway, "lineside_devices", state="connected") == [2]
        assert values(gateway, "lineside_broker_connected") == [1]
        assert values(gateway, "lineside_point_quality", point="third", machine="m-01") == [0]
        assert len(values(gateway, "lineside_point_quality")) == 3
        scans = total(gateway, "lineside_scans_acquired_total")
        assert total(gateway, "lineside_machine_scan_duration_seconds_count") == scans
        assert total(gateway, "lineside_scan_duration_seconds_count") == scans
        assert scans + total(gateway, "lineside_scans_missed_total") == total(gateway, "lineside_scans_due_total")
        assert total(gateway, "lineside_driver_events_total", event="requests") > 0
        assert total(gateway, "lineside_record_confirmation_seconds_count") > 0
        assert 0 < total(gateway, "process_resident_memory_bytes") < 2**30
        missing = series_of(GATEWAY) - {name for name, _ in gateway} - SELF_TEST - NOTIFY
        assert missing == {"lineside_worker_up", "lineside_worker_restarts_total"}

        ingest = await scraped(
            here.ingest_port, lambda now: total(now, "lineside_ingest_readings_total") > 50, "stored"
        )
        assert values(ingest, "lineside_store_available", store="sqlite", ingest="ingest") == [1]
        assert total(ingest, "lineside_store_write_seconds_count", store="sqlite") > 0
        assert total(ingest, "lineside_ingest_lag_seconds_count") == total(ingest, "lineside_ingest_readings_total")
        assert abs(total(ingest, "lineside_ingest_last_write_timestamp_seconds") - time.time()) < 30
        assert series_of(INGEST) - {name for name, _ in ingest} - SELF_TEST == set()
        for port in (here.gateway_port, here.ingest_port):
            _, text = get(port, "/metrics")
            assert await asyncio.to_thread(promtool, text) == (0, "")
            assert get(port, "/metrics", "application/openmetrics-text; version=1.0.0")[1].endswith("\n# EOF\n")


async def test_probes_see_the_broker_and_the_machines_go_and_come(tmp_path: Path):
    """A gateway without its broker is alive, but not ready, and says why."""
    async with line(tmp_path) as here:
        await here.run()
        assert (await verdict(here.gateway_port, "/readyz", 200))["ready"] is True
        alive = await verdict(here.gateway_port, "/healthz", 200)
        assert set(alive["silent_seconds"]) == {"event_loop", "spool"}
        here.broker.kill()
        away = {"ready": False, "reason": "not connected"}
        checks = await reason(here.gateway_port, lambda checks: checks["broker"] == away, "a broker that is away")
        assert checks["machines"] == checks["spool"] == {"ready": True}
        assert get(here.gateway_port, "/healthz")[0] == 200
        waiting = await scraped(
            here.gateway_port, lambda now: total(now, "lineside_spool_oldest_record_age_seconds") > 2, "an old record"
        )
        assert values(waiting, "lineside_broker_connected") == [0]
        assert total(waiting, "lineside_spool_records") > 0
        assert 0 < total(waiting, "lineside_spool_bytes") < total(waiting, "lineside_spool_used_bytes")
        await here.broker.restart()
        await verdict(here.gateway_port, "/readyz", 200)
        again = await scraped(
            here.gateway_port, lambda now: values(now, "lineside_broker_connected") == [1], "broker"
        )
        assert values(again, "lineside_broker_connects_total") == [2]


async def test_the_age_of_a_backlog_goes_on_over_a_restart(tmp_path: Path):
    """The times of the records of a former process are in the records."""
    async with line(tmp_path) as here:
        here.broker.kill()
        gateway = await here.run()
        await scraped(here.gateway_port, lambda now: total(now, "lineside_spool_records") > 5, "a backlog")
        began = time.time()
        gateway.kill()
        await asyncio.sleep(2.0)  # the age of a record is measured in seconds
        await gateway.restart()
        found = await scraped(here.gateway_port, lambda now: total(now, "lineside_spool_records") > 5, "a backlog")
        assert total(found, "lineside_spool_oldest_record_age_seconds") >= time.time() - began - 1.5


async def test_machines_beyond_the_limit_are_in_the_sums_only(tmp_path: Path):
    """The number of series is bounded by the configuration."""
    async with line(tmp_path) as here:
        here.metrics = {"machines": 1}
        await here.run()
        found = await scraped(
            here.gateway_port, lambda now: values(now, "lineside_machines", state="online") == [2], "both"
        )
        named = {dict(labels)["machine"] for name, labels in found if name.startswith("lineside_machine_")}
        assert named == {"m-01"}
        assert values(found, "lineside_machines_without_series") == [1]
        assert values(found, "lineside_points", quality="good") == [4]
        assert not values(found, "lineside_point_quality")


async def test_one_endpoint_speaks_for_all_workers(tmp_path: Path):
    """And it says which worker does not run, while its machines are not read."""
    async with line(tmp_path) as here:
        here.gateway = {"workers": 2}
        gateway = await here.run()
        found = await scraped(
            here.gateway_port, lambda now: total(now, "lineside_machines", state="online") == 2, "both machines"
        )
        workers = {dict(labels)["worker"] for _, labels in found}
        assert workers == {"1", "2", "supervisor", "retired"}
        assert values(found, "lineside_worker_up") == [1, 1]
        by_worker = {dict(labels)["worker"]: dict(labels)["machine"] for name, labels in found
                     if name == "lineside_machine_readings_total"}  # fmt: skip
        assert sorted(by_worker) == ["1", "2"]
        assert sorted(by_worker.values()) == ["m-01", "m-02"]
        assert len(values(found, "process_cpu_seconds_total")) == 3
        assert series_of(GATEWAY) - {name for name, _ in found} <= {"lineside_point_quality", *SELF_TEST, *NOTIFY}
        ready = await verdict(here.gateway_port, "/readyz", 200)
        assert {"worker 1", "worker 2", "broker", "machines"} <= set(ready["checks"])
        alive = await verdict(here.gateway_port, "/healthz", 200)
        assert set(alive["silent_seconds"]) == {"event_loop", "worker 1", "worker 2", "spool 1", "spool 2"}

        stopped = worker_pids(gateway.pid)[0]
        signal_process(stopped, signal.SIGSTOP)
        down = await scraped(
            here.gateway_port, lambda now: 0 in values(now, "lineside_worker_up"), "a stopped worker"
        )
        assert sorted(values(down, "lineside_worker_up")) == [0, 1]
        assert len(values(down, "process_cpu_seconds_total")) == 2
        signal_process(stopped, signal.SIGCONT)
        signal_process(stopped, signal.SIGKILL)
        again = await scraped(
            here.gateway_port,
            lambda now: (
                values(now, "lineside_worker_up") == [1, 1] and total(now, "lineside_worker_restarts_total") == 1
            ),
            "a new worker",
        )
        assert total(again, "lineside_worker_restarts_total") == 1


def worker_pids(supervisor: int) -> list[int]:
    """Return the process ids of the workers of a supervisor."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"--supervisor" in words and words[words.index(b"--supervisor") + 1] == str(supervisor).encode():
            found.append(int(entry.name))
    return found


def signal_process(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


async def test_a_port_in_use_does_not_stop_the_gateway(tmp_path: Path):
    """Metrics are for people; readings are the work. The port is used once it is free."""
    async with line(tmp_path) as here:
        with socket.create_server((LOOPBACK, here.gateway_port)):
            gateway = await here.run()
            event = await gateway.logged("metrics.not_listening")
            assert event["error"] == "Address already in use"
            assert "gateway.metrics.listen" in event["hint"]
            await gateway.logged("machine.online", times=2)
        await gateway.logged("metrics.listening")
        assert len(gateway.events("metrics.not_listening")) == 1
        assert (await verdict(here.gateway_port, "/readyz", 200))["ready"]
        assert await gateway.stop() == 0
        assert not gateway.events("helper.failed")


async def test_nothing_listens_without_an_address(tmp_path: Path):
    async with line(tmp_path) as here:
        here.metrics = {"listen": None}
        gateway = await here.run()
        await gateway.logged("machine.online", times=2)
        assert get(here.gateway_port, "/metrics") == (0, "")
        assert not gateway.events("metrics.listening")


def flood(port: int) -> list[socket.socket]:
    """Connect many times: say nothing, stop in a request, send several and read no answer, or send too much."""
    clients = []
    for n in range(200):
        client = socket.create_connection((LOOPBACK, port), timeout=30)
        with suppress(OSError):  # closed meanwhile to make room
            client.sendall((b"", b"GET /met", b"GET /metrics HTTP/1.1\r\n\r\n" * 4, b"x" * 16_000)[n % 4])
        clients.append(client)
    return clients


async def test_slow_clients_and_floods_do_not_delay_the_machines(tmp_path: Path):
    """The server has a thread of its own, and everything that a client can do is bounded."""
    async with line(tmp_path) as here:
        await here.run()
        before = await scraped(here.gateway_port, lambda now: total(now, "lineside_scans_due_total") > 20, "scans")
        # in threads: the machines are served by this event loop
        clients = await asyncio.to_thread(flood, here.gateway_port)
        await asyncio.gather(*(asyncio.to_thread(get, here.gateway_port, "/metrics") for _ in range(100)))
        after = await scraped(
            here.gateway_port,
            lambda now: total(now, "lineside_scans_due_total") > total(before, "lineside_scans_due_total") + 40,
            "more scans",
        )
        for client in clients:
            client.close()
        missed = total(after, "lineside_scans_missed_total") - total(before, "lineside_scans_missed_total")
        assert missed <= 4, "of 40 that were due every 100 ms"
        assert total(after, "process_open_fds") < total(before, "process_open_fds") + 60


async def test_a_store_that_is_away_makes_ingest_not_ready(tmp_path: Path):
    async with line(tmp_path) as here:
        here.stores.append({"influxdb": {"url": f"http://{LOOPBACK}:{free_port()}", "bucket": "telemetry"}})
        await here.run()
        await here.ingest()
        unavailable = {"ready": False, "reason": "unavailable"}
        await reason(here.ingest_port, lambda checks: checks["store influxdb"] == unavailable, "a store that is away")
        found = await scraped(
            here.ingest_port,
            lambda now: total(now, "lineside_store_failures_total", store="influxdb") > 1,
            "failures",
        )
        assert values(found, "lineside_store_available", store="influxdb") == [0]
        assert get(here.ingest_port, "/healthz")[0] == 200


async def test_several_ingests_of_one_file_have_addresses_of_their_own(tmp_path: Path):
    async with line(tmp_path) as here:
        here.write()
        other = free_port()
        await Lineside.start("ingest", here.config, "--id", "ingest-2", "--metrics", str(other))
        found = await scraped(
            other, lambda now: "lineside_ingest_records_total" in {name for name, _ in now}, "ingest-2"
        )
        assert values(found, "lineside_ingest_records_total", ingest="ingest-2") == [0]
        wrong = await Lineside.start("ingest", here.config, "--metrics", "nowhere")
        assert await wrong.ended() == 2
        assert "write HOST:PORT" in wrong.last_words()


# -- dashboards --

CHOSEN = {
    "__rate_interval": "10s", "__interval": "10s", "site": ".*", "gateway": "edge-01", "ingest": ".*", "line": ".*",
    "machine": ".*", "unit": ".*", "template": "counter", "point": "count", "timeFilter": "time > now() - 1h",
}  # fmt: skip
"""What Grafana puts in place of variables."""

EMPTY = {
    "Alerts that fire", "Machines that are not online", "Machines with missed scans", "Readings dropped",
    "Bad and uncertain readings in an hour", "Bad readings a minute by reason", "Bad and uncertain readings",
    "Readings that are not good, by machine", "Readings that are not good, by point", "Events of drivers",
    "Checks of the self-test that failed",
    "Alarms by state",
    "Annunciations",
    "Messages about alarms", "Alarms that nobody was notified of",
}  # fmt: skip
"""Panels that have nothing to show while all is well."""


def filled(expression: str) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: CHOSEN[match[1]], expression)


def panels(*names: str) -> list[tuple[str, str]]:
    """Return the title and the query of each target of some dashboards."""
    return [
        (panel["title"], filled(target.get("expr") or target["query"]))
        for name in names
        for panel in json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", ())
    ]


async def test_the_queries_of_all_dashboards_are_answered(
    tmp_path: Path, victoria_metrics: VictoriaMetrics, influxd: Influxd, influx_database: str
):
    """A query with an error shows an empty panel. Each is asked of the server that it is for."""
    async with line(tmp_path) as here:
        here.stores += [victoria_metrics.store(), influxd.store(influx_database)]
        await here.run()
        await here.ingest()
        server = await Prometheus.start(
            tmp_path, jobs={"lineside-gateway": here.gateway_port, "lineside-ingest": here.ingest_port}
        )

        def empty() -> set[str]:
            return {title for title, query in panels("fleet", "gateway", "ingest") if not server.query(query)}

        await until(lambda: empty() <= EMPTY, "Prometheus has values for each panel", SECONDS)

        def asked() -> set[str]:
            victoria_metrics.request("GET", "/internal/force_flush")
            missing = set()
            for title, query in panels("plant-victoriametrics"):
                answer = json.loads(victoria_metrics.request("GET", "/api/v1/query", query=query, step="10s"))
                assert answer["status"] == "success", (title, answer)
                if not answer["data"]["result"]:
                    missing.add(title)
            return missing

        await until(lambda: asked() <= EMPTY, "VictoriaMetrics has readings for each panel", SECONDS)
        await until(lambda: not influx_missing(influxd, influx_database) - EMPTY, "InfluxDB has readings", SECONDS)


def influx_missing(influxd: Influxd, database: str) -> set[str]:
    """Return the titles of the panels for which InfluxDB has no rows; an error of a query fails the test."""
    return {title for title, query in panels("plant-influxdb") if not influxd.query(database, query)}


def test_every_kind_of_metric_is_in_a_dashboard():
    """Most metrics are worth a look: the exceptions are named here."""
    shown = " ".join(query for _, query in panels("fleet", "gateway", "ingest"))
    unseen = {one.name for one in (*GATEWAY, *INGEST) if one.name not in shown and one.kind is not Kind.SUMMARY}
    assert unseen <= {
        "lineside_machines_without_series", "lineside_point_quality", "lineside_device_clock_difference_max_seconds",
        "lineside_spool_commits_failed_total", "lineside_spool_confirmations_refused_total", "lineside_worker_up",
        "lineside_worker_restarts_total", "lineside_scrape_collect_seconds", "lineside_machine_readings_total",
        "lineside_machine_scans_due_total", "lineside_machine_points", "lineside_ingest_readings_set_aside_total",
        "process_virtual_memory_bytes", "process_start_time_seconds", "process_max_fds",
        "lineside_self_test_timestamp_seconds",
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _servers_are_there() -> None:
    need("mosquitto")
