"""The files of `lineside acl` at real brokers: the plant works with them, and an intruder is refused.

Every part has its own user and password. A client of the test's own, the witness, may do everything, and hears every
message that the broker lets through.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from aiomqtt import MqttError, ProtocolVersion
from processes import COUNTER, LOOPBACK, Lineside, free_port, lineside, need, until, write_factory
from servers import Mosquitto, Nats
from stored import report, rows

from gateway.model.path import MachinePath
from gateway.mqtt.topics import GATEWAYS, INGESTS, USES, Topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOPICS = Topics("lineside/v1")
DENIED = ("mqtt.publish_denied", "mqtt.subscribe_denied", "mqtt.session_failed", "records.confirmation_refused")
WITNESS = "witness"


def password(user: str) -> dict[str, str]:
    """Return the environment of a part with this user."""
    return {"LINESIDE_SECRET_BROKER_PASSWORD": f"of-{user}"}


class GuardedMosquitto(Mosquitto):
    """Mosquitto with the files of `lineside acl`; `second` is the port of clients with several connections."""

    version = ProtocolVersion.V5

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.second = free_port()
        self._unguarded = [line for line in self.lines if not line.startswith(("listener ", "allow_anonymous "))]

    def guard(self, written: Path, users: list[str]) -> None:
        """Use the files; set the passwords as the printed commands do."""
        text = (written / "lineside.conf").read_text().replace("/etc/mosquitto", str(written))
        guarded = text.replace(f"listener {self.port + 1} ", f"listener {self.second} ").splitlines()
        self.lines = [*self._unguarded, *guarded]
        with (written / "lineside.acl").open("a") as rights:
            rights.write(f"\nuser {WITNESS}\ntopic readwrite #\n")
        passwords = written / "lineside.passwd"
        passwords.touch()
        for user in (*users, WITNESS):
            command = [need("mosquitto_passwd"), "-b", str(passwords), user, f"of-{user}"]
            subprocess.run(command, check=True, capture_output=True)
        written.chmod(0o755)
        for file in written.iterdir():
            file.chmod(0o644)


class GuardedNats(Nats):
    """NATS with the file of `lineside acl`."""

    version = ProtocolVersion.V311

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self.second = self.port
        self._users: list[str] = []
        self._written = ""

    def guard(self, written: Path, users: list[str]) -> None:
        """Use the file; the passwords are in the environment."""
        self._users = users
        witness = f'    {{user: "{WITNESS}", password: "of-{WITNESS}"}}\n  ]\n}}\n'
        self._written = (written / "lineside-nats.conf").read_text().replace("  ]\n}\n", witness)

    def command(self) -> list[str]:
        *_, file = command = super().command()
        with open(file, "a", encoding="utf-8") as configuration:  # noqa: PTH123 - the last word of a command line
            configuration.write(self._written)
        names = [f"LINESIDE_HASH_{user.upper().replace('-', '_')}=of-{user}" for user in self._users]
        return [need("env"), *names, *command]


class Plant:
    """Two gateways, the second with workers, and an ingest, each with its own user, at a guarded broker."""

    def __init__(self, folder: Path, broker: GuardedMosquitto | GuardedNats) -> None:
        self.folder, self.broker = folder, broker
        (folder / "machines").mkdir()
        (folder / "machines" / "counter.yaml").write_text(COUNTER)
        self._ports = {name: free_port() for name in ("m-01", "m-02", "m-03")}

    def configuration(self, user: str, machines: tuple[str, ...], *, second: bool = False, **more: Any) -> Path:
        """Write the configuration of a part."""
        five = self.broker.version is ProtocolVersion.V5
        broker = {
            "url": f"mqtt://{LOOPBACK}:{self.broker.second if second else self.broker.port}",
            "username": user,
            "password": {"secret": "broker_password"},
            "version": "5" if five else "3.1.1",
        }
        gateway = more.pop("gateway", {"id": "edge-01"})
        connected = {
            name: {"template": "counter", "connection": f"modbus+tcp://{LOOPBACK}:{self._ports[name]}?timeout=10"}
            for name in machines
        }
        return write_factory(
            self.folder / f"{user}.yaml",
            gateway=gateway | {"spool": {"folder": str(self.folder / f"spool-{user}")}},
            broker=broker,
            ingest={"folder": str(self.folder / "ingest")} | more.pop("ingest", {}),
            stores=[{"sqlite": {"path": str(self.folder / "readings.db")}}],
            lines={gateway["id"].replace("edge", "line"): {"area": "area", "machines": connected}},
            **more,
        )

    async def start(self, command: str, config: Path, user: str, *arguments: str) -> Lineside:
        return await Lineside.start(command, config, *arguments, environment=password(user))

    def client(self, user: str, identifier: str, *, port: int = 0, clean: bool = True) -> aiomqtt.Client:
        five = self.broker.version is ProtocolVersion.V5
        return aiomqtt.Client(
            LOOPBACK, port or self.broker.port, username=user, password=f"of-{user}", identifier=identifier,
            protocol=self.broker.version, clean_session=None if five else clean, timeout=10,
        )  # fmt: skip

    def stored(self, machine: str) -> int:
        file = self.folder / "readings.db"
        return len(rows(file, machine=machine)) if file.exists() else 0


@pytest.fixture(params=["mosquitto", "nats"])
async def plant(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Plant]:
    """Write the rights of both gateways, their ingest, the page and readers, and start the broker with them."""
    broker = GuardedMosquitto(tmp_path) if request.param == "mosquitto" else GuardedNats(tmp_path)
    made = Plant(tmp_path, broker)
    configs = [
        str(made.configuration("edge-01", ("m-01", "m-02"))),
        str(made.configuration("edge-02", ("m-03",), gateway={"id": "edge-02", "workers": 2})),
    ]
    written = tmp_path / "rights"
    ran = await lineside("acl", *configs, "--for", request.param, "--out", str(written), "--format", "json")
    assert ran.code == 0, ran.error
    broker.guard(written, [user["user"] for user in json.loads(ran.text)["accounts"]])
    await broker.up()
    return made


@pytest.fixture
async def working(plant: Plant) -> AsyncIterator[dict[str, Lineside]]:
    """Run the machines of the first gateway, the gateway and the ingest until readings of each machine are stored."""
    first = plant.configuration("edge-01", ("m-01", "m-02"))
    simulator = await Lineside.start("simulate", first)
    await simulator.logged("simulation.started")
    # two factories have this ingest, so it has the port of clients with several connections
    ingest = plant.configuration("ingest", ("m-01",), second=True)
    parts = {
        "edge-01": await plant.start("run", first, "edge-01", "--report", str(plant.folder / "run.json")),
        "ingest": await plant.start("ingest", ingest, "ingest"),
    }
    for machine in ("m-01", "m-02"):
        await until(lambda machine=machine: plant.stored(machine) > 3, f"readings of {machine} are stored")
    yield parts
    for part in parts.values():
        for event in DENIED:
            assert part.events(event) == [], f"{part.name} lacks a right"


async def test_a_plant_has_the_rights_that_it_needs(plant: Plant, working: dict[str, Lineside]) -> None:
    """Records, births, metadata, confirmations, workers, the cleanup of a removed machine, and commands that read."""
    second = plant.configuration("edge-02", ("m-03",), second=True, gateway={"id": "edge-02", "workers": 2})
    simulator = await Lineside.start("simulate", second)
    await simulator.logged("simulation.started")
    working["edge-02"] = await plant.start("run", second, "edge-02")
    await until(lambda: plant.stored("m-03") > 3, "readings of m-03 are stored")
    reader = plant.configuration("reader", ("m-01",), second=True)
    tail = await lineside("tail", str(reader), "--count", "3", environment=os.environ | password("reader"))
    assert tail.code == 0, tail.error
    fleet = await lineside("fleet", str(reader), "--format", "json", environment=os.environ | password("reader"))
    found = json.loads(fleet.text)
    assert {one["id"] for one in found["gateways"]} == {"edge-01", "edge-02"}
    assert [one["state"] for one in found["ingests"]] == ["online"]
    assert found["denied"] == []

    plant.configuration("edge-01", ("m-01",))
    changed = await lineside("reload", str(plant.folder / "edge-01.yaml"))
    assert changed.code == 0, changed.error
    await working["edge-01"].logged("machine.cleared")

    await working["edge-01"].stop()
    closing = report(plant.folder / "run.json")
    assert closing["balanced"]
    assert closing["ledger"]["confirmed"] > 3
    assert closing["ledger"]["dropped"] == {}


def topics_of(gateway: str, machine: str, ingest: str) -> list[str]:
    """Return every topic of a gateway with one machine, and of an ingest."""
    place = MachinePath("enterprise", "site", "area", gateway.replace("edge", "line"), machine)
    found = []
    for use in USES:
        if use.kind == GATEWAYS:
            found.append(TOPICS.gateway("enterprise", "site", gateway, use.leaf))
        elif use.kind == INGESTS:
            found.append(TOPICS.ingest("enterprise", "site", ingest, use.leaf))
        else:
            found.append(TOPICS.machine(place, use.leaf.replace("+", "hot")))
    return found


INTRUDER = b"an intruder"


@pytest.mark.parametrize("plant", ["mosquitto"], indirect=True)
async def test_ingests_that_share_have_the_rights_that_they_need(plant: Plant) -> None:
    """A shared subscription, and the check of it, which has a client of its own. NATS has none."""
    first = plant.configuration("edge-01", ("m-01", "m-02"), ingest={"share": "plant"})
    await _guard_again(plant, first)
    simulator = await Lineside.start("simulate", first)
    await simulator.logged("simulation.started")
    shared = plant.configuration("ingest", ("m-01",), second=True, ingest={"share": "plant"})
    ingest = await plant.start("ingest", shared, "ingest")
    await ingest.logged("ingest.subscribed")
    gateway = await plant.start("run", first, "edge-01", "--report", str(plant.folder / "run.json"))
    await until(lambda: plant.stored("m-02") > 3, "readings are stored")
    await gateway.stop()
    assert report(plant.folder / "run.json")["ledger"]["confirmed"] > 3
    for part in (gateway, ingest):
        assert [event for name in DENIED for event in part.events(name)] == []
    assert ingest.events("mqtt.shared_subscriptions_unsupported") == []
    assert ingest.events("ingest.id_in_use") == []


async def _guard_again(plant: Plant, config: Path) -> None:
    """Start the broker again with the rights of another configuration."""
    written = plant.folder / "other-rights"
    ran = await lineside("acl", str(config), "--for", "mosquitto", "--out", str(written), "--format", "json")
    assert ran.code == 0, ran.error
    plant.broker.guard(written, [user["user"] for user in json.loads(ran.text)["accounts"]])
    await plant.broker.restart()


@pytest.mark.parametrize("retain", [False, True], ids=["", "retained"])
async def test_an_intruder_publishes_nothing_for_another(plant: Plant, *, retain: bool) -> None:
    """With the password of one part, on every topic of the others; the witness hears only its own messages."""
    other = topics_of("edge-02", "m-03", "ingest-edge-02")
    heard: list[str] = []
    async with plant.client(WITNESS, "lineside-witness", port=plant.broker.second) as witness:
        await witness.subscribe("lineside/v1/#", qos=1)
        for user, port in (("edge-01", 0), ("page", plant.broker.second), ("reader", plant.broker.second)):
            for topic in other:
                with suppress(MqttError):  # some brokers end the connection
                    async with plant.client(user, f"lineside-{user}", port=port) as client:
                        await client.publish(topic, INTRUDER, qos=1, retain=retain)
        async with plant.client("edge-01", "lineside-edge-01") as client:
            for topic in topics_of("edge-01", "m-01", "x")[:4]:
                await client.publish(topic, INTRUDER, qos=1)
        await witness.publish("lineside/v1/end", b"", qos=1)
        async for message in witness.messages:
            if str(message.topic) == "lineside/v1/end":
                break
            heard.append(str(message.topic))
    assert sorted(heard) == sorted(topics_of("edge-01", "m-01", "x")[:4]), "its own machine, and nothing else"


async def test_an_ingest_publishes_no_readings(plant: Plant) -> None:
    """Its password is on a server that many people know; it can confirm, and nothing else."""
    refused = [one for one in topics_of("edge-01", "m-01", "x") if not one.endswith(("/confirmed", "/wanted"))]
    async with plant.client(WITNESS, "lineside-witness", port=plant.broker.second) as witness:
        await witness.subscribe("lineside/v1/#", qos=1)
        for topic in (*refused, TOPICS.gateway("enterprise", "site", "edge-01", "wanted")):
            with suppress(MqttError):
                async with plant.client("ingest", "lineside-ingest-edge-01", port=plant.broker.second) as client:
                    await client.publish(topic, INTRUDER, qos=1)
        message = await anext(aiter(witness.messages))
    assert str(message.topic).endswith("/wanted")


async def test_an_intruder_reads_nothing_of_another(plant: Plant) -> None:
    """A gateway hears its own topics and which ingests are there; neither readings nor confirmations of others."""
    topics = topics_of("edge-02", "m-03", "ingest-edge-02")
    own = TOPICS.gateway("enterprise", "site", "edge-01", "wanted")
    heard: list[str] = []
    async with (
        plant.client("edge-01", "lineside-edge-01") as client,
        plant.client(WITNESS, "lineside-witness", port=plant.broker.second) as witness,
    ):
        for topic in (*topics, TOPICS.all_machines("data"), TOPICS.all_gateways("confirmed"), "#", "+/#", own):
            with suppress(MqttError):
                await client.subscribe(topic, qos=1)
        with suppress(MqttError):
            await client.subscribe(f"$share/plant/{TOPICS.all_machines('data')}", qos=1)
        for topic in (*topics, own):
            await witness.publish(topic, b"of another", qos=1)
        async for message in client.messages:
            heard.append(str(message.topic))
            if str(message.topic) == own:
                break
    ingest = TOPICS.ingest("enterprise", "site", "ingest-edge-02")
    assert set(heard) <= {ingest, own}


async def test_no_client_has_the_name_of_a_client_with_one_connection(
    plant: Plant, working: dict[str, Lineside]
) -> None:
    """A second client of one client id disconnects the first, whatever its rights are. NATS can't prevent that."""
    if plant.broker.version is not ProtocolVersion.V5:
        async with plant.client("reader", "lineside-edge-01"):
            await working["edge-01"].logged("mqtt.not_connected")
        return
    for user, port in (("edge-02", plant.broker.second), ("reader", plant.broker.second), ("reader", 0)):
        for identifier in ("edge-01", "lineside-edge-01"):
            with suppress(MqttError):
                async with plant.client(user, identifier, port=port) as client:
                    await client.subscribe("lineside/v1/none", qos=0)
    before = plant.stored("m-01")
    await until(lambda: plant.stored("m-01") > before + 5, "its readings are stored")
    assert working["edge-01"].events("mqtt.not_connected") == []


@pytest.mark.parametrize(
    ("part", "user", "second"),
    [("gateway", "edge-01", False), ("ingest", "ingest", True), ("reader", "reader", True)],
)
async def test_a_check_finds_the_rights_as_they_should_be(
    plant: Plant, part: str, user: str, *, second: bool
) -> None:
    """Each right that the part has is there, and none of those that it must not have."""
    async with plant.client(WITNESS, "lineside-witness", port=plant.broker.second) as witness:
        await witness.publish(TOPICS.gateway("enterprise", "site", "edge-02", "ledger"), b"{}", qos=1, retain=True)
    config = plant.configuration(user, ("m-01", "m-02"), second=second)
    found = await check_broker(config, "--as", part, user=user)
    assert found["passed"], [one for one in found["attempts"] if one["unexpected"]]
    outcomes = {(one["kind"], one["outcome"]) for one in found["attempts"]}
    assert ("subscribe", "allowed") in outcomes
    five = plant.broker.version is ProtocolVersion.V5
    assert (("publish", "refused") in outcomes) is five
    assert (("publish", "unknown") in outcomes) is not five
    if five and part != "reader":
        assert ("publish", "allowed") in outcomes


async def check_broker(config: Path, *arguments: str, user: str, code: int = 0) -> dict[str, Any]:
    """Run `lineside check --broker`, and return its document."""
    ran = await lineside(
        "check", str(config), "--broker", *arguments, "--format", "json", environment=os.environ | password(user)
    )
    assert ran.code == code, ran.text + ran.error
    found: dict[str, Any] = json.loads(ran.text)
    return found


async def test_a_check_finds_whether_a_client_can_be_disconnected(plant: Plant) -> None:
    """On the port of clients with one connection Mosquitto gives each the name of its user; NATS lets it happen."""
    config, other = plant.configuration("edge-01", ("m-01",)), plant.folder / "other.yaml"
    plant.configuration("reader", ("m-01",), second=True).rename(other)
    other.write_text(other.read_text().replace("broker_password", "reader_password"))
    five = plant.broker.version is ProtocolVersion.V5
    environment = os.environ | password("edge-01") | {"LINESIDE_SECRET_READER_PASSWORD": "of-reader"}
    ran = await lineside(
        "check", str(config), "--broker", "--other", str(other), "--format", "json", environment=environment
    )
    assert ran.code == (0 if five else 1), ran.text + ran.error
    [attempt] = [one for one in json.loads(ran.text)["attempts"] if one["kind"] == "client id"]
    assert attempt["outcome"] == ("refused" if five else "allowed")


async def test_a_check_finds_a_broker_without_rights_and_leaves_nothing_there(tmp_path: Path) -> None:
    """It exits with 1. Gateways, ingests and pages ignore all that it has sent."""
    mosquitto = await Mosquitto.start(tmp_path)
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "counter.yaml").write_text(COUNTER)
    machine = {"template": "counter", "connection": f"modbus+tcp://{LOOPBACK}:{free_port()}?timeout=10"}
    config = write_factory(
        tmp_path / "factory.yaml",
        broker={"url": mosquitto.url},
        stores=[{"sqlite": {"path": str(tmp_path / "readings.db")}}],
        lines={"line": {"area": "area", "machines": {"m-01": machine}}},
    )
    simulator = await Lineside.start("simulate", config)
    await simulator.logged("simulation.started")
    ingest = await Lineside.start("ingest", config, "--report", str(tmp_path / "ingest.json"))
    await ingest.logged("ingest.subscribed")
    gateway = await Lineside.start("run", config, "--report", str(tmp_path / "run.json"))
    file = tmp_path / "readings.db"
    await until(lambda: file.exists() and len(rows(file, machine="m-01")) > 3, "readings are stored")
    refused = await lineside("check", str(config), "--broker")
    assert refused.code == 1
    assert "gateway edge-01 runs here" in refused.error

    before = await retained(mosquitto)
    found = await check_broker(config, "--while-running", "--other", str(config), user="", code=1)
    wrong = [one for one in found["attempts"] if one["unexpected"]]
    assert {one["expected"] for one in wrong} == {"refused"}
    assert {one["kind"] for one in wrong} == {"publish", "subscribe", "client id"}
    assert any("probe-" in one["target"] and one["target"].endswith("/confirmed") for one in wrong)
    assert await retained(mosquitto) - before <= {TOPICS.ingest("enterprise", "site", "ingest-edge-01", "report")}
    text = await lineside("check", str(config), "--broker", "--while-running")
    assert text.text.startswith("UNEXPECTED allowed")
    await gateway.stop()
    await ingest.stop()
    assert report(tmp_path / "run.json")["balanced"]
    closing = report(tmp_path / "ingest.json")
    assert (closing["dead_letters"], closing["set_aside"], closing["retained_ignored"]) == (0, 0, 0)
    for part in (gateway, ingest):
        assert part.events("mqtt.message_ignored") == []
        assert part.events("mqtt.not_connected") == []


async def retained(mosquitto: Mosquitto) -> set[str]:
    """Return the topics with a retained message."""
    found: set[str] = set()
    async with aiomqtt.Client(LOOPBACK, mosquitto.port) as client:
        await client.subscribe("lineside/#", qos=1)
        await client.publish("lineside/end", b"end", qos=1)
        async for message in client.messages:
            if str(message.topic) == "lineside/end":
                break
            if message.retain:
                found.add(str(message.topic))
    return found


async def test_nobody_connects_without_a_password(plant: Plant) -> None:
    """Neither without a user, nor with that of another."""
    for user, secret in ((None, None), ("edge-01", None), ("edge-01", "of-edge-02"), ("nobody", "of-nobody")):
        with pytest.raises(MqttError):
            async with aiomqtt.Client(
                LOOPBACK, plant.broker.port, username=user, password=secret, identifier="lineside-x",
                protocol=plant.broker.version, timeout=10,
            ):  # fmt: skip
                pass
