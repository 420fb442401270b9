"""The containers of compose.yaml without Docker: their files and commands with the programs of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
import yaml
from compose_file import read_compose
from paho.mqtt.enums import CallbackAPIVersion
from processes import LOOPBACK, Lineside, need, until
from servers import Server
from stored import rows

if TYPE_CHECKING:
    from paho.mqtt.reasoncodes import ReasonCode

ROOT = Path(__file__).parents[2]
COMPOSE = read_compose(ROOT / "compose.yaml")
SECONDS = 30
NOT_AUTHORIZED = 0x87

HEALTH = ROOT / "deploy" / "container" / "health"


def mounted(service: str, secrets: Path) -> dict[str, str]:
    """Return the files of a service's secrets: their paths in the container, and those on this machine."""
    folder = "deploy/compose/secrets"
    return {
        f"/run/secrets/{one.target}": str(secrets / Path(COMPOSE.secrets[one.source].file).relative_to(folder))
        for one in COMPOSE.services[service].secrets
    }


def run(*command: str | Path) -> tuple[int, str]:
    """Return the exit code and the output of a command."""
    ran = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return ran.returncode, ran.stdout


def replaced(text: str, by: dict[str, str]) -> str:
    for before, after in by.items():
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `deploy/compose/prepare` makes."""
    need("openssl")
    folder = tmp_path_factory.mktemp("prepared") / "secrets"
    subprocess.run([ROOT / "deploy/compose/prepare", folder], check=True, capture_output=True)
    return folder


class ExampleBroker(Server):
    """Mosquitto with the configuration and the rights of the example."""

    program = "mosquitto"

    def __init__(self, folder: Path, *, secrets: Path) -> None:
        super().__init__(folder)
        self._paths = mounted("broker", secrets)

    def command(self) -> list[str]:
        conf = self.folder / "mosquitto.conf"
        acl = self.folder / "acl"
        shutil.copyfile(ROOT / "deploy/compose/mosquitto/acl", acl)
        text = (ROOT / "deploy/compose/mosquitto/mosquitto.conf").read_text(encoding="utf-8")
        places = {
            "listener 8883": f"listener {self.port} {LOOPBACK}",
            "/mosquitto/config/acl": str(acl),
            "/mosquitto/data": str(self.folder),
        }
        user = "user root\n" if os.geteuid() == 0 else ""
        conf.write_text(user + replaced(text, self._paths | places), encoding="utf-8")
        return [need("mosquitto"), "-c", str(conf)]


def test_prepare_makes_every_secret_of_the_file_and_keeps_those_that_exist(secrets: Path):
    """A person runs it again after a change of the list of clients."""
    files = {Path(secret.file).name for secret in COMPOSE.secrets.values()}
    before = {file.name: file.read_bytes() for file in secrets.iterdir()}
    assert files <= set(before)
    assert oct(secrets.stat().st_mode & 0o777) == "0o700"
    again = subprocess.run([ROOT / "deploy/compose/prepare", secrets], check=True, capture_output=True, text=True)
    assert again.stdout == ""
    assert {file.name: file.read_bytes() for file in secrets.iterdir()} == before
    (secrets / "viewer.pem").unlink()
    again = subprocess.run([ROOT / "deploy/compose/prepare", secrets], check=True, capture_output=True, text=True)
    assert again.stdout == f"{secrets}/viewer.pem\n"


async def test_readings_travel_with_the_rights_of_the_example(tmp_path: Path, secrets: Path):
    """Over TLS with client certificates, from simulated machines into a store, and nothing is denied."""
    broker = await ExampleBroker.start(tmp_path, secrets=secrets)
    data = yaml.safe_load((ROOT / "deploy/compose/lineside/factory.yaml").read_text(encoding="utf-8"))
    data["broker"]["url"] = f"mqtts://{LOOPBACK}:{broker.port}"
    data["gateway"]["spool"]["folder"] = str(tmp_path / "spool")
    data["ingest"]["folder"] = str(tmp_path / "ingest")
    data["stores"] = [{"sqlite": {"path": str(tmp_path / "readings.db")}}]
    factory = tmp_path / "factory.yaml"
    factory.write_text(yaml.safe_dump(data), encoding="utf-8")
    await Lineside.simulate(factory, tmp_path / "moved.yaml")
    services = []
    for command, name in (("run", "gateway"), ("ingest", "ingest")):
        config = tmp_path / f"{name}.yaml"
        text = (tmp_path / "moved.yaml").read_text(encoding="utf-8")
        config.write_text(replaced(text, mounted(name, secrets)), encoding="utf-8")
        services.append(await Lineside.start(command, config))
    gateway, ingest = services
    await until(lambda: len(rows(tmp_path / "readings.db")) > 0, "a reading is stored", SECONDS)
    for machine in ("press-01", "tbm-01"):
        await until(lambda machine=machine: rows(tmp_path / "readings.db", machine=machine), f"{machine} is stored")
    health = COMPOSE.services["broker"].healthcheck.test
    assert health is not None
    places = mounted("broker", secrets) | {"localhost": LOOPBACK, "8883": str(broker.port), "$$": "$"}
    check = [replaced(word, places) for word in health[1:]]
    code, said = run(need(check[0]), *check[1:])
    assert (code, said.partition(" version")[0]) == (0, "mosquitto")
    assert run(HEALTH, tmp_path / "spool") == (0, "")
    await gateway.stop()
    await ingest.stop()
    events = {event["event"] for service in services for event in service.events()}
    assert {event for event in events if "denied" in event or "unconfirmed" in event or "failed" in event} == set()
    stopped = gateway.events("gateway.stopped")[0]
    assert stopped["confirmed"] > 0


ROOT_TOPIC = "lineside/v1/doublestar/huangdao"

DENIED = [
    ("edge-compose-01", f"{ROOT_TOPIC}/packing/packing-1/m-01/data"),  # another line
    ("edge-compose-01", f"{ROOT_TOPIC}/_gateways/edge-02/state"),  # another gateway
    ("edge-compose-01", f"{ROOT_TOPIC}/_ingests/ingest-edge-compose-01/state"),
    ("ingest", f"{ROOT_TOPIC}/curing/curing-1/press-01/data"),
    ("ingest", f"{ROOT_TOPIC}/_gateways/edge-compose-01/state"),
    ("viewer", f"{ROOT_TOPIC}/curing/curing-1/press-01/data"),
    ("viewer", f"{ROOT_TOPIC}/_gateways/edge-compose-01/confirmed"),
    ("health", f"{ROOT_TOPIC}/curing/curing-1/press-01/data"),
]

ALLOWED = [
    ("edge-compose-01", f"{ROOT_TOPIC}/curing/curing-1/press-01/data"),
    ("edge-compose-01", f"{ROOT_TOPIC}/_gateways/edge-compose-01/ledger"),
    ("ingest", f"{ROOT_TOPIC}/_gateways/edge-compose-01/confirmed"),
]


async def test_the_broker_denies_everything_else(tmp_path: Path, secrets: Path):
    """A stolen certificate of one box must not write readings of another, or confirm records that no store has."""
    broker = await ExampleBroker.start(tmp_path, secrets=secrets)
    for user, topic in DENIED:
        assert publish(broker.port, secrets, user, topic) == NOT_AUTHORIZED, (user, topic)
    for user, topic in ALLOWED:
        assert publish(broker.port, secrets, user, topic) != NOT_AUTHORIZED, (user, topic)


async def test_the_broker_refuses_a_client_without_a_certificate(tmp_path: Path, secrets: Path):
    broker = await ExampleBroker.start(tmp_path, secrets=secrets)
    context = ssl.create_default_context(cafile=secrets / "ca.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the handshake itself shows it; with 1.3 the first read does
    with socket.create_connection((LOOPBACK, broker.port)) as plain, pytest.raises(ssl.SSLError, match="alert"):
        context.wrap_socket(plain, server_hostname=LOOPBACK)


def publish(port: int, secrets: Path, user: str, topic: str) -> int:
    """Publish a message with the certificate of a user, and return the reason code of the broker."""
    context = ssl.create_default_context(cafile=secrets / "ca.pem")
    context.load_cert_chain(secrets / f"{user}.pem", secrets / f"{user}.key")
    client = paho.Client(CallbackAPIVersion.VERSION2, f"test-{user}", protocol=paho.MQTTv5)
    client.tls_set_context(context)
    codes: list[int] = []
    answered = threading.Event()

    def on_publish(_: paho.Client, __: Any, ___: int, reason: ReasonCode, ____: Any) -> None:
        codes.append(reason.value)
        answered.set()

    client.on_connect = lambda *_: client.publish(topic, b"{}", qos=1)
    client.on_publish = on_publish
    client.connect(LOOPBACK, port)
    client.loop_start()
    try:
        assert answered.wait(SECONDS), "the broker did not answer"
    finally:
        client.disconnect()
        client.loop_stop()
    return codes[0]


def test_the_health_check_sees_a_service_that_hangs_or_never_ran(tmp_path: Path):
    """Docker shows it as unhealthy."""
    assert run(HEALTH, tmp_path / "nowhere") == (1, f"no sign of life in {tmp_path}/nowhere within 15 s\n")
    file = tmp_path / "edge-01.alive"
    file.touch()
    assert run(HEALTH, tmp_path) == (0, "")
    old = time.time() - 16
    os.utime(file, (old, old))
    assert run(HEALTH, tmp_path) == (1, f"no sign of life in {tmp_path} within 15 s\n")


INFLUX = """\
#!/bin/sh
# stands for the client of InfluxDB 2: answers as it does, and notes how it was called
printf '%s|%s\\n' "$INFLUX_TOKEN" "$*" >>"$CALLS"
case "$1 $2" in
"bucket list") printf '0a1b2c3d4e5f6071\\ttelemetry\\tinfinite\\t168h0m0s\\t9f8e7d6c5b4a3928\\timplicit\\n' ;;
"auth create") printf '{\\n\\t"id": "0c",\\n\\t"token": "token-of-%s==",\\n\\t"status": "active"\\n}\\n' "$5" ;;
esac
"""


def test_ingest_and_grafana_get_a_token_each_with_one_right(tmp_path: Path):
    """The token that may do everything stays with the database."""
    for name, text in (("influx", INFLUX), ("admin", "admin-token\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "influx").chmod(0o755)
    folders = [tmp_path / "ingest", tmp_path / "grafana"]
    for folder in folders:
        folder.mkdir()
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "INFLUX_ADMIN_TOKEN_FILE": str(tmp_path / "admin"),
    }
    for _ in range(2):  # a second start makes no other token
        subprocess.run([ROOT / "deploy/compose/influxdb/tokens", *folders], check=True, env=environment)
    assert [(folder / "token").read_text() for folder in folders] == [
        "token-of---write-bucket==\n",
        "token-of---read-bucket==\n",
    ]
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    made = [call for call in calls if "auth create" in call]
    assert [call.partition("|")[0] for call in made] == ["admin-token", "admin-token"]
    assert "--write-bucket 0a1b2c3d4e5f6071" in made[0]
    assert "--read-bucket 0a1b2c3d4e5f6071" in made[1]
