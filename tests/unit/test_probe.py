"""`lineside probe` against devices whose maps are known."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from fakes.modbus_server import Asked, exception, right, served, silent

from drivers.modbus.address import Table
from drivers.modbus.probe import meanings
from gateway.cli import main
from gateway.settings.document import Document
from gateway.settings.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOLDING = {*range(60), *range(100, 130)}


def device(asked: Asked) -> Sequence[bytes]:
    """Unit 3 alone, with holding registers 0..59 and 100..129, of which it gives 40 at once."""
    if asked.unit != 3:
        return silent(asked)
    entries = set(range(asked.first, asked.first + asked.count))
    if asked.function == 3 and entries <= HOLDING and asked.count <= 40:
        return right(asked)
    return exception(2)(asked)


def test_units_ranges_and_block_size_are_found_and_a_template_written(tmp_path: Path):
    """From an address to a first template, without a manual."""
    file = tmp_path / "machines" / "found.yaml"
    file.parent.mkdir()
    with served(device) as (port, server):
        url = f"modbus+tcp://127.0.0.1:{port}?timeout=0.05"
        arguments = ["probe", url, "--units", "2-4", "--per-second", "1000", "--template", str(file)]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "unit 3: does not identify itself" in result.output
    assert "holding   0..59, 100..129; 40 at once" in result.output
    assert "unit 2" not in result.output
    assert {asked.function for asked in server.asked} <= {1, 2, 3, 4, 43}, "it only reads"
    document = Document(tmp_path / "factory.yaml", {})
    template = Templates(document).get("found", ())
    assert template is not None
    assert len(template.points) == 90
    assert yaml.safe_load(file.read_text())["points"]["holding_100"] == {"address": "holding 100"}


def test_a_meter_with_input_registers_alone_is_found():
    """It stays silent at everything else, at function 43 and at every other unit."""

    def meter(asked: Asked) -> Sequence[bytes]:
        entries = set(range(asked.first, asked.first + asked.count))
        known = {4: set(range(20)), 3: set(range(36, 40))}.get(asked.function, set())
        return right(asked) if asked.unit == 2 and entries <= known else silent(asked)

    with served(meter) as (port, _):
        url = f"modbus+tcp://127.0.0.1:{port}?timeout=0.05"
        result = CliRunner().invoke(main, ["probe", url, "--units", "1-2", "--to", "39", "--per-second", "1000"])
    assert result.exit_code == 0, result.output
    assert "input     0..19; 20 at once" in result.output
    assert "holding   36..39; 4 at once" in result.output


def test_configured_questions_and_areas_are_asked():
    """A device that responds at one place is found there; only the SunSpec bases are read in addition."""

    def picky(asked: Asked) -> Sequence[bytes]:
        entries = range(asked.first, asked.first + asked.count)
        return right(asked) if asked.function == 4 and set(entries) <= set(range(3000, 3010)) else silent(asked)

    with served(picky) as (port, server):
        url = f"modbus+tcp://127.0.0.1:{port}?timeout=0.05"
        arguments = ["--units", "1", "--ask", "input 3000", "--area", "input 2990..3020", "--per-second", "1000"]
        result = CliRunner().invoke(main, ["probe", url, *arguments])
    assert result.exit_code == 0, result.output
    assert "input     3000..3009; 10 at once" in result.output
    assert (server.asked[0].function, server.asked[0].first) == (4, 3000)
    assert {asked.first for asked in server.asked if asked.function == 3} <= {0, 40000, 50000}


def test_a_sunspec_device_is_recognized_and_its_models_are_listed():
    """Its marker is at one of three places, and a chain of models follows."""
    words = [0x5375, 0x6E53, 1, 4, *range(4), 103, 6, *range(6), 0xFFFF, 0]
    tables = dict(enumerate(words, 40000))

    def inverter(asked: Asked) -> Sequence[bytes]:
        entries = range(asked.first, asked.first + asked.count)
        if asked.function != 3 or any(entry not in tables for entry in entries):
            return exception(2)(asked)
        data = b"".join(struct.pack(">H", tables[entry]) for entry in entries)
        return [asked.frame(bytes((len(data),)) + data)]

    with served(inverter) as (port, _):
        url = f"modbus+tcp://127.0.0.1:{port}?timeout=0.05"
        result = CliRunner().invoke(main, ["probe", url, "--units", "1", "--to", "10", "--per-second", "1000"])
    assert result.exit_code == 0, result.output
    assert "SunSpec models: 1 at 40004, 103 at 40010" in result.output
    assert "holding   40002..40015" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--area", "holding 10..x"], "is not a range of entries; write 'holding 40000..40199'"),
        (["--area", "holding 10..9"], "is not a range of entries"),
        (["--ask", "register 3"], "is not a Modbus address"),
        (["--from", "10", "--to", "9"], "is after"),
    ],
)
def test_invalid_areas_and_questions_are_reported(arguments: list[str], message: str):
    """The command reports them before it sends a request."""
    result = CliRunner().invoke(main, ["probe", "modbus+tcp://127.0.0.1:1", *arguments])
    assert result.exit_code != 0
    assert message in " ".join(result.output.split())


def test_requests_are_spread_over_time():
    """A machine that runs must not notice."""
    times: list[float] = []

    def timed(asked: Asked) -> Sequence[bytes]:
        times.append(time.monotonic())
        return device(asked)

    with served(timed) as (port, _):
        url = f"modbus+tcp://127.0.0.1:{port}?timeout=2"
        CliRunner().invoke(main, ["probe", url, "--units", "3", "--to", "10", "--per-second", "50"])
    assert len(times) > 5
    assert times[-1] - times[0] >= (len(times) - 1) / 50 * 0.9


def test_an_absent_device_is_reported():
    """The message is one line with the address of the device."""
    result = CliRunner().invoke(main, ["probe", "modbus+tcp://127.0.0.1:1"])
    assert result.exit_code == 3
    assert "127.0.0.1:1" in result.output
    assert "Traceback" not in result.output


def test_a_register_is_shown_in_every_type_and_order():
    """The order in which the register reads 171.8 is the right order."""
    words = struct.unpack(">HH", struct.pack(">f", 171.8))

    def swapped(asked: Asked) -> Sequence[bytes]:
        data = struct.pack(">HH", *reversed(words)) + b"\0\0\0\0"
        return [asked.frame(bytes((2 * asked.count,)) + data[: 2 * asked.count])]

    with served(swapped) as (port, _):
        url = f"modbus+tcp://127.0.0.1:{port}"
        result = CliRunner().invoke(main, ["probe", url, "--register", "holding 10"])
    assert result.exit_code == 0, result.output
    [line] = [line for line in result.output.splitlines() if line.startswith("float32  CDAB")]
    assert "171.80" in line
    assert line.endswith("plausible")


@pytest.mark.parametrize(
    ("raw", "order", "data", "value"),
    [
        ("uint16", "BADC", b"\x01\x00", 1),
        ("int32", "CDAB", b"\xff\xfe\xff\xff", -2),
        ("float64", "ABCD", struct.pack(">d", 1.5), 1.5),
    ],
)
def test_meanings_are_those_of_the_orders(raw: str, order: str, data: bytes, value: Any):
    """A is the most significant byte."""
    found = {(one.raw, one.order): one.value for one in meanings(data)}
    assert found[raw, order] == value


def test_tables_without_anything_are_not_shown():
    """An absent table needs no line."""
    with served(device) as (port, _):
        arguments = ["probe", f"modbus+tcp://127.0.0.1:{port}?timeout=0.05", "--units", "3", "--to", "70"]
        result = CliRunner().invoke(main, [*arguments, "--per-second", "1000"])
    assert Table.COIL.value not in result.output
