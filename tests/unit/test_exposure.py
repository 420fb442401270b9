"""Exposures of a configuration to others on the network, and how a person accepts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from drivers.exposure import is_everywhere, is_loopback
from gateway.cli import main
from gateway.settings.exposure import GATEWAY, INGEST, log_exposures
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path

SAFE = {
    "gateway": "gateway: {id: edge-01}",
    "ingest": "ingest: {}",
    "broker": 'broker: {url: "mqtt://localhost"}',
    "store": "  - sqlite: {path: readings.db}",
    "press": 'connection: "modbus+tcp://10.20.1.11:502"',
    "tbm": 'connection: "opc.tcp://10.20.2.21:4840"',
}


def factory(folder: Path, **changed: str) -> Path:
    """Write a factory that exposes nothing, but for the parts that are changed."""
    parts = SAFE | changed
    file = folder / "factory.yaml"
    file.write_text(
        f"""format: 1
factory: {{enterprise: acme, site: north}}
{parts["gateway"]}
{parts["ingest"]}
{parts["broker"]}
stores:
{parts["store"]}
lines:
  line-1:
    area: area
    machines:
      press: {{template: curing-press, {parts["press"]}}}
      tbm: {{template: tire-building-machine, {parts["tbm"]}}}
""",
        encoding="utf-8",
    )
    return file


def validate(file: Path) -> Result:
    return CliRunner().invoke(main, ["validate", "--strict", str(file)])


EXPOSED = [
    # part, text, line, key, correction
    ("broker", 'broker: {url: "mqtt://broker.plant"INSECURE}', 5, "broker.url", "write mqtts://broker.plant:8883"),
    (
        "broker",
        'broker: {url: "mqtt://127.0.0.1", backup: "mqtt://10.0.0.9"INSECURE}',
        5, "broker.url", "write mqtts://10.0.0.9:8883",
    ),
    (
        "broker",
        'broker: {url: "mqtt://broker.plant", username: u, password: {secret: p}INSECURE}',
        5, "broker.url", "the password and all records cross the network to broker.plant as readable text",
    ),
    (
        "store",
        '  - influxdb: {url: "http://tsdb:8086", bucket: b, token: {secret: t}INSECURE}',
        7, "stores.0.influxdb.url", "the token and all rows cross the network to tsdb as readable text",
    ),
    (
        "store",
        '  - influxdb: {url: "http://tsdb", api: v1, database: b, username: u, password: {secret: t}INSECURE}',
        7, "stores.0.influxdb.url", "write https://tsdb, and ca: FILE",
    ),
    ("store", '  - influxdb: {url: "http://10.0.0.5:8428", bucket: b INSECURE}', 7, "stores.0.influxdb.url", "rows "),
    (
        "gateway",
        'gateway: {id: edge-01, metrics: {listen: "0.0.0.0:9464"INSECURE}}',
        3, "gateway.metrics.listen", "anybody who reaches 0.0.0.0:9464 can read",
    ),
    (
        "ingest",
        'ingest: {metrics: {listen: "10.0.0.1:9464"INSECURE}}',
        4, "ingest.metrics.listen", "anybody who reaches 10.0.0.1:9464 can read",
    ),
    (
        "tbm",
        'connection: {url: "opc.tcp://10.20.2.21:4840", security: none INSECURE}',
        13, "lines.line-1.machines.tbm.connection", "write security: auto (or leave it out), and trust",
    ),
    (
        "tbm",
        'connection: {url: "opc.tcp://127.0.0.1", backup: "10.20.2.22", security: none INSECURE}',
        13, "lines.line-1.machines.tbm.connection", "messages cross the network to 10.20.2.22",
    ),
    (
        "tbm",
        'connection: {url: "opc.tcp+reverse://0.0.0.0:4841", server_uri: "urn:a", security: none INSECURE}',
        13, "lines.line-1.machines.tbm.connection", "messages cross the network",
    ),
    (
        "press",
        'connection: {url: "modbus+listen://0.0.0.0:5020" INSECURE}',
        12, "lines.line-1.machines.press.connection", "every network of this machine reaches port 5020",
    ),
    (
        "press",
        'connection: {url: "modbus+listen://[::]:5020", peer: 10.20.1.11 INSECURE}',
        12, "lines.line-1.machines.press.connection", "in place of ::, and peer: ADDRESS or NETWORK",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("part", "written", "line", "key", "right"), EXPOSED)
def test_an_exposure_is_a_warning_until_a_person_accepts_it(
    tmp_path: Path, part: str, written: str, line: int, key: str, right: str
) -> None:
    """With its line and what would be right; --strict refuses it, but with `insecure: true` beside it."""
    file = factory(tmp_path, **{part: written.replace("INSECURE", "")})
    ran = validate(file)
    assert ran.exit_code == 1
    [warning] = [one for one in ran.stderr.splitlines() if ": warning: " in one]
    assert warning.startswith(f"{file}:{line}:")
    assert f": warning: {key}: " in warning
    assert right in warning
    assert "write insecure: true and the reason beside it" in warning
    accepted = factory(tmp_path, **{part: written.replace("INSECURE", ", insecure: true")})
    assert validate(accepted).exit_code == 0, validate(accepted).output


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ("broker", 'broker: {url: "mqtt://localhost:1883", username: u, password: {secret: p}}'),
        ("broker", 'broker: {url: "mqtt://127.0.0.5", backup: "mqtt://[::1]"}'),
        ("broker", 'broker: {url: "mqtts://broker.plant"}'),
        ("store", '  - influxdb: {url: "http://localhost:8086", bucket: b, token: {secret: t}}'),
        ("store", '  - influxdb: {url: "https://tsdb:8086", bucket: b, token: {secret: t}}'),
        ("gateway", "gateway: {id: edge-01, metrics: {listen: 9464}}"),
        ("ingest", 'ingest: {metrics: {listen: "localhost:9464"}}'),
        ("tbm", 'connection: {url: "opc.tcp://localhost:4840", security: none}'),
        ("tbm", 'connection: {url: "opc.tcp+reverse://0.0.0.0:4841", server_uri: "urn:a"}'),
        ("press", 'connection: "modbus+tcp://10.20.1.11:502"'),
        ("press", 'connection: "modbus+rtutcp://10.20.1.11:4001"'),
        ("press", 'connection: "modbus+udp://10.20.1.11"'),
        ("press", 'connection: "modbus+listen://10.20.1.2:5020?peer=10.20.1.0/24"'),
        ("press", 'connection: "modbus+listen://127.0.0.1:5020"'),
    ],
)
def test_protected_local_and_unavoidable_connections_are_no_exposure(tmp_path: Path, part: str, written: str) -> None:
    """Plain Modbus to a device is what most plants have, and the device knows nothing else."""
    ran = validate(factory(tmp_path, **{part: written}))
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize(
    ("part", "written", "message"),
    [
        ("broker", 'broker: {url: "mqtts://broker.plant", insecure: true}', "mqtts:// is secure: leave it out"),
        (
            "store",
            '  - influxdb: {url: "https://tsdb", bucket: b, insecure: true}',
            "https:// is secure: leave it out",
        ),
        ("tbm", 'connection: "opc.tcp://10.20.2.21?insecure=true"', "security: auto is secure: leave it out"),
        ("press", 'connection: "modbus+tcp://10.20.1.11?insecure=true"', "insecure are for modbus+listen alone"),
    ],
)
def test_insecure_beside_a_secure_connection_is_an_error(
    tmp_path: Path, part: str, written: str, message: str
) -> None:
    """It would accept a later mistake without a message."""
    ran = validate(factory(tmp_path, **{part: written}))
    assert ran.exit_code == 1
    assert message in ran.stderr


def test_machines_of_a_file_with_lines_alone_are_looked_at(tmp_path: Path) -> None:
    """An editor, or a build, checks the file that changed."""
    file = tmp_path / "lines.yaml"
    connection = "opc.tcp://10.20.2.{n}?security=none"
    file.write_text(
        "format: 1\nlines:\n  line-1:\n    area: a\n    machines:\n"
        f'      "tbm-{{01..02}}": {{template: tire-building-machine, connection: "{connection}"}}\n',
        encoding="utf-8",
    )
    ran = validate(file)
    assert ran.exit_code == 1
    assert ran.stderr.count(f"{file}:6:") == 2
    assert "to 10.20.2.1 as" in ran.stderr


def test_machines_behind_one_port_may_differ_in_what_is_accepted(tmp_path: Path) -> None:
    """It is not a property of the connection, and must not split a connection in two."""
    connection = "opc.tcp://10.20.2.21?security=none&namespace=urn:{}{}"
    file = factory(
        tmp_path,
        tbm=f'connection: "{connection.format("a", "")}"}}\n      other: {{template: tire-building-machine, '
        f'connection: "{connection.format("b", "&insecure=true")}"',
    )
    loaded = load_factory(file)
    one, other = (machine.connection.shared() for machine in loaded.machines if machine.path.machine != "press")
    assert one == other


def test_a_service_logs_its_exposures_once_and_starts(tmp_path: Path) -> None:
    """An upgrade stops no plant: who did not validate the file finds it in the log."""
    file = factory(
        tmp_path,
        broker='broker: {url: "mqtt://broker.plant"}',
        store='  - influxdb: {url: "http://tsdb", bucket: b}',
        tbm='connection: "opc.tcp://10.20.2.21?security=none"',
    )
    loaded = load_factory(file)
    with capture_logs() as logs:
        known = log_exposures(loaded, GATEWAY)
        log_exposures(loaded, GATEWAY, known)
    assert [(one["event"], one["file"], one["key"]) for one in logs] == [
        ("configuration.exposed", f"{file}:5", "broker.url"),
        ("configuration.exposed", f"{file}:13", "lines.line-1.machines.tbm.connection"),
    ]
    with capture_logs() as logs:
        log_exposures(loaded, INGEST)
    assert [one["key"] for one in logs] == ["broker.url", "stores.0.influxdb.url"]


def test_a_reload_logs_what_is_new(tmp_path: Path) -> None:
    """A person has seen another address in the log."""
    before = load_factory(factory(tmp_path, broker='broker: {url: "mqtt://broker.plant"}'))
    known = log_exposures(before, GATEWAY)
    after = load_factory(factory(tmp_path, broker='broker: {url: "mqtt://other.plant"}'))
    with capture_logs() as logs:
        log_exposures(after, GATEWAY, known)
    assert [one["key"] for one in logs] == ["broker.url"]
    assert "other.plant" in logs[0]["hint"]


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("LOCALHOST.", True),
        ("ip6-localhost", True), ("0.0.0.0", False), ("::", False),  # noqa: S104 - text
        ("10.0.0.1", False), ("broker", False),
        ("localhost.example", False), ("", False),
    ],
)  # fmt: skip
def test_a_host_is_this_machine_by_its_name_or_address_alone(host: str, *, local: bool) -> None:
    """Nothing is resolved: a name server must not decide what is safe."""
    assert is_loopback(host) == local


@pytest.mark.parametrize(("host", "all_"), [("0.0.0.0", True), ("::", True), ("", True), ("10.0.0.1", False)])  # noqa: S104 - text
def test_an_address_stands_for_all_of_this_machine(host: str, *, all_: bool) -> None:
    assert is_everywhere(host) == all_
