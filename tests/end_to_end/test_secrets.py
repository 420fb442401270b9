"""No secret leaves the process: a run with several, in all that it writes, sends and says."""

from __future__ import annotations

import base64
import hashlib
import os
import tarfile
from typing import TYPE_CHECKING

from processes import Lineside, free_port, lineside, until, write_factory
from servers import Mosquitto
from stored import rows

if TYPE_CHECKING:
    from pathlib import Path

BROKER, STORE, SERVER = "s3cret-of-the-broker", "t0ken-of-the-store", "pa55-of-the-plc"
SECRETS = {"broker_password": BROKER, "influx_token": STORE, "plc_password": SERVER}


def hashed(password: str) -> str:
    """Return a password as the broker keeps it: PBKDF2 with SHA-512."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def everything(folder: Path, *but: Path) -> dict[Path, bytes]:
    """Return the content of every file of a run, but for those that hold secrets on purpose."""
    files = [
        file for file in folder.rglob("*") if file.is_file() and not any(file.is_relative_to(one) for one in but)
    ]
    return {file: file.read_bytes() for file in files}


async def test_no_secret_is_in_any_log_page_record_or_error_of_a_run(tmp_path: Path) -> None:
    """Logs are collected, records are archived, and errors are pasted into tickets.

    One machine is simulated; the server that asks for a password, and one of the two stores, are not there, so that
    the logs of their failures are looked at as well. Then the secrets are wrong, and the broker refuses them.
    """
    keys, passwords = tmp_path / "secrets", tmp_path / "passwords"
    keys.mkdir()
    for name, value in SECRETS.items():
        (keys / name).write_text(value, encoding="utf-8")
    passwords.write_text(f"edge:{hashed(BROKER)}\n", encoding="utf-8")
    passwords.chmod(0o600)
    mosquitto = Mosquitto(tmp_path, f"password_file {passwords}", "log_type all")
    mosquitto.lines.remove("allow_anonymous true")
    await mosquitto.up()
    config = plant(tmp_path, mosquitto.url)
    environment = {"LINESIDE_SECRETS": str(keys)}
    simulator = await Lineside.start("simulate", only_modbus(config))
    await simulator.logged("simulation.started")
    gateway = await Lineside.start("run", config, "--report", str(tmp_path / "run.json"), environment=environment)
    ingest = await Lineside.start(
        "ingest", config, "--report", str(tmp_path / "ingest.json"), environment=environment
    )
    await until(lambda: rows(tmp_path / "readings.db", point="state"), "a reading is stored", 60)
    said = [await command(config, environment, *line) for line in LOOKS]
    said += [await with_findings(config, environment, *line) for line in FINDINGS]
    ticket = tmp_path / "ticket.tar.gz"
    logs = [part for service in (gateway, ingest) for part in ("--log-file", str(service.log))]
    said.append(await with_findings(config, environment, "diagnose", str(config), "--out", str(ticket), *logs))
    with tarfile.open(ticket) as archive:
        said += [archive.extractfile(entry).read() for entry in archive.getmembers()]  # type: ignore[union-attr]
    for service in (gateway, ingest):
        await service.stop()
    wrong = await Lineside.start(
        "run", config, environment={f"LINESIDE_SECRET_{n.upper()}": "wr0ng" for n in SECRETS}
    )
    await wrong.logged("mqtt.not_connected")
    await wrong.stop()
    found = everything(tmp_path, keys)
    assert {tmp_path / "run.json", gateway.log, ingest.log, wrong.log, tmp_path / "readings.db"} <= set(found)
    for secret in [*SECRETS.values(), "wr0ng"]:
        for form in secret.encode(), base64.b64encode(secret.encode()):
            assert [file for file, content in found.items() if form in content] == []
            assert [line for line in said if form in line] == []


LOOKS = [
    ("validate", "{}"), ("validate", "{}", "--format", "json"), ("show", "{}"), ("show", "{}", "--format", "yaml"),
    ("show", "{}", "--format", "json"), ("plan", "{}", "--requests"), ("export-points", "{}"),
    ("tail", "-c", "{}", "--count", "1"), ("query", "-c", "{}", "--last", "1h"), ("certs", "list", "{}"),
]  # fmt: skip
"""What people look at a running gateway with."""


FINDINGS = [("status", "{}"), ("status", "{}", "--format", "json"), ("fleet", "{}", "--format", "json")]
"""The same, which say with their exit code that a store is away."""


async def with_findings(config: Path, environment: dict[str, str], *arguments: str) -> bytes:
    line = [argument.format(config) for argument in arguments]
    ran = await lineside(*line, folder=config.parent, environment=os.environ | environment)
    assert ran.code in {0, 1}, ran
    return (ran.text + ran.error).encode()


async def command(config: Path, environment: dict[str, str], *arguments: str) -> bytes:
    line = [argument.format(config) for argument in arguments]
    ran = await lineside(*line, folder=config.parent, environment=os.environ | environment)
    assert (arguments, ran.code, ran.error) == (arguments, 0, "")
    return ran.text.encode()


def plant(folder: Path, broker: str) -> Path:
    connection = f"modbus+tcp://127.0.0.1:{free_port()}?timeout=0.5"
    server = {
        "url": f"opc.tcp://127.0.0.1:{free_port()}", "namespace": "urn:x", "username": "edge",
        "password": {"secret": "plc_password"}, "pki": str(folder / "pki"),
    }  # fmt: skip
    machines = {
        "m-01": {"template": "packml-modbus", "connection": connection},
        "m-02": {"template": "packml-opcua", "connection": server},
    }
    influx = {"url": f"http://127.0.0.1:{free_port()}", "bucket": "b", "token": {"secret": "influx_token"}}
    return write_factory(
        folder / "factory.yaml",
        gateway={"id": "edge-01", "spool": {"folder": str(folder / "spool")}, "confirm": "broker"},
        broker={"url": broker, "username": "edge", "password": {"secret": "broker_password"}},
        ingest={"folder": str(folder)},
        stores=[{"sqlite": {"path": str(folder / "readings.db")}}, {"influxdb": influx}],
        lines={"line": {"area": "area", "machines": machines}},
    )


def only_modbus(config: Path) -> Path:
    """Write a factory of the machine that is simulated."""
    import yaml

    data = yaml.safe_load(config.read_text(encoding="utf-8"))
    del data["lines"]["line"]["machines"]["m-02"]
    file = config.with_name("simulated.yaml")
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file
