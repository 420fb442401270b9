"""Files, queues, the server id and the device identification as points."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fakes.modbus_server import HOST, Asked, FakeModbusServer, exception
from pydantic import ValidationError

from drivers.base import Fault, Group, Reason, ValueType
from drivers.modbus.address import ENTRIES, Address, parse_address
from drivers.modbus.connection import ModbusConnection
from drivers.modbus.cost import cost_of
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.overlaps import doubts
from drivers.modbus.pdu import InvalidResponse
from drivers.modbus.plan import Limits, Request, plan
from drivers.modbus.sampler import ModbusSampler
from drivers.modbus.source import ModbusSource
from gateway.common.clock import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


def keyed(address: str, **keys: Any) -> ModbusSource:
    return ModbusSource.model_validate({"address": address} | keys)


def requests(*points: ModbusSource, **limits: Any) -> Sequence[Request]:
    return plan(points, Limits(**limits)).requests


@pytest.mark.parametrize(
    ("written", "shown", "offset"),
    [
        ("file 4 record 7", "file 4 record 7", 4 * ENTRIES + 7),
        ("file 0x10 record 0x10", "file 16 record 16", 16 * ENTRIES + 16),
        ("fifo 1246", "fifo 1246 item 0", 1246 * ENTRIES + 1),
        ("fifo 1246 item 30", "fifo 1246 item 30", 1246 * ENTRIES + 31),
        ("fifo 0x4DE count", "fifo 1246 count", 1246 * ENTRIES),
        ("server_id", "server_id 0", 0),
        ("server id 1", "server_id 1", 1),
        ("identification model_name", "identification model_name", 5),
        ("identification 0x80", "identification 128", 128),
    ],
)
def test_addresses_outside_of_the_tables_are_read_and_written_alike(written: str, shown: str, offset: int) -> None:
    """A template that the product writes is one that it reads."""
    found = parse_address(written)
    assert isinstance(found, Address)
    assert (str(found), found.offset) == (shown, offset)
    assert parse_address(shown) == found


@pytest.mark.parametrize(
    ("address", "keys", "message"),
    [
        (
            "file 4",
            {},
            "'file 4' is not a Modbus address; write a file and a register in it, as in 'file 4 record 0'",
        ),
        ("file 70000 record 0", {}, "70000 is beyond the last file, 65535"),
        ("file 1 record 10000", {}, "10000 is beyond the last record of a file, 9999"),
        ("file 1 record 9999", {"raw": "uint32"}, "uint32 at file 1 record 9999 reaches beyond the last entry, 9999"),
        (
            "file 1 record 0",
            {"raw": "string", "length": 125},
            "one response contains at most 121 registers of a file",
        ),
        ("fifo", {}, "write the address of the queue, as in 'fifo 1246'"),
        ("fifo 1 item 31", {}, "31 is beyond the last item of a queue, 30"),
        ("fifo 1 item 30", {"raw": "uint32"}, "uint32 at fifo 1 item 30 reaches beyond the last entry, 31"),
        ("server_id x", {}, "write 'server_id', or the number of a byte in it, as in 'server_id 1'"),
        ("server_id 1", {"raw": "uint16"}, "server_id 1 has raw: string, bytes, uint8, bool, without bit and count"),
        ("server_id 1", {"count": 2}, "server_id 1 has raw: string, bytes, uint8, bool, without bit and count"),
        (
            "identification maker",
            {},
            "'maker' is not an object of an identification; write vendor_name, product_code",
        ),
        ("identification 256", {}, "256 is beyond the last object of an identification, 255"),
        ("identification 0", {"raw": "bool"}, "identification vendor_name has raw: string, bytes"),
    ],
)
def test_wrong_addresses_outside_of_the_tables_are_errors(address: str, keys: dict[str, Any], message: str) -> None:
    """The message shows the form that is right."""
    with pytest.raises(ValidationError) as caught:
        keyed(address, **keys)
    assert message in str(caught.value)


def test_types_follow_from_the_data() -> None:
    """Registers have numbers, and names are text."""
    assert keyed("file 1 record 0").value_type is ValueType.INT
    assert keyed("server_id").value_type is ValueType.STRING
    assert keyed("server_id 1", raw="bool").value_type is ValueType.BOOL
    assert keyed("identification 0").value_type is ValueType.STRING
    defaults = {"raw": "float32", "order": "CDAB", "length": 4, "not_available": -1}
    for address in ("server_id", "identification vendor_name"):
        assert ModbusSource.fitting(defaults, {"address": address}) == {}
    assert ModbusSource.fitting({"order": "CDAB"}, {"address": "file 1 record 0"}) == {"order": "CDAB"}


def test_registers_of_a_file_are_merged_and_others_are_requests_of_their_own() -> None:
    """A response has 121 registers of a file at most, and a queue or an object is one response."""
    points = [
        keyed("holding 0"), keyed("file 4 record 0"), keyed("file 4 record 2", raw="float32"),
        keyed("file 5 record 0"), keyed("file 4 record 200"), keyed("fifo 9"), keyed("fifo 9 count"),
        keyed("fifo 10"), keyed("server_id"),
        keyed("server_id 1", raw="bool"), keyed("identification 0"), keyed("identification 1"),
    ]  # fmt: skip
    found = plan(points, Limits())
    assert [(one.pdu.hex(" "), one.positions) for one in found.requests] == [
        ("03 00 00 00 01", (0,)),
        ("18 00 09", (6, 5)),
        ("18 00 0a", (7,)),
        ("14 07 06 00 04 00 00 00 04", (1, 2)),
        ("14 07 06 00 04 00 c8 00 01", (4,)),
        ("14 07 06 00 05 00 00 00 01", (3,)),
        ("2b 0e 01 00", (10,)),
        ("2b 0e 01 01", (11,)),
        ("11", (8, 9)),
    ]
    assert [one.splittable for one in found.requests] == [
        False,
        False,
        False,
        True,
        False,
        False,
        False,
        False,
        False,
    ]
    many = requests(*(keyed(f"file 1 record {i}") for i in range(200)))
    assert [one.count for one in many] == [121, 79]
    assert [one.count for one in requests(*(keyed(f"file 1 record {i}") for i in range(9)), max_registers=4)] == [
        4, 4, 1
    ]  # fmt: skip
    assert list(doubts([keyed("server_id"), keyed("server_id 1", raw="bytes"), keyed("identification 0")])) == []
    connection = ModbusConnection(host=HOST)
    names = tuple(f"p{i}" for i in range(len(points)))
    assert cost_of(Group("m", connection, names, tuple(points), 1.0)).details[1:] == [
        "fifo 9: the whole queue for 2 points",
        "fifo 10: the whole queue for 1 points",
        "file 4 record 0..3: 4 registers for 2 points",
        "file 4 record 200..200: 1 registers for 1 points",
        "file 5 record 0..0: 1 registers for 1 points",
        "identification vendor_name for 1 points",
        "identification product_code for 1 points",
        "server_id for 2 points",
    ]


def values(answer: str, *points: ModbusSource) -> list[Any]:
    [one] = requests(*points)
    found = dict(zip(one.positions, one.values(bytes.fromhex(answer)), strict=True))
    return [found[i] for i in range(len(points))]


def test_the_examples_of_the_specification_are_read() -> None:
    """Clauses 6.14 and 6.18 show both as bytes."""
    assert values("06 05 06 0D FE 00 20", keyed("file 4 record 1"), keyed("file 4 record 2")) == [0x0DFE, 0x20]
    queue = "00 06 00 02 01 B8 12 84"
    assert values(queue, keyed("fifo 1246 count"), keyed("fifo 1246"), keyed("fifo 1246 item 1", raw="int16")) == [
        2, 440, 4740
    ]  # fmt: skip
    assert values(queue, keyed("fifo 1246", raw="uint32")) == [440 << 16 | 4740]


def test_data_that_a_device_does_not_have_is_not_available() -> None:
    """A queue is empty, a server id is short, an object is missing: the device says so."""
    short = values("00 02 00 00", keyed("fifo 1"), keyed("fifo 1 count"))
    assert [getattr(one, "code", one) for one in short] == ["the queue holds 0", 0]
    found = values(
        "05 2A FF 50 4C 43", keyed("server_id", raw="uint8"), keyed("server_id 1", raw="bool"),
        keyed("server_id 1", raw="bool", invert=True), keyed("server_id 2"), keyed("server_id 2", length=1),
        keyed("server_id", raw="bytes"), keyed("server_id 5"),
    )  # fmt: skip
    assert found[:6] == [42, True, False, "PLC", "PL", "2aff504c43"]
    assert isinstance(found[6], Fault)
    assert (found[6].reason, found[6].code) == (Reason.NOT_AVAILABLE, "the server id has 5 bytes")
    answer = "0E 01 01 00 00 02 00 04 41 43 4D 45 02 02 31 32"
    assert values(answer, keyed("identification 0"), keyed("identification 0", raw="bytes")) == ["ACME", "41434d45"]
    [absent] = values(answer, keyed("identification product_code"))
    assert absent.code == "the device has no object 1"
    assert all(point.fallible for point in (keyed("fifo 1"), keyed("server_id"), keyed("identification 0")))


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("file 1 record 0", ""), ("file 1 record 0", "04 03 06 00"), ("file 1 record 0", "04 03 07 00 01"),
        ("fifo 1", ""), ("fifo 1", "00 04 00 02 00 01"), ("fifo 1", "00 06 00 02 00 01"),
        ("fifo 1", "00 42 00 20" + 32 * " 00 01"), ("server_id", ""), ("server_id", "05 01"),
        ("identification 0", "0D 01 01 00 00 00"), ("identification 0", "0E 01 01 00 00 01 00 09 41"),
    ],
)  # fmt: skip
def test_malformed_responses_are_refused(address: str, answer: str) -> None:
    """Bytes from outside are counted before they are used."""
    with pytest.raises(InvalidResponse):
        values(answer, keyed(address))


@asynccontextmanager
async def driver_of(one: Group, kind: type[ModbusDriver] = ModbusDriver) -> AsyncIterator[ModbusDriver]:
    driver = kind(one.connection.shared(), (one,), Clock())
    await driver.connect()
    try:
        yield driver
    finally:
        await driver.close()


async def test_a_queue_that_is_refused_leaves_the_other_points_good() -> None:
    """The queue is asked again as a whole, since there is no part of it to ask for."""

    def script(asked: Asked) -> Any:
        return exception(2)(asked) if asked.function == 24 else [asked.frame()]

    points = (keyed("holding 3"), keyed("fifo 1"), keyed("fifo 1 count"))
    async with FakeModbusServer(script) as server:
        one = Group("m", ModbusConnection(host=HOST, port=server.port), ("a", "b", "c"), points, 1.0)
        async with driver_of(one) as driver:
            for _ in range(5):
                scan = await driver.read(one)
                assert scan.values == [3, None, None]
                assert {fault.reason for fault in scan.faults.values()} == {Reason.REFUSED}


async def test_check_shows_the_bytes_behind_a_reading() -> None:
    """A text that looks wrong is explained by its bytes."""

    def script(asked: Asked) -> Any:
        return [asked.frame(bytes.fromhex("03 01 FF 41"))]

    async with FakeModbusServer(script) as server:
        one = Group("m", ModbusConnection(host=HOST, port=server.port), ("a",), (keyed("server_id 2"),), 1.0)
        async with driver_of(one, ModbusSampler) as driver:
            assert isinstance(driver, ModbusSampler)
            sample = await driver.sample(one)
    assert sample.scan.values == ["A"]
    assert sample.held[0].raw == "01 FF41"
