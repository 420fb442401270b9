"""Imported points decode the registers of a device to the value that the other program shows.

The bytes on the wire are those of the other program's documentation for its settings.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from drivers.modbus.codec import compile_registers
from gateway.importers.build import built
from gateway.importers.content import Content
from gateway.importers.formats import recognised
from gateway.importers.found import Import, Options
from gateway.settings.load import load_factory

if TYPE_CHECKING:
    from pathlib import Path


def value_of(found: Import, folder: Path, wire: bytes) -> Any:
    """Return the value of the only point, from its registers, as a gateway that loads the import would."""
    whole = built(found)
    [machine] = whole.machines
    (folder / "machines").mkdir(exist_ok=True)
    (folder / "machines" / f"{machine.template}.yaml").write_text(
        whole.templates[machine.template].text, encoding="utf-8"
    )
    (folder / "factory.yaml").write_text(
        "format: 1\nfactory: {enterprise: e, site: s}\ngateway: {id: g}\nbroker: {url: 'mqtt://h'}\nlines:\n"
        f"  l: {{area: a, machines: {{{machine.name}: {machine.entry}}}}}\n", encoding="utf-8",
    )  # fmt: skip
    [point] = load_factory(folder / "factory.yaml").machines[0].points
    [value] = compile_registers([(0, point.source)])(wire)
    return value * point.scale + point.offset if isinstance(value, int | float) and point.scale != 1 else value


def neuron(address: str, kind: int, **params: int) -> Import:
    data = {
        "nodes": [{"name": "n", "plugin": "Modbus TCP", "params": {"host": "h"} | params, "groups": [
            {"group": "g", "tags": [{"name": "t", "address": address, "type": kind, "attribute": 1}]}]}]
    }  # fmt: skip
    content = Content("neuron.json", json.dumps(data).encode())
    return recognised(content).read(content, Options())


def ordered(places: str, value: bytes) -> bytes:
    """Return the bytes of a value, most significant first, in an order such as `3412`."""
    return bytes(value[int(place) - 1] for place in places)


WHOLE = struct.pack(">I", 0x01020304)
LONG = struct.pack(">Q", 0x0102030405060708)


@pytest.mark.parametrize(
    ("symbol", "places"), [("", "1234"), ("#LL", "1234"), ("#LB", "2143"), ("#BL", "3412"), ("#BB", "4321")]
)
def test_orders_in_addresses_of_neuron_are_those_of_its_manual(tmp_path: Path, symbol: str, places: str) -> None:
    """The table of `#ENDIAN` in its documentation of Modbus TCP."""
    found = neuron(f"1!400001{symbol}", 6)
    assert value_of(found, tmp_path, ordered(places, WHOLE)) == 0x01020304


@pytest.mark.parametrize(
    ("symbol", "places"),
    [("", "12345678"), ("#LL", "12345678"), ("#LB", "21436587"), ("#BL", "78563412"), ("#BB", "87654321"),
     ("#WS", "34127856"), ("#WR", "56781234")],
)  # fmt: skip
def test_orders_of_64_bits_of_neuron_are_those_of_its_manual(tmp_path: Path, symbol: str, places: str) -> None:
    """The second table, and the two orders that only its plugin's schema has."""
    found = neuron(f"1!400001{symbol}", 8)
    assert value_of(found, tmp_path, ordered(places, LONG)) == 0x0102030405060708


@pytest.mark.parametrize(("setting", "places"), [(1, "1234"), (2, "2143"), (3, "4321"), (4, "3412")])
def test_the_order_of_a_node_of_neuron_applies_without_a_symbol(tmp_path: Path, setting: int, places: str) -> None:
    """`4-byte Endianness` ABCD, BADC, DCBA, CDAB; a symbol in the address comes first."""
    value = struct.pack(">f", 12.5)
    assert value_of(neuron("1!400001", 9, endianess=setting), tmp_path, ordered(places, value)) == 12.5
    assert value_of(neuron("1!400001#LL", 9, endianess=setting), tmp_path, value) == 12.5


@pytest.mark.parametrize(
    ("address", "wire"),
    [("1!400001.4", b"ABCD"), ("1!400001.4H", b"ABCD"), ("1!400001.4L", b"BADC"), ("1!400001.4D", b"\0A\0B\0C\0D"),
     ("1!400001.4E", b"A\0B\0C\0D\0")],
)  # fmt: skip
def test_strings_of_neuron_have_its_four_ways_of_storage(tmp_path: Path, address: str, wire: bytes) -> None:
    """High byte first, low byte first, or one byte in the low or the high half of each register."""
    assert value_of(neuron(address, 13), tmp_path, wire) == "ABCD"


def test_a_swapped_register_of_neuron_is_swapped(tmp_path: Path) -> None:
    """`#B` of 16 bits."""
    assert value_of(neuron("1!400001#B", 4), tmp_path, b"\x01\x02") == 0x0201
    assert value_of(neuron("1!400001", 4), tmp_path, b"\x01\x02") == 0x0102


def kepware(address: str, kind: int, **settings: bool) -> Import:
    tag = {"common.ALLTYPES_NAME": "t", "servermain.TAG_ADDRESS": address, "servermain.TAG_DATA_TYPE": kind}
    device = {"common.ALLTYPES_NAME": "d", "servermain.DEVICE_ID_STRING": "<10.0.0.1>.1", "tags": [tag]}
    device |= {f"modbus_ethernet.DEVICE_{key}": value for key, value in settings.items()}
    channel = {"servermain.MULTIPLE_TYPES_DEVICE_DRIVER": "Modbus TCP/IP Ethernet", "devices": [device]}
    content = Content("p.json", json.dumps({"project": {"channels": [channel]}}).encode())
    return recognised(content).read(content, Options())


@pytest.mark.parametrize(
    ("settings", "places", "places64"),
    [
        ((True, True, True), "3412", "78563412"), ((True, False, True), "3412", "34127856"),
        ((False, True, True), "1234", "56781234"), ((False, False, True), "1234", "12345678"),
        ((True, True, False), "4321", "87654321"), ((False, False, False), "2143", "21436587"),
        ((True, False, False), "4321", "43218765"), ((False, True, False), "2143", "65872143"),
    ],
)  # fmt: skip
def test_word_and_byte_orders_of_kepware_are_those_of_its_device(
    tmp_path: Path, settings: tuple[bool, ...], places: str, places64: str
) -> None:
    """First word low in 32 bits, first DWord low in 64 bits, Modbus byte order."""
    names = ("FIRST_WORD_LOW", "FIRST_DWORD_LOW", "MODBUS_BYTE_ORDER")
    device = dict(zip(names, settings, strict=True))
    assert value_of(kepware("400001", 7, **device), tmp_path, ordered(places, WHOLE)) == 0x01020304
    assert value_of(kepware("400001", 14, **device), tmp_path, ordered(places64, LONG)) == 0x0102030405060708


def test_bits_and_longs_of_kepware_are_those_of_its_device(tmp_path: Path) -> None:
    """Bits from 0 or 1, from the lowest or the highest; 32 bits as two registers of four digits."""
    wire = struct.pack(">H", 0b0000_0000_0000_1000)
    for address, settings in (
        ("400001.3", {}), ("400001.4", {"ZERO_BASED_BIT_ADDRESSING": False}),
        ("400001.12", {"MODICON_BIT_ORDER": True}),
    ):  # fmt: skip
        assert value_of(kepware(address, 1, **settings), tmp_path, wire) is True
    found = kepware("400001", 6, TREAT_LONGS_AS_DOUBLE_PRECISION_UNSIGNED_DECIMAL=True)
    assert value_of(found, tmp_path, struct.pack(">HH", 5678, 1234)) == 12345678


def test_entries_of_kepware_count_from_the_setting_of_its_device() -> None:
    """With zero-based addressing 1 is subtracted: 400001 is the first register."""
    for zero_based, entry in ((True, 0), (False, 1)):
        [machine] = kepware("400001", 5, ZERO_BASED_ADDRESSING=zero_based).machines
        assert machine.points["t"].keys["address"] == f"holding {entry}"


@pytest.mark.parametrize(
    ("item", "wire", "value"),
    [
        ("HR1", struct.pack(">h", -2), -2), ("HRUS1", struct.pack(">H", 40000), 40000),
        ("HRI1", ordered("3412", struct.pack(">i", -70000)), -70000),
        ("HRUI1", ordered("3412", WHOLE), 0x01020304), ("HRF1", ordered("3412", struct.pack(">f", 1.5)), 1.5),
        ("HRD1", ordered("78563412", struct.pack(">d", -1e9)), -1e9),
        ("HRI_641", ordered("78563412", LONG), 0x0102030405060708),
        ("HRBCD1", b"\x12\x34", 1234), ("HRBCD_321", b"\x56\x78\x12\x34", 12345678), ("HR1.4", b"\x00\x10", True),
        ("HRS1:4", b"ABCD", "ABCD"),
    ],
)  # fmt: skip
def test_items_of_ignition_are_those_of_its_modbus_driver(tmp_path: Path, item: str, wire: bytes, value: Any) -> None:
    """The low word first, unless its device reverses it."""
    tags = [
        {"name": "t", "tagType": "AtomicTag", "valueSource": "opc", "dataType": "Int4", "opcItemPath": f"[P]{item}"}
    ]
    content = Content("tags.json", json.dumps({"name": "", "tagType": "Provider", "tags": tags}).encode())
    assert value_of(recognised(content).read(content, Options()), tmp_path, wire) == value


@pytest.mark.parametrize(
    ("row", "wire", "value"),
    [
        ("40001;a;S16;1/10", struct.pack(">h", -215), -21.5), ("40001;a;U32;", WHOLE, 0x01020304),
        ("40001;a;FLOAT CDAB;", ordered("3412", struct.pack(">f", 1.5)), 1.5),
        ("40001-40004;a;DOUBLE;", struct.pack(">d", 2.25), 2.25), ("40001;a;BCD;0.01", b"\x12\x34", 12.34),
        ("40001.2;a;BOOL;", b"\x00\x04", True), ("40001;a;STRING(4);", b"ABCD", "ABCD"),
    ],
)  # fmt: skip
def test_registers_of_a_list_have_the_values_of_its_manual(tmp_path: Path, row: str, wire: bytes, value: Any) -> None:
    """Types, orders and factors."""
    content = Content("list.csv", f"Register;Name;Type;Scale\n{row}\n".encode())
    found = recognised(content).read(content, Options(connection="modbus+tcp://h"))
    assert value_of(found, tmp_path, wire) == pytest.approx(value)
