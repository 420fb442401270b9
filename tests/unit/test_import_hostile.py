"""Files from outside are refused in a line, or imported with notes: never a trace, and never without limit."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.cli import main
from gateway.importers import content as content_module
from gateway.importers import ignition_udt, table, xml_tree
from gateway.importers.build import built
from gateway.importers.content import Content
from gateway.importers.formats import FORMATS
from gateway.importers.found import Import, Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOTH = (Options(connection="modbus+tcp://10.0.0.1"), Options(connection="opc.tcp://10.0.0.1:4840"))


def imported(folder: Path, name: str, data: bytes, *options: str) -> Result:
    (folder / name).write_bytes(data)
    return CliRunner().invoke(
        main, ["import", str(folder / name), "--out", str(folder / "out"), "--force",
               "--connection", "modbus+tcp://10.0.0.1", *options],
    )  # fmt: skip


def refused(ran: Result) -> str:
    """Return the line with which a file was refused."""
    assert (ran.exit_code, type(ran.exception), len(ran.stderr.splitlines())) == (1, SystemExit, 1), ran.output
    return ran.stderr


# -- unknown files --


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("plant.zap17", b"\x01\x02", "it is a TIA Portal project archive (.zap17): export the tag table"),
        ("plant.ap19", b"x", "it is a TIA Portal project (.ap19)"),
        (
            "manual.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "it is an Excel .xls, or another old Office file: save it as",
        ),
        (
            "manual.csv",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            "it is an Excel .xls, or another old Office file: save it as",
        ),
        ("manual", b"%PDF-1.7\n", "it is a PDF: copy the register table"),
        ("plant.opf", b"\x00\x01", "it is a Kepware project in its binary form (.opf): save it as JSON"),
        ("plant.sopf", b"\x00\x01", "it is a Kepware project in its binary form (.sopf): save it as JSON"),
        ("plant.L5X", b"<RSLogix5000Content/>", "it is an RSLogix 5000 L5X"),
        ("plant.xml", b'<project xmlns="http://www.plcopen.org/xml/tc6_0200"/>', "it is a project in PLCopen XML"),
        ("plant.export", b"<ExportFile/>", "it is a Codesys export"),
        ("plant.xml", b"<FEFExchangeFile/>", "it is a project of Schneider Control Expert"),
        ("page.xml", b"<!DOCTYPE html><html></html>", "it is a web page"),
        ("book.xml", b'<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"/>', "Excel 2003 XML"),
        ("data.db", b"SQLite format 3\x00", "it is a SQLite database"),
        (
            "factory.yaml",
            b"# x\nformat: 1\nfactory: {}\n",
            "it is a factory of Lineside: check it with lineside validate",
        ),
        ("press.yaml", b"format: 1\nprotocol: modbus\n", "it is a template of Lineside: copy it"),
        ("empty.csv", b"", "there is nothing in it"),
        ("blank.csv", b" \r\n\t\n", "there is nothing in it"),
        ("text.txt", b"hello", "it is a file of an unknown format. These can be imported: table of points"),
        ("other.json", b'{"a": [1]}', "it is a file of an unknown format. These can be imported: table of points"),
        ("other.xml", b"<a/>", "it is a file of an unknown format. These can be imported: table of points"),
        ("noise.bin", bytes(range(32)) * 9, "it is a binary file of an unknown format. These can be imported"),
        ("cut.json", b'{\n "a": [1,', "line 2: it is not JSON: unexpected end of data"),
        ("cut.xml", b"<a>\n<b>", "line 2: it is not XML: no element found"),
    ],
)
def test_an_unknown_file_is_called_by_its_name(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    """With what to export in place of it."""
    assert message in refused(imported(tmp_path, name, data))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_json_and_xml_are_read_in_their_encodings(tmp_path: Path, encoding: str) -> None:
    """As PowerShell and Windows write them."""
    tag = {"name": "Füllstand", "tagType": "AtomicTag", "valueSource": "opc", "opcItemPath": "[P]HR1"}
    assert imported(tmp_path, "a.json", json.dumps([tag], ensure_ascii=False).encode(encoding)).exit_code == 0
    xml = '<Tags><Tag name="Füllstand" type="OPC"><Property name="OPCItemPath">[P]HR1</Property></Tag></Tags>'
    mark = "" if encoding in {"utf-8", "utf-8-sig", "utf-16"} else "\ufeff"
    assert imported(tmp_path, "a.xml", (mark + xml).encode(encoding)).exit_code == 0


# -- bombs --

LAUGHS = b'<!DOCTYPE t [<!ENTITY a "ha">%s]><Tags><Tag name="&j;"/></Tags>' % b"".join(
    b'<!ENTITY %c "%s">' % (to, b"&%c;" % (to - 1) * 10) for to in range(ord("b"), ord("k"))
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LAUGHS, "it declares an entity; remove the declaration"),
        (b'<!DOCTYPE t [<!ENTITY a SYSTEM "file:///etc/passwd">]><Tags><Tag/>&a;</Tags>', "it declares an entity"),
        (b'<!DOCTYPE t [<!ENTITY % a SYSTEM "http://10.0.0.1/x"> %a;]><Tags><Tag/></Tags>', "it declares an entity"),
        (b"<Tag>" * 100_000, "it has more than 64 levels"),
        (b"<Tags>" + b"<Tag/>" * 50, "it has more than 20 elements"),
    ],
)
def test_xml_has_limits_and_no_entities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    """Entities grow without limit, or read other files (CWE-776, CWE-611)."""
    monkeypatch.setattr(xml_tree, "MOST_ELEMENTS", 2_000_000 if b"<Tag>" in data else 20)
    assert message in refused(imported(tmp_path, "tags.xml", data, "--from", "ignition-xml"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 500 + b"]" * 500, "it is nested deeper than 64 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "line 1: it is not JSON"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "it is nested deeper than 64 levels"),
        (b"[" + b"1," * 60 + b"1]", "it has more than 50 values"),
    ],
)
def test_json_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str) -> None:
    """Functions that call themselves come to an end, and so does memory."""
    if message.endswith("50 values"):
        monkeypatch.setattr(content_module, "MOST_JSON_VALUES", 50)
    assert message in refused(imported(tmp_path, "tags.json", data, "--from", "ignition-json"))


def test_files_and_tables_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows are a mistake of somebody."""
    rows = b"Register;Name\n" + b"1;a\n" * 50
    monkeypatch.setattr(table, "MOST_ROWS", 40)
    assert "it has more than 40 rows; import it in parts" in refused(imported(tmp_path, "list.csv", rows))
    monkeypatch.setattr(table, "MOST_COLUMNS", 3)
    assert "it has more than 3 columns" in refused(imported(tmp_path, "list.csv", b"a;b;c;d\n1;2;3;4\n"))
    monkeypatch.setattr(content_module, "MOST_BYTES", 100)
    assert "it is larger than 0 MiB; import it in parts" in refused(imported(tmp_path, "list.csv", rows))


def test_types_in_each_other_are_not_expanded_without_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten types, each with ten instances of the next, are ten billion tags."""
    monkeypatch.setattr(ignition_udt, "MOST_TAGS", 5_000)
    types = [
        {"name": f"T{level}", "tagType": "UdtType",
         "tags": [{"name": f"i{i}", "tagType": "UdtInstance", "typeId": f"T{level + 1}"} for i in range(10)]}
        for level in range(10)
    ]  # fmt: skip
    bomb = {
        "name": "",
        "tagType": "Provider",
        "tags": [*types, {"name": "x", "tagType": "UdtInstance", "typeId": "T0"}],
    }
    began = time.monotonic()
    assert "it has more than 5,000 tags" in refused(imported(tmp_path, "tags.json", json.dumps(bomb).encode()))
    assert time.monotonic() - began < 60


def test_types_that_inherit_from_themselves_are_left_out(tmp_path: Path) -> None:
    """One from another, and each from the other."""
    tags = [
        {"name": "A", "tagType": "UdtType", "typeId": "B", "tags": []},
        {"name": "B", "tagType": "UdtType", "typeId": "A", "tags": []},
        {"name": "C", "tagType": "UdtType", "tags": [{"name": "c", "tagType": "UdtInstance", "typeId": "C"}]},
        {"name": "a", "tagType": "UdtInstance", "typeId": "A"},
        {"name": "c", "tagType": "UdtInstance", "typeId": "C"},
    ]
    ran = imported(tmp_path, "tags.json", json.dumps({"name": "", "tagType": "Provider", "tags": tags}).encode())
    assert ran.exit_code == 1
    assert "a: is left out: the type 'A' inherits from itself" in ran.stderr
    assert "is left out: more than 32 instances are in each other" in ran.stderr
    assert "there is no machine with a point that could be read" in ran.stderr


def test_notes_of_a_kind_are_counted_after_the_first(tmp_path: Path) -> None:
    """A wrong export has a thousand lines that are wrong alike."""
    rows = b"Register;Name;Access\n0;a;R\n" + b"".join(b"%d;b%d;W\n" % (i, i) for i in range(1, 301))
    ran = imported(tmp_path, "list.csv", rows)
    assert ran.exit_code == 0
    assert sum("is left out: it is only written to" in line for line in ran.stderr.splitlines()) == 50
    assert "list.csv: 250 more: it is only written to" in ran.stderr


def test_names_in_notes_do_not_steer_the_terminal(tmp_path: Path) -> None:
    """A tag may be called like a command of a terminal, and be as long as a book."""
    rows = f"Register;Name;Access\n0;a;R\n1;\x1b]0 b;W\n2;{'x' * 9000};W\n"
    ran = imported(tmp_path, "list.csv", rows.encode("utf-16"))
    assert ran.exit_code == 0
    assert "list.csv:3: \\x1b]0 b: is left out: it is only written to" in ran.stderr
    assert "\x1b" not in ran.stderr
    assert max(map(len, ran.stderr.splitlines())) < 1500


@pytest.mark.slow
def test_equal_names_are_numbered_in_one_pass(tmp_path: Path) -> None:
    """Ten thousand tags of one name must not cost their square."""
    rows = b"Register;Name\n" + b"".join(b"%d;x\n" % i for i in range(10_000))
    (tmp_path / "list.csv").write_bytes(rows)
    began = time.monotonic()
    found = FORMATS[-1].read(Content("list.csv", rows), BOTH[0])
    assert len(found.machines[0].points) == 10_000
    assert time.monotonic() - began < 30


# -- anything --


def read(data: bytes, name: str, options: Options) -> Import | None:
    """Return the import of a file by a format, None where it refuses the file."""
    content = Content(f"file.{name}", data)
    for one in FORMATS:
        if one.name == name:
            try:
                one.recognise(content)
                found = one.read(content, options)
                built(found)
            except ValueError:
                return None
            return found
    return None


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["400001", "1!400001.3", "ns=2;s=x", "[a]HR1", "{a}", "1e999", 1e300, 2**64, "°C"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def _changed(data: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """Return JSON data with one of its parts replaced by anything."""
    if isinstance(data, (dict, list)) and data and draw(st.integers(0, 4)):
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        key = draw(st.sampled_from(keys))
        copy: Any = data.copy()
        copy[key] = _changed(data[key], draw)
        return copy
    return draw(_VALUES)


def _samples() -> dict[str, Any]:
    tag = {"name": "t", "address": "1!400001#BB", "type": 6, "attribute": 1, "decimal": 0.1, "bias": 1}
    udt = {"name": "U", "tagType": "UdtType", "parameters": {"d": {"dataType": "String", "value": "PLC"}}, "tags": [
        {"name": "a", "tagType": "AtomicTag", "valueSource": "opc", "dataType": "Int2", "scaleMode": "Linear",
         "opcItemPath": {"bindType": "parameter", "binding": "[{d}]HR1"}, "engHigh": 5}]}  # fmt: skip
    kepware_tag = {"common.ALLTYPES_NAME": "a", "servermain.TAG_ADDRESS": "400001", "servermain.TAG_DATA_TYPE": 8,
                   "servermain.TAG_SCALING_TYPE": 1, "servermain.TAG_SCALING_RAW_LOW": 0,
                   "servermain.TAG_SCALING_RAW_HIGH": 1, "servermain.TAG_SCALING_SCALED_LOW": 0,
                   "servermain.TAG_SCALING_SCALED_HIGH": 9, "servermain.TAG_SCAN_RATE_MILLISECONDS": 100}  # fmt: skip
    device = {"common.ALLTYPES_NAME": "d", "servermain.DEVICE_ID_STRING": "<10.0.0.1>.1",
              "servermain.DEVICE_ID_DECIMAL": 1, "servermain.DEVICE_SCAN_MODE": 2,
              "servermain.DEVICE_SCAN_MODE_RATE_MS": 500, "modbus_ethernet.DEVICE_ETHERNET_PORT_NUMBER": 502,
              "tags": [kepware_tag], "tag_groups": [{"tags": [kepware_tag]}]}  # fmt: skip
    drivers = ("Modbus TCP/IP Ethernet", "Modbus RTU Serial", "OPC UA Client")
    channel = {
        "common.ALLTYPES_NAME": "c",
        "opcuaclient.CHANNEL_UA_SERVER_ENDPOINT_URL": "opc.tcp://h",
        "devices": [device],
    }
    return {
        "neuron": {
            "nodes": [{"name": "n", "plugin": "Modbus TCP"}, {"name": "o", "plugin": "OPC UA"}],
            "groups": [{"driver": "n", "group": "g", "interval": 100}],
            "tags": [{"driver": "n", "group": "g", "tags": [tag]}, {"driver": "o", "group": "g", "tags": [tag]}],
            "settings": [{"node": "n", "params": {"host": "h", "port": 502, "timeout": 1000, "endianess": 4}}],
        },
        "ignition-json": {"name": "", "tagType": "Provider", "tags": [
            {"name": "_types_", "tagType": "Folder", "tags": [udt]},
            {"name": "i", "tagType": "UdtInstance", "typeId": "U", "parameters": {"d": 1}, "tags": []}]},
        "kepware-json": {"project": {"channels": [
            channel | {"servermain.MULTIPLE_TYPES_DEVICE_DRIVER": driver} for driver in drivers]}},
    }  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data(), st.sampled_from(sorted(_samples())), st.sampled_from(BOTH))
def test_a_project_with_anything_in_any_place_is_imported_or_refused(
    data: st.DataObject, name: str, options: Options
) -> None:
    """A value of another type, a huge number, an object where a list belongs."""
    changed = _changed(_samples()[name], data.draw)
    text = json.dumps(changed, allow_nan=False) if _is_plain(changed) else json.dumps(changed)
    found = read(text.encode("utf-8", "surrogatepass"), name, options)
    assert found is None or all(note.message for note in found.notes)


def _is_plain(data: Any) -> bool:
    try:
        json.dumps(data, allow_nan=False)
    except ValueError:
        return False
    return True


_CELLS = st.text(max_size=10) | st.sampled_from(
    ["40001", "0x10", "4x0001", "1!400001", "%MW3", "100.3", "40001-40009", "FLOAT", "U16", "STRING(9)", "bool",
     "1/0", "x", "°C", "R/W", "W", "²", "1e400", "-1", "99999999999999999999", "=1+1", "\t", "true", "0.1",
     "Array[0..9] of Int", "Array[9..0] of Int", "ns=2;s=a", "[d]HR1", "[d]1.HRS1:9", "400001.20H", "400001 [2][3]"]
)  # fmt: skip
_HEADS = {
    "registers": ["Address", "Name", "Type", "Scale", "Unit", "Length", "Bit", "Access", "Function", "Min", "Max",
                  "Byte order", "Decimals", "Gain", "Bias", "Slave", "Device", "States", "Period"],
    "kepware": ["Tag Name", "Address", "Data Type", "Client Access", "Scan Rate", "Scaling", "Raw Low", "Raw High",
                "Scaled Low", "Scaled High", "Eng Units", "Clamp Low", "Negate Value"],
    "ignition": ["Path", "Name", "TagType", "DataType", "OPCItemPath", "ScaleMode", "RawLow", "RawHigh", "ScaledLow",
                 "ScaledHigh", "EngUnit", "EngLow", "EngHigh", "EngLimitMode", "Deadband", "ScanClass"],
    "neuron-table": ["group", "interval", "name", "address", "attribute", "type", "decimal", "bias", "description"],
    "tia": ["Name", "Path", "Data Type", "Logical Address", "Comment", "Hmi Accessible"],
}  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data(), st.sampled_from(sorted(_HEADS)), st.sampled_from(BOTH))
def test_a_table_with_anything_in_its_cells_is_imported_or_refused(
    data: st.DataObject, name: str, options: Options
) -> None:
    """As people fill in tables."""
    head = data.draw(st.permutations(_HEADS[name]))
    rows = data.draw(st.lists(st.lists(_CELLS, max_size=len(head) + 1), max_size=5))
    text = "\n".join(";".join(row) for row in [head, *rows])
    found = read(text.encode("utf-8", "surrogatepass"), name, options)
    assert found is None or all(note.message for note in found.notes)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None)
@example(b"sep=")
@example(b"sep=\r\n;")
@example(b'"\n')
@example(b"\xff\xfe")
@example(b"PK\x03\x04")
@example(b"<a")
@example(b"{")
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-16")))
def test_any_bytes_are_refused_in_a_line(tmp_path: Path, data: bytes) -> None:
    """Somebody will try the wrong file."""
    assert refused(imported(tmp_path, "any", data)).startswith(f"Error: {tmp_path / 'any'}: ")
