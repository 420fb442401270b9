"""An intruder at the broker of a plant: real services, a real broker, and a client that may publish some topics.

The machine counts tenths of a second, so every reading that should exist is known.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import b64encode
from binascii import b2a_base64
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from intruded import CONFIRMED, OTHER_LINE, ROOT, Plant, intruded_plant, publish, retained
from processes import LOOPBACK, until
from stored import report, rows

from gateway.audit.files import log_files
from gateway.audit.log import AuditLog
from gateway.ingest.batch import Confirmation, Sender
from gateway.ingest.confirmations import confirmation_messages
from gateway.model.receipt import receipt_of
from gateway.mqtt.messages import parse_confirmation
from gateway.mqtt.topics import Topics
from gateway.settings.audit_section import AuditSection
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with intruded_plant(tmp_path) as made:
        yield made


def forged(spool: str, ranges: list[list[int]], **more: Any) -> bytes:
    return json.dumps({"spool": spool, "ranges": ranges} | more).encode()


def guessed(spool: str, count: int, key: str = "ranges") -> bytes:
    proofs = b2a_base64(secrets.token_bytes(8 * count), newline=False).decode()
    written = {"ranges": [], key: [[1, count]], "set_aside": {"1": 1}, "proofs": proofs, "instance": "x"}
    return json.dumps({"spool": spool} | written).encode()


async def test_a_forged_confirmation_frees_nothing(plant: Plant):
    """One message used to delete a backlog that nobody had stored, and the ledger balanced."""
    await plant.acquire()
    await plant.grown(10)
    before = plant.pending
    await publish(
        plant, CONFIRMED, forged(plant.spool, [[1, 3]]), forged(plant.spool, [], taken=[[1, 3]], instance="x"),
        forged(plant.spool, [], lost=[[1, 3]]), forged(plant.spool, [[1, 2**53]]),
        *(guessed(plant.spool, 3, key) for key in ("ranges", "taken", "lost")),
    )  # fmt: skip
    await until(lambda: {"unproved", "wrong_proof"} <= plant.reasons(), "it is logged")
    await plant.grown()
    assert plant.pending > before
    await plant.ingest()
    ledger = await plant.closed()
    assert ledger["confirmed"] > before
    assert len(plant.gateway.events("records.confirmation_refused")) == 2, "each reason is logged once"


async def test_a_forged_confirmation_is_in_the_audit_log(plant: Plant):
    """The log of the box is gone after some days, and an intruder at the broker is worth a look."""
    folder = load_factory(plant.configuration("edge-01")).dashboard.audit.folder
    with AuditLog(AuditSection.model_validate({"folder": str(folder)})) as audit:
        audit.record("user-added", who="root", object="anna").result(10)
    await plant.acquire()
    await plant.grown(10)
    await publish(plant, CONFIRMED, guessed(plant.spool, 3))
    await until(lambda: refused(folder), "it is in the audit log")
    assert refused(folder) == [("confirmation-refused", CONFIRMED, "", "wrong_proof", 3)]


def refused(folder: Path) -> list[tuple[str, str, str, str, int]]:
    """Return action, object, sender, reason and number of the refused messages in an audit log."""
    entries = [json.loads(line) for file in log_files(folder) for line in file.read_bytes().splitlines()]
    return [
        (one["action"], one["object"], *(one["after"][key] for key in ("sender", "reason", "messages")))
        for one in entries
        if one["outcome"] == "refused"
    ]


async def test_a_repeated_confirmation_frees_nothing(plant: Plant):
    """All clients may read confirmations; those of stored records say nothing about the records that wait."""
    await plant.acquire()
    ingest = await plant.ingest()
    await until(lambda: len(plant.stored()) > 5 and len(plant.confirmations) > 2, "some are confirmed")
    await ingest.stop()
    await plant.grown(10)
    before = plant.pending
    heard = list(plant.confirmations)
    last = max(parse_confirmation(one).last for one in heard)
    for one in heard:
        message = json.loads(one)
        count = sum(b - a + 1 for a, b in message["ranges"])
        moved = message | {"ranges": [[last + 1, last + count]]}
        await publish(plant, CONFIRMED, one, json.dumps(moved).encode())
    await until(lambda: "wrong_proof" in plant.reasons(), "it is logged")
    await plant.grown()
    assert plant.pending > before
    await plant.ingest()
    await plant.closed()


async def test_a_client_that_reads_all_records_can_not_confirm_them_without_the_key(plant: Plant):
    """A unified namespace is there to be read; the tag of a record is known to its readers."""
    plant.environment = {"LINESIDE_SECRET_CONFIRM_KEY": secrets.token_hex(32)}
    await plant.acquire()
    await plant.grown(10)
    before = plant.pending
    place = f"{ROOT.removeprefix('lineside/v1/')}/area/line/m-01/data"
    sender = Sender("enterprise", "site", "edge-01", plant.spool)
    read = [Confirmation(sender, json.loads(one)["seq"], receipt_of(place, one)) for one in plant.records]
    assert len(read) > 5
    for _, payload in confirmation_messages(Topics("lineside/v1"), "ingest", "x", read, read, read):
        await publish(plant, CONFIRMED, payload)
    await until(lambda: "wrong_proof" in plant.reasons(), "it is logged")
    await plant.grown()
    assert plant.pending > before
    await plant.ingest()
    await plant.closed()


@pytest.mark.parametrize("fixed", [False, True], ids=["learned", "fixed"])
async def test_records_in_the_name_of_a_gateway_confirm_none_of_its_own(plant: Plant, *, fixed: bool):
    """A client with rights for another line only made ingest confirm 38 readings that were never stored."""
    ingest = await plant.ingest(gateways={"edge-01": ["area/line/*"]} if fixed else {})
    await plant.acquire()
    await until(lambda: len(plant.stored()) > 2, "some are stored")
    await publish(plant, CONFIRMED, forged(plant.spool, [[1, 3]]), user="edge-02")  # the broker refuses it
    for _ in range(3):
        numbers = range(1, parse_confirmation(plant.confirmations[-1]).last + 60)
        now = time.time_ns() // 1000
        base = {"v": 1, "gateway": "edge-01", "spool": plant.spool}
        await publish(
            plant, OTHER_LINE,
            *(json.dumps(base | {"seq": n, "scans": [{"t": now + n, "values": {"x": 1}}]}).encode() for n in numbers),
            *plant.records,  # the very bytes, at another place
            user="edge-02",
        )  # fmt: skip
        await plant.grown()
    await plant.closed()
    if fixed:
        assert ingest.events("gateway.not_allowed")
        assert rows(plant.folder / "readings.db", machine="m") == []
    else:
        # a record that its own ingest has confirmed by then waits for no proof any more
        assert plant.reasons() <= {"wrong_proof"}
    await ingest.stop()
    closing = report(plant.folder / "ingest.json")
    assert (closing["not_stored"].get("other_gateway", 0) > 0) is fixed


async def test_a_client_that_takes_the_place_of_ingest_loses_nothing(plant: Plant):
    """It gets the records that the broker keeps for the session of ingest, acknowledges them, and stores none."""
    ingest = await plant.ingest()
    await plant.acquire()
    await until(lambda: len(plant.stored()) > 2, "some are stored")
    await ingest.stop()
    taken = 0
    client = aiomqtt.Client(
        LOOPBACK, plant.mosquitto.port, identifier="lineside-ingest-edge-01", username="viewer", clean_session=False
    )
    async with client:
        before = plant.pending
        async for message in client.messages:
            taken += str(message.topic).endswith("m-01/data")
            if taken > 10 and plant.pending > before + 10:
                break
    await plant.ingest()
    ledger = await plant.closed()
    assert ledger["confirmed"] > before + 10


async def test_retained_messages_where_none_belong_are_ignored_and_cleared(plant: Plant):
    """A broker sends them again at every start, for as long as nobody clears them."""
    record = {"v": 1, "gateway": "edge-01", "spool": "x", "seq": 1, "scans": [{"t": 5, "values": {"x": 1}}]}
    junk = {
        f"{ROOT}/area/line/m-01/data": json.dumps(record).encode(),
        f"{ROOT}/area/line/m-01/event": b"junk",
        f"{ROOT}/_gateways/edge-01/data": b"junk",
        f"{ROOT}/_gateways/edge-01/metadata": b'{"v":1,"known":{},"unknown":["5d0c9e3f7a21"]}',
        CONFIRMED: forged("x", [[1, 2**53]]),
        f"{ROOT}/_gateways/edge-01/wanted": b'{"v":1,"ids":["5d0c9e3f7a21"]}',
    }
    harmless = {f"{ROOT}/_gateways/edge-01/ledger": b"junk", f"{ROOT}/_ingests/ingest-edge-01/report": b"junk"}
    for topic, payload in (junk | harmless).items():
        await publish(plant, topic, payload, user="ingest", retain=True)
    ingest = await plant.ingest()
    await plant.acquire()
    await plant.closed()
    await ingest.stop()
    assert report(plant.folder / "ingest.json")["retained_ignored"] == 4
    assert report(plant.folder / "ingest.json")["dead_letters"] == 0
    assert not await retained(plant) & junk.keys()


@pytest.mark.parametrize("codec", ["json", "binary"])
async def test_a_record_without_the_signature_of_its_gateway_is_set_aside(plant: Plant, codec: str):
    """This client may publish for the machine, and knows the id of its gateway; it has no key."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    plant.environment, plant.codec = {"LINESIDE_SECRET_SIGN_KEY": pem}, codec
    public = b64encode(key.public_key().public_bytes_raw()).decode()
    ingest = await plant.ingest(public_keys={"edge-01": public}, audit={"begin": True})
    await plant.acquire()
    await until(lambda: len(plant.stored()) > 3, "some are stored")
    forged_record = of_another(1).replace(b"edge-09", b"edge-01")
    await publish(plant, f"{ROOT}/area/line/m-01/data", forged_record, user="edge-01")
    found = await ingest.logged("record.signature_refused")
    assert found["gateway"] == "edge-01"
    await plant.closed()
    assert len(ingest.events("record.signature_refused")) == 1
    folder = load_factory(plant.folder / "ingest.yaml").ingest.audit.folder
    await until(lambda: refused(folder), "it is in the audit log of ingest")
    assert refused(folder) == [("record-refused", f"{ROOT}/area/line/m-01/data", "edge-01", "bad_signature", 1)]
    await ingest.stop()
    assert report(plant.folder / "ingest.json")["not_stored"] == {"bad_signature": 1}


def of_another(number: int) -> bytes:
    """Return a record of the machine in the name of another gateway."""
    base = {"v": 1, "gateway": "edge-09", "spool": "x", "seq": number}
    return json.dumps(base | {"scans": [{"t": number, "values": {"count": number}}]}).encode()


async def test_a_restart_does_not_forget_the_gateway_of_a_machine(plant: Plant):
    """An intruder waited for a restart: ingest took the first to publish then for the owner."""
    ingest = await plant.ingest()
    await plant.acquire()
    await until(lambda: len(plant.stored()) > 2, "some are stored")
    await plant.gateway.stop()
    await ingest.stop()
    ingest = await plant.ingest()
    await publish(plant, f"{ROOT}/area/line/m-01/data", of_another(1))
    found = await ingest.logged("machine.other_gateway")
    assert (found["before"], found["gateway"]) == ("edge-01", "edge-09")


async def test_ingests_that_share_learn_the_gateways_of_their_records(plant: Plant):
    """Each has a part of the records, and a file of its own."""
    ingests = [await plant.ingest(id=name, share="plant") for name in ("ingest", "ingest-2")]
    await plant.acquire()
    files = [plant.folder / "ingest" / f"{name}.owners.json" for name in ("ingest", "ingest-2")]
    for file in files:
        await until(lambda file=file: file.exists() and "edge-01" in file.read_text(), f"{file.name} is written")
    await plant.gateway.stop()
    await publish(plant, f"{ROOT}/area/line/m-01/data", *map(of_another, range(1, 11)))
    for ingest in ingests:
        found = await ingest.logged("machine.other_gateway")
        assert (found["before"], found["gateway"]) == ("edge-01", "edge-09")
    for file in files:
        await until(lambda file=file: "edge-09" in file.read_text(), f"{file.name} has the change")


async def test_a_flood_of_names_takes_no_room_of_others(plant: Plant):
    """Each record names another gateway, another machine and metadata that nobody has."""
    ingest = await plant.ingest()
    await plant.acquire()
    for batch in range(10):
        for number in range(100):
            name = f"{batch}-{number}"
            record = {"v": 1, "gateway": f"g-{name}", "spool": f"s-{name}", "seq": 1, "meta": f"meta-{name}"}
            payload = json.dumps(record | {"scans": [{"t": time.time_ns() // 1000, "values": {f"p-{name}": 1}}]})
            await publish(plant, f"{ROOT}/evil/evil-1/m-{name}/data", payload.encode(), user="edge-02")
    await plant.closed()
    assert len(ingest.events("meta.unknown")) <= 1_001
    await ingest.stop()
    assert report(plant.folder / "ingest.json")["waiting_for_meta"] >= 1000
