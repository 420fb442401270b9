"""An intruder forges states, metadata and ledgers of a gateway that signs: real services and a real broker.

The intruder has the rights of the gateway at the broker, and reads all messages. It has no key, or that of another
gateway.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from intruded import CONFIRMED, ROOT, Plant, intruded_plant, publish
from processes import LOOPBACK, Lineside, free_port, lineside, until, write_factory
from stored import report

from gateway.common.rising_numbers import RisingNumbers
from gateway.mqtt.packets import ReceivedMessage
from gateway.mqtt.signed import MessageSigner
from gateway.mqtt.topics import Topics
from gateway.mqtt.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STATE, LEDGER = f"{ROOT}/_gateways/edge-01/state", f"{ROOT}/_gateways/edge-01/ledger"
META = f"{ROOT}/area/line/m-01/meta"
INGEST = f"{ROOT}/_ingests/ingest-edge-01/state"
KEYS = {name: Ed25519PrivateKey.generate() for name in ("edge-01", "edge-02", "ingest-edge-01")}

BALANCED = {
    "gateway": "edge-01", "balanced": True, "spool_bytes": 0, "schedule": {"due": 1, "missed": 0},
    "ledger": {"acquired": 7, "unchanged": 0, "pending": 0, "confirmed": 7, "dropped": {}},
}  # fmt: skip


def pem(name: str) -> str:
    return KEYS[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public(name: str) -> str:
    return b64encode(KEYS[name].public_key().public_bytes_raw()).decode()


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    """A plant whose gateway and ingest sign, and whose readers have their keys."""
    async with intruded_plant(tmp_path) as made:
        made.environment = {
            "LINESIDE_SECRET_SIGN_KEY": pem("edge-01"), "LINESIDE_SECRET_INGEST_SIGN_KEY": pem("ingest-edge-01"),
        }  # fmt: skip
        made.settings = {"ingest_keys": {"ingest-edge-01": public("ingest-edge-01")}}
        made.ingest_settings = {"public_keys": {name: public(name) for name in ("edge-01", "edge-02")}}
        yield made


async def retained_on(plant: Plant, topic: str) -> bytes:
    async with aiomqtt.Client(LOOPBACK, plant.mosquitto.port, username="viewer") as client:
        await client.subscribe(topic, qos=1)
        async for message in client.messages:
            return bytes(message.payload)
    raise AssertionError(topic)


async def fleet(plant: Plant) -> tuple[dict[str, Any], str, int]:
    """Return the gateway in the result of `lineside fleet`, its findings, and the exit code."""
    ran = await lineside("fleet", str(plant.configuration("ingest")), "--format", "json")
    found = json.loads(ran.text)
    return found["gateways"][0], "\n".join(found["findings"]), ran.code


@pytest.mark.parametrize("workers", [1, 2])
async def test_signed_messages_are_verified_from_end_to_end(plant: Plant, workers: int):
    """Both services sign and verify: all readings are stored, confirmed and deleted, also over a restart."""
    plant.settings["workers"] = workers
    ingest = await plant.ingest()
    await plant.acquire()
    await until(lambda: len(plant.stored()) > 3, "some are stored")
    found, findings, _ = await fleet(plant)
    assert (found["state"], found["verified"], found["refused_messages"]) == ("online", True, 0), findings
    assert json.loads(await retained_on(plant, INGEST))["signed"]["by"] == "ingest-edge-01"
    plant.gateway.kill()
    await until(lambda: plant.ends, "its will comes")
    found, findings, _ = await fleet(plant)
    assert (found["state"], found["reason"], found["verified"]) == ("offline", "connection lost", True)
    assert found["refused_messages"] == 0, findings
    await plant.run()
    await plant.closed()
    await ingest.stop()
    assert report(plant.folder / "ingest.json")["messages_refused"] == {}
    assert not plant.gateway.events("message.signature_refused")


async def test_a_forged_end_of_a_gateway_is_not_believed(plant: Plant):
    """It would stop a line: somebody sees that the gateway is gone, while it acquires readings."""
    await plant.acquire()
    end = {"state": "offline", "reason": "connection lost", "instance": "5e01c9f2"}
    await publish(plant, STATE, json.dumps(end).encode(), retain=True)
    found, findings, code = await fleet(plant)
    assert (found["state"], found["verified"], code) == ("not verified", False, 1)
    assert "refused, the last because it is unsigned" in findings


async def test_a_forged_ledger_that_balances_is_not_believed(plant: Plant):
    """It would hide that readings are lost."""
    await plant.acquire()
    await publish(plant, LEDGER, json.dumps(BALANCED).encode(), retain=True)
    found, findings, code = await fleet(plant)
    assert (found["state"], found["verified"], code) == ("online", True, 1)
    assert found["ledger"]["confirmed"] == 0
    assert found["refused_messages"] == 1
    assert "unsigned" in findings


async def test_an_earlier_end_of_a_gateway_that_is_published_again_is_not_believed(plant: Plant):
    """Its signature is right. The gateway has connected again since, and says so once a second."""
    await plant.acquire()
    plant.gateway.kill()
    await until(lambda: plant.ends, "its will comes")
    will = plant.ends[-1]
    await plant.run()
    await until(lambda: plant.births > 1, "it is there again")
    await publish(plant, STATE, will, retain=True)
    found, findings, code = await fleet(plant)
    assert (found["state"], code) == ("not verified", 1)
    assert "earlier connection" in findings


async def test_a_message_of_another_gateway_is_not_believed(plant: Plant):
    """The other gateway has a key that is trusted, for its own topics."""
    await plant.acquire()
    numbers = RisingNumbers(plant.folder / "intruder.json")
    other = MessageSigner("edge-02", Topics("lineside/v1"), numbers, KEYS["edge-02"])
    own = MessageSigner("edge-01", Topics("lineside/v1"), numbers, KEYS["edge-02"])
    end = b'{"state":"offline","instance":"5e01c9f2"}'
    await publish(plant, STATE, own.sign(STATE, end), other.sign(STATE, end), retain=True)
    found, findings, code = await fleet(plant)
    assert (found["state"], code) == ("not verified", 1)
    assert "edge-02 may not publish there" in findings


async def test_forged_metadata_changes_no_unit(plant: Plant):
    """Ingest sets it aside once, counts it, and stores the readings with the unit of their gateway."""
    plant.ingest_settings["gateways"] = {"edge-01": ["area/line/*"], "edge-02": ["evil/*/*"]}
    ingest = await plant.ingest()
    await plant.acquire()
    await until(lambda: len(plant.stored()) > 3, "some are stored")
    units = {row.unit for row in plant.stored()}
    written = json.loads(await retained_on(plant, META))
    written["points"]["count"]["unit"] = "bar"
    unsigned = json.dumps({key: one for key, one in written.items() if key not in {"signed", "sig"}}).encode()
    numbers = RisingNumbers(plant.folder / "intruder.json")
    other = MessageSigner("edge-02", Topics("lineside/v1"), numbers, KEYS["edge-02"])
    changed, of_other = json.dumps(written).encode(), other.sign(META, unsigned)
    await publish(plant, META, unsigned, unsigned, changed, of_other, retain=True)
    await ingest.logged("message.signature_refused")
    await plant.closed()
    await ingest.stop()
    assert {row.unit for row in plant.stored()} == units
    closing = report(plant.folder / "ingest.json")
    assert closing["messages_refused"] == {"unsigned": 3, "not_allowed": 1}
    assert closing["dead_letters"] == 3


async def test_a_forged_birth_of_an_ingest_makes_no_gateway_send_again(plant: Plant):
    """A new process of ingest makes gateways send the records again that the old process had accepted."""
    await plant.acquire()
    birth = {"state": "online", "instance": "5e01c9f2", "birth": 1}
    await publish(plant, INGEST, json.dumps(birth).encode(), user="ingest", retain=True)
    await publish(plant, CONFIRMED, json.dumps({"spool": plant.spool, "ranges": [[1, 1]]}).encode())
    await until(lambda: len(plant.gateway.events("message.signature_refused")) == 2, "both are refused")
    topics = {event["topic"] for event in plant.gateway.events("message.signature_refused")}
    assert topics == {INGEST, CONFIRMED}
    await plant.ingest()
    await plant.closed()


async def test_a_gateway_that_is_decommissioned_says_which_topics_it_clears(plant: Plant):
    """A reader that runs forgets it: it ignores empty messages alone."""
    await plant.acquire()
    await plant.gateway.stop()
    verifier = Verifier("lineside/v1", {"edge-01": [public("edge-01")]})
    gone: set[str] = set()
    async with aiomqtt.Client(LOOPBACK, plant.mosquitto.port, username="viewer") as client:
        await client.subscribe("lineside/v1/#", qos=1)
        config, environment = str(plant.configuration("edge-01")), dict(os.environ) | plant.environment
        ran = await lineside("decommission", config, "--retained", "--yes", environment=environment)
        assert ran.code == 0, ran.error
        await publish(plant, "lineside/v1/end", b"end", user="ingest")
        async for message in client.messages:
            topic = str(message.topic)
            if topic == "lineside/v1/end":
                break
            verdict = verifier.check(ReceivedMessage(topic, bytes(message.payload), retain=message.retain))
            if not verdict.payload and not verdict.fault:
                gone.add(topic)
    assert gone == {STATE, LEDGER, META, META.replace("/meta", "/state")}
    assert not verifier.refused


async def test_a_forged_message_is_in_the_audit_log_of_the_page(plant: Plant):
    """Once for each topic and reason, however often it comes."""
    await plant.acquire()
    machine = {"template": "packml-modbus", "connection": "modbus+tcp://127.0.0.1:1"}
    config = write_factory(
        plant.folder / "page.yaml",
        gateway={"id": "page", "spool": {"folder": str(plant.folder / "page")}},
        broker={"url": plant.mosquitto.url, "username": "viewer"},
        ingest=plant.ingest_settings,
        dashboard={"audit": {"folder": str(plant.folder / "audit")}},
        lines={"other": {"area": "other", "machines": {"m-02": machine}}},
    )
    page = await Lineside.start("dashboard", config, "--listen", f"{LOOPBACK}:{free_port()}")
    await page.logged("dashboard.listening")
    end = b'{"state":"offline","instance":"5e01c9f2"}'
    await publish(plant, STATE, end, end, end, retain=True)
    await page.logged("message.signature_refused")
    await publish(plant, META, end, retain=True)
    await page.logged("message.signature_refused", 2)
    await page.stop()
    shown = await lineside("audit", "show", str(config), "--action", "message-refused", "--format", "json")
    found = [json.loads(line) for line in shown.text.splitlines()]
    assert [(one["object"], one["outcome"], one["after"]["reason"]) for one in found] == [
        (STATE, "refused", "unsigned"), (META, "refused", "unsigned"),
    ]  # fmt: skip
