"""Imported points read the values that the other program reads, from a device whose registers it would read so.

The registers are made by what each program documents of its byte and word order, its swaps, scales and bits; not by
the importer.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from fakes.modbus_server import Asked, served

from gateway.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CASES = Path(__file__).parents[1] / "cases" / "import"
TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}


class Memory:
    """The entries of a device, by unit, table and number; others are 0."""

    def __init__(self) -> None:
        self._entries: dict[tuple[int, str, int], int] = {}

    def bits(self, unit: int, table: str, first: int, *values: int) -> None:
        self._entries |= {(unit, table, first + place): value for place, value in enumerate(values)}

    def bytes(self, unit: int, table: str, first: int, data: bytes) -> None:
        self.bits(unit, table, first, *struct.unpack(f">{len(data) // 2}H", data))

    def script(self, asked: Asked) -> Sequence[bytes]:
        table = TABLES[asked.function]
        places = range(asked.first, asked.first + asked.count)
        found = [self._entries.get((asked.unit, table, place), 0) for place in places]
        if asked.function in {1, 2}:
            packed = sum(value << place for place, value in enumerate(found))
            data = packed.to_bytes((asked.count + 7) // 8, "little")
        else:
            data = struct.pack(f">{asked.count}H", *found)
        return [asked.frame(bytes((len(data),)) + data)]


def pairs(data: bytes) -> list[bytes]:
    return [data[place : place + 2] for place in range(0, len(data), 2)]


def words_reversed(data: bytes) -> bytes:
    return b"".join(reversed(pairs(data)))


def bytes_swapped(data: bytes) -> bytes:
    return b"".join(pair[::-1] for pair in pairs(data))


def values_of(case: str, replaced: dict[str, str], memory: Memory, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Import the file of a case for a device here, and return the values that `check` reads, by machine and point."""
    folder = CASES / case
    [file] = [one for one in folder.iterdir() if one.name not in {"options.txt", "notes.txt", "expected"}]
    options = folder / "options.txt"
    with served(memory.script) as (port, _):
        text, words = file.read_text(encoding="utf-8"), options.read_text() if options.exists() else ""
        for old, new in replaced.items():
            text, words = (part.replace(old, new.replace("PORT", str(port))) for part in (text, words))
        (tmp_path / file.name).write_text(text, encoding="utf-8")
        command = ["import", str(tmp_path / file.name), "--out", str(tmp_path / "out"), *words.split()]
        ran = CliRunner().invoke(main, command)
        assert ran.exit_code == 0, ran.output
        checked = CliRunner().invoke(main, ["check", str(tmp_path / "out" / "factory.yaml"), "--format", "json"])
    report = json.loads(checked.stdout)
    return {
        machine["machine"].rpartition("/")[2]: {point["point"]: point["value"] for point in machine["points"]}
        for machine in report["machines"]
    }


def test_thingsboard_reads_words_and_bytes_by_their_orders(tmp_path: Path) -> None:
    """LITTLE words are reversed, LITTLE bytes are swapped in each register; bits begin with the high byte."""
    memory = Memory()
    memory.bytes(7, "holding", 0, words_reversed(struct.pack(">f", 230.5)))
    memory.bytes(7, "input", 5, struct.pack(">h", -125))
    memory.bytes(7, "holding", 8, words_reversed(struct.pack(">Q", 123_456_789_012)))
    memory.bytes(7, "holding", 12, words_reversed(struct.pack(">i", -70_000)))
    memory.bytes(7, "holding", 14, struct.pack(">e", 1.5))
    memory.bytes(7, "holding", 15, bytes((42, 7)))
    memory.bits(7, "holding", 16, 1)
    memory.bits(7, "coil", 3, 1)
    memory.bits(7, "discrete", 8, 1, 0, 1)
    memory.bits(7, "holding", 20, 0x0004, 0x0080)
    memory.bytes(7, "holding", 40, struct.pack(">3h", 215, 216, -5))
    memory.bits(7, "holding", 60, 777)
    memory.bytes(7, "holding", 100, b"SN-0042".ljust(16, b"\0"))
    memory.bytes(7, "holding", 110, bytes.fromhex("001122334455"))
    memory.bytes(8, "holding", 0, bytes_swapped(struct.pack(">f", 7.25)))
    values = values_of(
        "thingsboard-modbus", {"10.20.1.31": "127.0.0.1", "502": "PORT"}, memory, tmp_path
    )  # fmt: skip
    assert values["Oven_1"] == {
        "pressure": 230.5, "temperature": -12.5, "energy": 123_456_789.012, "count": -70_000, "half": 1.5, "step": 42,
        "mode": 1, "door": True, "lamps_0": True, "lamps_1": False, "lamps_2": True, "fault": True, "alarm": True,
        "odd": True, "zone_40": 21.5, "zone_41": 21.6, "zone_42": -0.5, "late": 777, "serial": "SN-0042",
        "mac": "001122334455",
    }  # fmt: skip
    assert values["Oven_2"] == {"pressure": 7.25}


def test_node_red_reads_a_buffer_after_its_swaps(tmp_path: Path) -> None:
    """The parser swaps the bytes of each register, and reads most numbers with the lowest byte first."""
    buffer = bytearray(32)
    struct.pack_into("<f", buffer, 0, 16.25)
    struct.pack_into("<H", buffer, 4, 1234)
    struct.pack_into("<3h", buffer, 6, 1718, -5, 0)
    buffer[12] = 0xA7
    struct.pack_into("<H", buffer, 14, 0x1234)
    buffer[16] = 0b0000_1000
    buffer[20:28] = b"winter\0\0"
    struct.pack_into("<H", buffer, 28, 0x1987)
    memory = Memory()
    memory.bytes(1, "holding", 100, bytes_swapped(bytes(buffer)))
    memory.bits(2, "coil", 5, 1)
    memory.bytes(9, "input", 20, struct.pack(">i", -7))
    values = values_of(
        "nodered-modbus", {"10.20.1.41": "127.0.0.1", '"502"': '"PORT"'}, memory, tmp_path
    )  # fmt: skip
    assert values["press"] == {
        "pressure": 16.25, "speed.actual": 123.4, "zone_0": 171.8, "zone_1": -0.5, "zone_2": 0.0, "step": 7,
        "phase": 3, "ready": True, "recipe": "winter", "cycles": 1987,
    }  # fmt: skip
    assert values["press-2"] == {"door": True}
    assert values["press-9"] == {"flow": -2}


def test_home_assistant_swaps_bytes_words_or_both(tmp_path: Path) -> None:
    """`word` reverses the registers of a value, `byte` swaps in each, and a structure is as of Python."""
    memory = Memory()
    memory.bytes(5, "input", 16, struct.pack(">h", 651))
    memory.bytes(5, "holding", 20, words_reversed(struct.pack(">i", -123_456)))
    for place, current in enumerate((1.5, 2.25, -0.75)):
        memory.bytes(5, "holding", 30 + 2 * place, words_reversed(bytes_swapped(struct.pack(">f", current))))
    memory.bytes(5, "holding", 0o100, bytes_swapped(b"SERIAL-00017"))
    memory.bytes(5, "holding", 200, struct.pack(">hHf", -9, 60_001, 2.5))
    memory.bytes(5, "holding", 210, struct.pack("<i", 65_538))
    memory.bits(5, "coil", 3, 1)
    memory.bits(5, "discrete", 7, 0, 1)
    memory.bits(5, "holding", 40, 3)
    memory.bits(6, "holding", 1, 55)
    memory.bytes(6, "holding", 10, struct.pack(">3h", 215, 0, 220))
    memory.bits(6, "holding", 14, 2)
    memory.bits(6, "holding", 50, 2)
    memory.bits(6, "coil", 60, 1)
    values = values_of("homeassistant", {"10.20.1.50": "127.0.0.1", "port: 502": "port: PORT"}, memory, tmp_path)
    assert values["chiller"] == {
        "Supply_temperature": 25.1, "Power": -123_456, "Phase_current": 1.5, "Phase_current_1": 2.25,
        "Phase_current_2": -0.75, "Serial": "SERIAL-00017", "Curve_0": -4.5, "Curve_1": 30_000.5, "Curve_2": 1.25,
        "Little": 65_538, "Pump": True, "Alarm": False, "Alarm_1": True, "Ready": True,
    }  # fmt: skip
    assert values["chiller-6"] == {
        "Level": 55, "Room_current": 21.5, "Room_target": 22.0, "Room_mode": 2, "Fan": 2, "Gate": True,
    }  # fmt: skip


def test_home_assistant_knows_a_raw_value_that_is_not_a_value(tmp_path: Path) -> None:
    """`nan_value: 0x8000` of a number with a sign."""
    memory = Memory()
    memory.bits(5, "input", 16, 0x8000)
    values = values_of("homeassistant", {"10.20.1.50": "127.0.0.1", "port: 502": "port: PORT"}, memory, tmp_path)
    assert values["chiller"]["Supply_temperature"] is None


def test_edgex_swaps_numbers_of_32_bits_alone(tmp_path: Path) -> None:
    """`isWordSwap` has no effect on 64 bits; the second bit address of 20.10 is 10."""
    memory = Memory()
    memory.bits(1, "coil", 3, 1)
    memory.bytes(1, "input", 3, struct.pack(">h", 651))
    memory.bytes(1, "holding", 10, words_reversed(struct.pack(">f", 12.5)))
    memory.bytes(1, "holding", 14, struct.pack(">Q", 2**40 + 5))
    memory.bits(1, "holding", 20, 1 << 10)
    memory.bits(1, "holding", 21, 0x12A4)
    memory.bytes(1, "holding", 30, b"PUMP-7".ljust(16, b"\0"))
    values = values_of("edgex", {"10.20.1.70": "127.0.0.1", "Port: 502": "Port: PORT"}, memory, tmp_path)
    assert values["pump-01"] == {
        "Running": True, "Temperature": 25.1, "Flow": 12.5, "Energy": 2**40 + 5, "Fault": True, "Trip": False,
        "Phase": 10, "Serial": "PUMP-7",
    }  # fmt: skip


def test_the_first_version_of_edgex_counts_from_one(tmp_path: Path) -> None:
    """Its `startingAddress` 1 is the register 0 on the wire."""
    memory = Memory()
    memory.bits(1, "holding", 0, 2301)
    memory.bits(1, "discrete", 4, 1)
    values = values_of("edgex-1", {"10.20.1.80:502": "127.0.0.1:PORT"}, memory, tmp_path)
    assert values["meter-01"] == {"Voltage": 230.1, "Relay": True}


def test_sunspec_scales_by_the_factor_of_the_device(tmp_path: Path) -> None:
    """Values that a device does not have become bad readings."""
    memory = Memory()
    memory.bytes(126, "holding", 40_102, struct.pack(">Hhhh", 153, -32_768, -1, 1))
    memory.bytes(126, "holding", 40_106, struct.pack(">If", 7, 49.98))
    memory.bytes(126, "holding", 40_111, struct.pack(">HI", 4, 2))
    memory.bytes(126, "holding", 40_114, b"INV-9".ljust(16, b"\0"))
    memory.bytes(126, "holding", 40_122, bytes((10, 0, 0, 7)))
    memory.bytes(126, "holding", 40_124, struct.pack(">hh", 98, 41))
    memory.bytes(126, "holding", 40_126, struct.pack(">4H", 81, 6_005, 79, 0xFFFF))
    values = values_of("sunspec", {"10.20.1.90:502": "127.0.0.1:PORT"}, memory, tmp_path)
    assert values["plant"] == {
        "A": 15.3, "W": None, "WH": 70, "Hz": 49.98, "St": 4, "Evt": 2, "SN": "INV-9", "Addr": "0a000007", "PF": 98,
        "Tmp": 41, "module_1_DCA": 8.1, "module_1_DCV": 600.5, "module_2_DCA": 7.9, "module_2_DCV": None,
    }  # fmt: skip


TELEGRAF: dict[str, Callable[[bytes], bytes]] = {
    "ABCD": lambda data: data,
    "CDAB": words_reversed,
    "BADC": bytes_swapped,
    "DCBA": lambda data: words_reversed(bytes_swapped(data)),
    "MSW-BE": lambda data: data,
    "LSW-BE": words_reversed,
    "MSW-LE": bytes_swapped,
    "LSW-LE": lambda data: words_reversed(bytes_swapped(data)),
}


@pytest.mark.parametrize("order", TELEGRAF)
def test_telegraf_reads_each_byte_order(order: str, tmp_path: Path) -> None:
    """Both names of an order; strings use one byte of a register by a workaround."""
    wire = TELEGRAF[order]
    memory = Memory()
    memory.bits(3, "coil", 0, 1)
    memory.bytes(3, "holding", 1, wire(struct.pack(">i", -123_456)))
    memory.bytes(3, "holding", 3, wire(struct.pack(">H", 145)))
    memory.bytes(3, "holding", 4, wire(struct.pack(">e", 0.5)))
    memory.bytes(3, "holding", 5, bytes((42, 7)) + wire(struct.pack(">H", 1 << 12)))
    swapped = order in {"BADC", "DCBA", "MSW-LE", "LSW-LE"}
    memory.bytes(3, "holding", 9, b"".join(bytes((letter, 0) if swapped else (0, letter)) for letter in b"fw-1.2.3"))
    shutil.copytree(CASES / "telegraf", tmp_path / "case")
    text = (tmp_path / "case" / "telegraf.conf").read_text()
    only_modbus = text.partition("[[inputs.opcua_listener]]")[0].replace("LSW-BE", order)
    with served(memory.script) as (port, _):
        file = tmp_path / "telegraf.conf"
        file.write_text(only_modbus.replace("10.20.1.99:502", f"127.0.0.1:{port}"))
        assert CliRunner().invoke(main, ["import", str(file), "--out", str(tmp_path / "out")]).exit_code == 0
        checked = CliRunner().invoke(main, ["check", str(tmp_path / "out" / "factory.yaml"), "--format", "json"])
    [machine] = json.loads(checked.stdout)["machines"]
    high = 7 if swapped else 42
    assert {point["point"]: point["value"] for point in machine["points"]} == {
        "run": True, "current": -123.456, "speed": 1450.0, "half": 0.5, "high": high, "bit": True,
        "firmware": "fw-1.2.3",
    }  # fmt: skip
